//! A storm of changes: while eight threads use it, a pool is reconfigured, retired, given new managers, paused, and loses connections to
//! its server; and its manager checks at every checkout that what it is asked about may be handed out.
//!
//! A checkout reads the notes before it asks the manager, so what counts is what was known when the *caller asked*: each caller
//! writes down what it knew then, and the check, on the same thread, holds the connection against that:
//! - *retired*: `retire(0)` had returned, and the connection's dial had begun before that call;
//! - *replaced*: `replace_manager(_, 0)` had returned, and another manager had opened it;
//! - *expired*: it was older than any `max_lifetime` that was ever set, and the time that a sweep may be late;
//! - *dead*: its server had closed it while it lay idle in a pause, and the reactor had got past that; or its last user saw it stale;
//! - *paused*: `pause` had returned before the caller asked, and `resume` had not been called when the manager was.
//!
//! `COREPOOL_STORM_SECS` overrides its length: 5 s by default, 20 s in CI.

#[path = "../support/mod.rs"]
mod support;

mod checker;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use checker::{Checker, Facts, LONGEST_LIFE};
use corepool::{CloseReason, GetErrorKind, Lease, Pool, Reactors};
use support::{Canary, Counting, ON_PURPOSE, Server, Watchdog, comes_to_rest, eventually, exchange, hush};

const MS: Duration = Duration::from_millis(1);
const THREADS: usize = 8;

type Checkers = Pool<Counting<Checker>>;

/// One caller's turn.
fn step(pool: &Checkers, facts: &Facts, request: &str) {
    checker::ask(facts);
    // Short ones, so that after each change there are callers soon who asked after it.
    let limit = fastrand::u32(0..5) * MS;
    match pool.get_timeout(limit) {
        Ok(mut lease) => {
            match fastrand::u32(0..256) {
                0 => return Lease::discard(lease),
                1 => panic!("{ON_PURPOSE}"),
                2..32 => thread::sleep(Duration::from_micros(fastrand::u64(0..5_000))),
                _ => {}
            }
            // A closed peer is an error; another's answer would be a scandal.
            if let Err(error) = lease.hold(|checked| exchange(&mut checked.conn, request.as_bytes())) {
                assert_ne!(error.kind(), io::ErrorKind::Other, "{error}");
            }
            if Lease::stale(&lease) {
                lease.stale = true;
            }
        }
        Err(error) => match error.kind() {
            GetErrorKind::Busy => assert!(limit.is_zero(), "{error}"),
            GetErrorKind::TimedOut | GetErrorKind::Refused => {}
            _ => panic!("{}", support::chain(&error)),
        },
    }
}

/// Who makes the weather.
struct Weather<'a> {
    pool: &'a Checkers,
    facts: &'a Arc<Facts>,
    server: &'a Server,
    /// A connection of another pool on the same reactor: once its end is seen, all that came before it has been.
    canary: Canary,
    /// It stays on one core.
    pinned: bool,
    census: Vec<Arc<support::Census>>,
    done: [usize; 5],
}

impl Weather<'_> {
    fn turn(&mut self) {
        let kind = fastrand::usize(0..5);
        let over = if fastrand::bool() { Duration::ZERO } else { fastrand::u32(1..10) * MS };
        match kind {
            0 => self.reconfigure(),
            1 => {
                let retirement = self.facts.retiring.fetch_add(1, Ordering::SeqCst) + 1;
                self.pool.retire(over);
                if over.is_zero() {
                    self.facts.known.lock().unwrap().retired = retirement;
                }
            }
            2 => {
                let generation = self.census.len() as u64;
                let (manager, census) = Counting::new(Checker::new(self.server, generation, self.facts));
                self.census.push(census);
                self.pool.replace_manager(manager, over);
                if over.is_zero() {
                    self.facts.known.lock().unwrap().managers = generation;
                }
            }
            3 => {
                self.pool.pause();
                self.facts.known.lock().unwrap().pauses += 1;
                if fastrand::bool() {
                    // What dies then lies idle, where nobody but the watch can find it.
                    eventually("all is given back", || self.pool.stats().leased == 0);
                    let dead = self.kill();
                    self.make_known(dead);
                }
                thread::sleep(fastrand::u32(0..6) * MS);
                self.facts.known.lock().unwrap().pauses += 1;
                self.pool.resume();
            }
            _ => drop(self.kill()),
        }
        self.done[kind] += 1;
    }

    fn reconfigure(&self) {
        let change = fastrand::u32(0..4);
        self.pool
            .reconfigure(|settings| match change {
                0 => settings.max_size = fastrand::usize(settings.min_open.max(1)..=8),
                1 => settings.min_open = fastrand::usize(0..=settings.max_size),
                2 => {
                    settings.max_lifetime = Some(fastrand::u32(20..=80) * MS);
                    settings.idle_timeout = Some(fastrand::u32(10..200) * MS);
                }
                _ => {
                    settings.ping_interval = fastrand::bool().then_some(10 * MS);
                    settings.handoff_after = fastrand::u32(0..3) * MS;
                    settings.dials_at_once = fastrand::usize(1..5);
                }
            })
            .unwrap();
    }

    /// Closes some connections at their other end. Returned are those that had been used, so were watched, and that nobody used meanwhile.
    fn kill(&self) -> Vec<u64> {
        let mut killed = Vec::new();
        for _ in 0..fastrand::u32(1..4) {
            let Some((id, place)) = fastrand::choice(self.facts.open.lock().unwrap().clone()) else { break };
            let before = place.uses();
            let closed = self.server.close_if_open(place.port);
            // Once it is gone, its port may be another's.
            let its_own = self.facts.open.lock().unwrap().contains_key(&id);
            if closed && its_own && before > 0 && before % 2 == 0 && place.uses() == before {
                killed.push(id);
            }
        }
        killed
    }

    /// Makes known that these have died, once the reactor has seen it: on one core, what is sent first arrives first, so their ends came
    /// before the canary's.
    fn make_known(&self, killed: Vec<u64>) {
        if cfg!(corepool_unwatched) || !self.pinned {
            return;
        }
        self.canary.dies();
        let mut known = self.facts.known.lock().unwrap();
        let dead = Arc::make_mut(&mut known.dead);
        dead.extend(killed);
        dead.sort_unstable();
    }
}

/// Measures how late a thread wakes up beside the reactor.
fn measure_lag(facts: &Facts, done: &AtomicBool) {
    support::pin(0);
    while !done.load(Ordering::SeqCst) {
        let begun = Instant::now();
        thread::sleep(5 * MS);
        let lag = begun.elapsed().saturating_sub(5 * MS);
        facts.lag.fetch_max(lag.as_nanos() as u64, Ordering::SeqCst);
    }
}

#[test]
fn nothing_is_handed_out_that_is_known_to_be_unfit() {
    hush();
    let server = Server::echo();
    let facts = Arc::new(Facts::default());
    let reactors = Reactors::new(1);
    let canary = Canary::new(&reactors);
    let (manager, census) = Counting::new(Checker::new(&server, 0, &facts));
    let builder = Pool::builder(manager).max_size(4).capacity(8).shards(2).reactors(reactors);
    let pool = builder.max_lifetime(Some(LONGEST_LIFE)).build().unwrap();
    let shown = pool.clone();
    let watchdog = Watchdog::new(THREADS + 1, move || format!("{:?}\n{}", shown.at_rest(), shown.stats()));
    let mut weather = Weather {
        pool: &pool,
        facts: &facts,
        server: &server,
        canary,
        pinned: false,
        census: vec![census],
        done: [0; 5],
    };

    let (ends, done, turns) = (Instant::now() + support::storm_length(), AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| measure_lag(&facts, &done));
        for thread in 0..THREADS {
            let (pool, facts, watchdog, done, turns) = (&pool, &facts, &watchdog, &done, &turns);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let request = format!("{thread} {}", turns.fetch_add(1, Ordering::SeqCst));
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| step(pool, facts, &request))) {
                        assert!(support::is_on_purpose(&*payload), "{}", support::message(&*payload));
                    }
                    watchdog.alive(thread);
                }
            });
        }
        weather.pinned = support::pin(1);
        while Instant::now() < ends {
            weather.turn();
            watchdog.alive(THREADS);
            thread::sleep(Duration::from_micros(fastrand::u64(0..40_000)));
        }
        done.store(true, Ordering::SeqCst);
    });
    drop(watchdog);
    let (census, done) = (weather.census, weather.done);

    let faults = facts.faults.lock().unwrap().clone();
    assert!(faults.is_empty(), "{} faults: {:?}", faults.len(), &faults[..faults.len().min(5)]);
    pool.reconfigure(|settings| (settings.ping_interval, settings.max_lifetime) = (None, None)).unwrap();
    pool.retire(Duration::ZERO);
    comes_to_rest(&pool);
    let stats = pool.stats();
    eprintln!(
        "{done:?} changes, {} checks, {} known dead\n{stats}",
        facts.checked.load(Ordering::SeqCst),
        facts.known.lock().unwrap().dead.len()
    );
    assert_eq!((stats.leased, stats.waiting, stats.opening), (0, 0, 0), "\n{stats}");
    assert_eq!(stats.opened, stats.closed_in_all() + stats.open as u64, "\n{stats}");
    assert_eq!(stats.opened, facts.born.load(Ordering::SeqCst), "\n{stats}");
    eventually("each close", || census.iter().map(|census| census.alive()).sum::<usize>() == pool.stats().open);
    census.iter().for_each(|census| census.verify());
    // It was a storm: there was something of everything.
    let reasons = [CloseReason::Expired, CloseReason::Retired, CloseReason::Discarded];
    assert!(reasons.iter().all(|why| stats.closed(*why) > 0) && done.iter().all(|kind| *kind > 0), "\n{stats}");
    assert!(cfg!(corepool_unwatched) || stats.closed(CloseReason::PeerClosed) > 0, "\n{stats}");
}
