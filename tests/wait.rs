//! Whoever waits is served by whatever comes first, a return or a new connection, in the order of arrival.

mod support;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use corepool::{GetErrorKind, Lease, Opening, Pool};
use support::{Counting, Fake, HOPELESS, comes_to_rest, eventually};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_waiter_gets_what_comes_back() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let lease = pool.get().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(|lease| lease.id()));
        eventually("it waits", || pool.stats().waiting == 1);
        drop(lease);
        assert_eq!(waiter.join().unwrap().unwrap(), 0);
    });
    assert_eq!((census.opened(), pool.stats().waited), (1, 1));
    comes_to_rest(&pool);
}

#[test]
fn a_waiter_gets_what_comes_back_in_another_shard() {
    let (manager, _census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(1).shards(8).build().unwrap();
    for round in 0..200 {
        let lease = pool.get().unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                support::pin(round);
                pool.get_timeout(HOPELESS).map(drop)
            });
            eventually("it waits", || pool.stats().waiting == 1);
            scope.spawn(move || {
                support::pin(round + 1);
                drop(lease);
            });
            waiter.join().unwrap().unwrap();
        });
    }
    comes_to_rest(&pool);
}

#[test]
fn a_waiter_gets_a_new_connection() {
    let builder = Pool::builder(Fake::default()).max_size(2).min_open(0).opening(Opening::Lazy);
    let pool = builder.handoff_after(Duration::ZERO).build().unwrap();
    let _first = pool.get().unwrap();
    let _second = pool.get().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.waited, stats.dials, stats.open), (2, 2, 2));
}

#[test]
fn a_return_overtakes_a_dial_whose_result_is_parked() {
    let fake = Fake::default();
    let script = fake.script.clone();
    let (manager, census) = Counting::new(fake);
    let pool = Pool::builder(manager).max_size(2).build().unwrap();
    let lease = pool.get().unwrap();
    script.hang();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(|lease| lease.id()));
        eventually("a dial for it", || script.under_way() == 1);
        drop(lease);
        assert_eq!(waiter.join().unwrap().unwrap(), 0);
    });
    assert_eq!(script.under_way(), 1);
    script.open();
    eventually("the dial's connection is there", || pool.stats().idle == 2);
    assert_eq!(census.opened(), 2);
    comes_to_rest(&pool);
}

/// Two callers, each with a dial of its own. Returns how many dials there were in all.
fn dials_for_two(handoff_after: Duration) -> usize {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let builder = Pool::builder(fake).max_size(8).min_open(0).opening(Opening::Lazy);
    let pool = builder.handoff_after(handoff_after).build().unwrap();
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..2).map(|_| scope.spawn(|| pool.get_timeout(HOPELESS).map(drop))).collect();
        eventually("a dial for each", || script.under_way() == 2);
        script.open();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap().unwrap());
    });
    comes_to_rest(&pool);
    script.dials()
}

#[test]
fn a_dial_that_is_not_needed_is_not_made() {
    assert_eq!(dials_for_two(Duration::ZERO), 2);
}

/// The new connection lies idle for the head that is not due yet, and stands against another dial for it.
#[test]
fn a_dial_that_is_not_needed_is_not_made_for_a_head_that_is_not_due() {
    for _ in 0..50 {
        assert_eq!(dials_for_two(HOPELESS), 2);
    }
}

#[test]
fn one_waiter_on_an_empty_pool_causes_one_dial() {
    for _ in 0..50 {
        let fake = Fake::default();
        let script = fake.script.clone();
        let pool = Pool::builder(fake).max_size(8).min_open(0).opening(Opening::Lazy).build().unwrap();
        drop(pool.get().unwrap());
        comes_to_rest(&pool);
        assert_eq!(script.dials(), 1);
    }
}

/// Waiters queue up one after another; the holder gives its connection back by `end`. Returns the order of service.
fn order_of_service(end: impl FnOnce(Lease<'_, Counting<Fake>>)) -> Vec<usize> {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(1).min_open(0).handoff_after(Duration::ZERO).build().unwrap();
    let lease = pool.get().unwrap();
    let (served, order) = mpsc::channel();
    thread::scope(|scope| {
        for waiter in 0..8 {
            let (pool, served) = (&pool, served.clone());
            scope.spawn(move || {
                let _lease = pool.get_timeout(HOPELESS).unwrap();
                served.send(waiter).unwrap();
            });
            eventually("it waits", || pool.stats().waiting == waiter + 1);
        }
        end(lease);
    });
    comes_to_rest(&pool);
    census.verify();
    drop(served);
    order.iter().collect()
}

#[test]
fn first_come_first_served() {
    assert!(order_of_service(|lease| drop(lease)).into_iter().eq(0..8));
}

#[test]
#[expect(clippy::redundant_closure, reason = "the bare function is not general enough in the lease's lifetime")]
fn first_come_first_served_also_after_a_discard() {
    assert!(order_of_service(|lease| Lease::discard(lease)).into_iter().eq(0..8));
}

#[test]
fn a_waiter_that_is_due_is_not_passed() {
    for handoff_after in [Duration::ZERO, MS] {
        let pool = Pool::builder(Fake::default()).max_size(1).handoff_after(handoff_after).build().unwrap();
        let lease = pool.get().unwrap();
        let (done, hold) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let pool = &pool;
            let waiter = scope.spawn(move || {
                let lease = pool.get_timeout(HOPELESS);
                // Until the others are through; whether by a message or by its sender's end.
                let _ = hold.recv();
                lease.map(drop)
            });
            eventually("it waits", || pool.stats().waiting == 1);
            // Only longer than the setting: the waiter is due from then on.
            thread::sleep(2 * handoff_after);
            drop(lease);
            let kind = pool.try_get().map(drop).map_err(|error| error.kind());
            drop(done);
            assert_eq!(kind, Err(GetErrorKind::Busy), "past a waiter that was due");
            waiter.join().unwrap().unwrap();
        });
        comes_to_rest(&pool);
    }
}

#[test]
fn one_more_than_max_waiters_is_refused_at_the_door() {
    let pool = Pool::builder(Fake::default()).max_size(1).max_waiters(1).build().unwrap();
    let lease = pool.get().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(drop));
        eventually("it waits", || pool.stats().waiting == 1);
        let error = pool.get_timeout(HOPELESS).unwrap_err();
        assert_eq!(error.kind(), GetErrorKind::Refused);
        assert_eq!(error.to_string(), "too many callers wait for a connection already (1 open, 0 idle, 1 waiting)");
        drop(lease);
        waiter.join().unwrap().unwrap();
    });
    assert!(pool.get().is_ok());
}

#[test]
fn nobody_waits_where_nobody_may() {
    let pool = Pool::builder(Fake::default()).max_size(1).max_waiters(0).build().unwrap();
    let lease = pool.get().unwrap();
    assert_eq!(pool.get().unwrap_err().kind(), GetErrorKind::Refused);
    drop(lease);
    assert!(pool.get().is_ok());
}
