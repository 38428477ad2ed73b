//! Farewells, on threads of their own: each is told of once, whoever ends it, and none is left lying.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::explore::bounded;
use crate::os::background::{self, Where};
use crate::os::clock;
use crate::pool_rig::{AT_ONCE, ENDLESS, Pool, beside};

/// Without it a connection lies in the queue of farewells for ever: its place was taken by a thread that had looked, and was leaving.
#[test]
fn a_farewell_against_the_thread_that_leaves() {
    bounded(3, || {
        let pool = Pool::new(|settings| settings.max_size = 2);
        let _ = (pool.call(AT_ONCE), pool.call(AT_ONCE));
        let first = pool.get(AT_ONCE).unwrap();
        let _ = pool.call(AT_ONCE);
        let second = pool.get(AT_ONCE).unwrap();
        background::runs(Where::Beside);
        let other = beside(&pool, |pool| pool.condemn(second));
        pool.condemn(first);
        other.join().unwrap();
        let report = pool.engine.drain(Duration::MAX, None);
        assert_eq!((report.closing, pool.world.closed.load(SeqCst)), (0, 2));
        pool.at_rest();
    });
}

/// Without it a caller sleeps until a farewell has had all of its time, although all that is wanting is its room: the want came before the
/// farewell, or after it.
#[test]
fn a_patient_farewell_against_a_waiter() {
    bounded(3, || {
        let pool = Pool::new(|settings| settings.max_closing = 0);
        pool.world.patient.store(true, SeqCst);
        let _ = pool.call(AT_ONCE);
        let claim = pool.get(AT_ONCE).unwrap();
        pool.world.patient.store(false, SeqCst);
        let waiter = beside(&pool, |pool| pool.call(ENDLESS).unwrap());
        background::runs(Where::Beside);
        pool.condemn(claim);
        waiter.join().unwrap();
        background::runs(Where::Here);
    });
}

/// Without it the room of one farewell is given twice, or never: by whoever gives it up, and by the thread that comes back from it.
#[test]
fn a_farewell_that_is_given_up_against_its_end() {
    let seen = bounded(3, || {
        let pool = Pool::new(|_| ());
        pool.reactor.keep_time();
        pool.world.patient.store(true, SeqCst);
        let _ = pool.call(AT_ONCE);
        let claim = pool.get(AT_ONCE).unwrap();
        background::runs(Where::Beside);
        pool.condemn(claim);
        for _ in 0..2 {
            clock::set(clock::now() + 10_000_000_000);
            pool.reactor.tick();
        }
        let given_up = pool.engine.untold() == 0 && pool.engine.stats().closing > 0;
        pool.engine.drain(Duration::MAX, None);
        pool.at_rest();
        given_up
    });
    assert_eq!(seen, [false, true]);
}

/// Without it whoever drains a pool sleeps on although all is closed, or goes while something is still to be.
#[test]
fn a_drain_against_a_return() {
    for at in [Where::Here, Where::Beside] {
        bounded(3, move || {
            let pool = Pool::new(|_| ());
            let _ = pool.call(AT_ONCE);
            let claim = pool.get(AT_ONCE).unwrap();
            background::runs(at);
            let user = beside(&pool, |pool| pool.give(claim));
            let report = pool.engine.drain(Duration::MAX, None);
            assert_eq!((report.closed, report.closing, pool.world.closed.load(SeqCst)), (1, 0, 1));
            user.join().unwrap();
            pool.at_rest();
        });
    }
}
