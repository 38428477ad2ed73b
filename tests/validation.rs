//! Validation after a rest: what has lain idle for `validate_after` is pinged before it is lent, and what has not is asked nothing.

mod support;

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use corepool::{CloseReason, Conn, Dial, GetErrorKind, Manager, Outcome, Pool, TcpManager, Verdict, Watch};
use support::{
    Counting, Fake, FakeError, HOPELESS, Hooked, ON_PURPOSE, Server, Thing, comes_to_rest, eventually, hush,
};

const MS: Duration = Duration::from_millis(1);

/// Which thread pinged which, how long after its last use.
#[derive(Default)]
struct Pings {
    of: Mutex<Vec<(u64, ThreadId, Duration)>>,
    used: Mutex<Option<Instant>>,
}

impl Pings {
    /// A manager of things whose pings are written down, and answered as `answer` says.
    fn noted(answer: impl Fn(&Thing) -> Result<(), FakeError> + Send + Sync + 'static) -> (Hooked<Fake>, Arc<Pings>) {
        let pings = Arc::new(Pings::default());
        let (notes, returns) = (Arc::clone(&pings), Arc::clone(&pings));
        let manager = Hooked::new(Fake::default()).ping(move |thing| {
            let unused = notes.used.lock().unwrap().map_or(Duration::MAX, |used| used.elapsed());
            notes.of.lock().unwrap().push((thing.0, thread::current().id(), unused));
            answer(thing)
        });
        let manager = manager.on_return(move |_, _| {
            *returns.used.lock().unwrap() = Some(Instant::now());
            Verdict::Keep
        });
        (manager, pings)
    }

    fn count(&self) -> usize {
        self.of.lock().unwrap().len()
    }
}

/// Uses it now and then, each time after a rest, until `done`.
#[track_caller]
fn use_rarely<M: Manager>(pool: &Pool<M>, rest: Duration, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < HOPELESS, "not after {HOPELESS:?}");
        thread::sleep(rest);
        drop(pool.get().unwrap());
    }
}

#[test]
fn one_that_has_lain_idle_for_so_long_is_pinged_on_the_callers_thread_before_it_is_lent() {
    let (manager, pings) = Pings::noted(|_| Ok(()));
    let pool = Pool::builder(manager).max_size(1).validate_after(Some(20 * MS)).build().unwrap();
    drop(pool.get().unwrap());
    use_rarely(&pool, 60 * MS, || pings.count() >= 3);
    let pings = pings.of.lock().unwrap();
    assert!(pings.iter().all(|(_, thread, _)| *thread == thread::current().id()));
    // The first use of all may have come after a rest, too.
    assert!(pings.iter().all(|(_, _, unused)| *unused >= 20 * MS), "too early: {pings:?}");
    assert_eq!((pool.stats().opened, pool.stats().closed_in_all()), (1, 0));
}

#[test]
fn one_that_has_not_lain_idle_for_so_long_is_asked_nothing() {
    let (manager, pings) = Pings::noted(|_| Ok(()));
    let pool = Pool::builder(manager).max_size(2).validate_after(Some(100 * HOPELESS)).build().unwrap();
    for _ in 0..40 {
        drop(pool.get().unwrap());
        thread::sleep(2 * MS);
    }
    assert_eq!(pings.count(), 0);
    // Nor is any, by default.
    let (manager, pings) = Pings::noted(|_| Ok(()));
    let pool = Pool::builder(manager).max_size(2).build().unwrap();
    drop(pool.get().unwrap());
    thread::sleep(50 * MS);
    drop(pool.get().unwrap());
    assert_eq!(pings.count(), 0);
}

#[test]
fn one_whose_ping_fails_is_closed_and_the_next_one_is_lent() {
    // All of the first three have died meanwhile, and those that are opened then have not.
    let (manager, pings) = Pings::noted(|thing| if thing.0 <= 3 { Err(FakeError("gone")) } else { Ok(()) });
    let (manager, census) = Counting::new(manager);
    let builder = Pool::builder(manager).max_size(3).min_open(3).validate_after(Some(20 * MS));
    let pool = builder.wait_timeout(HOPELESS).build().unwrap();
    let leases: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
    drop(leases);
    let begun = Instant::now();
    while census.closed(CloseReason::PingFailed) < 3 {
        assert!(begun.elapsed() < HOPELESS, "not after {HOPELESS:?}");
        thread::sleep(60 * MS);
        // All at once, or one that nobody needs stays where it is.
        let leases: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
        drop(leases);
    }
    assert!(pings.count() >= 3);
    assert_eq!(pool.stats().closed_in_all(), 3);
    // They had been used: no evidence against the endpoint.
    assert_eq!(pool.stats().dials_failed, 0);
    eventually("three others", || pool.stats().idle == 3);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_panic_in_it_costs_that_connection_alone() {
    hush();
    let (manager, _pings) = Pings::noted(|thing| {
        assert!(thing.0 != 1, "{ON_PURPOSE}");
        Ok(())
    });
    let pool = Pool::builder(manager).max_size(1).validate_after(Some(20 * MS)).wait_timeout(HOPELESS).build().unwrap();
    drop(pool.get().unwrap());
    use_rarely(&pool, 60 * MS, || pool.stats().closed(CloseReason::Panicked) == 1);
    assert_eq!((pool.stats().closed_in_all(), pool.stats().open), (1, 1));
    comes_to_rest(&pool);
}

#[test]
fn it_comes_before_the_checkout_hook() {
    let (pinged, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (pings, then) = (Arc::clone(&pinged), Arc::clone(&asked));
    let manager = Hooked::new(Fake::default()).ping(move |_| {
        then.store(false, Ordering::SeqCst);
        pings.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let asks = Arc::clone(&asked);
    let manager = manager.on_checkout(move |_| {
        asks.store(true, Ordering::SeqCst);
        Ok(Verdict::Keep)
    });
    let pool = Pool::builder(manager).max_size(1).validate_after(Some(20 * MS)).build().unwrap();
    use_rarely(&pool, 60 * MS, || pinged.load(Ordering::SeqCst) > 0);
    assert!(asked.load(Ordering::SeqCst));
}

/// Pings by waiting for a word from the server, which says none.
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

    fn on_return(&self, _: &mut Conn, _: Outcome) -> Verdict {
        Verdict::Keep
    }

    fn ping(&self, conn: &mut Conn) -> io::Result<()> {
        conn.read_exact(&mut [0; 8])
    }
}

#[test]
fn one_that_hangs_is_cut_while_there_is_time_for_another() {
    // By the ping's own limit, and by half of the caller's time.
    for (wait_timeout, ping_timeout) in [(HOPELESS, 50 * MS), (Duration::from_secs(3), 100 * HOPELESS)] {
        let server = Server::mute();
        let (manager, census) = Counting::new(Patient(TcpManager::new(server.address())));
        let builder = Pool::builder(manager).max_size(1).validate_after(Some(20 * MS)).ping_timeout(ping_timeout);
        let pool = builder.wait_timeout(wait_timeout).build().unwrap();
        drop(pool.get().unwrap());
        // Each of these callers is served, whatever it has met.
        use_rarely(&pool, 60 * MS, || census.closed(CloseReason::PingFailed) > 0);
        assert_eq!((pool.stats().timed_out, pool.stats().hooks_overran), (0, 0));
        census.verify();
    }
}

#[test]
fn who_has_no_time_left_leaves_it_where_it_is() {
    let (manager, pings) = Pings::noted(|_| Ok(()));
    let pool = Pool::builder(manager).max_size(1).validate_after(Some(20 * MS)).build().unwrap();
    drop(pool.get().unwrap());
    let (begun, before) = (Instant::now(), pings.count());
    loop {
        thread::sleep(60 * MS);
        // Without a look at the clock it is lent, as long as it need not be pinged.
        match pool.get_timeout(Duration::from_nanos(1)) {
            Ok(lease) => drop(lease),
            Err(error) => break assert_eq!(error.kind(), GetErrorKind::TimedOut),
        }
        assert!(begun.elapsed() < HOPELESS, "it was never asked for");
    }
    assert_eq!((pings.count(), pool.stats().idle, pool.stats().closed_in_all()), (before, 1, 0));
    drop(pool.get().unwrap());
    assert_eq!(pings.count(), before + 1, "by the next one, who has");
}
