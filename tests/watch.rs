//! A peer that hangs up is noticed at once, whatever the connection is doing: an idle one leaves the pool, a leased one turns stale.
#![cfg(not(corepool_unwatched))]

mod support;

use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use corepool::{CloseReason, Dial, GetErrorKind, Lease, Manager, Opening, Pool, TcpManager, Watch};
use support::{Census, Counting, HOPELESS, Hooked, Server, comes_to_rest, eventually, exchange, local_port};

/// A pool of up to `max_size` connections, opened on demand.
fn lazy<M: Manager>(manager: M, max_size: usize) -> (Pool<Counting<M>>, Arc<Census>) {
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(max_size).min_open(0).shards(2).opening(Opening::Lazy).build().unwrap();
    (pool, census)
}

/// One way of a peer to go.
type HangUp = fn(&Server, u16);

const WAYS: [HangUp; 3] = [Server::close, Server::half_close, Server::reset];

#[test]
fn an_idle_one_leaves_the_pool() {
    for hang_up in WAYS {
        let server = Server::echo();
        let (pool, census) = lazy(TcpManager::new(server.address()), 1);
        let port = local_port(&*pool.get().unwrap());
        hang_up(&server, port);
        eventually("nobody asks, and it is gone", || pool.stats().closed(CloseReason::PeerClosed) == 1);
        assert_eq!(pool.stats().open, 0);
        eventually("its close", || census.fate(0) == Some(CloseReason::PeerClosed) && census.alive() == 0);

        let mut lease = pool.get().unwrap();
        assert_eq!(lease.id(), 1);
        lease.hold(|conn| exchange(conn, b"hello")).unwrap();
        drop(lease);
        comes_to_rest(&pool);
        census.verify();
    }
}

#[test]
fn a_leased_one_turns_stale_and_does_not_come_back() {
    for hang_up in WAYS {
        let server = Server::echo();
        let (pool, census) = lazy(TcpManager::new(server.address()), 1);
        let mut lease = pool.get().unwrap();
        lease.hold(|conn| exchange(conn, b"hello")).unwrap();
        assert!(!Lease::stale(&lease));
        hang_up(&server, local_port(&*lease));
        eventually("stale", || Lease::stale(&lease));
        assert_eq!((pool.stats().open, pool.stats().closed_in_all()), (1, 0), "it is its user's still");

        drop(lease);
        assert_eq!((pool.stats().open, pool.stats().closed(CloseReason::PeerClosed)), (0, 1));
        eventually("its close", || census.fate(0) == Some(CloseReason::PeerClosed) && census.alive() == 0);
        let lease = pool.get().unwrap();
        assert_eq!((lease.id(), Lease::stale(&lease)), (1, false));
        drop(lease);
        comes_to_rest(&pool);
        census.verify();
    }
}

#[test]
fn it_is_replaced_at_once_where_it_is_one_of_min_open() {
    let server = Server::echo();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let pool = Pool::builder(manager).max_size(4).min_open(2).build().unwrap();
    eventually("the server has both", || server.open() == 2);
    server.close_all();
    eventually("two others", || census.opened() == 4 && pool.stats().idle == 2 && census.alive() == 2);
    assert_eq!(pool.stats().closed(CloseReason::PeerClosed), 2);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn one_that_has_moved_to_another_shard_is_found_there() {
    let server = Server::echo();
    let (pool, census) = lazy(TcpManager::new(server.address()), 1);
    for core in 0..8 {
        let port = thread::scope(|scope| {
            let used = scope.spawn(|| {
                support::pin(core);
                local_port(&*pool.get().unwrap())
            });
            used.join().unwrap()
        });
        server.close(port);
        eventually("gone", || census.closed(CloseReason::PeerClosed) == core + 1 && pool.stats().open == 0);
    }
    census.verify();
}

#[test]
fn a_hang_up_before_the_watch_begins_is_not_missed() {
    let server = Arc::new(Server::echo());
    let (closes, first) = (Arc::clone(&server), AtomicBool::new(true));
    let manager = Hooked::new(TcpManager::new(server.address())).before_watch(move |conn| {
        if first.swap(false, Ordering::SeqCst) {
            closes.close(local_port(conn));
        }
    });
    let (pool, census) = lazy(manager, 1);
    assert_eq!(pool.try_get().map(drop).unwrap_err().kind(), GetErrorKind::Busy);
    eventually("opened and gone", || census.closed(CloseReason::PeerClosed) == 1 && census.alive() == 0);
    assert_eq!((pool.stats().open, census.opened()), (0, 1));
    comes_to_rest(&pool);
}

#[test]
fn a_thousand_at_once_are_all_gone_and_all_permits_back() {
    // Three a connection: its own, the pool's duplicate, and the server's.
    let limit = support::raise_descriptor_limit();
    let count = 1_000.min(limit.saturating_sub(300) / 3);
    eprintln!("{count} connections, with {limit} descriptors");
    let server = Server::mute();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let builder = Pool::builder(manager).max_size(count).min_open(count).dials_at_once(16);
    let pool = builder.opening(Opening::Wait(6 * HOPELESS)).fail_fast_after(6 * HOPELESS).build().unwrap();
    eventually("the server has them all", || server.open() == count);
    pool.reconfigure(|settings| settings.min_open = 0).unwrap();

    let (all_gone, handed_out) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            // Callers meet the closures, each connection is removed by one or the other.
            scope.spawn(|| {
                while !all_gone.load(Ordering::SeqCst) {
                    match pool.try_get() {
                        Ok(_lease) => drop(handed_out.fetch_add(1, Ordering::SeqCst)),
                        Err(error) => assert_eq!(error.kind(), GetErrorKind::Busy),
                    }
                }
            });
        }
        eventually("callers are there", || handed_out.load(Ordering::SeqCst) > 0);
        server.stop();
        eventually("all removed", || pool.stats().closed(CloseReason::PeerClosed) == count as u64);
        all_gone.store(true, Ordering::SeqCst);
    });
    let stats = pool.stats();
    assert_eq!((stats.open, stats.idle, stats.opened, stats.closed_in_all()), (0, 0, count as u64, count as u64));
    eventually("all closed", || census.alive() == 0);
    assert_eq!(census.closed(CloseReason::PeerClosed), count);

    // Every permit is there, and behind each a connection that was opened since.
    server.start();
    pool.reconfigure(|settings| settings.min_open = count).unwrap();
    eventually("as many again", || pool.stats().idle == count);
    let leases: Vec<_> = (0..count).map(|_| pool.try_get().unwrap()).collect();
    assert!(leases.iter().all(|lease| lease.id() >= count && !Lease::stale(lease)));
    assert_eq!(pool.try_get().map(drop).unwrap_err().kind(), GetErrorKind::Busy);
    drop(leases);
    comes_to_rest(&pool);
    assert_eq!(census.opened(), 2 * count);
    census.verify();
}

/// Opens pipes of which it keeps the other ends, as a parent does its child's.
#[derive(Default)]
struct Pipes(Arc<Mutex<Vec<PipeWriter>>>);

impl Manager for Pipes {
    type Connection = PipeReader;
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<PipeReader> {
        let (ours, theirs) = io::pipe()?;
        self.0.lock().unwrap().push(theirs);
        Ok(ours)
    }

    fn watch(&self, pipe: &PipeReader, on: &mut Watch<'_>) {
        on.readable(pipe);
    }
}

#[test]
fn a_pipe_that_ends_is_one_that_hangs_up() {
    let pipes = Pipes::default();
    let theirs = Arc::clone(&pipes.0);
    let (pool, census) = lazy(pipes, 1);
    drop(pool.get().unwrap());
    drop(theirs.lock().unwrap().pop());
    eventually("gone", || census.fate(0) == Some(CloseReason::PeerClosed) && pool.stats().open == 0);
    let lease = pool.get().unwrap();
    drop(theirs.lock().unwrap().pop());
    eventually("stale", || Lease::stale(&lease));
    drop(lease);
    assert_eq!(pool.stats().closed(CloseReason::PeerClosed), 2);
}

/// Connections of two sockets, with the peers of both.
#[derive(Default)]
struct Twins(Arc<Mutex<Vec<[UnixStream; 2]>>>);

impl Manager for Twins {
    type Connection = [UnixStream; 2];
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<[UnixStream; 2]> {
        let ((a, a_peer), (b, b_peer)) = (UnixStream::pair()?, UnixStream::pair()?);
        self.0.lock().unwrap().push([a_peer, b_peer]);
        Ok([a, b])
    }

    fn watch(&self, twins: &[UnixStream; 2], on: &mut Watch<'_>) {
        twins.iter().for_each(|socket| on.socket(socket));
    }
}

#[test]
fn of_several_sockets_any_is_enough() {
    let twins = Twins::default();
    let peers = Arc::clone(&twins.0);
    let (pool, census) = lazy(twins, 1);
    for (round, socket) in [0, 1, 1, 0].into_iter().enumerate() {
        drop(pool.get().unwrap());
        let [first, second] = peers.lock().unwrap().pop().unwrap();
        let (goes, stays) = if socket == 0 { (first, second) } else { (second, first) };
        drop(goes);
        eventually("gone", || census.opened() == round + 1 && pool.stats().open == 0);
        eventually("closed", || census.alive() == 0);
        drop(stays);
    }
    assert_eq!(pool.stats().closed(CloseReason::PeerClosed), 4);
    census.verify();
}
