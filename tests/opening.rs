//! A pool begins as it was told: with its connections there, with them on the way, or with none.

mod support;

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use corepool::{BuildError, Lease, Opening, Pool, TcpManager};
use support::{Counting, Fake, HOPELESS, Server, chain, comes_to_rest, eventually};

const MS: Duration = Duration::from_millis(1);

/// So long that it does not come within a test.
const LATE: Duration = Duration::from_secs(1_000);

/// What [`BuildError::Opening`] says: how many of how many.
#[track_caller]
fn opened(error: &BuildError, limit: Duration) -> (usize, usize) {
    match error {
        BuildError::Opening { open, wanted, waited, opening, oldest_dial, .. } => {
            assert!((limit..HOPELESS).contains(waited), "{waited:?}");
            let mut text =
                format!("opened {open} of the {wanted} connections to begin with in {} ms", waited.as_millis());
            if let Some(oldest) = oldest_dial {
                text += &format!(" ({opening} opening for up to {} ms)", oldest.as_millis());
            }
            assert_eq!(error.to_string(), text);
            (*open, *wanted)
        }
        other => panic!("{other}"),
    }
}

// ---- Wait -----------------------------------------------------------------------------------------------------------------

#[test]
fn who_waits_has_min_open_of_them() {
    for min_open in [1, 3, 8] {
        let pool = Pool::builder(Fake::default()).max_size(8).min_open(min_open).build().unwrap();
        assert_eq!(pool.stats().open, min_open);
        let _leases: Vec<_> = (0..min_open).map(|_| pool.try_get().unwrap()).collect();
    }
}

#[test]
fn at_least_one() {
    let pool = Pool::builder(Fake::default()).max_size(8).min_open(0).build().unwrap();
    assert_eq!((pool.stats().open, pool.stats().dials), (1, 1));
    // Only to begin with.
    Lease::discard(pool.try_get().unwrap());
    comes_to_rest(&pool);
    assert_eq!((pool.stats().open, pool.stats().dials), (0, 1));
}

#[test]
fn it_dials_under_backoff_until_they_are_there() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.fail("not yet");
    let begun = Instant::now();
    let pool = thread::scope(|scope| {
        let build = scope.spawn(|| {
            let builder = Pool::builder(fake).max_size(4).min_open(2);
            builder.opening(Opening::Wait(6 * HOPELESS)).fail_fast_after(MS).build()
        });
        eventually("it tries", || script.attempts().last().is_some_and(|last| last.1 >= 3));
        script.open();
        build.join().unwrap().unwrap()
    });
    assert_eq!(pool.stats().open, 2);
    assert!(pool.stats().dials_failed >= 2);
    // Half of 50 ms is the shortest pause.
    let attempts: Vec<_> = script.attempts().iter().map(|(at, number)| (*number, *at - begun)).collect();
    assert!(attempts.iter().all(|(number, at)| *at >= (number - 1) * 24 * MS), "{attempts:?}");
}

#[test]
fn in_vain_it_says_why() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.fail("nobody is at home");
    let builder = Pool::builder(fake).max_size(4).min_open(2).opening(Opening::Wait(300 * MS));
    let error = builder.build().unwrap_err();
    assert_eq!(opened(&error, 300 * MS), (0, 2));
    assert_eq!(error.source().unwrap().to_string(), "nobody is at home");
    assert!(script.dials() >= 2, "and it did try again");
}

#[test]
fn in_vain_on_real_sockets_it_names_the_address() {
    let server = Server::echo();
    let address = server.address();
    server.refuse();
    let builder = Pool::builder(TcpManager::new(address.clone())).max_size(1).opening(Opening::Wait(400 * MS));
    let text = chain(&builder.build().unwrap_err());
    let (begins, ends) = ("opened 0 of the 1 connections to begin with in ", "Connection refused (os error 111)");
    assert!(text.starts_with(begins) && text.ends_with(ends) && text.contains(&address), "{text}");
}

#[test]
fn in_vain_without_an_answer_it_tells_of_the_dial_that_hangs() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let error = Pool::builder(fake).max_size(4).opening(Opening::Wait(50 * MS)).build().unwrap_err();
    assert_eq!(opened(&error, 50 * MS), (0, 1));
    assert!(error.source().is_none());
    assert!(error.to_string().contains("1 opening for up to"), "{error}");
    script.open();
    eventually("its thread is back", || script.under_way() == 0);
}

#[test]
fn a_build_that_failed_leaves_nothing_behind() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    script.let_through(2);
    let (manager, census) = Counting::new(fake);
    let builder = Pool::builder(manager).max_size(4).min_open(4).opening(Opening::Wait(400 * MS));
    let error = builder.build().unwrap_err();
    assert_eq!(opened(&error, 400 * MS), (2, 4));
    eventually("the two are closed", || census.opened() == 2 && census.alive() == 0);
    // Nor does what is still being dialed stay, and nothing is dialed in its place.
    script.open();
    eventually("the dials are over", || script.under_way() == 0 && census.opened() == 4 && census.alive() == 0);
    assert_eq!(script.dials(), 4);
    census.verify();
}

// ---- Once -----------------------------------------------------------------------------------------------------------------

#[test]
fn once_opens_all_of_them_and_keeps_them() {
    let fake = Fake::default();
    let script = fake.script.clone();
    let pool = Pool::builder(fake).max_size(8).min_open(6).opening(Opening::Once(HOPELESS)).build().unwrap();
    assert_eq!((pool.stats().open, script.dials()), (6, 6));
    // From now on a dial that fails is followed by others.
    script.fail("not now");
    Lease::discard(pool.get().unwrap());
    eventually("it is dialed again", || script.attempts().last().is_some_and(|last| last.1 >= 3));
    script.open();
    eventually("there", || pool.stats().idle == 6);
    comes_to_rest(&pool);
}

#[test]
fn once_fails_with_the_first_dials_error_and_dials_no_more() {
    for min_open in [1, 3, 8] {
        let fake = Fake::default();
        let script = fake.script.clone();
        script.fail("nobody is at home");
        let begun = Instant::now();
        let builder = Pool::builder(fake).max_size(8).min_open(min_open).dials_at_once(1);
        let error = builder.opening(Opening::Once(HOPELESS)).build().unwrap_err();
        assert!(begun.elapsed() < HOPELESS);
        assert_eq!(opened(&error, Duration::ZERO), (0, min_open));
        assert_eq!(error.source().unwrap().to_string(), "nobody is at home");
        assert_eq!(script.dials(), 1, "no pause, and no other try");
    }
}

#[test]
fn once_fails_although_the_others_succeed() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let error = thread::scope(|scope| {
        let build = scope.spawn(|| {
            let builder = Pool::builder(fake).max_size(4).min_open(4).dials_at_once(2);
            builder.opening(Opening::Once(HOPELESS)).build().map(drop)
        });
        eventually("two are dialed", || script.under_way() == 2);
        script.let_through(1);
        eventually("the third is dialed", || script.dials() == 3);
        script.fail("no more than one");
        build.join().unwrap().unwrap_err()
    });
    assert_eq!(opened(&error, Duration::ZERO), (1, 4));
    assert_eq!(error.source().unwrap().to_string(), "no more than one");
    assert_eq!(script.dials(), 3);
}

#[test]
fn once_fails_when_its_time_is_up_or_that_of_a_dial() {
    for (limit, dial_timeout, cause) in
        [(50 * MS, LATE, None), (HOPELESS, 50 * MS, Some("the dial took longer than 50 ms"))]
    {
        let fake = Fake::default();
        let script = fake.script.clone();
        script.hang();
        let builder = Pool::builder(fake).max_size(4).opening(Opening::Once(limit)).dial_timeout(dial_timeout);
        let error = builder.build().unwrap_err();
        // The dial had begun before the wait.
        let least = if cause.is_none() { limit } else { Duration::ZERO };
        assert_eq!(opened(&error, least), (0, 1));
        assert_eq!(error.source().map(|cause| cause.to_string()).as_deref(), cause);
        assert_eq!(script.dials(), 1);
        script.open();
        eventually("its thread is back", || script.under_way() == 0);
    }
}

// ---- Background -----------------------------------------------------------------------------------------------------------

#[test]
fn in_the_background_the_pool_is_there_before_its_connections() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let pool = Pool::builder(fake).max_size(8).min_open(3).opening(Opening::Background).build().unwrap();
    eventually("it dials", || script.under_way() == 3);
    assert_eq!((pool.stats().open, pool.stats().opening), (0, 3));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(drop));
        eventually("it waits", || pool.stats().waiting == 1);
        assert_eq!(pool.stats().dials, 3, "one of those is for it");
        script.open();
        waiter.join().unwrap().unwrap();
    });
    eventually("all are there", || pool.stats().idle == 3);
    comes_to_rest(&pool);
    assert_eq!(script.dials(), 3);
}

#[test]
fn in_the_background_it_goes_on_for_as_long_as_it_takes() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.fail("not yet");
    let begun = Instant::now();
    let pool = Pool::builder(fake).max_size(8).min_open(2).opening(Opening::Background).build().unwrap();
    assert!(begun.elapsed() < HOPELESS);
    eventually("it tries again", || script.attempts().last().is_some_and(|last| last.1 >= 3));
    script.open();
    eventually("there", || pool.stats().idle == 2);
    comes_to_rest(&pool);
}

// ---- Lazy -----------------------------------------------------------------------------------------------------------------

#[test]
fn a_lazy_one_dials_nothing_until_somebody_asks() {
    type Ask = fn(&Pool<Fake>);
    let asks: [Ask; 3] = [
        |pool| drop(pool.get_timeout(HOPELESS).unwrap()),
        |pool| assert!(pool.try_get().is_err()),
        |pool| pool.with(|_| Ok::<_, corepool::GetError>(())).unwrap(),
    ];
    for ask in asks {
        let fake = Fake::default();
        let script = fake.script.clone();
        let builder = Pool::builder(fake).max_size(8).min_open(3).opening(Opening::Lazy);
        let pool = builder.wait_timeout(HOPELESS).build().unwrap();
        comes_to_rest(&pool);
        assert_eq!((script.dials(), pool.stats().open), (0, 0));
        ask(&pool);
        // From the first of them on there are min_open.
        eventually("min_open", || pool.stats().idle == 3);
        comes_to_rest(&pool);
        assert_eq!(script.dials(), 3);
    }
}

// ---- from then on ---------------------------------------------------------------------------------------------------------

#[test]
fn min_open_is_kept() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(4).min_open(3).build().unwrap();
    for lost in 1..=20 {
        Lease::discard(pool.get().unwrap());
        eventually("another", || pool.stats().idle == 3);
        assert_eq!(census.opened(), 3 + lost);
    }
    // Leased ones count: it is a number of connections that are open.
    let _leases: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
    assert_eq!((pool.stats().open, pool.stats().opening), (3, 0));
}

#[test]
fn no_more_than_dials_at_once() {
    for dials_at_once in [1, 2, 8] {
        let fake = Fake::default();
        let script = fake.script.clone();
        script.hang();
        let builder = Pool::builder(fake).max_size(8).min_open(8).dials_at_once(dials_at_once);
        let pool = builder.opening(Opening::Background).dial_timeout(LATE).build().unwrap();
        eventually("it dials", || script.under_way() == dials_at_once);
        assert_eq!(pool.stats().opening, dials_at_once);
        script.open();
        eventually("all are there", || pool.stats().idle == 8);
        assert!(script.most_at_once() <= dials_at_once);
    }
}
