//! What a caller is told that gets no connection: each kind of emptiness in its own words, and of dials that have not ended as well as of
//! those that have failed.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use corepool::{BuildError, Dial, GetErrorKind, Manager, Opening, Pool};
use support::{Fake, FakeError, HOPELESS, Thing, chain, comes_to_rest, eventually};

const MS: Duration = Duration::from_millis(1);

/// So long that it does not come within a test.
const LATE: Duration = Duration::from_secs(1_000);

/// `text` with every number in it replaced by `N`.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if out.ends_with('N') => {}
            true => out.push('N'),
            false => out.push(c),
        }
    }
    out
}

// ---- of dials under way -----------------------------------------------------------------------------------------------------

#[test]
fn every_timeout_tells_of_dials_under_way_and_the_age_of_the_oldest() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let builder = Pool::builder(fake).max_size(4).min_idle(0).opening(Opening::Lazy).dial_timeout(LATE);
    let pool = builder.build().unwrap();
    let error = pool.get_timeout(30 * MS).map(drop).unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::TimedOut);
    let said = without_numbers(&error.to_string());
    assert_eq!(
        said,
        "timed out after N ms waiting for a connection (N open, N idle, N opening for up to N ms, N waiting)"
    );
    assert!(error.to_string().contains("(0 open, 0 idle, 1 opening for up to "), "{error}");
    script.open();
}

#[test]
fn a_build_in_vain_tells_of_dials_under_way_and_the_age_of_the_oldest() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let builder = Pool::builder(fake).max_size(4).min_idle(2).opening(Opening::Wait(50 * MS)).dial_timeout(LATE);
    let error = builder.build().map(drop).unwrap_err();
    assert_eq!(
        without_numbers(&error.to_string()),
        "opened N of the N connections to begin with in N ms (N opening for up to N ms)"
    );
    let BuildError::Opening { open: 0, wanted: 2, opening: 2, oldest_dial: Some(oldest), waited, cause: None } = &error
    else {
        panic!("{error:?}")
    };
    assert!(*oldest > Duration::ZERO && *waited >= 50 * MS, "{error}");
    script.open();
}

#[test]
fn a_failed_dial_is_told_beside_one_that_is_under_way() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.fail("nobody is at home");
    let builder = Pool::builder(fake).max_size(4).min_idle(0).opening(Opening::Lazy).dial_timeout(LATE);
    let pool = builder.fail_fast_after(LATE).build().unwrap();
    eventually("one has failed", || pool.get_timeout(20 * MS).is_err_and(|error| error.cause().is_some()));
    script.hang();
    eventually("another hangs", || {
        let _ = pool.try_get();
        script.under_way() == 1
    });
    let error = pool.get_timeout(20 * MS).map(drop).unwrap_err();
    assert!(error.to_string().contains("1 opening for up to "), "{error}");
    assert!(chain(&error).ends_with(": nobody is at home"), "{}", chain(&error));
    script.open();
}

#[test]
fn by_default_a_dial_has_failed_before_a_build_gives_up() {
    let pool = Pool::builder(Fake::default()).build().unwrap();
    // `Opening::Wait` waits for five.
    assert_eq!(pool.settings().dial_timeout, Duration::from_secs(3));
}

/// Its first dial hangs, the others are served.
#[derive(Default)]
struct Stubborn {
    dials: AtomicUsize,
    over: Arc<(Mutex<bool>, Condvar)>,
    back: Arc<AtomicBool>,
}

impl Manager for Stubborn {
    type Connection = Thing;
    type Error = FakeError;

    fn connect(&self, _dial: &Dial<'_>) -> Result<Thing, FakeError> {
        let number = self.dials.fetch_add(1, Ordering::SeqCst);
        if number == 0 {
            drop(self.over.1.wait_while(self.over.0.lock().unwrap(), |over| !*over).unwrap());
            self.back.store(true, Ordering::SeqCst);
            return Err(FakeError("stubborn"));
        }
        Ok(Thing(number as u64))
    }
}

fn end(over: &(Mutex<bool>, Condvar)) {
    *over.0.lock().unwrap() = true;
    over.1.notify_all();
}

#[test]
fn a_dial_older_than_a_second_does_not_count_as_the_next_callers() {
    let manager = Stubborn::default();
    let (over, back) = (Arc::clone(&manager.over), Arc::clone(&manager.back));
    let builder = Pool::builder(manager).max_size(2).min_idle(0).opening(Opening::Lazy).dial_timeout(LATE);
    let pool = builder.build().unwrap();
    assert_eq!(pool.get_timeout(20 * MS).map(drop).unwrap_err().kind(), GetErrorKind::TimedOut);
    // It is the second caller's until it is a second old.
    assert!(pool.get_timeout(HOPELESS).is_ok(), "{}", pool.stats());
    assert!(!back.load(Ordering::SeqCst));
    assert_eq!((pool.stats().dials, pool.stats().dials_failed), (2, 0));
    end(&over);
    comes_to_rest(&pool);
}

#[test]
fn nor_as_that_of_one_who_waits_for_it_since_it_began() {
    let manager = Stubborn::default();
    let (over, back) = (Arc::clone(&manager.over), Arc::clone(&manager.back));
    let builder = Pool::builder(manager).max_size(2).min_idle(0).opening(Opening::Lazy).dial_timeout(LATE);
    let pool = builder.build().unwrap();
    assert!(pool.get_timeout(HOPELESS).is_ok(), "{}", pool.stats());
    assert!(!back.load(Ordering::SeqCst));
    end(&over);
    comes_to_rest(&pool);
}

#[test]
fn one_caller_after_another_each_with_little_time_is_served_in_the_end() {
    let manager = Stubborn::default();
    let over = Arc::clone(&manager.over);
    let builder = Pool::builder(manager).max_size(2).min_idle(0).opening(Opening::Lazy).dial_timeout(LATE);
    let pool = builder.build().unwrap();
    eventually("one of them is served", || pool.get_timeout(50 * MS).is_ok());
    end(&over);
    comes_to_rest(&pool);
}

// ---- of emptiness -----------------------------------------------------------------------------------------------------------

fn said(pool: &Pool<Fake>) -> String {
    let error = pool.try_get().map(drop).unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Busy);
    error.to_string()
}

#[test]
fn try_get_has_its_own_words_for_each_emptiness() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let builder = Pool::builder(fake).max_size(1).min_idle(0).opening(Opening::Lazy).dial_timeout(LATE);
    let pool = builder.fail_fast_after(MS).build().unwrap();
    assert_eq!(said(&pool), "no connection is open yet");
    script.fail("down");
    eventually("down", || pool.stats().dials_failed > 0);
    assert_eq!(said(&pool), "no connection is open yet");
    script.open();
    eventually("open", || pool.try_get().is_ok());
    pool.pause();
    assert_eq!(said(&pool), "the pool is paused");
    pool.resume();
    let _lease = pool.try_get().unwrap();
    assert_eq!(said(&pool), "every connection is in use");
}

#[test]
fn a_pause_is_told_to_those_who_waited_in_it() {
    let pool = Pool::builder(Fake::default()).max_size(1).build().unwrap();
    pool.pause();
    let error = pool.get_timeout(10 * MS).map(drop).unwrap_err();
    assert!(error.to_string().ends_with(" waiting, paused)"), "{error}");
    pool.resume();
    let _lease = pool.get().unwrap();
    let error = pool.get_timeout(10 * MS).map(drop).unwrap_err();
    assert!(!error.to_string().contains("paused"), "{error}");
}

#[test]
fn closes_under_way_are_told_and_counted() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let waits = Arc::clone(&gate);
    let manager = support::Hooked::new(Fake::default()).before_close(move |_, _| {
        drop(waits.1.wait_while(waits.0.lock().unwrap(), |open| !*open).unwrap());
    });
    let builder = Pool::builder(manager).max_size(1).min_idle(0).max_closing(4).close_timeout(LATE);
    let pool = builder.build().unwrap();
    (0..3).for_each(|_| corepool::Lease::discard(pool.get_timeout(HOPELESS).unwrap()));
    assert_eq!(pool.stats().closing, 3);
    let _lease = pool.get_timeout(HOPELESS).unwrap();
    let error = thread::scope(|scope| scope.spawn(|| pool.get_timeout(MS).map(drop).unwrap_err()).join().unwrap());
    assert!(error.to_string().contains(", 3 closing"), "{error}");
    end(&gate);
    eventually("none", || pool.stats().closing == 0);
}
