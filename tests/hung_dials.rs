//! Dials that never return are in the way of no other: an endpoint that is well again is found again, the threads that hang stay few,
//! and what can end such a dial is called in time. `hanging_dials.rs` has those that return late.

mod support;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{Dial, GetErrorKind, Manager, Opening, Pool};
use support::{FakeError, HOPELESS, ON_PURPOSE, Thing, comes_to_rest, eventually, hush};

const MS: Duration = Duration::from_millis(1);

/// So long that it does not come within a test.
const LATE: Duration = Duration::from_secs(1_000);

// ---- an endpoint that swallows ----------------------------------------------------------------------------------------------

/// An endpoint whose dials hang until it is well. Those that hang by then go on hanging.
#[derive(Default)]
struct Abyss {
    well: AtomicBool,
    /// How many of those that hang return.
    returning: Mutex<usize>,
    bell: Condvar,
    hanging: AtomicUsize,
    dials: AtomicUsize,
}

impl Abyss {
    fn hanging(&self) -> usize {
        self.hanging.load(Ordering::SeqCst)
    }

    fn heal(&self) {
        self.well.store(true, Ordering::SeqCst);
    }

    /// Has this many of those that hang return.
    fn release(&self, dials: usize) {
        *self.returning.lock().unwrap() += dials;
        self.bell.notify_all();
    }

    fn swallow(&self) {
        self.hanging.fetch_add(1, Ordering::SeqCst);
        let mut returning = self.bell.wait_while(self.returning.lock().unwrap(), |returning| *returning == 0).unwrap();
        *returning -= 1;
        self.hanging.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Swallowing(Arc<Abyss>);

/// One whose threads all come back at the end of the test.
struct Mouth(Arc<Abyss>);

impl Drop for Mouth {
    fn drop(&mut self) {
        self.0.release(usize::MAX / 2);
    }
}

fn abyss() -> (Swallowing, Mouth) {
    let abyss = Arc::new(Abyss::default());
    (Swallowing(Arc::clone(&abyss)), Mouth(abyss))
}

impl Manager for Swallowing {
    type Connection = Thing;
    type Error = FakeError;

    fn connect(&self, _dial: &Dial<'_>) -> Result<Thing, FakeError> {
        let number = self.0.dials.fetch_add(1, Ordering::SeqCst);
        if !self.0.well.load(Ordering::SeqCst) {
            self.0.swallow();
            return Err(FakeError("swallowed"));
        }
        Ok(Thing(number as u64))
    }
}

/// Has this many dials hang, past their time.
fn swallowed(manager: Swallowing, dials_at_once: usize) -> Pool<Swallowing> {
    let abyss = Arc::clone(&manager.0);
    let builder = Pool::builder(manager).max_size(8).min_open(0).dials_at_once(dials_at_once).opening(Opening::Lazy);
    let pool = builder.dial_timeout(50 * MS).fail_fast_after(LATE).build().unwrap();
    thread::scope(|scope| {
        (0..dials_at_once).for_each(|_| {
            scope.spawn(|| pool.get_timeout(20 * MS).map(drop).unwrap_err());
        });
    });
    eventually("as many as may begin together hang, overdue", || {
        let _ = pool.try_get();
        abyss.hanging() >= dials_at_once && pool.stats().opening == 0
    });
    pool
}

#[test]
fn an_overdue_dial_never_stands_in_the_way_of_a_probe() {
    let (manager, mouth) = abyss();
    let pool = swallowed(manager, 4);
    mouth.0.heal();
    let lease = pool.get_timeout(HOPELESS).unwrap();
    assert!(mouth.0.hanging() >= 4, "they hang still: {}", mouth.0.hanging());
    drop(lease);
    // And all is as it was: no outage, and room for all.
    let leases: Vec<_> = (0..8).map(|_| pool.get_timeout(HOPELESS).unwrap()).collect();
    assert!(mouth.0.hanging() >= 4);
    drop(leases);
    drop(mouth);
    comes_to_rest(&pool);
}

/// A login without a timeout of its own, as stock clients have it.
struct Greeted(String);

impl Manager for Greeted {
    type Connection = TcpStream;
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.0)?;
        stream.read_exact(&mut [0; 5])?;
        Ok(stream)
    }
}

#[test]
fn a_listener_that_accepts_and_says_nothing_and_then_is_healthy_is_found_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (healthy, silent) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let (greets, keeps) = (Arc::clone(&healthy), Arc::clone(&silent));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if greets.load(Ordering::SeqCst) {
                let _ = stream.write_all(b"hello");
            }
            keeps.lock().unwrap().push(stream);
        }
    });
    let builder = Pool::builder(Greeted(address)).max_size(8).min_open(0).opening(Opening::Lazy);
    let pool = builder.dial_timeout(50 * MS).fail_fast_after(LATE).build().unwrap();
    thread::scope(|scope| {
        (0..8).for_each(|_| {
            scope.spawn(|| pool.get_timeout(100 * MS).map(drop).unwrap_err());
        });
    });
    eventually("four hang", || silent.lock().unwrap().len() >= 4 && pool.stats().opening == 0);
    healthy.store(true, Ordering::SeqCst);
    assert!(pool.get_timeout(HOPELESS).is_ok());
    // Those that hung return.
    silent.lock().unwrap().clear();
}

// ---- the bound --------------------------------------------------------------------------------------------------------------

#[test]
fn at_most_four_times_dials_at_once_hang_and_then_the_error_says_how_many_and_for_how_long() {
    let (manager, mouth) = abyss();
    let pool = swallowed(manager, 2);
    // Each retirement gives up what hangs, and has another one begin at once.
    eventually("as many hang as may", || {
        pool.retire(Duration::ZERO);
        let _ = pool.try_get();
        mouth.0.hanging() == 8
    });
    for _ in 0..10 {
        pool.retire(Duration::ZERO);
        let error = pool.get_timeout(10 * MS).map(drop).unwrap_err();
        assert_eq!(error.kind(), GetErrorKind::TimedOut);
        let cause = error.cause().unwrap().to_string();
        assert!(cause.starts_with("8 dials hang, the oldest of them for ") && cause.ends_with(" s"), "{cause}");
    }
    assert_eq!((mouth.0.hanging(), mouth.0.dials.load(Ordering::SeqCst)), (8, 8));
    // One returns, and one may begin.
    mouth.0.heal();
    mouth.0.release(1);
    assert!(pool.get_timeout(HOPELESS).is_ok());
    assert_eq!(mouth.0.hanging(), 7);
}

#[test]
fn the_pauses_between_probes_beside_hung_dials_grow() {
    let (manager, mouth) = abyss();
    let pool = swallowed(manager, 4);
    let (begun, before) = (Instant::now(), mouth.0.dials.load(Ordering::SeqCst));
    thread::scope(|scope| {
        (0..4).for_each(|_| {
            scope.spawn(|| pool.get_timeout(1_000 * MS).map(drop).unwrap_err());
        });
    });
    // More than a second and a half after the fourth, whatever the demand; two and a half after the fifth.
    let probes = mouth.0.dials.load(Ordering::SeqCst) - before;
    assert!(probes <= 1 + begun.elapsed().as_secs() as usize, "{probes} in {:?}", begun.elapsed());
}

// ---- by hand ----------------------------------------------------------------------------------------------------------------

#[test]
fn retire_heals_at_once_beside_dials_that_hang() {
    for dial_timeout in [LATE, 50 * MS] {
        let (manager, mouth) = abyss();
        let builder = Pool::builder(manager).max_size(4).min_open(4).opening(Opening::Background);
        let pool = builder.dial_timeout(dial_timeout).fail_fast_after(LATE).build().unwrap();
        eventually("four hang", || mouth.0.hanging() == 4);
        mouth.0.heal();
        pool.retire(Duration::ZERO);
        assert!(pool.get_timeout(HOPELESS).is_ok(), "{}", pool.stats());
        assert!(mouth.0.hanging() >= 4);
    }
}

#[test]
fn replace_manager_heals_at_once_beside_dials_that_hang() {
    for dial_timeout in [LATE, 50 * MS] {
        let (manager, mouth) = abyss();
        let (other, other_mouth) = abyss();
        other_mouth.0.heal();
        let builder = Pool::builder(manager).max_size(4).min_open(4).opening(Opening::Background);
        let pool = builder.dial_timeout(dial_timeout).fail_fast_after(LATE).build().unwrap();
        eventually("four hang", || mouth.0.hanging() >= 4);
        pool.replace_manager(other, Duration::ZERO);
        assert!(pool.get_timeout(HOPELESS).is_ok(), "{}", pool.stats());
        assert!(mouth.0.hanging() >= 4);
    }
}

// ---- what ends a dial -------------------------------------------------------------------------------------------------------

/// Whose dials are ended by a handle of their client's, which the pool is given as this closure.
struct Cancellable<F>(F);

impl<F: Fn(&Dial<'_>) -> Result<(), FakeError> + Send + Sync + 'static> Manager for Cancellable<F> {
    type Connection = ();
    type Error = FakeError;

    fn connect(&self, dial: &Dial<'_>) -> Result<(), FakeError> {
        (self.0)(dial)
    }
}

fn here() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

#[test]
fn what_is_to_end_a_dial_is_called_once_in_the_background_and_on_no_reactor_thread() {
    let (calls, returned) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let (writes, counts) = (Arc::clone(&calls), Arc::clone(&returned));
    let manager = Cancellable(move |dial: &Dial<'_>| {
        let (cancel, cancelled) = mpsc::channel();
        let writes = Arc::clone(&writes);
        dial.at_deadline(move || {
            writes.lock().unwrap().push(here());
            cancel.send(()).unwrap();
        });
        // A call that its client's handle alone can end.
        cancelled.recv().unwrap();
        assert!(dial.remaining().is_zero(), "{:?} too early", dial.remaining());
        counts.fetch_add(1, Ordering::SeqCst);
        Err(FakeError("cancelled"))
    });
    let builder = Pool::builder(manager).max_size(2).opening(Opening::Background).dial_timeout(20 * MS);
    let pool = builder.build().unwrap();
    eventually("some have come back", || returned.load(Ordering::SeqCst) >= 3);
    pool.close();
    comes_to_rest(&pool);
    eventually("all have", || returned.load(Ordering::SeqCst) as u64 == pool.stats().dials);
    let calls = calls.lock().unwrap();
    assert_eq!(calls.len() as u64, pool.stats().dials, "once each");
    assert!(calls.iter().all(|thread| !thread.starts_with("corepool-s") && *thread != here()), "{calls:?}");
}

#[test]
fn what_is_to_end_a_dial_is_dropped_uncalled_when_connect_returns_in_time() {
    struct Told(Arc<AtomicUsize>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    for succeeds in [true, false] {
        let (dropped, called) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (told, calls) = (Arc::clone(&dropped), Arc::clone(&called));
        let manager = Cancellable(move |dial: &Dial<'_>| {
            let (told, calls) = (Told(Arc::clone(&told)), Arc::clone(&calls));
            dial.at_deadline(move || {
                let _told = told;
                calls.fetch_add(1, Ordering::SeqCst);
            });
            if succeeds { Ok(()) } else { Err(FakeError("no")) }
        });
        let builder = Pool::builder(manager).max_size(1).min_open(0).opening(Opening::Lazy).dial_timeout(HOPELESS);
        let pool = builder.build().unwrap();
        let served = pool.get_timeout(200 * MS).is_ok();
        assert_eq!(served, succeeds);
        comes_to_rest(&pool);
        eventually("all are gone", || dropped.load(Ordering::SeqCst) as u64 == pool.stats().dials);
        assert!(dropped.load(Ordering::SeqCst) > 0);
        assert_eq!(called.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn what_is_to_end_a_dial_is_called_at_once_and_here_if_its_time_is_up() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let manager = Cancellable(move |dial: &Dial<'_>| {
        let (up, is_up) = mpsc::channel();
        dial.at_deadline(move || up.send(()).unwrap());
        is_up.recv().unwrap();
        let (me, late) = (thread::current().id(), Arc::new(AtomicBool::new(false)));
        let calls = Arc::clone(&late);
        dial.at_deadline(move || calls.store(thread::current().id() == me, Ordering::SeqCst));
        let _ = tell.lock().unwrap().send(late.load(Ordering::SeqCst));
        Err(FakeError("late"))
    });
    let builder = Pool::builder(manager).max_size(1).opening(Opening::Background).dial_timeout(20 * MS);
    let _pool = builder.build().unwrap();
    assert!(told.recv_timeout(HOPELESS).unwrap());
}

#[test]
fn one_that_panics_costs_nothing() {
    hush();
    let manager = Cancellable(move |dial: &Dial<'_>| {
        let (up, is_up) = mpsc::channel::<()>();
        dial.at_deadline(move || {
            let _up = up;
            panic!("{ON_PURPOSE}: at the deadline");
        });
        let _ = is_up.recv();
        Err(FakeError("late"))
    });
    let builder = Pool::builder(manager).max_size(1).opening(Opening::Background).dial_timeout(10 * MS);
    let pool = builder.build().unwrap();
    eventually("it goes on", || pool.stats().dials_failed >= 3);
    pool.close();
    comes_to_rest(&pool);
}
