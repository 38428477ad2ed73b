//! A lease that was held for longer than its limit is told of twice: when that is seen, and when it has ended.

mod support;

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use corepool::{Event, Lease, Pool, TcpManager};
use support::{Fake, HOPELESS, Heard, ON_PURPOSE, Server, comes_to_rest, eventually, exchange, hush};

const MS: Duration = Duration::from_millis(1);

/// The holds that were told of: which thread's, how long, and whether that was the end.
fn told(heard: &Heard) -> Vec<(String, Duration, bool)> {
    let holds = heard.all().into_iter().filter_map(|event| match event {
        Event::HoldExceeded { thread, held, .. } => Some((thread, held, false)),
        Event::HoldEnded { thread, held } => Some((thread, held, true)),
        _ => None,
    });
    holds.collect()
}

/// Holds a lease until that is told of and a while longer, ends it, and has its end told of once, and truly.
#[track_caller]
fn its_end_is_told(end: impl FnOnce(Lease<'static, Fake>) + Send) {
    const LONGER: Duration = Duration::from_millis(30);
    let heard = Heard::default();
    let builder = Pool::builder(Fake::default()).max_size(2).min_open(2).hold_limit(Some(20 * MS));
    let pool = builder.observer(heard.clone()).build().unwrap();
    let begun = Instant::now();
    thread::scope(|scope| {
        let hold = || {
            let lease = pool.get_owned().unwrap();
            eventually("it is told", || told(&heard).len() == 1);
            thread::sleep(LONGER);
            end(lease);
        };
        thread::Builder::new().name("nightly report".into()).spawn_scoped(scope, hold).unwrap();
    });
    let most = begun.elapsed();
    eventually("its end is told", || told(&heard).len() > 1);
    // The next use of the same connection is another one.
    let leases = (pool.get(), pool.get());
    drop(leases);
    comes_to_rest(&pool);
    let told = told(&heard);
    let [(first, exceeded, false), (then, ended, true)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((first.as_str(), then.as_str()), ("nightly report", "nightly report"));
    assert!(*exceeded >= 20 * MS && *ended >= *exceeded + LONGER && *ended <= most, "{told:?}, {most:?}");
}

#[test]
fn its_end_is_told_with_how_long_it_was() {
    its_end_is_told(drop);
}

#[test]
fn its_end_is_told_on_whatever_thread_it_comes() {
    its_end_is_told(|lease| thread::spawn(move || drop(lease)).join().unwrap());
}

#[test]
fn its_end_is_told_however_it_comes() {
    hush();
    its_end_is_told(Lease::discard);
    its_end_is_told(|lease| {
        let _ = Lease::detach(lease);
    });
    its_end_is_told(|mut lease| Lease::fail(&mut lease));
    its_end_is_told(|lease| {
        let panicked = thread::spawn(move || {
            let _lease = lease;
            panic!("{ON_PURPOSE}");
        });
        panicked.join().unwrap_err();
    });
}

#[test]
fn the_end_of_one_that_is_cut_is_told() {
    let server = Server::mute();
    let heard = Heard::default();
    let builder = Pool::builder(TcpManager::new(server.address())).max_size(1).hold_limit(Some(50 * MS));
    let pool = builder.cut_held(true).observer(heard.clone()).build().unwrap();
    let error = pool.with(|conn| exchange(conn, b"anybody there?")).unwrap_err().flatten();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    eventually("both are told", || told(&heard).len() == 2);
    let told = told(&heard);
    assert!(!told[0].2 && told[1].2 && told[0].1 <= told[1].1, "{told:?}");
}

#[test]
fn one_within_its_limit_is_told_of_neither_way() {
    let heard = Heard::default();
    let builder = Pool::builder(Fake::default()).max_size(1).hold_limit(Some(HOPELESS)).observer(heard.clone());
    let pool = builder.build().unwrap();
    for _ in 0..3 {
        let lease = pool.get().unwrap();
        // Long enough to be seen by a sweep, twice.
        thread::sleep(20 * MS);
        drop(lease);
    }
    comes_to_rest(&pool);
    drop(pool);
    eventually("its last event", || heard.count(|event| matches!(event, Event::Closed { .. })) == 1);
    assert!(told(&heard).is_empty());
}

#[test]
fn each_long_hold_of_a_connection_is_told_of() {
    let heard = Heard::default();
    let builder = Pool::builder(Fake::default()).max_size(1).hold_limit(Some(20 * MS)).observer(heard.clone());
    let pool = builder.build().unwrap();
    for hold in 1..=3 {
        let lease = pool.get().unwrap();
        eventually("it is told", || told(&heard).len() == 2 * hold - 1);
        drop(lease);
        eventually("its end is told", || told(&heard).len() == 2 * hold);
        // Two steps: a sweep has seen that it is idle.
        thread::sleep(20 * MS);
    }
    let ends: Vec<_> = told(&heard).into_iter().map(|(_, _, ended)| ended).collect();
    assert_eq!((ends, pool.stats().holds_exceeded), (vec![false, true, false, true, false, true], 3));
}
