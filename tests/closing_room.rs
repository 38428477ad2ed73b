//! Connections that are being closed are counted: open, opening and closing together are never more than `max_size` and `max_closing`, each
//! farewell ends in time, and few can hang. `close.rs` has what an end is to those who are not concerned.

mod support;

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Dial, Event, GetErrorKind, Lease, Manager, Pool, TcpManager, Watch};
use support::{
    Census, Counted, Counting, Fake, HOPELESS, Heard, Hooked, Server, Thing, comes_to_rest, eventually, gated,
};

const MS: Duration = Duration::from_millis(1);

/// So long that it does not come within a test.
const LATE: Duration = Duration::from_secs(1_000);

// ---- the bound --------------------------------------------------------------------------------------------------------------

/// A manager whose farewells take this long, and the most of its connections that there ever were at a time, counted at each birth.
fn slow_to_leave(takes: Duration) -> (Hooked<Counting<Fake>>, Arc<Census>, Arc<AtomicUsize>) {
    let (inner, census) = Counting::new(Fake::default());
    let (counts, most) = (Arc::clone(&census), Arc::new(AtomicUsize::new(0)));
    let highest = Arc::clone(&most);
    let manager = Hooked::new(inner)
        .before_watch(move |_: &Counted<Thing>| {
            highest.fetch_max(counts.alive(), Ordering::SeqCst);
        })
        .before_close(move |_, _| thread::sleep(takes));
    (manager, census, most)
}

#[test]
fn open_opening_and_closing_together_are_at_most_max_size_and_max_closing() {
    for (max_closing, uses) in [(None, 400), (Some(1), 100)] {
        let (manager, census, most) = slow_to_leave(20 * MS);
        let mut builder = Pool::builder(manager).max_size(4).wait_timeout(HOPELESS).close_timeout(LATE);
        if let Some(connections) = max_closing {
            builder = builder.max_closing(connections);
        }
        let pool = builder.build().unwrap();
        let failed = AtomicUsize::new(0);
        thread::scope(|scope| {
            (0..6).for_each(|_| {
                scope.spawn(|| {
                    while failed.fetch_add(1, Ordering::SeqCst) < uses {
                        let result = pool.with(|_| Err::<(), _>(io::Error::other("a duplicate key")));
                        assert!(matches!(result, Err(corepool::UseError::Use(_))), "{result:?}");
                    }
                });
            });
        });
        let (most, bound) = (most.load(Ordering::SeqCst), 4 + max_closing.unwrap_or(4));
        assert!(most <= bound, "{most} connections at a time, and {bound} should be the most");
        assert!(most > 4, "no use waited for another's farewell");
        comes_to_rest(&pool);
        eventually("all that left are closed", || census.alive() == pool.stats().open);
        census.verify();
    }
}

#[test]
fn retire_under_slow_farewells_obeys_the_same() {
    let (manager, census, most) = slow_to_leave(10 * MS);
    let builder = Pool::builder(manager).max_size(4).min_open(4).max_closing(2).close_timeout(LATE);
    let pool = builder.wait_timeout(HOPELESS).build().unwrap();
    for _ in 0..30 {
        pool.retire(Duration::ZERO);
        drop(pool.get().unwrap());
        // So that none is given up: one that succeeds after all comes on top.
        eventually("no dial is under way or wanted", || pool.stats().idle == 4);
    }
    eventually("all are back", || pool.stats().idle == 4 && pool.stats().closing == 0);
    // All that were open leave at once, so that more close than may; but none is opened beside them.
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 6, "{most} connections at a time, and 6 should be the most");
    assert_eq!(census.alive(), 4);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn callers_are_not_delayed_while_the_bound_is_not_reached() {
    let (manager, census, gate) = gated();
    let builder = Pool::builder(manager).max_size(1).min_open(0).max_closing(12).close_timeout(LATE);
    let pool = builder.build().unwrap();
    for round in 0..12 {
        let lease = pool.get_timeout(HOPELESS).unwrap();
        assert_eq!(lease.id(), round);
        Lease::discard(lease);
    }
    assert_eq!((pool.stats().closing, census.alive()), (12, 12));
    // There is room for one more that is open, and when it leaves for none.
    Lease::discard(pool.get_timeout(HOPELESS).unwrap());
    assert_eq!(pool.get_timeout(50 * MS).map(drop).unwrap_err().kind(), GetErrorKind::TimedOut);
    assert_eq!(census.alive(), 13);
    gate.open();
    assert!(pool.get_timeout(HOPELESS).is_ok());
    comes_to_rest(&pool);
    census.verify();
}

// ---- on sockets -------------------------------------------------------------------------------------------------------------

#[test]
fn where_a_dial_needs_the_room_a_silent_farewell_is_cut() {
    let server = Server::mute();
    let ends = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&ends);
    let (manager, census) =
        Counting::new(Hooked::new(TcpManager::new(server.address())).before_close(move |conn, _| {
            assert_eq!(conn.read(&mut [0; 8]).unwrap(), 0, "the end of the stream");
            counts.fetch_add(1, Ordering::SeqCst);
        }));
    let builder = Pool::builder(manager).max_size(2).min_open(0).max_closing(3).close_timeout(LATE);
    let pool = builder.build().unwrap();
    for round in 0..50 {
        let lease = pool.get_timeout(HOPELESS).unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(census.alive() <= 5, "{} at a time", census.alive());
        Lease::discard(lease);
    }
    // The oldest ones; the last few are waited for.
    let cut = ends.load(Ordering::SeqCst);
    assert!((40..50).contains(&cut), "{cut} of 50 farewells have ended");
    comes_to_rest(&pool);
    pool.drain_then_cut(Duration::ZERO, HOPELESS);
    census.verify();
}

/// A farewell that tells whether its socket was shut down before its turn came.
struct Parting {
    address: String,
    patient: AtomicUsize,
    cut_before: AtomicUsize,
}

impl Manager for Parting {
    type Connection = TcpStream;
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<TcpStream> {
        TcpStream::connect(&self.address)
    }

    fn watch(&self, stream: &TcpStream, on: &mut Watch<'_>) {
        on.socket(stream);
    }

    fn close(&self, mut stream: TcpStream, _why: CloseReason) {
        stream.set_nonblocking(true).unwrap();
        let first = stream.read(&mut [0; 8]);
        if first.is_ok() {
            self.cut_before.fetch_add(1, Ordering::SeqCst);
            return;
        }
        self.patient.fetch_add(1, Ordering::SeqCst);
        stream.set_nonblocking(false).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    }
}

#[test]
fn the_deadline_of_a_close_runs_from_leaving_the_pool() {
    let server = Server::mute();
    let heard = Heard::default();
    let (patient, cut_before) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let manager = Arc::new(Parting { address: server.address(), patient, cut_before });
    /// So that the test keeps a handle.
    struct Shared(Arc<Parting>);
    impl Manager for Shared {
        type Connection = TcpStream;
        type Error = io::Error;

        fn connect(&self, dial: &Dial<'_>) -> io::Result<TcpStream> {
            self.0.connect(dial)
        }

        fn watch(&self, stream: &TcpStream, on: &mut Watch<'_>) {
            self.0.watch(stream, on);
        }

        fn close(&self, stream: TcpStream, why: CloseReason) {
            self.0.close(stream, why);
        }
    }
    let builder = Pool::builder(Shared(Arc::clone(&manager))).max_size(12).min_open(12).close_timeout(200 * MS);
    let pool = builder.observer(heard.clone()).build().unwrap();
    pool.close();
    eventually("all are closed", || heard.closed(CloseReason::PoolClosed) == 12);
    // Four at a time; those that were still in the queue by then are cut together with them. If each had its time from its turn on, none
    // would be. All eight are, unless some had their turn between two cuts.
    let counts = [&manager.patient, &manager.cut_before].map(|count| count.load(Ordering::SeqCst));
    assert!(counts[0] + counts[1] == 12 && counts[1] > 0, "{counts:?}");
}

// ---- those that hang --------------------------------------------------------------------------------------------------------

#[test]
fn at_most_sixteen_closes_hang_and_then_the_cause_says_so() {
    let (manager, census, gate) = gated();
    let builder = Pool::builder(manager).max_size(1).min_open(0).max_closing(1).close_timeout(5 * MS);
    let pool = builder.build().unwrap();
    let mut served = 0;
    let mut cause = String::new();
    eventually("no more may hang", || {
        match pool.get_timeout(50 * MS) {
            Ok(lease) => {
                served += 1;
                Lease::discard(lease);
            }
            Err(error) => cause = error.cause().map(|cause| cause.to_string()).unwrap_or_default(),
        }
        cause == "16 closes hang, and leave no room to open connections"
    });
    // Sixteen that hang, and as many as may be closing beside them; and no more by any effort.
    eventually("the last of them waits for room", || pool.get_timeout(20 * MS).is_err());
    for _ in 0..10 {
        let error = pool.get_timeout(10 * MS).map(drop).unwrap_err();
        assert_eq!(error.cause().unwrap().to_string(), "16 closes hang, and leave no room to open connections");
    }
    assert!((16..=18).contains(&census.alive()), "{} exist after {served} discards", census.alive());
    assert!(gate.waiting() <= 16 + 4);
    gate.open();
    assert!(pool.get_timeout(HOPELESS).is_ok());
    comes_to_rest(&pool);
    eventually("the others are gone", || census.alive() == 1 && pool.stats().closing == 0);
    // And forgotten.
    let lease = pool.get().unwrap();
    let error = pool.get_timeout(10 * MS).map(drop).unwrap_err();
    assert!(error.cause().is_none(), "{}", support::chain(&error));
    drop(lease);
    census.verify();
}

#[test]
fn a_close_that_hangs_frees_its_place() {
    let (manager, census, gate) = gated();
    let builder = Pool::builder(manager).max_size(1).min_open(0).max_closing(1).close_timeout(10 * MS);
    let pool = builder.build().unwrap();
    for _ in 0..6 {
        Lease::discard(pool.get_timeout(HOPELESS).unwrap());
    }
    assert_eq!(census.alive(), 6, "none of them has ended");
    gate.open();
    eventually("all are closed", || census.alive() == 0 && pool.stats().closing == 0);
    comes_to_rest(&pool);
    census.verify();
}

// ---- what is told -----------------------------------------------------------------------------------------------------------

#[test]
fn how_long_a_close_took_is_counted_from_leaving() {
    let (manager, census, gate) = gated();
    let heard = Heard::default();
    let builder = Pool::builder(manager).max_size(9).min_open(9).close_timeout(LATE).observer(heard.clone());
    let pool = builder.build().unwrap();
    let leases: Vec<_> = (0..9).map(|_| pool.get().unwrap()).collect();
    pool.close();
    leases.into_iter().for_each(Lease::discard);
    let left = Instant::now();
    eventually("four are stuck", || gate.waiting() == 4);
    assert_eq!(pool.stats().closing, 9);
    while left.elapsed() < 50 * MS {
        thread::yield_now();
    }
    let waited = left.elapsed();
    gate.open();
    eventually("all are closed", || heard.closed(CloseReason::Condemned) == 9 && census.alive() == 0);
    // Also of those whose turn came only now.
    let all_took = |event: &Event| matches!(event, Event::Closed { took, .. } if *took >= waited);
    assert_eq!(heard.count(all_took), 9);
    assert_eq!(pool.stats().closing, 0);
}

#[test]
fn the_gauge_comes_down_with_each_that_ends() {
    let shut = Arc::new(AtomicBool::new(true));
    let stays = Arc::clone(&shut);
    let manager =
        Hooked::new(Fake::default()).before_close(move |_, _| eventually("an end", || !stays.load(Ordering::SeqCst)));
    let pool = Pool::builder(manager).max_size(3).min_open(3).close_timeout(LATE).build().unwrap();
    assert_eq!(pool.stats().closing, 0);
    pool.retire(Duration::ZERO);
    assert_eq!((pool.stats().closing, pool.stats().closed(CloseReason::Retired)), (3, 3));
    shut.store(false, Ordering::SeqCst);
    eventually("they have ended", || pool.stats().closing == 0);
}

#[test]
fn beside_one_that_hangs_a_silent_farewell_is_cut_where_a_dial_needs_the_room() {
    let server = Server::mute();
    let (turns, second, first) =
        (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (lets_first, lets_second) = (Arc::clone(&first), Arc::clone(&second));
    let (manager, census) =
        Counting::new(Hooked::new(TcpManager::new(server.address())).before_close(move |conn, _| {
            match turns.fetch_add(1, Ordering::SeqCst) {
                0 => eventually("the first may end", || lets_first.load(Ordering::SeqCst)),
                1 => eventually("the second may end", || lets_second.load(Ordering::SeqCst)),
                _ => assert_eq!(conn.read(&mut [0; 8]).unwrap(), 0, "the end of the stream"),
            }
        }));
    let builder = Pool::builder(manager).max_size(1).min_open(0).max_closing(1).close_timeout(100 * MS);
    let pool = builder.build().unwrap();
    (0..2).for_each(|_| Lease::discard(pool.get_timeout(HOPELESS).unwrap()));
    // There was no room for a third before one of the two was given up, which was the first.
    let third = pool.get_timeout(HOPELESS).unwrap();
    pool.reconfigure(|settings| settings.close_timeout = LATE).unwrap();
    second.store(true, Ordering::SeqCst);
    eventually("the second has ended", || pool.stats().closing == 1);
    Lease::discard(third);
    Lease::discard(pool.get_timeout(HOPELESS).unwrap());
    // From here on nothing but a cut makes room.
    Lease::discard(pool.get_timeout(HOPELESS).unwrap());
    first.store(true, Ordering::SeqCst);
    eventually("the first has ended", || pool.stats().closing <= 2);
    pool.drain_then_cut(Duration::ZERO, HOPELESS);
    census.verify();
}

#[test]
fn one_whose_turn_comes_late_has_its_time_from_then_on() {
    const TIME: Duration = Duration::from_millis(100);
    let begun = Arc::new(Mutex::new(Vec::new()));
    let (notes, shut) = (Arc::clone(&begun), Arc::new(AtomicBool::new(true)));
    let stays = Arc::clone(&shut);
    let manager = Hooked::new(Fake::default()).before_close(move |_, _| {
        notes.lock().unwrap().push(Instant::now());
        eventually("it may end", || !stays.load(Ordering::SeqCst));
    });
    let pool = Pool::builder(manager).max_size(12).min_open(12).close_timeout(TIME).build().unwrap();
    let left = Instant::now();
    pool.retire(Duration::ZERO);
    eventually("all have had their turn", || begun.lock().unwrap().len() == 12);
    shut.store(false, Ordering::SeqCst);
    // Four at a time. The first four hang after twice their time; the next have been cut by then, and have one from their turn on.
    let begun = begun.lock().unwrap().clone();
    for (turn, begun) in begun.iter().enumerate().skip(4) {
        let least = TIME * (turn as u32 / 4 + 1);
        assert!(*begun - left >= least, "the {turn}th after {:?}", *begun - left);
    }
    eventually("all are closed", || pool.stats().closing == 0);
    comes_to_rest(&pool);
}

#[test]
fn one_that_was_given_up_makes_room_once() {
    let (turns, gates) = (AtomicUsize::new(0), [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))]);
    let [first, later] = gates.clone();
    let (manager, census) = Counting::new(Hooked::new(Fake::default()).before_close(move |_, _| {
        let gate = if turns.fetch_add(1, Ordering::SeqCst) < 4 { &first } else { &later };
        eventually("it may end", || gate.load(Ordering::SeqCst));
    }));
    let builder = Pool::builder(manager).max_size(1).min_open(0).max_closing(2).close_timeout(10 * MS);
    let pool = builder.build().unwrap();
    (0..4).for_each(|_| Lease::discard(pool.get_timeout(HOPELESS).unwrap()));
    // There is room for a fifth, so two of these four were given up, and have made theirs then.
    let fifth = pool.get_timeout(HOPELESS).unwrap();
    pool.reconfigure(|settings| settings.close_timeout = LATE).unwrap();
    Lease::discard(fifth);
    eventually("all five are being closed", || pool.stats().closing == 5);
    gates[0].store(true, Ordering::SeqCst);
    eventually("four have ended", || census.alive() == 1 && pool.stats().closing == 1);
    // Two more beside it, and no third.
    (0..2).for_each(|_| Lease::discard(pool.get_timeout(HOPELESS).unwrap()));
    assert_eq!(pool.get_timeout(50 * MS).map(drop).unwrap_err().kind(), GetErrorKind::TimedOut);
    assert_eq!(census.alive(), 3);
    gates[1].store(true, Ordering::SeqCst);
    assert!(pool.get_timeout(HOPELESS).is_ok());
    comes_to_rest(&pool);
    census.verify();
}
