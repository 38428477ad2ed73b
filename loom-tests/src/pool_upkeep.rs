//! The reactor's part against callers: deadlines of calls, and the sweep's due time.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::explore::bounded;
use crate::os::background::{self, Where};
use crate::os::clock;
use crate::pool_rig::{AT_ONCE, Pool, any_cut, beside};

/// Without it a connection is shut down under the user who has it by then: its hook had ended just before its deadline.
#[test]
fn a_deadline_against_the_end_of_its_call() {
    let seen = bounded(3, || {
        let pool = Pool::new(|_| ());
        pool.reactor.keep_time();
        pool.world.patient.store(true, SeqCst);
        let _ = pool.call(AT_ONCE);
        pool.world.patient.store(false, SeqCst);
        let user = beside(&pool, |pool| pool.get(AT_ONCE));
        // Before the time passes, the hook may begin.
        assert!(!any_cut());
        clock::set(clock::now() + 10_000_000_000);
        pool.reactor.tick();
        let got = user.join().unwrap();
        let served = got.is_ok();
        if let Ok(mut claim) = got {
            assert!(!pool.conn(&mut claim).is_cut(), "cut under its next user");
            // Or its farewell would wait for that.
            pool.conn(&mut claim).forget_socket();
            pool.give(claim);
        }
        served
    });
    assert_eq!(seen, [false, true]);
}

/// Without it nobody retires what is to be retired over some time: the sweep had looked before the order was there, and its due time was
/// taken off.
#[test]
fn an_order_to_retire_against_the_sweep() {
    bounded(3, || {
        let pool = Pool::new(|_| ());
        pool.reactor.keep_time();
        let _ = pool.call(AT_ONCE);
        let owner = beside(&pool, |pool| pool.engine.retire(Duration::from_secs(1)));
        pool.reactor.run(|| pool.world.closed.load(SeqCst) == 1);
        owner.join().unwrap();
        pool.at_rest();
    });
}

/// Without it no sweep ever looks at a connection: it was due before the connection was known, and had been by then.
#[test]
fn a_landing_against_the_sweep() {
    bounded(3, || {
        let pool = Pool::new(|settings| settings.max_lifetime = Some(Duration::from_millis(20)));
        pool.reactor.keep_time();
        background::runs(Where::Later);
        let _ = pool.call(AT_ONCE);
        let dial = background::next().expect("it dials");
        background::runs(Where::Here);
        let dialer = beside(&pool, |_| dial());
        pool.reactor.tick();
        clock::set(clock::now() + 2_000_000_000);
        pool.reactor.tick();
        dialer.join().unwrap();
        clock::set(clock::now() + 2_000_000_000);
        while pool.reactor.tick() <= clock::now() {}
        assert_eq!(pool.world.closed.load(SeqCst), 1, "it has expired");
        pool.at_rest();
    });
}
