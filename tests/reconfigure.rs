//! Every setting that a running pool can change does change; one that is wrong changes nothing.

mod support;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{BuildError, CloseReason, Event, GetErrorKind, Lease, Manager, Opening, Pool, Settings, TcpManager};
use support::{Counting, Fake, HOPELESS, Heard, Hooked, Server, comes_to_rest, eventually, gated, local_port};

const MS: Duration = Duration::from_millis(1);

#[track_caller]
fn set<M: Manager>(pool: &Pool<M>, change: impl FnMut(&mut Settings)) {
    pool.reconfigure(change).unwrap();
}

#[test]
fn a_wrong_one_is_named_and_changes_nothing() {
    let pool = Pool::builder(Fake::default()).max_size(4).capacity(8).build().unwrap();
    let before = format!("{:?}", pool.settings());
    type Wrong = (&'static str, fn(&mut Settings));
    let wrong: [Wrong; 11] = [
        ("max_size", |settings| settings.max_size = 0),
        ("max_size", |settings| settings.max_size = 9),
        ("min_open", |settings| settings.min_open = 5),
        ("dials_at_once", |settings| settings.dials_at_once = 0),
        ("dial_timeout", |settings| settings.dial_timeout = Duration::ZERO),
        ("close_timeout", |settings| settings.close_timeout = Duration::ZERO),
        ("idle_timeout", |settings| settings.idle_timeout = Some(9 * MS)),
        ("max_lifetime", |settings| settings.max_lifetime = Some(19 * MS)),
        ("ping_interval", |settings| settings.ping_interval = Some(9 * MS)),
        ("ping_timeout", |settings| settings.ping_timeout = Duration::ZERO),
        ("hold_limit", |settings| settings.hold_limit = Some(9 * MS)),
    ];
    for (wrong_one, make_wrong) in wrong {
        let error = pool.reconfigure(|settings| {
            settings.wait_timeout = 7 * MS;
            settings.max_waiters = 3;
            make_wrong(settings);
        });
        let Err(BuildError::Setting { name, .. }) = error else { panic!("{wrong_one}: {error:?}") };
        assert_eq!(name, wrong_one);
        assert_eq!(format!("{:?}", pool.settings()), before, "{wrong_one}");
    }
    let (lease, waited) = (pool.get().unwrap(), pool.settings().wait_timeout);
    assert_eq!(waited, Duration::from_secs(1));
    drop(lease);
    comes_to_rest(&pool);
}

#[test]
fn changes_that_race_all_come_true() {
    let pool = Pool::builder(Fake::default()).max_size(1).capacity(1_000).min_open(0).build().unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| set(&pool, |settings| settings.max_size += 1)));
        }
    });
    assert_eq!(pool.settings().max_size, 201);
    let leases: Vec<_> = (0..201).map(|_| pool.get_timeout(HOPELESS).unwrap()).collect();
    assert_eq!(pool.try_get().unwrap_err().kind(), GetErrorKind::Busy);
    drop(leases);
}

#[test]
fn max_size_up_serves_who_waits() {
    let pool = Pool::builder(Fake::default()).max_size(1).capacity(4).build().unwrap();
    let lease = pool.get().unwrap();
    let all_there = Barrier::new(3);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let _lease = pool.get_timeout(HOPELESS).unwrap();
                all_there.wait();
            });
        }
        eventually("they wait", || pool.stats().waiting == 3);
        set(&pool, |settings| settings.max_size = 4);
    });
    assert_eq!(pool.stats().open, 4);
    drop(lease);
}

#[test]
fn max_size_down_closes_the_idle_at_once_and_the_leased_when_they_come_back() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(6).min_open(6).build().unwrap();
    let mut leases: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    set(&pool, |settings| (settings.max_size, settings.min_open) = (2, 0));
    // Two idle ones went; of the four that are leased, two are too many.
    let stats = pool.stats();
    assert_eq!((stats.open, stats.idle, stats.closed(CloseReason::Surplus)), (4, 0, 2));
    while let Some(lease) = leases.pop() {
        drop(lease);
    }
    comes_to_rest(&pool);
    let stats = pool.stats();
    assert_eq!((stats.open, stats.closed(CloseReason::Surplus), stats.closed_in_all()), (2, 4, 4));
    eventually("each close", || census.alive() == 2);
    set(&pool, |settings| settings.max_size = 6);
    let leases: Vec<_> = (0..6).map(|_| pool.get_timeout(HOPELESS).unwrap()).collect();
    assert_eq!(pool.stats().open, 6);
    drop(leases);
    census.verify();
}

#[test]
fn min_open_up_dials() {
    let pool = Pool::builder(Fake::default()).max_size(8).min_open(0).opening(Opening::Background).build().unwrap();
    assert_eq!(pool.stats().open, 0);
    set(&pool, |settings| settings.min_open = 5);
    eventually("five", || pool.stats().idle == 5);
    comes_to_rest(&pool);
    assert_eq!(pool.stats().open, 5);
}

#[test]
fn wait_timeout_and_max_waiters() {
    let pool = Pool::builder(Fake::default()).max_size(1).wait_timeout(HOPELESS * 10).build().unwrap();
    let _lease = pool.get().unwrap();
    set(&pool, |settings| settings.wait_timeout = 5 * MS);
    assert_eq!(pool.get().unwrap_err().kind(), GetErrorKind::TimedOut);
    set(&pool, |settings| settings.max_waiters = 0);
    assert_eq!(pool.get().unwrap_err().kind(), GetErrorKind::Refused);
    set(&pool, |settings| settings.wait_timeout = Duration::ZERO);
    assert_eq!(pool.get().unwrap_err().kind(), GetErrorKind::Busy);
}

#[test]
fn handoff_after() {
    let pool = Pool::builder(Fake::default()).max_size(1).handoff_after(HOPELESS).build().unwrap();
    set(&pool, |settings| settings.handoff_after = Duration::ZERO);
    let lease = pool.get().unwrap();
    let (go_on, held) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let waiter = scope.spawn({
            let pool = &pool;
            move || {
                let lease = pool.get_timeout(HOPELESS);
                let _ = held.recv();
                lease.map(drop)
            }
        });
        eventually("it waits", || pool.stats().waiting == 1);
        drop(lease);
        // Not to be had by whoever is faster, from the moment that it came back.
        let newcomer = pool.try_get().map(drop);
        drop(go_on);
        assert_eq!(newcomer.unwrap_err().kind(), GetErrorKind::Busy);
        waiter.join().unwrap().unwrap();
    });
}

#[test]
fn dial_timeout_dials_at_once_and_fail_fast_after() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let builder = Pool::builder(fake).max_size(8).min_open(0).dials_at_once(1).dial_timeout(HOPELESS * 10);
    let pool = builder.opening(Opening::Lazy).fail_fast_after(HOPELESS * 10).build().unwrap();
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..8).map(|_| scope.spawn(|| pool.get_timeout(HOPELESS).map(drop))).collect();
        eventually("one dial for eight who wait", || pool.stats().waiting == 8 && script.under_way() == 1);
        set(&pool, |settings| settings.dials_at_once = 3);
        eventually("three dials", || script.under_way() == 3);
        script.open();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap().unwrap());
    });
    assert_eq!(script.most_at_once(), 3);
    comes_to_rest(&pool);
    // From here on a dial has 20 ms, and after 60 ms of failures nobody waits.
    set(&pool, |settings| {
        (settings.dial_timeout, settings.fail_fast_after) = (20 * MS, 60 * MS);
    });
    let all: Vec<_> = std::iter::from_fn(|| pool.try_get().ok()).collect();
    script.hang();
    all.into_iter().for_each(Lease::discard);
    eventually("who would wait is told", || {
        pool.get_timeout(MS).is_err_and(|error| error.kind() == GetErrorKind::Down)
    });
    let error = pool.get_timeout(HOPELESS).unwrap_err();
    assert_eq!(support::chain(&error).rsplit(": ").next(), Some("the dial took longer than 20 ms"));
    script.open();
}

#[test]
fn close_timeout() {
    let server = Server::mute();
    let (told, tell) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counts, begins) = (Arc::clone(&told), Arc::clone(&tell));
    let manager = Hooked::new(TcpManager::new(server.address())).before_close(move |conn, _| {
        begins.fetch_add(1, Ordering::SeqCst);
        let _ = conn.read(&mut [0; 8]);
        counts.fetch_add(1, Ordering::SeqCst);
    });
    let pool = Pool::builder(manager).max_size(1).close_timeout(HOPELESS * 10).build().unwrap();
    set(&pool, |settings| settings.close_timeout = 50 * MS);
    Lease::discard(pool.get().unwrap());
    eventually("a farewell that nobody answers ends", || told.load(Ordering::SeqCst) == 1);
    assert_eq!(tell.load(Ordering::SeqCst), 1);
}

// What nobody watches is looked at on every checkout.
#[cfg(not(corepool_unwatched))]
#[test]
fn probe_after() {
    let server = Server::echo();
    let pool = Pool::builder(TcpManager::new(server.address())).max_size(1).probe_after(HOPELESS * 10).build().unwrap();
    let port = local_port(&*pool.get().unwrap());
    server.push(port, b"unasked");
    // Nobody looks yet.
    assert_eq!(local_port(&*pool.get().unwrap()), port);
    set(&pool, |settings| settings.probe_after = Duration::ZERO);
    eventually("somebody looks", || local_port(&*pool.get().unwrap()) != port);
    assert_eq!(pool.stats().closed(CloseReason::IdleData), 1);
}

#[test]
fn idle_timeout() {
    let pool = Pool::builder(Fake::default()).max_size(4).min_open(4).idle_timeout(None).build().unwrap();
    set(&pool, |settings| (settings.idle_timeout, settings.min_open) = (Some(20 * MS), 1));
    eventually("down to min_open", || pool.stats().closed(CloseReason::IdleTimeout) == 3);
    assert_eq!(pool.stats().open, 1);
}

#[test]
fn max_lifetime_is_that_of_those_born_later() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(2).min_open(1).max_lifetime(None).build().unwrap();
    set(&pool, |settings| (settings.max_lifetime, settings.min_open) = (Some(20 * MS), 2));
    eventually("some expire", || census.closed(CloseReason::Expired) >= 3);
    assert_eq!(census.fate(0), None, "the first was born without an end");
    census.verify();
}

#[test]
fn ping_interval_and_ping_timeout() {
    let server = Server::echo();
    let pings = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&pings);
    let manager = Hooked::new(TcpManager::new(server.address())).ping(move |conn| {
        // Every second one asks for an answer that does not come.
        let turn = notes.lock().unwrap().len();
        if turn % 2 == 0 {
            conn.write_all(b"ping").unwrap();
        }
        notes.lock().unwrap().push(conn.read(&mut [0; 4]).unwrap());
        Ok(())
    });
    let pool = Pool::builder(manager).max_size(1).ping_timeout(HOPELESS * 10).build().unwrap();
    set(&pool, |settings| (settings.ping_interval, settings.ping_timeout) = (Some(10 * MS), 300 * MS));
    eventually("two pings", || pings.lock().unwrap().len() >= 2);
    assert_eq!(pings.lock().unwrap()[..2], [4, 0], "one that is answered, and one that is cut");
}

#[test]
fn hold_limit_and_cut_held() {
    let server = Server::mute();
    let heard = Heard::default();
    let builder = Pool::builder(TcpManager::new(server.address())).max_size(1).observer(heard.clone());
    let pool = builder.build().unwrap();
    let mut lease = pool.get().unwrap();
    set(&pool, |settings| (settings.hold_limit, settings.cut_held) = (Some(20 * MS), true));
    let begun = Instant::now();
    let _ = lease.read(&mut [0; 8]);
    assert!(begun.elapsed() < HOPELESS, "the stuck call returned");
    drop(lease);
    assert_eq!(pool.stats().closed(CloseReason::HeldTooLong), 1);
    eventually("an event", || heard.count(|event| matches!(event, Event::HoldExceeded { cut: true, .. })) == 1);
}

#[test]
fn close_timeout_of_those_that_are_being_closed() {
    let server = Server::mute();
    let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (begins, ends) = (Arc::clone(&begun), Arc::clone(&ended));
    let manager = Hooked::new(TcpManager::new(server.address())).before_close(move |conn, _| {
        begins.fetch_add(1, Ordering::SeqCst);
        let _ = conn.read(&mut [0; 8]);
        ends.fetch_add(1, Ordering::SeqCst);
    });
    let pool = Pool::builder(manager).max_size(1).min_open(0).close_timeout(HOPELESS * 10).build().unwrap();
    Lease::discard(pool.get().unwrap());
    eventually("a farewell that nobody answers", || begun.load(Ordering::SeqCst) == 1);
    assert_eq!(ended.load(Ordering::SeqCst), 0);
    set(&pool, |settings| settings.close_timeout = 20 * MS);
    eventually("it ends", || ended.load(Ordering::SeqCst) == 1 && pool.stats().closing == 0);
}

#[test]
fn max_closing() {
    let (manager, census, gate) = gated();
    let builder = Pool::builder(manager).max_size(1).min_open(0).max_closing(1).close_timeout(HOPELESS * 10);
    let pool = builder.build().unwrap();
    (0..2).for_each(|_| Lease::discard(pool.get_timeout(HOPELESS).unwrap()));
    assert_eq!(pool.get_timeout(20 * MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    set(&pool, |settings| settings.max_closing = 3);
    (0..2).for_each(|_| Lease::discard(pool.get_timeout(HOPELESS).unwrap()));
    assert_eq!(pool.get_timeout(20 * MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    assert_eq!(census.alive(), 4);
    gate.open();
    assert!(pool.get_timeout(HOPELESS).is_ok());
    comes_to_rest(&pool);
    census.verify();
}
