//! What a manager says at checkout and at the door: keep, discard and try the next, refuse; admit or not. `panics.rs` has the hooks at
//! connect, watch, return and close, `hooks_in_time.rs` the deadlines, `ping.rs` the pings.

mod support;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use corepool::{CloseReason, GetErrorKind, Lease, Opening, Pool, Reactors, TcpManager, Verdict};
use support::{
    Canary, Counting, Fake, FakeError, HOPELESS, Hooked, ON_PURPOSE, Server, chain, comes_to_rest, eventually, hush,
    local_port,
};

const MS: Duration = Duration::from_millis(1);

#[test]
fn keep_hands_it_over_on_the_callers_thread() {
    let seen: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
    let sees = Arc::clone(&seen);
    let manager = Hooked::new(Fake::default()).on_checkout(move |_| {
        sees.lock().unwrap().push(thread::current().id());
        Ok(Verdict::Keep)
    });
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let here = thread::current().id();
    pool.with(|_| Ok::<_, corepool::GetError>(())).unwrap();
    drop((pool.get().unwrap(), pool.try_get().unwrap_err()));
    drop(pool.get_owned().unwrap());
    let lease = pool.get().unwrap();
    let there = thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            drop(pool.get_timeout(HOPELESS).unwrap());
            thread::current().id()
        });
        eventually("it waits", || pool.stats().waiting == 1);
        drop(lease);
        waiter.join().unwrap()
    });
    assert_eq!(*seen.lock().unwrap(), [here, here, here, here, there], "once for each lease, and not for who is busy");
    assert_eq!(pool.stats().leases, 5);
}

#[test]
fn discard_closes_it_and_the_next_is_tried() {
    // Of the four that are idle, those from 2 on are no good.
    let manager = Hooked::new(Fake::default())
        .on_checkout(|thing| Ok(if thing.0 < 2 { Verdict::Keep } else { Verdict::Discard }));
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(4).min_open(4).dials_at_once(1).shards(2).build().unwrap();
    // What is discarded is dialed anew, and as bad. Who takes what is there meets all of them, now or at the second call.
    let lease = pool.get_timeout(Duration::ZERO).unwrap();
    assert_eq!(lease.0, 1);
    let busy = pool.try_get().unwrap_err();
    assert_eq!(busy.kind(), GetErrorKind::Busy);
    let stats = pool.stats();
    assert!(stats.closed(CloseReason::Discarded) >= 3 && stats.closed_in_all() == stats.closed(CloseReason::Discarded));
    drop(lease);
    // Dialed anew at the pace of what nobody could use.
    eventually("the permits are back", || pool.stats().open == 4);
    comes_to_rest(&pool);
    assert_eq!(pool.stats().leases, 1, "what was discarded is no lease");
    eventually("each close", || census.alive() == 4);
    census.verify();
}

#[test]
fn discard_of_all_has_a_new_one_dialed_for_the_same_caller() {
    let manager = Hooked::new(Fake::default())
        .on_checkout(|thing| Ok(if thing.0 > 3 { Verdict::Keep } else { Verdict::Discard }));
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(3).min_open(0).build().unwrap();
    let lease = pool.get_timeout(HOPELESS).unwrap();
    assert!(lease.0 > 3);
    drop(lease);
    assert!(pool.stats().closed(CloseReason::Discarded) >= 3);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn refuse_tells_the_caller_and_the_connection_stays() {
    let strict = Arc::new(AtomicBool::new(true));
    let asks = Arc::clone(&strict);
    let manager = Hooked::new(Fake::default()).on_checkout(move |_| match asks.load(Ordering::SeqCst) {
        true => Err(FakeError("not today")),
        false => Ok(Verdict::Keep),
    });
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    for get in [|pool: &Pool<_>| pool.get().map(drop), |pool: &Pool<_>| pool.try_get().map(drop)] {
        let error = get(&pool).unwrap_err();
        assert_eq!(error.kind(), GetErrorKind::Refused);
        assert!(chain(&error).ends_with(": not today"), "{}", chain(&error));
    }
    let stats = pool.stats();
    assert_eq!((stats.refused, stats.idle, stats.leases, stats.closed_in_all()), (2, 1, 0, 0));
    strict.store(false, Ordering::SeqCst);
    assert_eq!(pool.get().unwrap().id(), 0);
    assert_eq!(census.opened(), 1);
    comes_to_rest(&pool);
}

#[test]
fn the_order_of_arrival_survives_discards() {
    thread_local!(static PICKY: Cell<u32> = const { Cell::new(0) });
    for handoff_after in [Duration::ZERO, HOPELESS] {
        // A picky caller sends back the first two that are offered.
        let manager = Hooked::new(Fake::default()).on_checkout(|_| match PICKY.get() {
            0 => Ok(Verdict::Keep),
            left => {
                PICKY.set(left - 1);
                Ok(Verdict::Discard)
            }
        });
        let (manager, census) = Counting::new(manager);
        let pool = Pool::builder(manager).max_size(1).handoff_after(handoff_after).build().unwrap();
        let lease = pool.get().unwrap();
        let (served, order) = mpsc::channel();
        thread::scope(|scope| {
            for waiter in 0..6 {
                let (pool, served) = (&pool, served.clone());
                scope.spawn(move || {
                    PICKY.set(2);
                    let _lease = pool.get_timeout(HOPELESS).unwrap();
                    served.send(waiter).unwrap();
                });
                eventually("it waits", || pool.stats().waiting == waiter + 1);
            }
            drop(lease);
        });
        drop(served);
        assert!(order.iter().eq(0..6));
        assert_eq!(pool.stats().closed(CloseReason::Discarded), 12);
        comes_to_rest(&pool);
        eventually("each close", || census.alive() == 1);
        census.verify();
    }
}

#[cfg(not(corepool_unwatched))]
#[test]
fn one_that_dies_while_its_hook_runs_is_not_handed_out() {
    let server = Arc::new(Server::echo());
    let (reactors, kills) = (Reactors::new(1), Arc::clone(&server));
    let (canary, seen, asked) = (Canary::new(&reactors), reactors.clone(), AtomicUsize::new(0));
    let manager = Hooked::new(TcpManager::new(server.address())).probe_after(HOPELESS).on_checkout(move |conn| {
        // The first three die in the hands of the hook, which notices nothing.
        if asked.fetch_add(1, Ordering::SeqCst) < 3 {
            let before = seen.events();
            kills.close(local_port(conn));
            eventually("the reactor is told", || seen.events() > before);
            canary.dies();
        }
        Ok(Verdict::Keep)
    });
    let builder = Pool::builder(manager).max_size(1).min_open(0).reactors(reactors);
    let pool = builder.fail_fast_after(HOPELESS * 10).build().unwrap();
    let lease = pool.get_timeout(HOPELESS).unwrap();
    assert!(!Lease::stale(&lease));
    drop(lease);
    assert_eq!(pool.stats().closed(CloseReason::PeerClosed), 3);
    assert_eq!(pool.stats().leases, 1);
}

#[test]
fn a_panic_at_checkout_costs_that_connection_and_the_caller_gets_the_next() {
    hush();
    let manager = Hooked::new(Fake::default()).on_checkout(|thing| {
        assert!(thing.0 > 2, "{ON_PURPOSE}");
        Ok(Verdict::Keep)
    });
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(1).min_open(0).opening(Opening::Lazy).build().unwrap();
    assert_eq!(pool.get_timeout(HOPELESS).unwrap().id(), 2);
    eventually("both closes", || census.closed(CloseReason::Panicked) == 2);
    assert_eq!((pool.stats().closed_in_all(), pool.stats().open), (2, 1));
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_waiter_is_admitted_or_refused_at_the_door() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    let manager = Hooked::new(Fake::default()).on_wait(move |waiting| {
        notes.lock().unwrap().push(waiting);
        if waiting < 2 { Ok(()) } else { Err(FakeError("come back later")) }
    });
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let lease = pool.get().unwrap();
    assert_eq!(pool.try_get().unwrap_err().kind(), GetErrorKind::Busy, "who does not wait is not asked about");
    thread::scope(|scope| {
        let admitted: Vec<_> = (1..=2)
            .map(|waiting| {
                let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(drop));
                eventually("it waits", || pool.stats().waiting == waiting);
                waiter
            })
            .collect();
        let error = pool.get_timeout(HOPELESS).unwrap_err();
        assert_eq!(error.kind(), GetErrorKind::Refused);
        assert!(chain(&error).ends_with(": come back later"), "{}", chain(&error));
        drop(lease);
        admitted.into_iter().for_each(|waiter| waiter.join().unwrap().unwrap());
    });
    assert_eq!(*asked.lock().unwrap(), [0, 1, 2]);
    let stats = pool.stats();
    assert_eq!((stats.refused, stats.waited, stats.waiting, stats.open), (1, 2, 0, 1));
    // Nobody waits any more, and what is idle needs no admission.
    assert!(pool.get().is_ok());
    assert_eq!(asked.lock().unwrap().len(), 3);
}

#[test]
fn a_panic_at_the_door_refuses_that_caller_alone() {
    hush();
    let calls = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&calls);
    let manager = Hooked::new(Fake::default()).on_wait(move |_| {
        assert!(counts.fetch_add(1, Ordering::SeqCst) > 0, "{ON_PURPOSE}");
        Ok(())
    });
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let lease = pool.get().unwrap();
    let error = pool.get_timeout(HOPELESS).unwrap_err();
    assert_eq!(
        (error.kind(), error.cause().unwrap().to_string().as_str()),
        (GetErrorKind::Refused, "the manager's on_wait panicked")
    );
    assert_eq!(pool.get_timeout(MS).unwrap_err().kind(), GetErrorKind::TimedOut, "the next one may wait");
    drop(lease);
    assert!(pool.get().is_ok());
    assert_eq!(pool.stats().open, 1);
    comes_to_rest(&pool);
}

#[test]
fn those_who_wait_no_more_are_not_counted_at_the_door() {
    let before = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&before);
    let manager = Hooked::new(Fake::default()).on_wait(move |waiting| {
        notes.lock().unwrap().push(waiting);
        Ok(())
    });
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let lease = pool.get().unwrap();
    (0..3).for_each(|_| drop(pool.get_timeout(MS).unwrap_err()));
    assert_eq!(*before.lock().unwrap(), [0, 0, 0]);
    drop(lease);
}
