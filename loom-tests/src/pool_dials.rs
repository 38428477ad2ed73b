//! The pace of dialing against callers, owners and dials: the whole engine.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::error::GetErrorKind;
use crate::explore::{bounded, two_threads};
use crate::os::background::{self, Where};
use crate::os::{clock, thread};
use crate::pool_rig::{AT_ONCE, ENDLESS, Pool, beside};

/// Without it a caller sleeps out a pause that their want should have ended: the failed dial had looked for waiters before they came, and
/// they had looked for a failed dial before it failed.
#[test]
fn a_failed_dial_against_a_waiter() {
    let seen = bounded(4, || {
        let pool = Pool::new(|_| ());
        pool.world.refusals.store(1, SeqCst);
        let waiter = beside(&pool, |pool| pool.call(ENDLESS).unwrap());
        let _ = pool.call(AT_ONCE);
        waiter.join().unwrap();
        pool.at_rest();
        assert_eq!(pool.world.dials.load(SeqCst), 2);
        pool.world.dialer.load(SeqCst) == thread::number() as usize
    });
    // Who came later has the pause ended.
    assert_eq!(seen, [false, true]);
}

/// Without it a connection of the manager of before is lent after it was replaced: one whose dial had left the book and was not in the pool
/// yet, or had read the old manager and the new number.
#[test]
fn a_replaced_manager_against_a_landing() {
    let seen = bounded(4, || {
        let pool = Pool::new(|_| ());
        let dialer = beside(&pool, |pool| pool.call(AT_ONCE).is_ok());
        let next = pool.peer(2);
        pool.engine.replace_manager(next, Duration::ZERO);
        dialer.join().unwrap();
        let closed = pool.world.closed.load(SeqCst);
        let mut claim = pool.get(ENDLESS).unwrap();
        assert_eq!(pool.conn(&mut claim).by, 2, "the old manager's");
        pool.give(claim);
        pool.at_rest();
        closed
    });
    assert_eq!(seen, [0, 1]);
}

/// Without it the pool obeys an older pace than the one it has: it dials nothing, although the outage is forgotten.
#[test]
fn a_failed_dial_against_a_new_endpoint() {
    bounded(4, || {
        let pool = Pool::new(|_| ());
        pool.world.refusals.store(1, SeqCst);
        let dialer = beside(&pool, |pool| pool.call(AT_ONCE).is_ok());
        let next = pool.peer(2);
        pool.engine.replace_manager(next, Duration::ZERO);
        dialer.join().unwrap();
        pool.call(ENDLESS).unwrap();
        pool.at_rest();
    });
}

/// Without it a lazy pool that its first caller awakens never keeps what it is told to: the settings that are put into force meanwhile take
/// it for asleep, or those of before are kept.
#[test]
fn the_first_caller_against_new_settings() {
    bounded(4, || {
        let pool = Pool::lazy(|settings| settings.max_size = 2);
        let first = beside(&pool, |pool| pool.call(AT_ONCE).err());
        pool.engine.reconfigure(|settings| settings.min_open = 2).unwrap();
        let said = first.join().unwrap();
        assert!(said.is_none_or(|kind| kind == GetErrorKind::Busy), "{said:?}");
        assert_eq!(pool.open(), 2, "are kept");
        pool.at_rest();
    });
}

/// Without it what was being dialed when a predicate was given is lent unjudged.
#[test]
fn a_predicate_against_a_landing() {
    let seen = bounded(3, || {
        let pool = Pool::new(|_| ());
        background::runs(Where::Later);
        let _ = pool.call(AT_ONCE);
        let dial = background::next().expect("it dials");
        background::runs(Where::Here);
        let dialer = beside(&pool, |_| dial());
        pool.engine.retire_where(|conn| conn.turn == 0);
        let closed = pool.world.closed.load(SeqCst);
        dialer.join().unwrap();
        let mut claim = pool.get(ENDLESS).unwrap();
        assert_eq!(pool.conn(&mut claim).turn, 1, "it is unwanted");
        pool.give(claim);
        pool.at_rest();
        closed
    });
    // Judged as it landed, or later; where it lay idle.
    assert_eq!(seen, [0, 1]);
}

/// Without it what was being dialed when a retirement began, to be spread over some time, is lent after all of that time.
#[test]
fn a_slow_retirement_against_a_landing() {
    bounded(3, || {
        let pool = Pool::new(|_| ());
        pool.reactor.keep_time();
        background::runs(Where::Later);
        let _ = pool.call(AT_ONCE);
        let dial = background::next().expect("it dials");
        background::runs(Where::Here);
        let dialer = beside(&pool, |_| dial());
        pool.engine.retire(Duration::from_secs(1));
        dialer.join().unwrap();
        clock::set(clock::now() + 2_000_000_000);
        pool.reactor.tick();
        let mut claim = pool.get(ENDLESS).unwrap();
        assert_eq!(pool.conn(&mut claim).turn, 1, "it is retired");
        pool.give(claim);
        pool.at_rest();
    });
}

/// Without it a build sleeps on although what it waits for is open.
#[test]
fn a_build_against_its_dial() {
    two_threads(|| {
        let pool = Pool::new(|_| ());
        background::runs(Where::Later);
        pool.engine.keep(crate::engine::Kept { min_open: 1, min_idle: 0 });
        let dial = background::next().expect("it dials");
        let dialer = beside(&pool, |_| dial());
        pool.engine.wait_until_open(1, Duration::MAX).unwrap();
        dialer.join().unwrap();
        pool.at_rest();
    });
}
