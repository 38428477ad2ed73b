//! The defects of NimblePool that were seen by running it (`DESIGN.md`, section 10, 1 to 11): each under its number, and none of them ours.

mod support;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, GetErrorKind, Lease, Manager, Opening, Pool, TcpManager, Verdict};
use support::{
    Counting, Fake, FakeError, HOPELESS, Hooked, ON_PURPOSE, Server, comes_to_rest, eventually, local_port, panics,
};

const MS: Duration = Duration::from_millis(1);

fn queued<M: Manager>(pool: &Pool<M>, callers: usize) {
    eventually("they wait", || pool.stats().waiting == callers);
}

#[test]
fn defect_01_lost_wakeup_after_the_holder_panics() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(1).min_open(0).opening(Opening::Lazy).build().unwrap();
    let pool = &pool;
    for round in 0..20 {
        thread::scope(|scope| {
            let (go, gone) = mpsc::channel::<()>();
            let holder = scope.spawn(move || {
                panics(|| {
                    let _lease = pool.get().unwrap();
                    gone.recv().unwrap();
                    panic!("{ON_PURPOSE}");
                });
            });
            eventually("it is held", || pool.stats().leased == 1);
            let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(|lease| lease.id()));
            queued(pool, 1);
            go.send(()).unwrap();
            holder.join().unwrap();
            assert_eq!(waiter.join().unwrap().unwrap(), round + 1, "a new one, and without anybody else's help");
        });
    }
    comes_to_rest(pool);
    census.verify();
}

#[test]
fn defect_02_a_newcomer_is_served_before_an_older_waiter_after_a_panic() {
    let fake = Fake::default();
    let script = fake.script.clone();
    let builder = Pool::builder(fake).max_size(1).min_open(0).opening(Opening::Lazy);
    let pool = builder.handoff_after(Duration::ZERO).build().unwrap();
    let (served, order) = mpsc::channel();
    thread::scope(|scope| {
        let serve = |name: &'static str| {
            let (pool, served) = (&pool, served.clone());
            scope.spawn(move || {
                let _lease = pool.get_timeout(HOPELESS).unwrap();
                served.send(name).unwrap();
            });
        };
        panics(|| {
            let _lease = pool.get().unwrap();
            serve("older");
            queued(&pool, 1);
            script.hang();
            panic!("{ON_PURPOSE}");
        });
        // The place is free, its next connection on its way, and the older one still waits.
        eventually("a dial for it", || script.under_way() == 1);
        assert_eq!(pool.try_get().map(drop).unwrap_err().kind(), GetErrorKind::Busy);
        serve("newcomer");
        queued(&pool, 2);
        script.open();
    });
    drop(served);
    assert_eq!(order.iter().collect::<Vec<_>>(), ["older", "newcomer"]);
    comes_to_rest(&pool);
}

#[test]
fn defect_03_order_of_arrival_broken_by_a_return_that_removes() {
    let manager = Hooked::new(Fake::default()).on_return(|_, _| Verdict::Discard);
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(1).handoff_after(Duration::ZERO).build().unwrap();
    let lease = pool.get().unwrap();
    let (served, order) = mpsc::channel();
    thread::scope(|scope| {
        for waiter in 0..6 {
            let (pool, served) = (&pool, served.clone());
            scope.spawn(move || {
                let lease = pool.get_timeout(HOPELESS).unwrap();
                served.send((waiter, lease.id())).unwrap();
            });
            queued(pool, waiter + 1);
        }
        drop(lease);
    });
    drop(served);
    // Each return removed its connection, so the n-th of those who waited had the n-th new one.
    assert_eq!(order.iter().collect::<Vec<_>>(), (0..6).map(|n| (n, n + 1)).collect::<Vec<_>>());
    eventually("all closes", || census.closed(CloseReason::Discarded) == 7);
    census.verify();
}

#[test]
fn defect_04_the_waiter_behind_a_skipped_one_sleeps_beside_an_idle_connection() {
    thread_local!(static SKIPPED: Cell<bool> = const { Cell::new(false) });
    for handoff_after in [Duration::ZERO, HOPELESS] {
        let manager = Hooked::new(Fake::default()).on_checkout(|_| match SKIPPED.get() {
            true => Err(FakeError("not you")),
            false => Ok(Verdict::Keep),
        });
        let (manager, census) = Counting::new(manager);
        let pool = Pool::builder(manager).max_size(1).handoff_after(handoff_after).build().unwrap();
        let lease = pool.get().unwrap();
        thread::scope(|scope| {
            let mut callers = Vec::new();
            for skipped in [true, true, false, true, false] {
                let pool = &pool;
                callers.push(scope.spawn(move || {
                    SKIPPED.set(skipped);
                    let answer = pool.get_timeout(HOPELESS).map(|lease| lease.id());
                    (skipped, answer.map_err(|error| (error.kind(), support::chain(&error.cause().unwrap()))))
                }));
                queued(pool, callers.len());
            }
            drop(lease);
            for caller in callers {
                let (skipped, answer) = caller.join().unwrap();
                let refused = (GetErrorKind::Refused, "not you".to_owned());
                assert_eq!(answer, if skipped { Err(refused) } else { Ok(0) });
            }
        });
        assert_eq!((census.opened(), pool.stats().closed_in_all()), (1, 0), "who is skipped costs no connection");
        comes_to_rest(&pool);
    }
}

#[test]
fn defect_05_a_healthy_connection_destroyed_by_a_timeout_racing_its_grant() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(1).handoff_after(Duration::ZERO).build().unwrap();
    let (mut granted, mut late) = (0, 0);
    for _ in 0..200 {
        let lease = pool.get().unwrap();
        thread::scope(|scope| {
            // Their deadlines surround the return.
            let waiters: Vec<_> = (0..4)
                .map(|n| {
                    let pool = &pool;
                    scope.spawn(move || pool.get_timeout(Duration::from_micros(50 * n + 50)).is_ok())
                })
                .collect();
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(150) {
                thread::yield_now();
            }
            drop(lease);
            for waiter in waiters {
                if waiter.join().unwrap() { granted += 1 } else { late += 1 }
            }
        });
    }
    assert_eq!((census.opened(), pool.stats().closed_in_all()), (1, 0), "{granted} granted, {late} late");
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn defect_06_a_timeout_of_zero_never_succeeds_on_an_idle_pool() {
    let pool = Pool::builder(Fake::default()).max_size(2).wait_timeout(Duration::ZERO).build().unwrap();
    for _ in 0..200 {
        assert!(pool.get_timeout(Duration::ZERO).is_ok());
        assert!(pool.try_get().is_ok());
        assert!(pool.get().is_ok());
    }
}

#[test]
fn defect_07_failing_connect_is_retried_without_a_pause() {
    for (dials_at_once, most) in [(1, 10), (4, 12)] {
        let fake = Fake::default();
        let script = fake.script.clone();
        script.fail("down");
        let builder = Pool::builder(fake).max_size(8).min_open(4).dials_at_once(dials_at_once);
        let pool = builder.opening(Opening::Background).fail_fast_after(HOPELESS).build().unwrap();
        // With somebody waiting all the time, which is when there is most reason to dial.
        thread::scope(|scope| {
            scope.spawn(|| pool.get_timeout(400 * MS).map(drop).unwrap_err());
            eventually("a dial", || script.dials() > 0);
        });
        let attempts = script.attempts();
        let first = attempts[0].0;
        let early = attempts.iter().filter(|(at, _)| *at - first < 200 * MS).count();
        assert!(early <= most, "{early} dials in the first 200 ms, {dials_at_once} at once");
    }
}

#[test]
fn defect_08_waiters_that_timed_out_stay_in_memory() {
    let pool = Pool::builder(Fake::default()).max_size(1).build().unwrap();
    let lease = pool.get().unwrap();
    for _ in 0..4 {
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..16).map(|_| scope.spawn(|| pool.get_timeout(MS).map(drop))).collect();
            waiters.into_iter().for_each(|waiter| assert!(waiter.join().unwrap().is_err()));
        });
        // While the one they waited for is still out: nobody has come by to sweep up after them. `waits_leave_no_memory.rs` counts the
        // bytes.
        assert_eq!(pool.stats().waiting, 0);
    }
    drop(lease);
    assert_eq!(pool.stats().leases, 1);
    comes_to_rest(&pool);
}

/// A door that is shut until the test opens it.
#[derive(Default)]
struct Door(Mutex<(bool, usize)>, Condvar);

impl Door {
    fn pass(&self) {
        let mut state = self.0.lock().unwrap();
        state.1 += 1;
        drop(self.1.wait_while(state, |state| !state.0).unwrap());
    }

    fn before_it(&self) -> usize {
        self.0.lock().unwrap().1
    }

    fn open(&self) {
        self.0.lock().unwrap().0 = true;
        self.1.notify_all();
    }
}

#[test]
fn defect_09_one_slow_close_stalls_every_checkout() {
    let door = Arc::new(Door::default());
    let shut = Arc::clone(&door);
    let manager = Hooked::new(Fake::default()).before_close(move |_, _| shut.pass());
    let pool = Pool::builder(manager).max_size(3).min_open(3).wait_timeout(HOPELESS).build().unwrap();
    // More than are closed at a time, so that even the last of the background threads for it is stuck.
    for _ in 0..8 {
        Lease::discard(pool.get().unwrap());
    }
    eventually("closes under way", || door.before_it() > 0);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < 1_000 * MS {
        let asked = Instant::now();
        let leases: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
        slowest = slowest.max(asked.elapsed());
        drop(leases);
    }
    assert!(slowest < 500 * MS, "a checkout of {slowest:?} while closes took {:?}", begun.elapsed());
    door.open();
    eventually("all closes", || door.before_it() == 8);
    comes_to_rest(&pool);
}

#[test]
fn defect_10_stop_forgets_leased_connections() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(2).min_open(2).build().unwrap();
    let leased = pool.get().unwrap();
    pool.close();
    eventually("the idle one is closed", || census.closed(CloseReason::PoolClosed) == 1);
    assert_eq!(census.alive(), 1, "the leased one is its holder's");
    let report = pool.drain(MS);
    assert!(!report.is_complete() && report.leased.len() == 1, "{report:?}");
    drop(leased);
    let report = pool.drain(HOPELESS);
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((census.closed(CloseReason::PoolClosed), census.alive()), (2, 0), "each through the manager's close");
    census.verify();
}

#[test]
fn defect_11_a_message_to_one_resets_the_idle_clock_of_all() {
    let server = Server::echo();
    let manager = Hooked::new(TcpManager::new(server.address())).on_idle_data(|_, _| Verdict::Keep);
    let (manager, census) = Counting::new(manager);
    let builder = Pool::builder(manager).max_size(4).min_open(1).shards(1).idle_timeout(Some(100 * MS));
    let pool = builder.build().unwrap();
    let leases: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    let ports: Vec<_> = leases.iter().map(|lease| local_port(&**lease)).collect();
    leases.into_iter().rev().for_each(drop);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // One is used all the time, and its peer says things that nobody asked for.
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                server.push(ports[0], b"news");
                drop(pool.get().unwrap());
                thread::sleep(5 * MS);
            }
        });
        eventually("the others are closed", || pool.stats().closed(CloseReason::IdleTimeout) == 3);
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!((census.opened(), pool.stats().open), (4, 1));
    assert_eq!(local_port(&*pool.get().unwrap()), ports[0]);
}
