//! Who does not wait gets a connection whenever a healthy one is idle, else an answer at once and a dial for those who come later.

mod support;

use std::time::Duration;

use corepool::{GetErrorKind, Manager, Opening, Pool, TcpManager};
use support::{Counting, Fake, Server, comes_to_rest, eventually, exchange, local_port};

fn kind<M: Manager>(pool: &Pool<M>) -> Result<(), GetErrorKind> {
    pool.try_get().map(drop).map_err(|error| error.kind())
}

#[test]
fn it_takes_what_is_idle_in_any_shard() {
    let pool = Pool::builder(Fake::default()).max_size(8).min_open(8).shards(8).build().unwrap();
    let leases: Vec<_> = (0..8).map(|_| pool.try_get().unwrap()).collect();
    assert_eq!(kind(&pool), Err(GetErrorKind::Busy));
    drop(leases);
    assert_eq!(kind(&pool), Ok(()));
    assert_eq!(pool.stats().waited, 0);
    comes_to_rest(&pool);
}

#[test]
fn it_passes_over_the_dead_and_takes_the_living() {
    let server = Server::echo();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let pool = Pool::builder(manager).max_size(4).min_open(4).shards(2).build().unwrap();
    let leases: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    let ports: Vec<_> = leases.iter().map(|lease| local_port(&**lease)).collect();
    drop(leases);
    eventually("the server has them", || server.accepted() == 4);
    server.refuse();
    ports[..3].iter().for_each(|port| server.close(*port));
    // Whether the watch has taken the dead out already or the peek has to, one is healthy, so there is no Busy.
    for _ in 0..4 {
        let mut lease = pool.try_get().unwrap();
        if local_port(&*lease) == ports[3] {
            lease.hold(|conn| exchange(conn, b"alive")).unwrap();
        }
    }
    eventually("only the living is left", || {
        let mut lease = pool.try_get().expect("one is healthy");
        local_port(&*lease) == ports[3] && lease.hold(|conn| exchange(conn, b"alive")).is_ok()
    });
    census.verify();
}

#[test]
fn with_room_to_grow_it_asks_for_one_dial_and_does_not_wait_for_it() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let pool = Pool::builder(fake).max_size(8).min_open(0).opening(Opening::Lazy).build().unwrap();
    for _ in 0..10 {
        assert_eq!(kind(&pool), Err(GetErrorKind::Busy));
    }
    eventually("a dial", || script.under_way() == 1);
    assert_eq!((script.dials(), pool.stats().dials), (1, 1));
    script.open();
    eventually("its connection", || pool.stats().idle == 1);
    assert_eq!(kind(&pool), Ok(()));
    comes_to_rest(&pool);
    assert_eq!(script.dials(), 1);
}

#[test]
fn at_full_size_it_asks_for_nothing() {
    let fake = Fake::default();
    let script = fake.script.clone();
    let pool = Pool::builder(fake).max_size(2).min_open(2).build().unwrap();
    let _leases = (pool.get().unwrap(), pool.get().unwrap());
    for _ in 0..10 {
        assert_eq!(kind(&pool), Err(GetErrorKind::Busy));
    }
    assert_eq!((script.dials(), pool.stats().opening), (2, 0));
}

#[test]
fn a_zero_timeout_means_try() {
    let pool = Pool::builder(Fake::default()).max_size(1).build().unwrap();
    let lease = pool.get_timeout(Duration::ZERO).unwrap();
    let error = pool.get_timeout(Duration::ZERO).unwrap_err();
    assert_eq!((error.kind(), error.waited()), (GetErrorKind::Busy, Duration::ZERO));
    assert_eq!(error.to_string(), "every connection is in use");
    drop(lease);
    assert!(pool.get_timeout(Duration::ZERO).is_ok());
    assert_eq!(pool.stats().waited, 0);
}

#[test]
fn a_zero_wait_timeout_means_try() {
    let pool = Pool::builder(Fake::default()).max_size(1).wait_timeout(Duration::ZERO).build().unwrap();
    let lease = pool.get().unwrap();
    assert_eq!(pool.get().unwrap_err().kind(), GetErrorKind::Busy);
    assert_eq!(
        pool.with(|_| Ok::<_, corepool::GetError>(())).map_err(corepool::UseError::flatten).unwrap_err().kind(),
        GetErrorKind::Busy
    );
    drop(lease);
    assert!(pool.get().is_ok());
    assert_eq!(pool.stats().waited, 0);
}

#[test]
fn a_closed_pool_says_so() {
    let pool = Pool::builder(Fake::default()).max_size(1).build().unwrap();
    pool.close();
    assert_eq!(kind(&pool), Err(GetErrorKind::Closed));
}
