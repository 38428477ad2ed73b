//! A wait ends at its deadline, says all that is known, and leaves nothing behind.

mod support;

use std::error::Error;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use corepool::{GetError, GetErrorKind, Opening, Pool};
use support::{Counting, Fake, HOPELESS, comes_to_rest, error_with_a_cause, eventually};

const MS: Duration = Duration::from_millis(1);

/// The text of a timeout without its measured time, which must be at least `limit`.
fn text(error: &GetError, limit: Duration) -> String {
    assert_eq!(error.kind(), GetErrorKind::TimedOut);
    assert!((limit..HOPELESS).contains(&error.waited()), "{:?}", error.waited());
    let waited = format!(" {} ms ", error.waited().as_millis());
    let text = error.to_string();
    assert!(text.contains(&waited), "{text:?} should say{waited}");
    text.replacen(&waited, " … ms ", 1)
}

#[test]
fn a_timeout_says_how_long_and_what_there_was() {
    let pool = Pool::builder(Fake::default()).max_size(2).min_open(2).build().unwrap();
    let (first, second) = (pool.get().unwrap(), pool.get().unwrap());
    let elsewhere = || thread::scope(|scope| scope.spawn(|| pool.get_timeout(20 * MS).map(drop)).join().unwrap());
    let error = elsewhere().unwrap_err();
    assert_eq!(text(&error, 20 * MS), "timed out after … ms waiting for a connection (2 open, 0 idle, 0 waiting)");
    assert!(error.source().is_none() && error.cause().is_none());
    drop((first, second));
}

#[test]
fn whatever_an_error_prints_can_be_asked() {
    let pool = Pool::builder(Fake::default()).max_size(2).min_open(2).wait_timeout(5 * MS).build().unwrap();
    let leases = (pool.get().unwrap(), pool.get().unwrap());
    let error = pool.get().unwrap_err();
    assert_eq!((error.open(), error.idle(), error.closing(), error.waiting()), (Some(2), Some(0), Some(0), Some(0)));
    assert_eq!((error.held_by_this_thread(), error.is_paused()), (Some(2), false));
    let error = pool.try_get().unwrap_err();
    assert_eq!((error.open(), error.idle(), error.closing(), error.is_paused()), (None, None, None, false));
    drop(leases);
    pool.pause();
    let error = pool.get().unwrap_err();
    assert!(error.to_string().contains("paused") && error.is_paused(), "{error}");
    let error = pool.try_get().unwrap_err();
    assert!(error.to_string().contains("paused") && error.is_paused(), "{error}");
    let fake = Fake::default();
    fake.script.hang();
    let script = fake.script.clone();
    let pool = Pool::builder(fake).max_size(1).opening(Opening::Lazy).build().unwrap();
    let error = pool.try_get().unwrap_err();
    assert_eq!((error.to_string().as_str(), error.open()), ("no connection is open yet", Some(0)));
    script.open();
}

#[test]
fn a_thread_that_holds_what_it_waits_for_is_told_so() {
    let pool = Pool::builder(Fake::default()).max_size(2).min_open(2).wait_timeout(20 * MS).build().unwrap();
    let first = pool.get().unwrap();
    let held = thread::scope(|scope| scope.spawn(|| std::mem::ManuallyDrop::new(pool.get().unwrap())).join().unwrap());
    let said = text(&pool.get().unwrap_err(), 20 * MS);
    assert!(said.ends_with("(2 open, 0 idle, 0 waiting), 1 of 2 held by this thread"), "{said}");
    drop(std::mem::ManuallyDrop::into_inner(held));
    let second = pool.get().unwrap();
    let said = text(&pool.get().unwrap_err(), 20 * MS);
    assert!(said.ends_with("(2 open, 0 idle, 0 waiting), 2 of 2 held by this thread"), "{said}");
    drop((first, second));
    assert!(pool.get().is_ok());
}

#[test]
fn a_timeout_while_the_endpoint_is_down_has_the_cause() {
    let fake = Fake::default();
    fake.script.fail("nobody is at home");
    let pool = Pool::builder(fake).max_size(2).opening(Opening::Lazy).fail_fast_after(HOPELESS * 10).build().unwrap();
    let error = error_with_a_cause(&pool, 50 * MS);
    assert_eq!(text(&error, 50 * MS), "timed out after … ms waiting for a connection (0 open, 0 idle, 0 waiting)");
    assert_eq!(error.source().unwrap().to_string(), "nobody is at home");
    assert_eq!(error.cause().unwrap().to_string(), "nobody is at home");
}

#[test]
fn errors_become_io_errors_of_their_kind() {
    let pool = Pool::builder(Fake::default()).max_size(1).max_waiters(1).build().unwrap();
    let lease = pool.get().unwrap();
    let kind = |result: Result<(), GetError>| io::Error::from(result.unwrap_err()).kind();
    assert_eq!(kind(pool.try_get().map(drop)), io::ErrorKind::WouldBlock);
    assert_eq!(kind(pool.get_timeout(MS).map(drop)), io::ErrorKind::TimedOut);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(drop));
        eventually("it waits", || pool.stats().waiting == 1);
        assert_eq!(kind(pool.get().map(drop)), io::ErrorKind::ResourceBusy);
        pool.close();
        assert_eq!(kind(waiter.join().unwrap()), io::ErrorKind::BrokenPipe);
    });
    // The text and the details survive the conversion.
    let error = io::Error::from(pool.get().unwrap_err());
    assert!(error.get_ref().unwrap().is::<GetError>());
    assert_eq!(error.to_string(), "the pool is closed");
    drop(lease);
}

#[test]
fn a_closures_error_type_takes_either() {
    let pool = Pool::builder(Fake::default()).max_size(1).wait_timeout(5 * MS).build().unwrap();
    let _lease = pool.get().unwrap();
    let error = io::Error::from(pool.with(|_| Ok::<(), io::Error>(())).unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let error = pool.with(|_| Ok::<(), Box<dyn Error + Send + Sync>>(())).unwrap_err().flatten();
    assert_eq!(error.downcast_ref::<GetError>().unwrap().kind(), GetErrorKind::TimedOut);
}

#[test]
fn ten_thousand_timeouts_leave_no_waiter_behind() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let lease = pool.get().unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_500 {
                    let error = pool.get_timeout(Duration::from_nanos(1)).unwrap_err();
                    assert_eq!(error.kind(), GetErrorKind::TimedOut);
                }
            });
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.waiting, stats.waited, stats.timed_out), (0, 10_000, 10_000));
    drop(lease);
    comes_to_rest(&pool);
    assert!(pool.try_get().is_ok());
    assert_eq!(census.opened(), 1);
}

#[test]
fn a_timeout_that_meets_its_grant_destroys_nothing() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(1).handoff_after(Duration::ZERO).build().unwrap();
    let mut served = 0;
    for round in 0..2_000 {
        let lease = pool.get().unwrap();
        let held = Duration::from_micros(fastrand::u64(0..200));
        thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.get_timeout(Duration::from_micros(100)).map(drop));
            let begun = Instant::now();
            while begun.elapsed() < held {
                std::hint::spin_loop();
            }
            drop(lease);
            served += usize::from(waiter.join().unwrap().is_ok());
        });
        assert_eq!(pool.at_rest(), Ok(()), "round {round}");
    }
    assert_eq!((census.opened(), pool.stats().idle), (1, 1), "{served} were served");
    census.verify();
}

#[test]
fn a_short_wait_is_short_whatever_dials_do() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let pool = Pool::builder(fake).max_size(1).opening(Opening::Lazy).dial_timeout(HOPELESS * 10).build().unwrap();
    let begun = Instant::now();
    assert_eq!(pool.get_timeout(20 * MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    assert!(begun.elapsed() < HOPELESS);
    // The dial goes on, and its result is parked.
    eventually("it is under way", || script.under_way() == 1);
    script.open();
    eventually("parked", || pool.stats().idle == 1);
}
