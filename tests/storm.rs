//! A storm: sixteen threads on three connections in two shards, with random holds, panics, timeouts and closures, and after it
//! every permit, every counter and every connection is where it belongs.
//!
//! `COREPOOL_STORM_SECS` overrides its length: 5 s by default, 20 s in CI.

mod support;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{GetError, GetErrorKind, Lease, Pool, TcpManager};
use support::{Counted, Counting, HOPELESS, ON_PURPOSE, Server, Watchdog, comes_to_rest, eventually, exchange, hush};

const THREADS: usize = 16;
const CONNECTIONS: usize = 3;

/// What the threads know of what the pool should have counted.
#[derive(Default)]
struct Tally {
    leases: AtomicU64,
    timed_out: AtomicU64,
    detached: AtomicU64,
    panics: AtomicU64,
    failures: AtomicU64,
    held: AtomicUsize,
}

/// A lease is held. Dropped just before the lease, so that the count is never too high.
struct Held<'t>(&'t AtomicUsize);

impl<'t> Held<'t> {
    fn new(held: &'t AtomicUsize) -> Self {
        assert!(held.fetch_add(1, Ordering::SeqCst) < CONNECTIONS, "more leases than connections");
        Held(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

/// One use of a connection, of one kind or another.
fn step(pool: &Pool<Counting<TcpManager>>, tally: &Tally, thread: usize, turn: u64) {
    let limit = match fastrand::u32(0..8) {
        0 => Duration::ZERO,
        1..4 => Duration::from_micros(fastrand::u64(1..3_000)),
        // If nobody ends it, the watchdog does.
        _ => Duration::from_secs(1_000),
    };
    let mut lease = match pool.get_timeout(limit) {
        Ok(lease) => lease,
        Err(error) => {
            match error.kind() {
                GetErrorKind::Busy => assert!(limit.is_zero(), "{error}"),
                GetErrorKind::TimedOut => add(&tally.timed_out),
                _ => panic!("{error}"),
            }
            return;
        }
    };
    let held = Held::new(&tally.held);
    add(&tally.leases);
    let request = format!("{thread:>4} {turn:>10}");
    let talk = |lease: &mut Counted<corepool::Conn>| lease.hold(|conn| exchange(conn, request.as_bytes()));
    match fastrand::u32(0..64) {
        0..40 => {
            // A closed peer is an error; another's answer would be a scandal.
            if let Err(error) = talk(&mut lease) {
                add(&tally.failures);
                assert_ne!(error.kind(), io::ErrorKind::Other, "{error}");
            }
        }
        40..52 => lease.hold(|_| thread::sleep(Duration::from_micros(fastrand::u64(0..2_000)))),
        52..56 => {
            add(&tally.panics);
            lease.hold(|_| panic!("{ON_PURPOSE}"))
        }
        56..58 => Lease::condemn(&mut lease),
        other => {
            drop(held);
            match other {
                58..60 => Lease::discard(lease),
                60 => {
                    add(&tally.detached);
                    drop(Lease::detach(lease));
                }
                // From another thread.
                _ => thread::scope(|scope| drop(scope.spawn(|| drop(lease)))),
            }
        }
    }
}

#[test]
fn after_a_storm_all_is_in_its_place() {
    hush();
    let server = Server::echo();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let pool = Pool::builder(manager).max_size(CONNECTIONS).min_open(1).shards(2).build().unwrap();
    let tally = Tally::default();
    let shown = pool.clone();
    let watchdog = Watchdog::new(THREADS, move || format!("{:?}\n{}", shown.at_rest(), shown.stats()));

    let ends = Instant::now() + support::storm_length();
    // Gusts of half a second, so that the rest after each can be looked at.
    let mut gusts = 0;
    while Instant::now() < ends {
        gusts += 1;
        let calm = AtomicBool::new(false);
        thread::scope(|scope| {
            let turns: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (pool, tally, watchdog, calm) = (&pool, &tally, &watchdog, &calm);
                    scope.spawn(move || {
                        let mut turn = 0;
                        while !calm.load(Ordering::SeqCst) {
                            turn += 1;
                            let done = catch_unwind(AssertUnwindSafe(|| step(pool, tally, thread, turn)));
                            if let Err(payload) = done {
                                assert!(support::is_on_purpose(&*payload), "{}", support::message(&*payload));
                            }
                            watchdog.alive(thread);
                        }
                    })
                })
                .collect();
            let gust_ends = Instant::now() + Duration::from_millis(500);
            while Instant::now() < gust_ends {
                thread::sleep(Duration::from_micros(fastrand::u64(0..4_000)));
                if fastrand::bool() { server.close_any() } else { server.reset_any() }
            }
            calm.store(true, Ordering::SeqCst);
            turns.into_iter().for_each(|thread| thread.join().unwrap());
        });
        comes_to_rest(&pool);
    }
    drop(watchdog);

    let stats = pool.stats();
    assert_eq!((stats.leased, stats.waiting, stats.opening), (0, 0, 0));
    // None may be open: what nobody uses and is lost at once is dialed again after a pause.
    assert!(stats.open <= CONNECTIONS && stats.idle == stats.open, "\n{stats}");
    let told = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    assert_eq!(stats.leases, told(&tally.leases), "\n{stats}");
    assert_eq!(stats.timed_out, told(&tally.timed_out), "\n{stats}");
    assert_eq!(stats.detached, told(&tally.detached), "\n{stats}");
    assert_eq!(stats.opened, stats.closed_in_all() + stats.detached + stats.open as u64, "\n{stats}");
    assert_eq!(stats.opened, census.opened() as u64, "\n{stats}");
    eventually("every close", || census.alive() == pool.stats().open);
    census.verify();
    eprintln!("{gusts} gusts, {} panics, {} failed exchanges\n{stats}", told(&tally.panics), told(&tally.failures));
    // All three permits are there.
    let leases: Vec<Result<_, GetError>> = (0..CONNECTIONS).map(|_| pool.get_timeout(HOPELESS)).collect();
    assert!(leases.iter().all(Result::is_ok), "{leases:?}");
    drop(leases);
    pool.close();
    drop(pool);
    eventually("every close", || census.alive() == 0);
    census.verify();
}
