//! The defects of r2d2, HikariCP, Vitess, pgx, Finch and pingora that were seen or read (`DESIGN.md`, section 10, 12 to 21): each under its
//! number, and none of them ours.

mod support;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Dial, GetError, GetErrorKind, Lease, Manager, Opening, Pool, TcpManager, Verdict};
use support::{
    Counting, Fake, HOPELESS, Hooked, ON_PURPOSE, Server, chain, comes_to_rest, eventually, hush, local_port, panics,
};

const MS: Duration = Duration::from_millis(1);

#[test]
fn defect_12_a_panic_in_validate_or_connect_loses_the_slot() {
    hush();
    let (fake, angry) = (Fake::default(), Arc::new(AtomicBool::new(true)));
    let (script, armed) = (fake.script.clone(), Arc::clone(&angry));
    let manager = Hooked::new(fake).on_checkout(move |_| {
        assert!(!armed.load(Ordering::SeqCst), "{ON_PURPOSE}");
        Ok(Verdict::Keep)
    });
    let (manager, census) = Counting::new(manager);
    let builder = Pool::builder(manager).max_size(2).min_open(0).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(HOPELESS * 10).build().unwrap();
    let mut rounds = 0;
    eventually("some of both", || {
        // Every connection that the caller is given panics until their time is up.
        assert_eq!(pool.get_timeout(20 * MS).unwrap_err().kind(), GetErrorKind::TimedOut);
        script.panic();
        assert_eq!(pool.get_timeout(20 * MS).unwrap_err().kind(), GetErrorKind::TimedOut);
        script.open();
        rounds += 1;
        let stats = pool.stats();
        rounds >= 4 && stats.closed(CloseReason::Panicked) > 0 && stats.dials_failed > 0
    });
    angry.store(false, Ordering::SeqCst);
    let both = [pool.get_timeout(HOPELESS).unwrap(), pool.get_timeout(HOPELESS).unwrap()];
    drop(both);
    comes_to_rest(&pool);
    let stats = pool.stats();
    assert_eq!(stats.open, 2, "\n{stats}");
    eventually("every close", || census.alive() == 2);
    census.verify();
}

#[test]
fn defect_13_an_expired_connection_is_handed_out_again() {
    let (manager, census) = Counting::new(Fake::default());
    let builder = Pool::builder(manager).max_size(2).min_open(0).opening(Opening::Lazy);
    let pool = builder.max_lifetime(Some(20 * MS)).build().unwrap();
    let expired = || pool.stats().closed(CloseReason::Expired);
    for _ in 0..5 {
        let older = pool.get_timeout(HOPELESS).unwrap();
        // By more than the jitter, 2 ms, so that the older one has expired once the younger has.
        thread::sleep(5 * MS);
        let younger = pool.get_timeout(HOPELESS).unwrap();
        let (ids, before) = ([older.id(), younger.id()], expired());
        drop(younger);
        // The idle one goes by itself. What was noted of the other in the same look is heeded when it comes back.
        eventually("it expires", || expired() == before + 1);
        assert_eq!(pool.stats().open, 1);
        drop(older);
        assert_eq!((pool.stats().open, expired()), (0, before + 2));
        let next = pool.get_timeout(HOPELESS).unwrap();
        assert!(!ids.contains(&next.id()), "{} again", next.id());
        Lease::discard(next);
    }
    census.verify();
}

#[test]
fn defect_14_validation_is_outside_the_wait_budget() {
    const BUDGET: Duration = Duration::from_millis(100);
    let begun = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&begun);
    // Ten dead ones, and it takes half of the budget to find out that one is.
    let manager = Hooked::new(Fake::default()).on_checkout(move |_| {
        counts.fetch_add(1, Ordering::SeqCst);
        thread::sleep(BUDGET / 2);
        Ok(Verdict::Discard)
    });
    let pool = Pool::builder(manager).max_size(10).min_open(10).build().unwrap();
    let error = pool.get_timeout(BUDGET).unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::TimedOut);
    assert!(error.waited() >= BUDGET);
    let begun = begun.load(Ordering::SeqCst);
    assert!(begun <= 3, "{begun} validations in a time for two");
}

#[test]
fn defect_15_only_one_waiter_learns_the_cause() {
    let fake = Fake::default();
    fake.script.fail("nobody is at home");
    let pool = Pool::builder(fake).max_size(8).opening(Opening::Lazy).fail_fast_after(600 * MS).build().unwrap();
    thread::scope(|scope| {
        // Some run out of time before the pool gives up, some are told by it.
        let callers: Vec<_> = (0..16)
            .map(|n| {
                let pool = &pool;
                scope.spawn(move || pool.get_timeout(if n % 2 == 0 { 300 * MS } else { HOPELESS }).map(drop))
            })
            .collect();
        for caller in callers {
            let error = caller.join().unwrap().unwrap_err();
            assert!(matches!(error.kind(), GetErrorKind::TimedOut | GetErrorKind::Down), "{error}");
            assert!(chain(&error).ends_with(": nobody is at home"), "{}", chain(&error));
        }
    });
}

#[test]
fn defect_16_the_first_connection_after_an_outage_takes_seconds() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.fail("down");
    let builder = Pool::builder(fake).max_size(2).min_open(1).opening(Opening::Background);
    let pool = builder.fail_fast_after(HOPELESS * 10).build().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(|_| Instant::now()));
        // Long enough for pauses that nobody cuts to have grown to their second.
        thread::sleep(2_500 * MS);
        let (up, dials) = (Instant::now(), script.dials());
        script.open();
        let served = waiter.join().unwrap().unwrap();
        assert!(served - up < 900 * MS, "served {:?} after the endpoint was up", served - up);
        let attempts = script.attempts();
        let before: Vec<_> = attempts[..dials].windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(dials >= 5 && before.iter().max().unwrap() < &(900 * MS), "pauses: {before:?}");
    });
    comes_to_rest(&pool);
}

#[test]
fn defect_17_a_thread_beside_one_that_reborrows_waits_for_many_turns() {
    const ROUNDS: usize = 200;
    // Strictly in turn, and as it is by default: from a millisecond of waiting on.
    for handoff_after in [Duration::ZERO, MS] {
        let pool = Pool::builder(Fake::default()).max_size(1).handoff_after(handoff_after).build().unwrap();
        let (pool, turns, queued) = (&pool, &AtomicUsize::new(0), &Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let lease = pool.get_timeout(HOPELESS).unwrap();
                    turns.fetch_add(1, Ordering::SeqCst);
                    queued.wait();
                    eventually("the other one waits", || pool.stats().waiting == 1);
                    // Only longer than the setting: the other one is due from then on.
                    thread::sleep(2 * handoff_after);
                    drop(lease);
                    // And at once again, as a thread does that has the core.
                }
            });
            for turn in 1..=ROUNDS {
                queued.wait();
                let lease = pool.get_timeout(HOPELESS).unwrap();
                assert_eq!(turns.load(Ordering::SeqCst), turn, "the other one came back before it was this one's turn");
                drop(lease);
            }
        });
        assert_eq!(pool.stats().leases, 2 * ROUNDS as u64);
        comes_to_rest(pool);
    }
}

#[test]
fn defect_18_connections_are_handed_to_waiters_that_have_expired() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(1).handoff_after(Duration::ZERO).build().unwrap();
    for _ in 0..20 {
        let before = pool.stats().leases;
        let lease = pool.get().unwrap();
        thread::scope(|scope| {
            let expired: Vec<_> = (0..8).map(|_| scope.spawn(|| pool.get_timeout(MS).map(drop))).collect();
            // Eight a round and one more: so many have come, whether they are still there or not.
            eventually("they have come", || pool.stats().waited % 9 == 8);
            let living = scope.spawn(|| pool.get_timeout(HOPELESS).map(drop));
            expired.into_iter().for_each(|waiter| assert!(waiter.join().unwrap().is_err()));
            eventually("the living one waits", || pool.stats().waiting == 1);
            drop(lease);
            living.join().unwrap().unwrap();
        });
        assert_eq!((pool.stats().leases, pool.at_rest()), (before + 2, Ok(())));
    }
    assert_eq!(census.opened(), 1);
}

/// Notes how old its connections were when they were closed for their age.
struct Aging(Arc<Mutex<Vec<Duration>>>);

impl Manager for Aging {
    type Connection = Instant;
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<Instant> {
        Ok(Instant::now())
    }

    fn close(&self, born: Instant, why: CloseReason) {
        if why == CloseReason::Expired {
            self.0.lock().unwrap().push(born.elapsed());
        }
    }
}

#[test]
fn defect_19_lifetime_jitter_is_drawn_anew_at_each_look() {
    const LIFETIME: Duration = Duration::from_secs(1);
    const OPEN: usize = 64;
    let ages = Arc::new(Mutex::new(Vec::new()));
    let builder = Pool::builder(Aging(Arc::clone(&ages))).max_size(OPEN).min_open(OPEN).dials_at_once(8);
    // Looked at every few milliseconds. If each look drew anew, nearly all would go in the first tenth of the jitter.
    let pool = builder.max_lifetime(Some(LIFETIME)).probe_after(5 * MS).build().unwrap();
    eventually("all have expired", || {
        drop(pool.get().unwrap());
        ages.lock().unwrap().len() >= OPEN
    });
    let mut ages = ages.lock().unwrap().clone();
    ages.truncate(OPEN);
    assert!(ages.iter().all(|age| *age >= LIFETIME * 9 / 10), "younger than the jitter allows: {ages:?}");
    let late = ages.iter().filter(|age| **age >= LIFETIME * 95 / 100).count();
    assert!(late >= OPEN / 8, "a herd: only {late} of {OPEN} lived through half of the jitter: {ages:?}");
}

#[test]
fn defect_20_counters_drift_after_panics() {
    hush();
    let angry = AtomicU64::new(0);
    let sometimes = move || assert!(!angry.fetch_add(1, Ordering::SeqCst).is_multiple_of(3), "{ON_PURPOSE}");
    let sometimes = Arc::new(sometimes);
    let (at_checkout, at_return) = (Arc::clone(&sometimes), Arc::clone(&sometimes));
    let manager = Hooked::new(Fake::default()).on_checkout(move |_| {
        at_checkout();
        Ok(Verdict::Keep)
    });
    let (manager, census) = Counting::new(manager.on_return(move |_, _| {
        at_return();
        Verdict::Keep
    }));
    let pool = Pool::builder(manager).max_size(3).min_open(0).wait_timeout(HOPELESS).build().unwrap();
    let begun = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    panics(|| {
                        pool.with(|_| -> Result<(), GetError> {
                            begun.fetch_add(1, Ordering::SeqCst);
                            panic!("{ON_PURPOSE}")
                        })
                    });
                }
            });
        }
    });
    comes_to_rest(&pool);
    let stats = pool.stats();
    assert_eq!((stats.leased, stats.waiting, stats.opening), (0, 0, 0), "\n{stats}");
    assert_eq!((stats.leases, begun.load(Ordering::SeqCst)), (1_000, 1_000), "\n{stats}");
    assert_eq!(stats.opened, stats.closed_in_all() + stats.open as u64, "\n{stats}");
    assert_eq!(stats.opened, census.opened() as u64, "\n{stats}");
    eventually("every close", || census.alive() == pool.stats().open);
    census.verify();
}

#[cfg(not(corepool_unwatched))]
#[test]
fn defect_21_a_stale_registration_removed_by_its_number_hits_another_connection() {
    use std::os::fd::{AsFd, AsRawFd};

    let server = Server::echo();
    // No peek at checkout: what is seen here, the watch has seen.
    let manager = TcpManager::new(server.address());
    let builder = Pool::builder(manager).max_size(2).min_open(0).probe_after(HOPELESS).opening(Opening::Lazy);
    let pool = builder.build().unwrap();
    let mut reused = 0;
    for round in 0..100 {
        let (first, second) = (pool.get().unwrap(), pool.get().unwrap());
        let numbers = [first.as_fd().as_raw_fd(), second.as_fd().as_raw_fd()];
        drop(second);
        // Ends while its number, and that of the pool's duplicate, are given to the next.
        Lease::discard(first);
        let (third, fourth) = (pool.get().unwrap(), pool.get().unwrap());
        let ports = [local_port(&*third), local_port(&*fourth)];
        reused += usize::from(numbers[0] == third.as_fd().as_raw_fd() || numbers[0] == fourth.as_fd().as_raw_fd());
        drop((third, fourth));
        ports.into_iter().for_each(|port| server.close(port));
        let dead = || pool.stats().closed(CloseReason::PeerClosed);
        eventually("both are seen to be dead", || dead() == 2 * (round + 1));
        assert_eq!(pool.stats().open, 0);
    }
    assert!(reused > 0, "no descriptor number was ever used again");
}
