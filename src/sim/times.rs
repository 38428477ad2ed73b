//! Promises about times, each held to on the simulation's clock, on which a wait costs nothing and is never late.
#![forbid(unsafe_code)]
// SeqCst, throughout: the threads take turns, and what is shared hangs on no ordering.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::builder::Builder;
use crate::error::GetErrorKind;
use crate::manager::{CloseReason, Dial, Manager};
use crate::os::clock::{self, nanos};
use crate::pool::Pool;
use crate::settings::Opening;
use crate::sync::turns::{Choices, simulate, sleep, spawn};
use crate::watch::handler::Handler;
use crate::watch::reactors::Reactors;

const SECOND: Duration = Duration::from_secs(1);

/// What its manager has done, and is to do.
#[derive(Default)]
struct Plain {
    refuses: AtomicBool,
    dials: Mutex<Vec<u64>>,
    /// When each ping began, and of which connection.
    pings: Mutex<Vec<(u64, u64)>>,
}

impl Plain {
    fn dials(&self) -> usize {
        self.dials.lock().expect("nobody panics with it").len()
    }

    fn pings(&self) -> Vec<(u64, u64)> {
        self.pings.lock().expect("nobody panics with it").clone()
    }
}

struct Plainly(Arc<Plain>);

impl Manager for Plainly {
    type Connection = u64;
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<u64> {
        // A look at the clock may pass the turn on, so not with the lock.
        let now = clock::now();
        let mut dials = self.0.dials.lock().expect("nobody panics with it");
        dials.push(now);
        if self.0.refuses.load(Ordering::SeqCst) {
            Err(io::ErrorKind::ConnectionRefused.into())
        } else {
            Ok(dials.len() as u64)
        }
    }

    fn ping(&self, connection: &mut u64) -> io::Result<()> {
        let now = clock::now();
        self.0.pings.lock().expect("nobody panics with it").push((now, *connection));
        sleep(Duration::from_millis(5));
        Ok(())
    }
}

/// The same in some worlds, which differ in who has his turn when.
fn in_worlds(name: &str, live: impl Fn(Builder<Plainly>, &Arc<Plain>)) {
    for seed in 1..=8 {
        simulate(&format!("{name}, seed {seed}"), 1 << 40, Choices::seeded(seed), || {
            let plain = Arc::new(Plain::default());
            let builder = Pool::builder(Plainly(Arc::clone(&plain))).shards(2).reactors(Reactors::new(1));
            live(builder.opening(Opening::Background), &plain);
        });
    }
}

/// Waits for no longer than that, on the simulation's clock.
#[track_caller]
fn within(limit: Duration, what: &str, condition: impl Fn() -> bool) {
    let ends = clock::now() + nanos(limit);
    while !condition() {
        assert!(clock::now() < ends, "{what}: not within {limit:?}");
        sleep(limit / 500);
    }
}

/// Its peers close each connection that nobody has used, until none is kept for half a minute and more.
fn tire(pool: &Pool<Plainly>) {
    for _ in 0..14 {
        within(120 * SECOND, "one is kept again", || pool.stats().idle == pool.settings().min_open);
        for life in pool.engine.lives() {
            pool.engine.hung_up(life.to_word());
        }
    }
    sleep(30 * SECOND);
    assert_eq!((pool.stats().open, pool.stats().opening), (0, 0), "none is kept for a while");
}

#[test]
fn one_that_is_used_ends_the_pause_in_the_keeping() {
    in_worlds("a use", |builder, _| {
        let pool = builder.max_size(2).min_open(2).backoff_max(120 * SECOND).build().expect("within their limits");
        tire(&pool);
        assert!(pool.get_timeout(SECOND).is_ok(), "whoever wants one is served");
        within(SECOND / 20, "the other one is kept again at once", || pool.stats().idle == 2);
    });
}

#[test]
fn another_manager_ends_the_pause_in_the_keeping() {
    in_worlds("another manager", |builder, plain| {
        let pool = builder.max_size(2).min_open(2).backoff_max(120 * SECOND).build().expect("within their limits");
        tire(&pool);
        pool.replace_manager(Plainly(Arc::clone(plain)), Duration::ZERO);
        within(SECOND, "both are kept again", || pool.stats().idle == 2);
    });
}

#[test]
fn an_endpoint_that_is_down_is_dialed_four_times_a_second_while_somebody_waits() {
    in_worlds("an outage", |builder, plain| {
        plain.refuses.store(true, Ordering::SeqCst);
        let pool =
            builder.max_size(2).min_open(0).fail_fast_after(3_600 * SECOND).build().expect("within their limits");
        let waits = pool.clone();
        let waiter = move || assert!(waits.get_timeout(60 * SECOND).is_ok(), "it is up in time");
        assert!(spawn(Box::new(waiter)).is_ok());
        sleep(20 * SECOND);
        let before = plain.dials();
        sleep(10 * SECOND);
        let dials = plain.dials() - before;
        assert!((38..=41).contains(&dials), "{dials} dials in ten seconds");
        plain.refuses.store(false, Ordering::SeqCst);
        within(SECOND, "it is served", || pool.stats().leases == 1);
    });
}

#[test]
fn all_that_are_due_for_a_ping_have_their_turn_one_after_another() {
    in_worlds("pings", |builder, plain| {
        let builder = builder.max_size(12).min_open(12).ping_interval(Some(60 * SECOND));
        let pool = builder.build().expect("within their limits");
        within(SECOND, "all are open", || pool.stats().idle == 12);
        sleep(58 * SECOND);
        assert!(plain.pings().is_empty(), "none is due");
        sleep(5 * SECOND);
        // Once each, whatever else there was to look at.
        let pings = plain.pings();
        let (first, last) = (pings[0].0, pings[pings.len() - 1].0);
        let mut pinged: Vec<_> = pings.iter().map(|(_, connection)| *connection).collect();
        pinged.sort_unstable();
        assert_eq!(pinged, (1..=12).collect::<Vec<_>>());
        // Three rounds of four, of 5 ms each.
        assert!(last - first < nanos(SECOND) / 4, "it took {} ms", (last - first) / 1_000_000);
    });
}

#[test]
fn times_that_become_shorter_hold_for_what_has_rested_for_long() {
    in_worlds("other settings", |builder, _| {
        let builder = builder.max_size(3).min_open(3).idle_timeout(None).max_lifetime(None).suspect_after(None);
        let pool = builder.build().expect("within their limits");
        within(SECOND, "all are open", || pool.stats().idle == 3);
        // All have rested, and nothing can age any more.
        sleep(600 * SECOND);
        let changed = pool.reconfigure(|settings| (settings.idle_timeout, settings.min_open) = (Some(60 * SECOND), 1));
        changed.expect("within their limits");
        within(5 * SECOND, "those beyond min_open leave", || pool.stats().closed(CloseReason::IdleTimeout) == 2);
        assert_eq!(pool.stats().idle, 1);
    });
}

#[test]
fn whoever_is_refused_in_an_outage_leaves_a_dial_behind() {
    in_worlds("refusals", |builder, plain| {
        plain.refuses.store(true, Ordering::SeqCst);
        let builder = builder.max_size(2).min_open(0).fail_fast_after(Duration::from_millis(150));
        let pool = builder.build().expect("within their limits");
        // One who waits is told after a while.
        let error = pool.get_timeout(30 * SECOND).map(drop).expect_err("it is down");
        assert!(error.kind() == GetErrorKind::Down && error.waited() >= SECOND / 10, "{error}");
        let told = plain.dials();
        within(2 * SECOND, "it is dialed once more", || plain.dials() == told + 1);
        sleep(SECOND / 100);
        // One who comes just after that is told at once.
        let error = pool.get_timeout(30 * SECOND).map(drop).expect_err("it is down");
        assert!(error.kind() == GetErrorKind::Down && error.waited() < SECOND / 100, "{error}");
        assert_eq!(plain.dials(), told + 1);
        plain.refuses.store(false, Ordering::SeqCst);
        within(2 * SECOND, "and once more", || plain.dials() == told + 2 && pool.stats().idle == 1);
    });
}
