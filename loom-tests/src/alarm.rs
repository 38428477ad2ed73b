//! The reactor going to sleep against whoever makes a deadline: it wakes in time, by itself or woken.

use std::sync::atomic::{AtomicBool as Untracked, Ordering::SeqCst};

use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom::sync::{Condvar, Mutex};

use crate::lockfree::alarm::{Alarm, Due, NEVER};
use crate::rig::{three_threads, two_threads};

/// A reactor, its alarm, and deadlines in plain view that nothing but the alarm orders.
struct Sleeper {
    alarm: Alarm,
    deadlines: [AtomicU64; 2],
    /// The deadline's owner relies on the promise: it was told not to wake. Not a part of the model, so no point where threads switch.
    relied: [Untracked; 2],
    /// The sticky waker: an eventfd in the pool.
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Sleeper {
    fn new() -> std::sync::Arc<Sleeper> {
        std::sync::Arc::new(Sleeper {
            alarm: Alarm::new(),
            deadlines: [AtomicU64::new(NEVER), AtomicU64::new(NEVER)],
            relied: [Untracked::new(false), Untracked::new(false)],
            rung: Mutex::new(false),
            bell: Condvar::new(),
        })
    }

    /// Somebody has a deadline: it, the alarm, and the waker if need be.
    fn remind(&self, which: usize, due: u64) {
        self.deadlines[which].store(due, Relaxed);
        if self.alarm.lower(due) {
            *self.rung.lock().unwrap() = true;
            self.bell.notify_one();
        } else {
            self.relied[which].store(true, SeqCst);
        }
    }

    /// Sleeps and wakes until it has seen `expected` deadlines; asleep until `promised` when it begins.
    fn run(&self, expected: usize, mut promised: u64) {
        self.alarm.promise(promised);
        let mut seen = [false, false];
        loop {
            // Awake: its time has come, or it was woken.
            self.alarm.announce();
            let looks = [0, 1].map(|which| self.deadlines[which].load(Relaxed));
            for which in [0, 1] {
                let due = looks[which];
                if due != NEVER && !std::mem::replace(&mut seen[which], true) {
                    let in_time = promised <= due || promised == NEVER || !self.relied[which].load(SeqCst);
                    assert!(in_time, "slept until {promised} past {due}, whose owner relied on it");
                }
            }
            if seen.iter().filter(|seen| **seen).count() == expected {
                return;
            }
            promised = self.alarm.promise(NEVER);
            if promised == NEVER {
                let mut rung = self.rung.lock().unwrap();
                while !*rung {
                    rung = self.bell.wait(rung).unwrap();
                }
                *rung = false;
            }
        }
    }
}

/// Without it the sleeper misses a deadline made while it goes to sleep: the first of all, or one behind another that it had promised,
/// for which nobody needed to be woken (E9).
#[test]
fn going_to_sleep_against_a_deadline() {
    for promised in [NEVER, 3] {
        two_threads(move || {
            let sleeper = Sleeper::new();
            let other = std::sync::Arc::clone(&sleeper);
            let other = loom::thread::spawn(move || other.remind(0, 5));
            sleeper.run(1, promised);
            other.join().unwrap();
        });
    }
}

/// Without it a deadline that another one, promised in the same moment, made needless to wake for is lost behind it (E9 through the
/// promise, which must be a read-modify-write).
#[test]
fn going_to_sleep_against_two_deadlines() {
    three_threads(|| {
        let sleeper = Sleeper::new();
        let (one, two) = (std::sync::Arc::clone(&sleeper), std::sync::Arc::clone(&sleeper));
        let one = loom::thread::spawn(move || one.remind(0, 4));
        let two = loom::thread::spawn(move || two.remind(1, 5));
        sleeper.run(2, NEVER);
        one.join().unwrap();
        two.join().unwrap();
    });
}

/// Several whom one sleeper serves, of whom it calls those that are due: here one, which has two deadlines in turn.
struct Served {
    alarm: Alarm,
    due: Due,
    deadlines: [AtomicU64; 2],
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Served {
    fn remind(&self, which: usize, due: u64) {
        self.deadlines[which].store(due, Relaxed);
        self.due.lower(due);
        if self.alarm.lower(due) {
            *self.rung.lock().unwrap() = true;
            self.bell.notify_one();
        }
    }

    /// Wakes and calls until both deadlines have been seen.
    fn run(&self) {
        let mut seen = 0;
        while seen < 2 {
            self.alarm.announce();
            if self.due.take(NEVER - 1).is_ok() {
                seen = self.deadlines.iter().filter(|deadline| deadline.load(Relaxed) != NEVER).count();
                assert!(seen > 0, "called for a deadline that is not to be seen yet");
            } else if self.alarm.promise(NEVER) == NEVER {
                let mut rung = self.rung.lock().unwrap();
                while !*rung {
                    rung = self.bell.wait(rung).unwrap();
                }
                *rung = false;
            }
        }
    }
}

/// Without it a handler is called for a deadline that it cannot see yet, or one of its deadlines is taken off with another, unseen; and
/// nobody calls it again (E9 through `Due`).
#[test]
fn a_due_time_against_the_call_that_takes_it_off() {
    two_threads(|| {
        let served = std::sync::Arc::new(Served {
            alarm: Alarm::new(),
            due: Due::new(),
            deadlines: [AtomicU64::new(NEVER), AtomicU64::new(NEVER)],
            rung: Mutex::new(false),
            bell: Condvar::new(),
        });
        let other = std::sync::Arc::clone(&served);
        let other = loom::thread::spawn(move || {
            other.remind(0, 5);
            other.remind(1, 4);
        });
        served.run();
        other.join().unwrap();
    });
}
