//! A dial that hangs costs no more than a thread: its permit is free at its deadline, and what it brings later is parked or closed.

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use corepool::{CloseReason, Dial, GetErrorKind, Manager, Opening, Pool};
use support::{Counting, Fake, HOPELESS, Server, comes_to_rest, eventually};

const MS: Duration = Duration::from_millis(1);

/// So long that it does not come within a test.
const LATE: Duration = Duration::from_secs(1_000);

#[test]
fn at_its_deadline_it_has_failed_and_says_so() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let builder = Pool::builder(fake).max_size(1).opening(Opening::Lazy).dial_timeout(30 * MS);
    let pool = builder.fail_fast_after(50 * MS).build().unwrap();
    let error = pool.get_timeout(HOPELESS).unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Down);
    assert_eq!(error.cause().unwrap().to_string(), "the dial took longer than 30 ms");
    let stats = pool.stats();
    assert!(stats.dials_failed >= 1 && stats.open == 0, "\n{stats}");
    script.open();
}

#[test]
fn its_permit_serves_another_dial() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let (manager, census) = Counting::new(fake);
    let builder = Pool::builder(manager).max_size(1).opening(Opening::Lazy).dial_timeout(30 * MS);
    let pool = builder.dials_at_once(2).fail_fast_after(LATE).build().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(drop));
        // The first is overdue; its permit has gone to the second, and its thread hangs on.
        eventually("two dials", || script.under_way() == 2);
        assert!(pool.stats().opening <= 1);
        script.open();
        waiter.join().unwrap().unwrap();
    });
    // Whichever has the one permit there is has come in; the other found none.
    eventually("the other is closed", || census.closed(CloseReason::Surplus) == 1 && census.alive() == 1);
    comes_to_rest(&pool);
    let stats = pool.stats();
    assert_eq!((stats.open, stats.opened, stats.closed(CloseReason::Surplus)), (1, 2, 1), "\n{stats}");
    census.verify();
}

#[test]
fn what_it_brings_later_is_parked_while_there_is_room() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let (manager, census) = Counting::new(fake);
    let builder = Pool::builder(manager).max_size(2).min_open(0).opening(Opening::Lazy).dial_timeout(30 * MS);
    let pool = builder.dials_at_once(1).fail_fast_after(LATE).build().unwrap();
    assert_eq!(pool.try_get().map(drop).unwrap_err().kind(), GetErrorKind::Busy);
    eventually("overdue", || pool.stats().dials_failed == 1 && pool.stats().opening == 0);
    eventually("its thread hangs on", || script.under_way() == 1);
    pool.reconfigure(|settings| settings.dial_timeout = LATE).unwrap();
    script.open();
    eventually("parked", || pool.stats().idle == 1);
    comes_to_rest(&pool);
    assert_eq!(pool.try_get().unwrap().id(), 0);
    // And that ends the outage: the next is dialed without a pause.
    let _lease = pool.get().unwrap();
    drop(pool.get_timeout(HOPELESS).unwrap());
    assert_eq!((census.opened(), pool.stats().closed_in_all(), pool.stats().dials_failed), (2, 0, 1));
}

#[test]
fn however_many_come_late_there_are_never_more_than_max_size() {
    for max_size in 1..=4 {
        let fake = Fake::default();
        let script = fake.script.clone();
        script.hang();
        let (manager, census) = Counting::new(fake);
        let builder = Pool::builder(manager).max_size(max_size).min_open(max_size).dials_at_once(16);
        let builder = builder.opening(Opening::Background).dial_timeout(10 * MS).fail_fast_after(LATE);
        let pool = builder.build().unwrap();
        // One probe at a time and each of them overdue: threads gather.
        eventually("many hang", || script.under_way() > 2 * max_size);
        script.open();
        eventually("they are back", || {
            let stats = pool.stats();
            assert!(stats.open + stats.opening <= max_size, "\n{stats}");
            script.under_way() == 0 && stats.idle == max_size
        });
        comes_to_rest(&pool);
        let surplus = || pool.stats().closed(CloseReason::Surplus);
        eventually("the others leave", || surplus() + max_size as u64 == census.opened() as u64);
        assert_eq!(pool.stats().opened, census.opened() as u64);
        eventually("the others are closed", || census.alive() == max_size);
        census.verify();
    }
}

#[test]
fn those_that_hang_together_make_the_next_probe_wait() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let builder = Pool::builder(fake).max_size(8).min_open(8).dials_at_once(3).dial_timeout(10 * MS);
    let pool = builder.opening(Opening::Background).fail_fast_after(LATE).build().unwrap();
    eventually("as many as may be", || script.under_way() == 3);
    // All overdue: whoever asks now gets no dial for some two seconds, and no answer but their own deadline's.
    eventually("all overdue", || pool.stats().dials_failed == 3 && pool.stats().opening == 0);
    assert_eq!(pool.get_timeout(150 * MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    assert_eq!((script.dials(), script.most_at_once()), (3, 3));
    script.open();
    eventually("they count no more", || pool.stats().idle == 8);
    comes_to_rest(&pool);
}

#[test]
fn another_pool_does_not_notice() {
    let black_hole = Fake::default();
    let script = black_hole.script.clone();
    script.hang();
    let builder = Pool::builder(black_hole).max_size(64).min_open(64).dials_at_once(64).dial_timeout(LATE);
    let stuck = builder.opening(Opening::Background).build().unwrap();
    eventually("all its dials hang", || script.under_way() == 64);
    for _ in 0..5 {
        let pool = Pool::builder(Fake::default()).max_size(8).min_open(8).build().unwrap();
        let leases: Vec<_> = (0..8).map(|_| pool.get().unwrap()).collect();
        drop(leases);
        corepool::Lease::discard(pool.get().unwrap());
        eventually("replaced", || pool.stats().idle == 8);
        comes_to_rest(&pool);
    }
    assert_eq!((script.under_way(), stuck.stats().opening), (64, 64));
    script.open();
    eventually("all are there", || stuck.stats().idle == 64);
}

/// Connects, and waits for a greeting that does not come.
struct Greeted {
    address: String,
    under_way: Arc<AtomicUsize>,
}

impl Manager for Greeted {
    type Connection = TcpStream;
    type Error = std::io::Error;

    fn connect(&self, dial: &Dial<'_>) -> std::io::Result<TcpStream> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let mut stream = TcpStream::connect(&self.address)?;
        dial.cut_at_deadline(&stream)?;
        let greeting = stream.read_exact(&mut [0; 8]);
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        assert!(dial.remaining().is_zero() || greeting.is_ok(), "cut {:?} too early", dial.remaining());
        greeting.map(|()| stream)
    }
}

#[test]
fn a_handshake_that_hangs_is_cut_at_its_deadline() {
    let server = Server::mute();
    let under_way = Arc::new(AtomicUsize::new(0));
    let manager = Greeted { address: server.address(), under_way: Arc::clone(&under_way) };
    let builder = Pool::builder(manager).max_size(1).min_open(0).opening(Opening::Lazy).dial_timeout(50 * MS);
    let pool = builder.fail_fast_after(LATE).build().unwrap();
    assert_eq!(pool.try_get().map(drop).unwrap_err().kind(), GetErrorKind::Busy);
    eventually("it was accepted", || server.accepted() == 1);
    eventually("it is back", || under_way.load(Ordering::SeqCst) == 0);
    comes_to_rest(&pool);
    assert_eq!(pool.stats().dials, 1);
}

/// The cut dial's thread may be back before whoever cut it has counted it.
#[test]
fn a_handshake_that_hangs_is_cut_at_its_deadline_and_counted_as_failed() {
    for _ in 0..20 {
        let server = Server::mute();
        let under_way = Arc::new(AtomicUsize::new(0));
        let manager = Greeted { address: server.address(), under_way: Arc::clone(&under_way) };
        let builder = Pool::builder(manager).max_size(1).min_open(0).opening(Opening::Lazy).dial_timeout(20 * MS);
        let pool = builder.fail_fast_after(LATE).build().unwrap();
        assert_eq!(pool.try_get().map(drop).unwrap_err().kind(), GetErrorKind::Busy);
        eventually("counted", || pool.stats().dials_failed == 1);
        comes_to_rest(&pool);
        eventually("accepted", || server.accepted() == 1);
        assert_eq!(pool.stats().dials, 1);
    }
}

#[test]
fn a_dial_is_told_what_is_left() {
    struct Clock(Arc<AtomicUsize>);
    impl Manager for Clock {
        type Connection = ();
        type Error = std::io::Error;

        fn connect(&self, dial: &Dial<'_>) -> std::io::Result<()> {
            let first = dial.remaining();
            assert!(first <= 5_000 * MS && dial.remaining() <= first && dial.attempt() == 1);
            self.0.store(first.as_millis() as usize, Ordering::SeqCst);
            Ok(())
        }
    }
    let left = Arc::new(AtomicUsize::new(0));
    let pool = Pool::builder(Clock(Arc::clone(&left))).dial_timeout(5_000 * MS).build().unwrap();
    assert_eq!(pool.stats().dials_failed, 0);
    assert!((1..=5_000).contains(&left.load(Ordering::SeqCst)));
}

/// Has its deadline told, and opens only after that.
struct Cut {
    told: Arc<AtomicUsize>,
    opens: Arc<AtomicBool>,
}

impl Manager for Cut {
    type Connection = ();
    type Error = std::io::Error;

    fn connect(&self, dial: &Dial<'_>) -> std::io::Result<()> {
        let (cut, told) = (Arc::new(AtomicBool::new(false)), Arc::clone(&self.told));
        let cuts = Arc::clone(&cut);
        dial.at_deadline(move || {
            told.fetch_add(1, Ordering::SeqCst);
            cuts.store(true, Ordering::SeqCst);
        });
        eventually("it may end", || cut.load(Ordering::SeqCst) || self.opens.load(Ordering::SeqCst));
        eventually("it opens", || self.opens.load(Ordering::SeqCst));
        Ok(())
    }
}

#[test]
fn what_was_cut_at_its_deadline_is_not_lent_if_it_opens_all_the_same() {
    let (told, opens) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (manager, census) = Counting::new(Cut { told: Arc::clone(&told), opens: Arc::clone(&opens) });
    let builder = Pool::builder(manager).max_size(1).min_open(0).opening(Opening::Lazy).dial_timeout(30 * MS);
    let pool = builder.backoff_max(LATE).build().unwrap();
    // It asks for one dial.
    assert!(pool.try_get().is_err());
    eventually("it is cut", || told.load(Ordering::SeqCst) == 1);
    opens.store(true, Ordering::SeqCst);
    eventually("it is closed", || census.opened() == 1 && census.closed(CloseReason::Surplus) == 1);
    assert_eq!((pool.stats().open, pool.stats().dials_failed), (0, 1));
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn what_nobody_wants_any_more_is_cut_before_its_deadline() {
    let (told, opens) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (manager, census) = Counting::new(Cut { told: Arc::clone(&told), opens: Arc::clone(&opens) });
    let builder = Pool::builder(manager).max_size(1).min_open(1).opening(Opening::Background).dial_timeout(LATE);
    let pool = builder.build().unwrap();
    eventually("a dial", || pool.stats().opening == 1);
    pool.retire(Duration::ZERO);
    eventually("it is cut", || told.load(Ordering::SeqCst) == 1);
    opens.store(true, Ordering::SeqCst);
    eventually("it is closed, and another one stays", || {
        census.closed(CloseReason::Retired) == 1 && census.alive() == 1
    });
    comes_to_rest(&pool);
    census.verify();
}
