//! Whoever is refused for want of a connection leaves a dial behind: a pool grows with the demand for it, not only with those who may wait.

mod support;

use std::time::Duration;

use corepool::{GetErrorKind, Manager, Opening, Pool};
use support::{Counting, Fake, FakeError, Hooked, comes_to_rest, eventually};

const MS: Duration = Duration::from_millis(1);

/// Callers that keep what they get, and are refused until there is more.
#[track_caller]
fn grows_to<M: Manager>(pool: &Pool<M>, size: usize, refusal: GetErrorKind) {
    let mut leases = Vec::new();
    eventually("as many leases as connections", || {
        match pool.get_timeout(20 * MS) {
            Ok(lease) => leases.push(lease),
            Err(error) => assert_eq!(error.kind(), refusal, "{error}"),
        }
        leases.len() == size
    });
    assert!((0..20).all(|_| pool.get_timeout(MS).is_err_and(|error| error.kind() == refusal)));
    let stats = pool.stats();
    assert_eq!((stats.open, stats.dials), (size, size as u64), "\n{stats}");
    drop(leases);
    comes_to_rest(pool);
}

#[test]
fn where_nobody_may_wait() {
    let pool = Pool::builder(Fake::default()).max_size(8).max_waiters(0).build().unwrap();
    grows_to(&pool, 8, GetErrorKind::Refused);
}

#[test]
fn where_nobody_may_wait_and_nothing_is_kept() {
    let builder = Pool::builder(Fake::default()).max_size(8).max_waiters(0).min_open(0).opening(Opening::Lazy);
    grows_to(&builder.build().unwrap(), 8, GetErrorKind::Refused);
}

#[test]
fn where_the_manager_lets_nobody_wait() {
    for opening in [Opening::Lazy, Opening::Background] {
        let manager = Hooked::new(Fake::default()).on_wait(|_| Err(FakeError("overloaded")));
        let pool = Pool::builder(manager).max_size(8).min_open(0).opening(opening).build().unwrap();
        grows_to(&pool, 8, GetErrorKind::Refused);
    }
}

#[test]
fn where_the_managers_word_on_waiting_is_a_panic() {
    support::hush();
    let manager = Hooked::new(Fake::default()).on_wait(|_| panic!("{}: at the door", support::ON_PURPOSE));
    let pool = Pool::builder(manager).max_size(4).min_open(0).opening(Opening::Lazy).build().unwrap();
    grows_to(&pool, 4, GetErrorKind::Refused);
}

#[test]
fn where_nobody_waits_by_choice() {
    let builder = Pool::builder(Fake::default()).max_size(8).min_open(0).opening(Opening::Lazy);
    let pool = builder.wait_timeout(Duration::ZERO).build().unwrap();
    let mut leases = Vec::new();
    eventually("as many leases as connections", || {
        leases.extend(pool.get().ok());
        leases.len() == 8
    });
    assert_eq!(pool.stats().dials, 8);
}

#[test]
fn those_who_are_refused_make_no_more_dials_than_there_is_room() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let (manager, census) = Counting::new(fake);
    let builder = Pool::builder(manager).max_size(3).max_waiters(0).min_open(0).opening(Opening::Lazy);
    let pool = builder.build().unwrap();
    for _ in 0..1_000 {
        assert_eq!(pool.get_timeout(MS).map(drop).unwrap_err().kind(), GetErrorKind::Refused);
    }
    assert!((1..=3).contains(&pool.stats().dials), "{}", pool.stats());
    script.open();
    eventually("served", || pool.get_timeout(MS).is_ok());
    assert!(census.opened() <= 3);
    comes_to_rest(&pool);
    census.verify();
}
