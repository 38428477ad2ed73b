//! Pings: each idle connection in turn, in the background, a few at a time; and one that fails, panics or hangs costs that connection
//! alone.

mod support;

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Conn, Dial, Manager, Pool, TcpManager, Watch};
use support::{
    Counting, Fake, FakeError, HOPELESS, Hooked, ON_PURPOSE, Server, Thing, comes_to_rest, eventually, hush,
};

const MS: Duration = Duration::from_millis(1);

/// How often each was pinged, and how many at once.
#[derive(Default)]
struct Pings {
    of: Mutex<HashMap<u64, usize>>,
    under_way: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Pings {
    /// A manager whose pings take this long and are counted.
    fn counted(takes: Duration) -> (Hooked<Fake>, Arc<Pings>) {
        let pings = Arc::new(Pings::default());
        let counts = Arc::clone(&pings);
        let manager = Hooked::new(Fake::default()).ping(move |thing| {
            let at_once = counts.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            counts.most_at_once.fetch_max(at_once, Ordering::SeqCst);
            thread::sleep(takes);
            *counts.of.lock().unwrap().entry(thing.0).or_default() += 1;
            counts.under_way.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        });
        (manager, pings)
    }

    fn of(&self, thing: &Thing) -> usize {
        self.of.lock().unwrap().get(&thing.0).copied().unwrap_or(0)
    }

    /// The fewest and the most that any of the first so many was pinged.
    fn range(&self, things: u64) -> (usize, usize) {
        let counts: Vec<_> = (1..=things).map(|thing| self.of(&Thing(thing))).collect();
        (*counts.iter().min().unwrap(), *counts.iter().max().unwrap())
    }
}

#[test]
fn every_idle_connection_has_its_turn_a_few_at_a_time() {
    // More are due at any time than may be out for a ping.
    let (manager, pings) = Pings::counted(3 * MS);
    let pool = Pool::builder(manager).max_size(16).min_open(16).ping_interval(Some(10 * MS)).build().unwrap();
    eventually("ten turns", || pings.range(16).0 >= 10);
    let (fewest, most) = pings.range(16);
    // Without turns, four would have all of them. One whose thread is off its core may miss some.
    assert!(most <= 2 * fewest, "one was pinged {fewest} times, another {most}");
    assert!(pings.most_at_once.load(Ordering::SeqCst) <= 4);
    let stats = pool.stats();
    assert_eq!((stats.open, stats.opened, stats.leases, stats.closed_in_all()), (16, 16, 0, 0));
}

#[test]
fn a_leased_connection_is_not_pinged() {
    let (manager, pings) = Pings::counted(Duration::ZERO);
    let pool = Pool::builder(manager).max_size(3).min_open(3).ping_interval(Some(10 * MS)).build().unwrap();
    let lease = pool.get_timeout(HOPELESS).unwrap();
    let before = pings.of(&lease);
    let others: Vec<_> = (1..=3).filter(|thing| *thing != lease.0).map(Thing).collect();
    eventually("pings of the others", || others.iter().all(|thing| pings.of(thing) >= 5));
    assert_eq!(pings.of(&lease), before);
    drop(lease);
    eventually("pings of all", || (1..=3).all(|thing| pings.of(&Thing(thing)) > before));
}

#[test]
fn a_ping_resets_no_idle_time() {
    let (manager, pings) = Pings::counted(Duration::ZERO);
    let builder = Pool::builder(manager).max_size(3).min_open(1).ping_interval(Some(20 * MS));
    let pool = builder.idle_timeout(Some(300 * MS)).build().unwrap();
    let leases: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
    drop(leases);
    eventually("those that lie idle are closed", || pool.stats().closed(CloseReason::IdleTimeout) == 2);
    eventually("pings", || pings.range(64).1 >= 1);
    assert_eq!(pool.stats().open, 1);
}

#[test]
fn a_ping_resets_no_age() {
    let (manager, pings) = Pings::counted(Duration::ZERO);
    let builder = Pool::builder(manager).max_size(2).min_open(2).ping_interval(Some(20 * MS));
    let pool = builder.max_lifetime(Some(300 * MS)).build().unwrap();
    // Expired ones are replaced, and the next are pinged and expire as well.
    eventually("they are pinged, and expire", || {
        pool.stats().closed(CloseReason::Expired) >= 2 && pings.range(64).1 >= 1
    });
}

/// The second of three connections is lost in its first ping, and replaced.
#[track_caller]
fn costs_that_connection_alone(manager: Hooked<Fake>, why: CloseReason) {
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(3).min_open(3).ping_interval(Some(10 * MS)).build().unwrap();
    eventually("another one", || pool.stats().opened == 4 && pool.stats().open == 3);
    eventually("its close", || census.closed(why) == 1 && census.alive() == 3);
    assert_eq!((pool.stats().closed(why), pool.stats().closed_in_all()), (1, 1));
    pool.reconfigure(|settings| settings.ping_interval = None).unwrap();
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn one_that_fails_costs_that_connection_alone() {
    let manager = Hooked::new(Fake::default()).ping(|thing| if thing.0 == 2 { Err(FakeError("gone")) } else { Ok(()) });
    costs_that_connection_alone(manager, CloseReason::PingFailed);
}

#[test]
fn one_that_panics_costs_that_connection_alone() {
    hush();
    let manager = Hooked::new(Fake::default()).ping(|thing| {
        assert!(thing.0 != 2, "{ON_PURPOSE}");
        Ok(())
    });
    costs_that_connection_alone(manager, CloseReason::Panicked);
}

/// Pings by waiting for a word from the server.
struct Patient(TcpManager);

impl Manager for Patient {
    type Connection = Conn;
    type Error = io::Error;

    fn connect(&self, dial: &Dial<'_>) -> io::Result<Conn> {
        Ok(self.0.connect(dial)?)
    }

    fn watch(&self, conn: &Conn, on: &mut Watch<'_>) {
        self.0.watch(conn, on);
    }

    fn ping(&self, conn: &mut Conn) -> io::Result<()> {
        conn.read_exact(&mut [0; 8])
    }
}

#[test]
fn one_that_hangs_is_cut_at_its_timeout() {
    let server = Server::mute();
    let (manager, census) = Counting::new(Patient(TcpManager::new(server.address())));
    let builder = Pool::builder(manager).max_size(1).ping_interval(Some(20 * MS)).ping_timeout(100 * MS);
    let pool = builder.build().unwrap();
    for round in 0..3 {
        eventually("another one", || census.opened() > round + 1);
        eventually("its close", || census.fate(round).is_some());
    }
    let stats = pool.stats();
    assert_eq!((stats.closed_in_all(), stats.leases), (stats.closed(CloseReason::PingFailed), 0), "\n{stats}");
    census.verify();
}

#[test]
fn a_caller_waits_for_one_that_is_out_for_a_ping() {
    let (shut, knocked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (stays, knocks) = (Arc::clone(&shut), Arc::clone(&knocked));
    let manager = Hooked::new(Fake::default()).ping(move |_| {
        knocks.store(true, Ordering::SeqCst);
        eventually("it is told to end", || !stays.load(Ordering::SeqCst));
        Ok(())
    });
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(1).ping_interval(Some(10 * MS)).ping_timeout(HOPELESS).build().unwrap();
    eventually("a ping", || knocked.load(Ordering::SeqCst));
    let stats = pool.stats();
    assert_eq!((stats.open, stats.idle, stats.leases), (1, 0, 0));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(|lease| lease.id()));
        eventually("it waits", || pool.stats().waiting == 1);
        shut.store(false, Ordering::SeqCst);
        assert_eq!(waiter.join().unwrap().unwrap(), 0);
    });
    pool.reconfigure(|settings| settings.ping_interval = None).unwrap();
    comes_to_rest(&pool);
    assert_eq!(census.opened(), 1);
}

#[test]
fn one_that_rests_is_pinged_once_an_interval_and_no_more() {
    const INTERVAL: Duration = Duration::from_millis(60);
    let (manager, pings) = Pings::counted(Duration::ZERO);
    let begun = Instant::now();
    let pool = Pool::builder(manager).max_size(2).min_open(2).ping_interval(Some(INTERVAL)).build().unwrap();
    for turns in 1..=8 {
        eventually("another turn", || pings.range(2).1 >= turns);
        // Late, if the machine is busy, but never early.
        assert!(begun.elapsed() >= INTERVAL * turns as u32, "{turns} after {:?}", begun.elapsed());
    }
    assert_eq!(pool.stats().open, 2);
}
