//! The cut: a use that takes too long is ended from outside, its sockets shut down, while it may come back at any moment and its
//! connection be given to the next user. Nobody but the use that was seen is ever cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::lockfree::bag::{Claim, Cut, Limits, Use};
use crate::lockfree::bits::{Life, Notes};
use crate::rig::{AT_ONCE, NO_DIALS, Patience, Rig, beside, three_threads, two_threads};

const ONE: Limits = Limits { max_size: 1, ..NO_DIALS };

/// Threads, as a slot knows them.
const FIRST: u32 = 1;
const NEXT: u32 = 2;
const NOBODY: u32 = 0;

/// Who uses the connection in truth, and who was cut. No atomics of the model: every thread sees the last value, whatever the orderings
/// under test allow it to see of the slot's words.
#[derive(Debug, Default)]
struct Truth {
    user: AtomicU32,
    cut: AtomicU32,
}

impl Truth {
    fn new() -> Arc<Truth> {
        Arc::default()
    }

    fn begin(&self, thread: u32) {
        let cut = self.cut.load(Ordering::Relaxed);
        assert!(cut == NOBODY || cut == thread, "{thread} begins a use of what was cut under {cut}");
        assert_eq!(self.user.swap(thread, Ordering::Relaxed), NOBODY, "two use it");
    }

    fn end(&self, thread: u32) {
        assert_eq!(self.user.swap(NOBODY, Ordering::Relaxed), thread);
    }

    fn cut(&self, thread: u32) {
        let user = self.user.load(Ordering::Relaxed);
        assert!(user == NOBODY || user == thread, "{user} is cut for {thread}");
        self.cut.store(thread, Ordering::Relaxed);
    }
}

/// How far a caller had come with the only connection when it was seen.
#[derive(Clone, Copy, Debug)]
enum At {
    Use,
    /// A hook before the use, or after it: which, no model needs to know.
    Hook,
}

/// A bag whose one connection the first caller has, and what was seen of that.
fn seen(limits: Limits, at: At, truth: &Truth) -> (Arc<Rig>, Claim, Life, Use) {
    let rig = Rig::new(2, 1, limits);
    let claim = rig.must_take(0);
    let (life, slot) = (rig.life(&claim), rig.bag.slot(claim.slot()));
    slot.hold(&claim, FIRST);
    slot.begin_use(&claim);
    match at {
        At::Use => truth.begin(FIRST),
        At::Hook => {
            slot.end_use(&claim);
        }
    }
    let seen = slot.last_use();
    assert_eq!((seen.thread(), seen.is_in_hook()), (FIRST, matches!(at, At::Hook)));
    (rig, claim, life, seen)
}

impl Rig {
    /// The first caller comes back, to `shard`.
    fn come_back(&self, claim: Claim, shard: usize, at: At, truth: &Truth) {
        if let At::Use = at {
            truth.end(FIRST);
            self.bag.slot(claim.slot()).end_use(&claim);
        }
        self.give(claim, shard);
    }

    /// What the next caller does with what it is given: looks at the notes, runs its hook, looks once more, uses it. True: its hook ran on
    /// what was seen, if no more.
    fn use_next(&self, claim: Claim, life: Life, truth: &Truth) -> bool {
        let slot = self.bag.slot(claim.slot());
        let same = self.life(&claim) == life;
        if self.is_leaving(&claim) {
            self.carry(self.bag.evict(claim));
            return false;
        }
        if same {
            truth.begin(NEXT);
        }
        slot.hold(&claim, NEXT);
        let spoiled = self.is_leaving(&claim);
        if !spoiled {
            slot.begin_use(&claim);
            slot.end_use(&claim);
        }
        if same {
            truth.end(NEXT);
        }
        if spoiled {
            self.carry(self.bag.evict(claim));
        } else {
            self.give(claim, 0);
        }
        same
    }

    /// True: what was seen is cut.
    fn cut(&self, life: Life, seen: Use, truth: &Truth) -> bool {
        match self.bag.cut(life, seen) {
            Cut::Now => {
                truth.cut(FIRST);
                true
            }
            Cut::TooLate(duty) => {
                self.carry(duty);
                false
            }
        }
    }
}

/// What is cut, the next caller has had nothing to do with.
const ALL_WAYS: [(bool, bool); 3] = [(false, false), (false, true), (true, false)];

/// Without it the next caller's socket is shut down: the use that was seen ends, its connection is given to another, and the cutter,
/// which still sees the use of before, cuts what it has not seen (E3); or the next caller does not see the note (E2).
#[test]
fn cut_against_a_return_and_the_next_user() {
    for (at, shard) in [(At::Use, 0), (At::Use, 1), (At::Hook, 0), (At::Hook, 1)] {
        let outcomes = three_threads(move || {
            let truth = Truth::new();
            let (rig, claim, life, seen) = seen(ONE, at, &truth);
            let first = beside(&rig, {
                let truth = Arc::clone(&truth);
                move |rig| rig.come_back(claim, shard, at, &truth)
            });
            let next = beside(&rig, {
                let truth = Arc::clone(&truth);
                move |rig| rig.bag.take(shard).is_some_and(|claim| rig.use_next(claim, life, &truth))
            });
            let cut = rig.cut(life, seen, &truth);
            first.join().unwrap();
            let used = next.join().unwrap();
            rig.at_rest();
            assert_eq!(rig.open(), 0, "it has to leave");
            (cut, used)
        });
        assert_eq!(outcomes, ALL_WAYS);
    }
}

/// The same where the connection goes to a waiter, under the lock, through no idle word at all (E6).
#[test]
fn cut_against_a_return_to_a_waiter() {
    for at in [At::Use, At::Hook] {
        let outcomes = three_threads(move || {
            let truth = Truth::new();
            let (rig, claim, life, seen) = seen(Limits { dials: 1, handoff_after: AT_ONCE, ..ONE }, at, &truth);
            let seat = rig.enqueue().unwrap();
            let first = beside(&rig, {
                let truth = Arc::clone(&truth);
                move |rig| rig.come_back(claim, 0, at, &truth)
            });
            let next = beside(&rig, {
                let truth = Arc::clone(&truth);
                move |rig| {
                    let claim = rig.wait(&seat, Patience::Endless).unwrap();
                    rig.use_next(claim, life, &truth)
                }
            });
            let cut = rig.cut(life, seen, &truth);
            first.join().unwrap();
            let used = next.join().unwrap();
            rig.at_rest();
            (cut, used)
        });
        assert_eq!(outcomes, ALL_WAYS);
    }
}

/// Without it nothing ever cuts a connection that was noted for a use which ended just then: whoever has it since, the note unread,
/// may keep it for ever, also when all that is leased is to be cut because the pool is drained.
#[test]
fn cut_again_against_a_return() {
    let outcomes = two_threads(|| {
        let truth = Truth::new();
        let (rig, claim, life, seen) = seen(ONE, At::Hook, &truth);
        let slot = rig.bag.slot(life.slot);
        slot.begin_use(&claim);
        assert!(!rig.cut(life, seen, &truth), "its hook has ended");
        let seen = slot.last_use();
        let first = beside(&rig, {
            let truth = Arc::clone(&truth);
            truth.begin(FIRST);
            move |rig| rig.come_back(claim, 1, At::Use, &truth)
        });
        let cut = rig.cut(life, seen, &truth);
        first.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0, "it has to leave");
        cut
    });
    assert_eq!(outcomes, [false, true]);
}

/// The same where the connection passes through a pause: returned into it, or idle when it begins (E6).
#[test]
fn cut_against_a_pause_and_the_next_user() {
    for (at, paused) in [(At::Use, true), (At::Use, false), (At::Hook, true), (At::Hook, false)] {
        let outcomes = three_threads(move || {
            let truth = Truth::new();
            let (rig, claim, life, seen) = seen(ONE, at, &truth);
            if paused {
                rig.bag.pause();
            }
            let first = beside(&rig, {
                let truth = Arc::clone(&truth);
                move |rig| rig.come_back(claim, 1, at, &truth)
            });
            let next = beside(&rig, {
                let truth = Arc::clone(&truth);
                move |rig| {
                    rig.bag.pause();
                    rig.resume();
                    // A resume puts the lowest slot into the first shard.
                    rig.bag.take(0).is_some_and(|claim| rig.use_next(claim, life, &truth))
                }
            });
            let cut = rig.cut(life, seen, &truth);
            first.join().unwrap();
            let used = next.join().unwrap();
            rig.at_rest();
            assert_eq!(rig.open(), 0, "it has to leave");
            (cut, used)
        });
        assert_eq!(outcomes, ALL_WAYS);
    }
}

/// Without it a connection is cut that its caller has taken out of the pool to keep it; or the next one in its slot looks used by
/// whoever used that.
#[test]
fn cut_against_a_detachment_and_the_next_life() {
    let outcomes = two_threads(|| {
        let truth = Truth::new();
        let (rig, claim, life, seen) = seen(Limits { dials: 1, ..ONE }, At::Use, &truth);
        let first = beside(&rig, {
            let truth = Arc::clone(&truth);
            move |rig| {
                truth.end(FIRST);
                let duty = rig.bag.evict(claim);
                let noted = duty.close.as_ref().is_some_and(|(_, last)| last.has(Notes::CUT));
                rig.carry(duty);
                noted
            }
        });
        let cut = rig.cut(life, seen, &truth);
        let noted = first.join().unwrap();
        rig.at_rest();
        rig.carry(rig.ask());
        let next = rig.bag.slot(life.slot).last_use();
        assert!(next.is_in_hook() && !next.is_callers(), "{next:?}");
        (cut, noted)
    });
    // It was gone before the note; between the note and the second look; after that.
    assert_eq!(outcomes, [(false, false), (false, true), (true, true)]);
}

/// The same where the note is another cutter's, who came too late: to have read it has to be as good as to have written it.
#[test]
fn cut_against_a_cut_and_a_return() {
    let outcomes = three_threads(|| {
        let truth = Truth::new();
        let (rig, claim, life, before) = seen(ONE, At::Hook, &truth);
        let slot = rig.bag.slot(life.slot);
        slot.begin_use(&claim);
        truth.begin(FIRST);
        let seen = slot.last_use();
        let callers = beside(&rig, {
            let truth = Arc::clone(&truth);
            move |rig| {
                rig.come_back(claim, 1, At::Use, &truth);
                rig.bag.take(1).is_some_and(|claim| rig.use_next(claim, life, &truth))
            }
        });
        let other = beside(&rig, {
            let truth = Arc::clone(&truth);
            move |rig| assert!(!rig.cut(life, before, &truth), "its hook has ended")
        });
        let cut = rig.cut(life, seen, &truth);
        let used = callers.join().unwrap();
        other.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0, "it has to leave");
        (cut, used)
    });
    assert_eq!(outcomes, ALL_WAYS);
}

/// A hook before a use, and the use: one caller's, so both may be cut for the hook. Without it one that is cut comes back into the pool.
#[test]
fn cut_of_a_hook_against_the_use_after_it() {
    let outcomes = two_threads(|| {
        let truth = Truth::new();
        let (rig, claim, life, seen) = seen(ONE, At::Hook, &truth);
        let first = beside(&rig, {
            let truth = Arc::clone(&truth);
            move |rig| {
                if rig.is_leaving(&claim) {
                    rig.carry(rig.bag.evict(claim));
                    return false;
                }
                truth.begin(FIRST);
                rig.bag.slot(claim.slot()).begin_use(&claim);
                rig.come_back(claim, 0, At::Use, &truth);
                true
            }
        });
        let cut = rig.cut(life, seen, &truth);
        let used = first.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0, "it has to leave");
        (cut, used)
    });
    assert_eq!(outcomes, [(false, false), (false, true), (true, false), (true, true)]);
}
