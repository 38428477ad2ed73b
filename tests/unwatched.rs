//! Where nothing can be watched (`--cfg corepool_unwatched` stands for such a place) the peek at checkout finds the dead.
#![cfg(corepool_unwatched)]

mod support;

use std::time::Duration;

use corepool::{CloseReason, Lease, Manager, Opening, Pool, TcpManager};
use support::{Counting, Hooked, Server, comes_to_rest, eventually, exchange, local_port};

/// A dead connection is not handed out, and the caller has a living one instead.
fn the_dead_is_passed_over<M: Manager<Connection = corepool::Conn>>(server: &Server, manager: M) {
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(1).min_open(0).opening(Opening::Lazy).build().unwrap();
    for round in 0..5 {
        let mut lease = pool.get().unwrap();
        assert_eq!(lease.id(), round);
        let port = local_port(&*lease);
        lease.hold(|conn| exchange(conn, b"hello")).unwrap();
        drop(lease);
        server.close(port);
        // Its end takes a moment to arrive. It lies there until somebody comes, who finds it.
        eventually("found", || pool.get().is_ok_and(|lease| lease.id() == round + 1));
        assert_eq!(pool.stats().closed(CloseReason::PeerClosed), round as u64 + 1);
    }
    eventually("closed", || census.closed(CloseReason::PeerClosed) == 5);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_closed_idle_connection_is_found_by_the_peek_at_checkout() {
    let server = Server::echo();
    the_dead_is_passed_over(&server, TcpManager::new(server.address()));
}

/// It frames its protocol and needs no peek for its own sake, but the pool cannot watch.
#[test]
fn also_for_a_manager_that_asks_for_no_peek() {
    let server = Server::echo();
    let manager = Hooked::new(TcpManager::new(server.address())).probe_after(Duration::from_secs(100_000));
    the_dead_is_passed_over(&server, manager);
}

#[test]
fn a_leased_one_never_looks_stale() {
    let server = Server::echo();
    let pool = Pool::builder(TcpManager::new(server.address())).max_size(1).build().unwrap();
    let mut lease = pool.get().unwrap();
    server.close(local_port(&*lease));
    eventually("its user notices", || exchange(&mut *lease, b"hello").is_err());
    assert!(!Lease::stale(&lease) && lease.is_dirty());
    drop(lease);
    assert_eq!(pool.stats().closed(CloseReason::Discarded), 1);
}
