//! A connection that comes back is kept or closed as its use, its user and its manager say, and its permit is free either way.

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use corepool::{CloseReason, Lease, Manager, Opening, Outcome, Pool, TcpManager, Verdict};
use support::{Census, Counting, Fake, Hooked, Server, comes_to_rest, eventually, exchange};

/// A pool of one connection, opened on demand.
fn single<M: Manager>(manager: M) -> (Pool<Counting<M>>, Arc<Census>) {
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(1).min_open(0).opening(Opening::Lazy).build().unwrap();
    (pool, census)
}

#[test]
fn a_use_that_ends_well_keeps_the_connection() {
    let server = Server::echo();
    let (pool, census) = single(TcpManager::new(server.address()));
    for _ in 0..100 {
        pool.with(|conn| conn.hold(|conn| exchange(conn, b"hello"))).unwrap();
        let mut lease = pool.get().unwrap();
        lease.hold(|conn| exchange(conn, b"hello")).unwrap();
    }
    assert_eq!(census.opened(), 1);
    let stats = pool.stats();
    assert_eq!((stats.open, stats.idle, stats.leases, stats.closed_in_all()), (1, 1, 200, 0));
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn the_closures_error_discards_it() {
    let server = Server::echo();
    let (pool, census) = single(TcpManager::new(server.address()));
    let error = pool.with(|_| Err::<(), _>(io::Error::other("half done"))).unwrap_err();
    assert_eq!(error.to_string(), "half done");
    assert_eq!(pool.stats().closed(CloseReason::Failed), 1);
    assert_eq!(pool.get().unwrap().id(), 1, "the next caller has another one");
    eventually("its close", || census.fate(0) == Some(CloseReason::Failed) && census.alive() == 1);
    eventually("the server sees the end", || server.open() == 1);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn the_manager_is_told_how_it_went_and_decides() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let fake = Hooked::new(Fake::default()).on_return(move |thing, how| {
        hears.lock().unwrap().push(how);
        // Keeps after a failure, since it can tell; discards the third use of anything.
        thing.0 += 1;
        if thing.0 > 3 { Verdict::Discard } else { Verdict::Keep }
    });
    let (pool, census) = single(fake);
    assert!(pool.with(|_| Err::<(), io::Error>(io::Error::other("kept all the same"))).is_err());
    drop(pool.get().unwrap());
    assert_eq!(census.opened(), 1);
    assert!(pool.with(|_| Ok::<_, io::Error>(())).is_ok());
    assert_eq!(*heard.lock().unwrap(), [Outcome::Failed, Outcome::Done, Outcome::Done]);
    assert_eq!(pool.stats().closed(CloseReason::Discarded), 1);
    eventually("its close", || census.fate(0) == Some(CloseReason::Discarded));
    assert_eq!(pool.get().unwrap().id(), 1);
    census.verify();
}

#[test]
fn a_condemned_one_is_closed_when_it_is_given_back() {
    let server = Server::echo();
    let (pool, census) = single(TcpManager::new(server.address()));
    let mut lease = pool.get().unwrap();
    Lease::condemn(&mut lease);
    lease.hold(|conn| exchange(conn, b"still of use")).unwrap();
    assert_eq!(pool.stats().open, 1);
    drop(lease);
    assert_eq!(pool.stats().open, 0);
    eventually("its close", || census.fate(0) == Some(CloseReason::Condemned));
    assert_eq!(pool.get().unwrap().id(), 1);
    census.verify();
}

#[test]
fn a_discarded_one_is_closed_and_another_opened() {
    let server = Server::echo();
    let (pool, census) = single(TcpManager::new(server.address()));
    for round in 0..20 {
        let lease = pool.get().unwrap();
        assert_eq!(lease.id(), round);
        Lease::discard(lease);
    }
    eventually("all closes", || census.closed(CloseReason::Condemned) == 20 && census.alive() == 0);
    assert_eq!(pool.stats().closed(CloseReason::Condemned), 20);
    eventually("the server sees the ends", || server.open() == 0);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_detached_one_leaves_for_good_and_goes_on_working() {
    let server = Server::echo();
    let (pool, census) = single(TcpManager::new(server.address()));
    let mut detached = Lease::detach(pool.get().unwrap());
    let stats = pool.stats();
    assert_eq!((stats.open, stats.opened, stats.detached, stats.closed_in_all()), (0, 1, 1, 0));

    // Its permit is free at once, and the two have nothing to do with each other.
    let mut lease = pool.get().unwrap();
    assert_eq!((detached.id(), lease.id()), (0, 1));
    detached.hold(|conn| exchange(conn, b"mine")).unwrap();
    lease.hold(|conn| exchange(conn, b"the pool's")).unwrap();
    server.close(support::local_port(&detached));
    assert!(detached.hold(|conn| exchange(conn, b"mine")).is_err());
    assert!(!Lease::stale(&lease));
    drop(lease);

    assert_eq!(census.alive(), 2);
    drop(detached);
    assert_eq!((census.alive(), census.closed_in_all()), (1, 0));
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn the_one_returned_last_comes_out_first() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(4).min_open(4).shards(1).build().unwrap();
    let mut leases: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    for turn in [2, 0, 1] {
        let id = leases[turn].id();
        drop(leases.remove(turn));
        let lease = pool.get().unwrap();
        assert_eq!(lease.id(), id);
        leases.insert(turn, lease);
    }
    drop(leases);
    assert_eq!(census.opened(), 4);
    comes_to_rest(&pool);
}
