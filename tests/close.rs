//! The end: of a pool, which forgets nobody and nothing, and of a connection, which is on nobody's way.

mod support;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, GetErrorKind, Lease, Manager, Opening, Pool, Reactors, TcpManager};
use support::{Counting, Fake, HOPELESS, Hooked, Server, comes_to_rest, eventually, exchange, gated, local_port};

const MS: Duration = Duration::from_millis(1);

/// So long that it does not come within a test.
const LATE: Duration = Duration::from_secs(1_000);

fn kind<M: Manager>(pool: &Pool<M>) -> Result<(), GetErrorKind> {
    pool.get().map(drop).map_err(|error| error.kind())
}

// ---- the pool's -----------------------------------------------------------------------------------------------------------

#[test]
fn those_who_wait_are_woken_and_told() {
    let pool = Pool::builder(Fake::default()).max_size(1).build().unwrap();
    let lease = pool.get().unwrap();
    thread::scope(|scope| {
        let waiters: Vec<_> =
            (0..8).map(|_| scope.spawn(|| pool.get_timeout(LATE).map(drop).map_err(|error| error.kind()))).collect();
        eventually("they wait", || pool.stats().waiting == 8);
        pool.close();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Err(GetErrorKind::Closed));
        }
    });
    assert_eq!(kind(&pool), Err(GetErrorKind::Closed));
    assert_eq!(pool.get_owned().map(drop).unwrap_err().to_string(), "the pool is closed");
    assert_eq!(
        pool.with(|_| Ok::<_, corepool::GetError>(())).map_err(corepool::UseError::flatten).unwrap_err().kind(),
        GetErrorKind::Closed
    );
    drop(lease);
    comes_to_rest(&pool);
}

#[test]
fn those_who_wait_for_a_dial_are_told_too() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let pool = Pool::builder(fake).max_size(1).opening(Opening::Lazy).dial_timeout(LATE).build().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(LATE).map(drop).map_err(|error| error.kind()));
        eventually("it dials", || script.under_way() == 1);
        pool.close();
        assert_eq!(waiter.join().unwrap(), Err(GetErrorKind::Closed));
    });
    script.open();
    comes_to_rest(&pool);
    assert_eq!(script.dials(), 1);
}

#[test]
fn idle_ones_are_closed_and_leased_ones_when_they_come_back() {
    let server = Server::echo();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let pool = Pool::builder(manager).max_size(4).min_open(4).shards(2).build().unwrap();
    let (mut kept, also_kept) = (pool.get().unwrap(), pool.get().unwrap());
    let clone = pool.clone();
    clone.close();
    let stats = pool.stats();
    assert_eq!((stats.open, stats.closed(CloseReason::PoolClosed)), (2, 2));
    eventually("the two idle ones are closed", || census.closed(CloseReason::PoolClosed) == 2 && census.alive() == 2);
    eventually("the server sees their end", || server.open() == 2);

    // A lease is nobody's business but its holder's.
    kept.hold(|conn| exchange(conn, b"still mine")).unwrap();
    drop(kept);
    assert_eq!(pool.stats().closed(CloseReason::PoolClosed), 3);
    // However it ends.
    Lease::discard(also_kept);
    assert_eq!(pool.stats().closed(CloseReason::Condemned), 1);
    eventually("all are closed", || census.alive() == 0 && server.open() == 0);
    assert_eq!(pool.stats().opened, 4);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn twice_is_once() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(2).min_open(2).build().unwrap();
    let lease = pool.get().unwrap();
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| pool.close()))));
    pool.close();
    drop(lease);
    pool.close();
    drop(pool);
    eventually("all are closed", || census.alive() == 0);
    assert_eq!(census.closed(CloseReason::PoolClosed), 2);
    census.verify();
}

#[test]
fn the_last_handle_closes_all() {
    let server = Server::echo();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let pool = Pool::builder(manager).max_size(3).min_open(3).build().unwrap();
    let clone = pool.clone();
    drop(pool);
    let lease = clone.get_owned().unwrap();
    assert_eq!(clone.stats().open, 3);
    drop(clone);
    assert_eq!(census.closed_in_all(), 0, "an owned lease is a handle, too");
    drop(lease);
    eventually("all are closed", || census.closed(CloseReason::PoolClosed) == 3 && census.alive() == 0);
    eventually("the server sees their end", || server.open() == 0);
    census.verify();
}

#[test]
fn nothing_is_dialed_after_it() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.fail("down");
    let pool = Pool::builder(fake).max_size(4).min_open(4).opening(Opening::Background).build().unwrap();
    eventually("it tries", || script.dials() > 4);
    pool.close();
    comes_to_rest(&pool);
    let dials = script.dials();
    script.open();
    assert_eq!(kind(&pool), Err(GetErrorKind::Closed));
    // A pause would have ended by now.
    let begun = Instant::now();
    eventually("time goes by", || begun.elapsed() > 150 * MS);
    assert_eq!(script.dials(), dials);
}

#[test]
fn a_dial_that_ends_after_it_brings_one_to_close() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let (manager, census) = Counting::new(fake);
    let pool = Pool::builder(manager).max_size(2).opening(Opening::Background).build().unwrap();
    eventually("dialing", || script.under_way() == 1);
    pool.close();
    script.open();
    eventually("gone", || census.opened() == 1 && census.alive() == 0);
    let stats = pool.stats();
    assert_eq!((stats.opened, stats.closed_in_all()), (1, 1), "\n{stats}");
    assert_eq!(census.fate(0), Some(CloseReason::PoolClosed));
}

#[test]
fn a_dial_that_ends_after_the_last_handle_brings_one_to_close() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let (manager, census) = Counting::new(fake);
    let pool = Pool::builder(manager).max_size(2).opening(Opening::Background).build().unwrap();
    eventually("dialing", || script.under_way() == 1);
    drop(pool);
    script.open();
    eventually("gone", || census.opened() == 1 && census.alive() == 0);
    assert_eq!(census.fate(0), Some(CloseReason::PoolClosed));
    census.verify();
}

#[test]
fn in_the_middle_of_everything_each_connection_ends_once() {
    for round in 0..200 {
        let (manager, census) = Counting::new(Fake::default());
        let builder = Pool::builder(manager).max_size(3).min_open(round % 3).shards(2).opening(Opening::Background);
        let pool = builder.build().unwrap();
        let uses = AtomicUsize::new(0);
        thread::scope(|scope| {
            for thread in 0..4 {
                let (pool, uses) = (&pool, &uses);
                scope.spawn(move || {
                    support::pin(thread);
                    loop {
                        match pool.get_timeout(LATE) {
                            Ok(lease) if fastrand::u8(0..8) == 0 => Lease::discard(lease),
                            Ok(lease) => drop(lease),
                            Err(error) => {
                                assert_eq!(error.kind(), GetErrorKind::Closed);
                                return;
                            }
                        }
                        uses.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let soon = fastrand::usize(0..200);
            eventually("they are busy", || uses.load(Ordering::SeqCst) >= soon);
            pool.close();
        });
        comes_to_rest(&pool);
        let counted = || {
            let stats = pool.stats();
            stats.open == 0 && stats.opened == stats.closed_in_all() && stats.opened == census.opened() as u64
        };
        eventually("every close", || counted() && census.alive() == 0);
        census.verify();
    }
}

// ---- a connection's -------------------------------------------------------------------------------------------------------

#[test]
fn a_slow_one_delays_no_checkout() {
    let (manager, census, gate) = gated();
    let pool = Pool::builder(manager).max_size(1).wait_timeout(HOPELESS).build().unwrap();
    for round in 0..20 {
        let lease = pool.get().unwrap();
        assert_eq!(lease.id(), round, "its permit was free at once");
        Lease::discard(lease);
    }
    eventually("some are stuck", || gate.waiting() > 0);
    assert_eq!(pool.stats().closed(CloseReason::Condemned), 20);
    assert!(census.alive() >= 20, "none of them has ended");
    // Nor another pool, nor a close of another pool's.
    let (manager, others) = Counting::new(Fake::default());
    let other = Pool::builder(manager).max_size(1).build().unwrap();
    Lease::discard(other.get().unwrap());
    eventually("closed", || others.closed(CloseReason::Condemned) == 1);

    gate.open();
    eventually("all are closed", || census.closed(CloseReason::Condemned) == 20);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn slow_ones_take_no_more_than_a_few_threads() {
    let (manager, census, gate) = gated();
    let pool = Pool::builder(manager).max_size(50).min_open(50).build().unwrap();
    pool.close();
    eventually("some are stuck", || gate.waiting() == 4);
    assert_eq!(pool.stats().closed(CloseReason::PoolClosed), 50);
    drop(pool);
    assert_eq!(gate.waiting(), 4);
    gate.open();
    eventually("all are closed, without a pool", || census.alive() == 0 && census.closed_in_all() == 50);
    census.verify();
}

/// A manager whose farewell waits for the peer's last word, and what the farewells heard.
fn farewell(server: &Server) -> (Hooked<TcpManager>, mpsc::Receiver<std::io::Result<usize>>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let manager = Hooked::new(TcpManager::new(server.address())).before_close(move |conn, _| {
        let _ = tell.lock().unwrap().send(conn.read(&mut [0; 8]));
    });
    (manager, told)
}

#[test]
fn a_farewell_without_an_answer_ends_at_close_timeout() {
    let server = Server::mute();
    let (manager, told) = farewell(&server);
    let pool = Pool::builder(manager).max_size(1).close_timeout(50 * MS).build().unwrap();
    for _ in 0..3 {
        let begun = Instant::now();
        Lease::discard(pool.get().unwrap());
        assert_eq!(told.recv_timeout(HOPELESS).expect("it hangs").unwrap(), 0, "the end of the stream");
        assert!(begun.elapsed() >= 50 * MS, "cut after {:?}", begun.elapsed());
    }
}

#[test]
fn a_farewell_to_a_peer_that_has_hung_up_does_not_wait() {
    let server = Server::mute();
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let manager = Hooked::new(TcpManager::new(server.address())).before_close(move |conn, why| {
        // More than the buffers on the way hold, to one that reads nothing.
        let _ = tell.lock().unwrap().send((why, conn.write_all(&vec![0; 32 << 20]).is_err()));
    });
    let pool = Pool::builder(manager).max_size(1).close_timeout(LATE).build().unwrap();
    server.half_close(local_port(&*pool.get().unwrap()));
    // By the watch, or else by the peek.
    eventually("seen", || pool.try_get().is_err() || pool.stats().closed(CloseReason::PeerClosed) == 1);
    assert_eq!(told.recv_timeout(HOPELESS).expect("it hangs"), (CloseReason::PeerClosed, true));
}

/// The reactors of a set of its own end with the last pool on it, but not before the last close.
#[test]
fn the_last_handle_of_a_pool_on_its_own_reactors_leaves_its_closes_their_deadline() {
    let server = Server::mute();
    let (manager, told) = farewell(&server);
    let builder = Pool::builder(manager).max_size(1).reactors(Reactors::new(1)).close_timeout(100 * MS);
    drop(builder.build().unwrap());
    assert!(told.recv_timeout(HOPELESS).is_ok(), "the close hangs");
}

#[test]
fn a_handshake_that_nobody_waits_for_any_more_is_cut() {
    struct Greeted(TcpManager, Arc<AtomicUsize>);
    impl Manager for Greeted {
        type Connection = corepool::Conn;
        type Error = std::io::Error;

        fn connect(&self, dial: &corepool::Dial<'_>) -> std::io::Result<corepool::Conn> {
            let mut conn = self.0.connect(dial)?;
            dial.cut_at_deadline(&conn)?;
            self.1.fetch_add(1, Ordering::SeqCst);
            let greeting = conn.read_exact(&mut [0; 8]);
            self.1.fetch_sub(1, Ordering::SeqCst);
            greeting.map(|()| conn)
        }
    }
    let server = Server::mute();
    let under_way = Arc::new(AtomicUsize::new(0));
    let manager = Greeted(TcpManager::new(server.address()), Arc::clone(&under_way));
    let pool = Pool::builder(manager).max_size(2).min_open(2).opening(Opening::Background).dial_timeout(LATE);
    let pool = pool.build().unwrap();
    eventually("both dials hang", || under_way.load(Ordering::SeqCst) == 2);
    pool.close();
    eventually("both are back", || under_way.load(Ordering::SeqCst) == 0);
    comes_to_rest(&pool);
}
