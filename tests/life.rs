//! The life of a connection: never shorter than it was set, looked at once when it has rested, told of when it is held for too long.
//! `expiry.rs` has its other ends.

mod support;

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Dial, Event, Lease, Manager, Opening, Outcome, Pool, TcpManager, Verdict};
use support::{Counting, Fake, HOPELESS, Heard, Hooked, Server, comes_to_rest, eventually, exchange, local_port};

const MS: Duration = Duration::from_millis(1);

/// What is known of a connection when it is closed.
#[derive(Debug, Clone, Copy)]
struct End {
    why: CloseReason,
    age: Duration,
    unused: Duration,
}

/// Opens things that know when they were born and used, and writes down how they ended.
#[derive(Clone, Default)]
struct Mortal(Arc<Mutex<Vec<End>>>);

struct Dated {
    born: Instant,
    used: Instant,
}

impl Mortal {
    fn ends(&self, why: CloseReason) -> Vec<End> {
        self.0.lock().unwrap().iter().filter(|end| end.why == why).copied().collect()
    }
}

impl Manager for Mortal {
    type Connection = Dated;
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<Dated> {
        Ok(Dated { born: Instant::now(), used: Instant::now() })
    }

    fn on_return(&self, dated: &mut Dated, _how: Outcome) -> Verdict {
        dated.used = Instant::now();
        Verdict::Keep
    }

    fn close(&self, dated: Dated, why: CloseReason) {
        let end = End { why, age: dated.born.elapsed(), unused: dated.used.elapsed() };
        self.0.lock().unwrap().push(end);
    }
}

#[test]
fn idle_timeout_is_counted_from_the_last_use() {
    let mortal = Mortal::default();
    let builder = Pool::builder(mortal.clone()).max_size(4).min_open(0).idle_timeout(Some(50 * MS));
    let pool = builder.opening(Opening::Lazy).build().unwrap();
    for _ in 0..10 {
        // Uses at all times of the sweep.
        for _ in 0..fastrand::u32(1..40) {
            drop(pool.get_timeout(HOPELESS).unwrap());
            thread::sleep(fastrand::u32(0..3) * MS);
        }
        eventually("it is closed", || pool.stats().open == 0);
    }
    eventually("ten ends", || mortal.ends(CloseReason::IdleTimeout).len() >= 10);
    let early: Vec<_> = mortal.ends(CloseReason::IdleTimeout).into_iter().filter(|end| end.unused < 50 * MS).collect();
    assert!(early.is_empty(), "{early:?}");
}

#[test]
fn max_lifetime_ends_the_idle_by_itself_and_they_are_replaced() {
    let mortal = Mortal::default();
    let pool = Pool::builder(mortal.clone()).max_size(4).min_open(4).max_lifetime(Some(20 * MS)).build().unwrap();
    eventually("three generations", || mortal.ends(CloseReason::Expired).len() >= 12);
    let early: Vec<_> = mortal.ends(CloseReason::Expired).into_iter().filter(|end| end.age < 18 * MS).collect();
    assert!(early.is_empty(), "less than the jitter allows: {early:?}");
    assert_eq!(pool.stats().closed_in_all(), pool.stats().closed(CloseReason::Expired));
    drop(pool);
}

// What nobody watches is looked at on every checkout.
#[cfg(not(corepool_unwatched))]
#[test]
fn one_that_has_lain_idle_for_probe_after_is_looked_at_once() {
    let server = Server::echo();
    let looks = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&looks);
    let manager = Hooked::new(TcpManager::new(server.address())).on_idle_data(move |_, _| {
        counts.fetch_add(1, Ordering::SeqCst);
        Verdict::Keep
    });
    let pool = Pool::builder(manager).max_size(1).probe_after(200 * MS).build().unwrap();
    let port = local_port(&*pool.get().unwrap());
    server.push(port, b"kept, and never read");
    let begun = Instant::now();
    while looks.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < HOPELESS, "nobody ever looked");
        // Long enough to age.
        thread::sleep(300 * MS);
        drop(pool.get().unwrap());
    }
    for _ in 0..100 {
        drop(pool.get().unwrap());
    }
    let looks = looks.load(Ordering::SeqCst);
    assert!(looks < 5, "{looks} looks at one that is in use all the time");
    assert_eq!(pool.stats().closed_in_all(), 0);
}

#[test]
fn a_long_hold_is_told_of_once_by_the_name_of_its_thread() {
    let heard = Heard::default();
    let builder = Pool::builder(Fake::default()).max_size(2).hold_limit(Some(20 * MS)).observer(heard.clone());
    let pool = builder.build().unwrap();
    let holds = |name: &str| {
        heard.count(|event| match event {
            Event::HoldExceeded { thread, held, cut } => {
                assert!(*held >= 20 * MS && !cut, "{event:?}");
                thread.starts_with(name)
            }
            _ => false,
        })
    };
    thread::scope(|scope| {
        let hold = |name: &'static str| {
            let (pool, holds) = (&pool, &holds);
            move || {
                let lease = pool.get().unwrap();
                eventually("it is told", || holds(name) > 0);
                // Only longer than the setting: once is enough.
                thread::sleep(60 * MS);
                drop(lease);
            }
        };
        thread::Builder::new().name("nightly report".into()).spawn_scoped(scope, hold("nightly report")).unwrap();
        // One without a name has a number.
        scope.spawn(hold("thread "));
    });
    assert_eq!((holds("nightly report"), holds("thread "), pool.stats().holds_exceeded), (1, 1, 2));
    assert_eq!((pool.stats().closed_in_all(), pool.stats().hooks_overran), (0, 0), "both work on");
    comes_to_rest(&pool);
}

#[test]
fn many_short_holds_are_no_long_one() {
    let pool = Pool::builder(Fake::default()).max_size(1).hold_limit(Some(400 * MS)).build().unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 1_200 * MS {
        let lease = pool.get().unwrap();
        thread::sleep(5 * MS);
        drop(lease);
    }
    assert_eq!(pool.stats().holds_exceeded, 0);
}

#[test]
fn cut_held_makes_a_stuck_read_return() {
    let server = Server::mute();
    let heard = Heard::default();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let builder = Pool::builder(manager).max_size(1).hold_limit(Some(50 * MS)).cut_held(true);
    let pool = builder.wait_timeout(HOPELESS).observer(heard.clone()).build().unwrap();
    thread::scope(|scope| {
        let stuck = scope.spawn(|| pool.with(|conn| conn.hold(|conn| exchange(conn, b"anybody there?"))));
        eventually("it is held", || pool.stats().leased == 1);
        // Whoever waits behind it is served once it is cut.
        let waiter = scope.spawn(|| pool.get().map(|lease| lease.id()));
        let error = stuck.join().unwrap().unwrap_err().flatten();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(waiter.join().unwrap().unwrap(), 1);
    });
    eventually("its close", || census.fate(0) == Some(CloseReason::HeldTooLong));
    eventually("an event", || heard.count(|event| matches!(event, Event::HoldExceeded { cut: true, .. })) == 1);
    assert_eq!((pool.stats().holds_exceeded, pool.stats().closed(CloseReason::HeldTooLong)), (1, 1));
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn without_cut_held_it_is_only_told_of() {
    let server = Server::echo();
    let builder = Pool::builder(TcpManager::new(server.address())).max_size(1).hold_limit(Some(20 * MS));
    let pool = builder.build().unwrap();
    let mut lease = pool.get().unwrap();
    eventually("it is seen", || pool.stats().holds_exceeded == 1);
    exchange(&mut *lease, b"still connected").unwrap();
    assert!(!Lease::stale(&lease));
    let _ = lease.read(&mut []);
    drop(lease);
    assert_eq!((pool.stats().idle, pool.stats().closed_in_all()), (1, 0));
}
