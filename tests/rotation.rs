//! A new manager, retirement, a pause: what is idle leaves as it was told, what is leased when it comes back, and who waits waits on.

mod support;

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Event, GetErrorKind, Lease, Opening, Pool, TcpManager, Verdict};
use support::{Counting, Fake, HOPELESS, Heard, Hooked, Server, comes_to_rest, eventually, exchange, local_port};

const MS: Duration = Duration::from_millis(1);

#[test]
fn retire_now() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(4).min_open(4).build().unwrap();
    let lease = pool.get().unwrap();
    let leased = lease.id();
    pool.retire(Duration::ZERO);
    // The idle ones are out when the call returns, and new ones on their way; the leased one is its holder's.
    assert_eq!(pool.stats().closed(CloseReason::Retired), 3);
    eventually("three closes, and three new ones", || census.alive() == 4 && pool.stats().idle == 3);
    assert_eq!(census.fate(leased), None);
    drop(lease);
    eventually("the last close, and another new one", || census.fate(leased).is_some() && pool.stats().open == 4);
    assert_eq!((census.opened(), census.closed(CloseReason::Retired)), (8, 4));
    let leases: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    assert!(leases.iter().all(|lease| lease.id() >= 4));
    drop(leases);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn retire_spread_over_a_time() {
    const OVER: Duration = Duration::from_millis(400);
    let ends = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&ends);
    let manager = Hooked::new(Fake::default()).before_close(move |_, why| {
        notes.lock().unwrap().push((why, Instant::now()));
    });
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(8).min_open(8).build().unwrap();
    let begun = Instant::now();
    pool.retire(OVER);
    eventually("all have gone", || ends.lock().unwrap().len() == 8);
    // None before its turn: the n-th of eight after n eighths of the time.
    let ends = std::mem::take(&mut *ends.lock().unwrap());
    assert!(ends.iter().all(|(why, _)| *why == CloseReason::Retired), "{ends:?}");
    let mut ends: Vec<_> = ends.into_iter().map(|(_, end)| end - begun).collect();
    ends.sort_unstable();
    for (turn, end) in ends.iter().enumerate() {
        assert!(*end >= OVER * turn as u32 / 8, "the {turn}th after {end:?}: {ends:?}");
    }
    eventually("eight new ones", || pool.stats().idle == 8);
    assert_eq!(census.opened(), 16, "those that came meanwhile stay");
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn retire_again_and_sooner() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(4).min_open(4).build().unwrap();
    pool.retire(HOPELESS * 100);
    eventually("the first", || census.closed(CloseReason::Retired) == 1);
    pool.retire(Duration::ZERO);
    eventually("all", || census.closed(CloseReason::Retired) >= 4 && pool.stats().idle == 4);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_new_manager_opens_what_is_opened_from_now_on() {
    let (old, new) = (Server::echo(), Server::echo());
    let returned = Arc::new(Mutex::new(Vec::new()));
    let named = |name: &'static str, server: &Server| {
        let notes = Arc::clone(&returned);
        Hooked::new(TcpManager::new(server.address())).on_return(move |_, _| {
            notes.lock().unwrap().push(name);
            Verdict::Keep
        })
    };
    let pool = Pool::builder(named("old", &old)).max_size(3).min_open(2).build().unwrap();
    eventually("two", || old.accepted() == 2);
    let mut lease = pool.get().unwrap();
    pool.replace_manager(named("new", &new), Duration::ZERO);
    eventually("the idle one is replaced", || old.open() == 1 && new.open() >= 1);
    exchange(&mut *lease, b"still the old one, and uncut").unwrap();
    drop(lease);
    eventually("all are new", || old.open() == 0 && new.open() == 2 && pool.stats().open == 2);
    pool.with(|conn| exchange(conn, b"the new one")).unwrap();
    assert_eq!(*returned.lock().unwrap(), ["old", "new"], "each is judged by the manager that opened it");
    assert_eq!(pool.stats().closed(CloseReason::Retired), 2);
    comes_to_rest(&pool);
}

#[test]
fn a_new_manager_serves_those_who_wait_for_the_old_ones_endpoint() {
    let fake = Fake::default();
    fake.script.fail("wrong password");
    let builder = Pool::builder(fake).max_size(2).min_open(0).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(HOPELESS * 10).build().unwrap();
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| pool.get_timeout(HOPELESS).map(drop))).collect();
        eventually("an outage, and four who wait", || pool.stats().dials_failed >= 3 && pool.stats().waiting == 4);
        pool.replace_manager(Fake::default(), Duration::ZERO);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap().unwrap());
    });
    comes_to_rest(&pool);
    assert!(pool.get().is_ok());
}

#[test]
fn what_the_old_manager_was_dialing_does_not_stay() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let (manager, old) = Counting::new(fake);
    let pool = Pool::builder(manager).max_size(1).opening(Opening::Background).build().unwrap();
    eventually("a dial", || script.under_way() == 1);
    let (manager, new) = Counting::new(Fake::default());
    pool.replace_manager(manager, Duration::ZERO);
    script.open();
    eventually("it came, and went", || old.closed(CloseReason::Retired) == 1);
    pool.get_timeout(HOPELESS).map(drop).unwrap();
    eventually("a new one", || new.opened() == 1 && pool.stats().idle == 1);
    comes_to_rest(&pool);
    old.verify();
    new.verify();
}

#[test]
fn a_new_manager_serves_those_who_wait_though_the_old_ones_dials_hang() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let heard = Heard::default();
    let builder = Pool::builder(fake).max_size(1).min_open(0).opening(Opening::Lazy).dial_timeout(HOPELESS * 10);
    let pool = builder.observer(heard.clone()).build().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(drop));
        eventually("a dial into a black hole", || script.under_way() == 1);
        pool.replace_manager(Fake::default(), Duration::ZERO);
        waiter.join().unwrap().unwrap();
    });
    // What becomes of the old one is no outage of the new one's endpoint.
    script.fail("gone");
    eventually("it has returned", || script.under_way() == 0);
    comes_to_rest(&pool);
    Lease::discard(pool.get().unwrap());
    assert!(pool.get_timeout(HOPELESS).is_ok());
    eventually("told of both", || heard.count(|event| matches!(event, Event::Opened { .. })) == 2);
    assert_eq!(heard.count(|event| matches!(event, Event::OutageBegan { .. })), 0, "{:?}", heard.all());
}

#[test]
fn whoever_retires_again_and_again_gathers_no_threads_in_a_black_hole() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let builder = Pool::builder(fake).max_size(4).min_open(4).dials_at_once(2).opening(Opening::Background);
    let pool = builder.dial_timeout(HOPELESS * 10).build().unwrap();
    for round in 1..=5 {
        // Two of this round, and those before it that hang, eight at most.
        eventually("its dials", || script.under_way() >= usize::min(2 * round, 8));
        pool.retire(Duration::ZERO);
    }
    assert_eq!(script.most_at_once(), 8);
    script.open();
    eventually("all are open", || pool.stats().idle == 4);
    comes_to_rest(&pool);
}

#[test]
fn what_is_being_dialed_when_all_are_retired_does_not_stay() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let (manager, census) = Counting::new(fake);
    let pool = Pool::builder(manager).max_size(1).opening(Opening::Background).build().unwrap();
    eventually("a dial, perhaps to an address that is no longer right", || script.under_way() == 1);
    pool.retire(Duration::ZERO);
    eventually("another dial", || script.under_way() == 2);
    script.open();
    eventually("one of the two is closed", || census.opened() == 2 && census.closed(CloseReason::Retired) == 1);
    comes_to_rest(&pool);
    assert_eq!((census.alive(), pool.stats().open), (1, 1));
    census.verify();
}

#[test]
fn nor_does_what_arrives_just_then() {
    for round in 0..300 {
        let fake = Fake::default();
        let script = fake.script.clone();
        script.hang();
        let (manager, census) = Counting::new(fake);
        let pool = Pool::builder(manager).max_size(1).opening(Opening::Background).build().unwrap();
        eventually("a dial", || script.under_way() == 1);
        thread::scope(|scope| {
            scope.spawn(|| script.open());
            while census.opened() == 0 {
                std::hint::spin_loop();
            }
            // Opened before the call, for certain; perhaps not in the pool yet.
            (0..fastrand::u32(0..2_000)).for_each(|_| std::hint::spin_loop());
            pool.retire(Duration::ZERO);
        });
        eventually("it is closed", || census.fate(0).is_some());
        assert_eq!(census.fate(0), Some(CloseReason::Retired), "round {round}");
        census.verify();
    }
}

#[test]
fn a_pause_hands_out_nothing_and_takes_back_everything() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(2).min_open(2).build().unwrap();
    let lease = pool.get().unwrap();
    pool.pause();
    pool.pause();
    assert_eq!(pool.try_get().unwrap_err().kind(), GetErrorKind::Busy);
    let error = pool.get_timeout(10 * MS).unwrap_err();
    assert_eq!((error.kind(), error.waited() >= 10 * MS), (GetErrorKind::TimedOut, true), "within its own deadline");
    drop(lease);
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.leased, stats.leases), (2, 0, 1));
    assert_eq!(pool.try_get().unwrap_err().kind(), GetErrorKind::Busy);
    pool.resume();
    pool.resume();
    assert!(pool.try_get().is_ok());
    assert_eq!((census.opened(), pool.stats().closed_in_all()), (2, 0));
    comes_to_rest(&pool);
}

#[test]
fn who_waits_through_a_pause_is_served_after_it_in_turn() {
    for handoff_after in [Duration::ZERO, MS, HOPELESS] {
        let pool = Pool::builder(Fake::default()).max_size(1).handoff_after(handoff_after).build().unwrap();
        pool.pause();
        let (served, order) = mpsc::channel();
        thread::scope(|scope| {
            for waiter in 0..6 {
                let (pool, served) = (&pool, served.clone());
                scope.spawn(move || {
                    let _lease = pool.get_timeout(HOPELESS).unwrap();
                    served.send(waiter).unwrap();
                });
                eventually("it waits", || pool.stats().waiting == waiter + 1);
            }
            assert_eq!(pool.stats().leases, 0);
            pool.resume();
        });
        drop(served);
        assert!(order.iter().eq(0..6));
        comes_to_rest(&pool);
    }
}

#[test]
fn a_pause_leaves_the_endpoint_alone() {
    let fake = Fake::default();
    let script = fake.script.clone();
    let pool = Pool::builder(fake).max_size(4).min_open(2).build().unwrap();
    comes_to_rest(&pool);
    let dials = script.dials();
    pool.pause();
    pool.retire(Duration::ZERO);
    assert_eq!(pool.try_get().unwrap_err().kind(), GetErrorKind::Busy);
    assert_eq!(pool.get_timeout(20 * MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    assert_eq!((script.dials(), pool.stats().open), (dials, 0));
    pool.resume();
    eventually("two again", || pool.stats().idle == 2);
    assert!(pool.get().is_ok());
}

#[cfg(not(corepool_unwatched))]
#[test]
fn what_dies_in_a_pause_leaves_in_the_pause() {
    let server = Server::echo();
    let pool = Pool::builder(TcpManager::new(server.address())).max_size(2).min_open(2).build().unwrap();
    let (first, second) = (pool.get().unwrap(), pool.get().unwrap());
    let ports = [local_port(&*first), local_port(&*second)];
    pool.pause();
    drop((first, second));
    server.close(ports[0]);
    eventually("its watch sees it", || pool.stats().closed(CloseReason::PeerClosed) == 1);
    assert_eq!(pool.stats().open, 1);
    pool.resume();
    eventually("another one", || pool.stats().idle == 2);
    let mut lease = pool.get().unwrap();
    exchange(&mut *lease, b"alive").unwrap();
    drop(lease);
    comes_to_rest(&pool);
}

#[test]
fn a_pause_ends_with_the_pool() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(2).min_open(2).build().unwrap();
    let lease = pool.get().unwrap();
    pool.pause();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(drop));
        eventually("it waits", || pool.stats().waiting == 1);
        pool.close();
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), GetErrorKind::Closed);
    });
    pool.resume();
    assert_eq!(pool.try_get().unwrap_err().kind(), GetErrorKind::Closed);
    Lease::discard(lease);
    eventually("both are closed", || census.alive() == 0);
    assert_eq!(census.closed_in_all(), 2);
    census.verify();
}

#[test]
fn retire_again_and_later_puts_nothing_off() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(4).min_open(4).build().unwrap();
    pool.retire(200 * MS);
    // Whoever has a turn already keeps it.
    pool.retire(HOPELESS * 100);
    eventually("all", || census.closed(CloseReason::Retired) >= 4 && pool.stats().idle == 4);
    comes_to_rest(&pool);
    census.verify();
}
