//! Callers are refused on evidence that is fresh, not on the memory of an outage; and at once where the manager says that no dial will
//! succeed.

mod support;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{BuildError, GetErrorKind, Manager, Opening, Pool, TcpManager};
use support::{Fake, HOPELESS, Hooked, Script, Server, chain, comes_to_rest, eventually};

const MS: Duration = Duration::from_millis(1);

/// Waits until the pool has dialed nothing for longer than its longest pause. By then nothing is known of the endpoint any more.
#[track_caller]
fn falls_silent<M: Manager>(pool: &Pool<M>) {
    let silence = Duration::from_millis(1_200);
    let (mut dials, mut since, begun) = (pool.stats().dials, Instant::now(), Instant::now());
    while since.elapsed() < silence {
        assert!(begun.elapsed() < 2 * HOPELESS, "it dials on, for nobody: {}", pool.stats());
        thread::sleep(20 * MS);
        let now = pool.stats().dials;
        if now != dials {
            (dials, since) = (now, Instant::now());
        }
    }
}

// ---- an old outage ----------------------------------------------------------------------------------------------------------

#[test]
fn an_old_outage_refuses_no_new_caller() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.fail("nobody is at home");
    let builder = Pool::builder(fake).max_size(4).min_open(0).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(50 * MS).build().unwrap();
    eventually("down", || pool.get_timeout(HOPELESS).is_err_and(|error| error.kind() == GetErrorKind::Down));
    falls_silent(&pool);
    script.open();
    assert!(pool.get_timeout(HOPELESS).is_ok(), "{}", pool.stats());
}

#[test]
fn an_old_outage_refuses_no_new_caller_on_real_sockets() {
    let server = Server::echo();
    server.stop();
    let builder = Pool::builder(TcpManager::new(server.address())).max_size(4).min_open(0).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(50 * MS).build().unwrap();
    assert_eq!(pool.get_timeout(HOPELESS).map(drop).unwrap_err().kind(), GetErrorKind::Down);
    falls_silent(&pool);
    server.start();
    assert!(pool.get_timeout(HOPELESS).is_ok(), "{}", pool.stats());
}

#[test]
fn a_caller_after_a_silence_is_told_what_its_own_dial_found() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.fail("nobody is at home");
    let builder = Pool::builder(fake).max_size(4).min_open(0).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(50 * MS).build().unwrap();
    assert_eq!(pool.get_timeout(HOPELESS).map(drop).unwrap_err().kind(), GetErrorKind::Down);
    falls_silent(&pool);
    let before = script.dials();
    script.fail("moved away");
    let error = pool.get_timeout(HOPELESS).map(drop).unwrap_err();
    assert!(script.dials() > before, "it had none");
    assert_eq!((error.kind(), error.source().unwrap().to_string().as_str()), (GetErrorKind::Down, "moved away"));
}

#[test]
fn nor_does_one_in_which_nobody_asked_again() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.fail("nobody is at home");
    let builder = Pool::builder(fake).max_size(4).min_open(0).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(50 * MS).build().unwrap();
    // One request while the port is closed, which does not even wait for the answer.
    let _ = pool.get_timeout(MS);
    falls_silent(&pool);
    script.open();
    assert!(pool.get_timeout(HOPELESS).is_ok(), "{}", pool.stats());
}

// ---- what will not go away --------------------------------------------------------------------------------------------------

/// Its dials fail for good until it is told the right password.
fn locked_out() -> (Hooked<Fake>, Arc<Script>) {
    let fake = Fake::default();
    let script = Arc::clone(&fake.script);
    script.fail("wrong password");
    (Hooked::new(fake).permanent_if(|error| error.0 == "wrong password"), script)
}

/// However long it lasts: pauses of at least 25, 50, 100, 200, … ms.
fn few(lasted: Duration) -> usize {
    6 + lasted.as_secs() as usize
}

#[test]
fn build_fails_at_once_with_an_error_that_is_permanent() {
    let (manager, script) = locked_out();
    let builder = Pool::builder(manager).max_size(4).min_open(4).opening(Opening::Wait(6 * HOPELESS));
    let error = builder.build().map(drop).unwrap_err();
    let BuildError::Opening { open: 0, waited, .. } = &error else { panic!("{error:?}") };
    assert!(*waited < HOPELESS, "{waited:?}");
    assert!(chain(&error).ends_with(": wrong password"), "{}", chain(&error));
    assert!(script.dials() <= 4, "{} failed logins", script.dials());
}

#[test]
fn callers_fail_at_once_with_it_and_nobody_hurries() {
    let (manager, script) = locked_out();
    let builder = Pool::builder(manager).max_size(8).min_open(2).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(10 * HOPELESS).wait_timeout(10 * HOPELESS).build().unwrap();
    let begun = Instant::now();
    // Those who wait for the first dial as well as those who come later.
    thread::scope(|scope| {
        for caller in 0..6 {
            let pool = &pool;
            scope.spawn(move || {
                while begun.elapsed() < 700 * MS {
                    let error = if caller % 2 == 0 { pool.get() } else { pool.get_timeout(6 * HOPELESS) };
                    let error = error.map(drop).unwrap_err();
                    assert_eq!(error.kind(), GetErrorKind::Down);
                    assert_eq!(error.source().unwrap().to_string(), "wrong password");
                    assert!(error.waited() < HOPELESS);
                    thread::sleep(MS);
                }
            });
        }
    });
    let most = 8 + few(begun.elapsed());
    assert!(script.dials() <= most, "{} failed logins, and no more than {most} should be", script.dials());
}

#[test]
fn the_pauses_after_it_grow_to_backoff_max() {
    let dials = |longest: Duration| {
        let (manager, script) = locked_out();
        let builder = Pool::builder(manager).max_size(1).min_open(1).opening(Opening::Background);
        let _pool = builder.backoff_max(longest).build().unwrap();
        eventually("some dials", || script.dials() >= 5);
        let attempts = script.attempts();
        attempts.windows(2).map(|pair| pair[1].0.saturating_duration_since(pair[0].0)).collect::<Vec<_>>()
    };
    // A pause is at least half of its base, which doubles from 50 ms.
    let pauses = dials(30 * HOPELESS);
    for (place, pause) in pauses.iter().take(4).enumerate() {
        assert!(*pause >= 20 * MS * (1 << place), "{pauses:?}");
    }
    // The shortest that can be set.
    let begun = Instant::now();
    dials(50 * MS);
    assert!(begun.elapsed() < HOPELESS);
}

#[test]
fn replace_manager_resets() {
    let (manager, script) = locked_out();
    let pool = Pool::builder(manager).max_size(4).min_open(2).opening(Opening::Background).build().unwrap();
    eventually("the pauses have grown", || script.attempts().last().is_some_and(|(_, number)| *number >= 4));
    assert_eq!(pool.get_timeout(HOPELESS).map(drop).unwrap_err().kind(), GetErrorKind::Down);
    pool.replace_manager(Hooked::new(Fake::default()), Duration::ZERO);
    assert!(pool.get_timeout(HOPELESS).is_ok(), "the first who comes");
    eventually("min_open", || pool.stats().idle == 2);
    comes_to_rest(&pool);
}

#[test]
fn while_something_is_open_callers_wait_for_it() {
    let (manager, script) = locked_out();
    script.open();
    let pool = Pool::builder(manager).max_size(2).min_open(1).build().unwrap();
    let lease = pool.get().unwrap();
    script.fail("wrong password");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(drop));
        eventually("its dial has failed", || pool.stats().dials_failed >= 1);
        assert_eq!(pool.stats().waiting, 1);
        drop(lease);
        waiter.join().unwrap().unwrap();
    });
}

#[test]
fn a_question_that_panics_is_a_no() {
    support::hush();
    let fake = Fake::default();
    fake.script.fail("nobody is at home");
    let asked = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&asked);
    let manager = Hooked::new(fake).permanent_if(move |_| {
        asks.store(true, Ordering::SeqCst);
        panic!("{}: is it permanent?", support::ON_PURPOSE)
    });
    let pool =
        Pool::builder(manager).max_size(1).opening(Opening::Lazy).fail_fast_after(10 * HOPELESS).build().unwrap();
    assert_eq!(pool.get_timeout(200 * MS).map(drop).unwrap_err().kind(), GetErrorKind::TimedOut);
    assert!(asked.load(Ordering::SeqCst));
}
