//! A lease is a value like another: it may move to another thread, outlive the handle it came from, or end when its thread does.

mod support;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::sync::Arc;
use std::thread;

use corepool::{
    BuildError, Builder, CloseReason, Conn, Dial, GetError, GetErrorKind, Lease, Manager, Pool, PoolMap, Reactors,
    TcpManager, UnixManager,
};
use support::{Census, Counted, Counting, Fake, HOPELESS, Server, comes_to_rest, eventually, exchange};

type Owned = Lease<'static, Counting<Fake>>;

fn pool(max_size: usize) -> (Pool<Counting<Fake>>, Arc<Census>) {
    let (manager, census) = Counting::new(Fake::default());
    (Pool::builder(manager).max_size(max_size).build().unwrap(), census)
}

// ---- what threads may do with it ------------------------------------------------------------------------------------------

/// Connections that may be sent, but not shared.
struct Cells;

impl Manager for Cells {
    type Connection = Cell<u32>;
    type Error = Infallible;

    fn connect(&self, _dial: &Dial<'_>) -> Result<Cell<u32>, Infallible> {
        Ok(Cell::new(0))
    }
}

/// Does not compile for a `T` that is `Sync`, since then there are two of it.
trait NotSync<Ambiguous> {
    fn holds() {}
}
impl<T: ?Sized> NotSync<()> for T {}
impl<T: ?Sized + Sync> NotSync<u8> for T {}

/// All of this is checked by its compiling.
#[test]
fn auto_traits() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    fn clone<T: Clone>() {}

    send::<Pool<Cells>>();
    sync::<Pool<Cells>>();
    clone::<Pool<Cells>>();
    send::<Lease<'_, Cells>>();
    <Lease<'_, Cells> as NotSync<_>>::holds();

    send::<Lease<'_, TcpManager>>();
    sync::<Lease<'_, TcpManager>>();
    send::<Conn>();
    sync::<Conn>();
    sync::<UnixManager>();
    sync::<PoolMap<u32, Cells>>();
    send::<Builder<Cells>>();
    sync::<Reactors>();
    clone::<Reactors>();
    send::<GetError>();
    sync::<GetError>();
    send::<BuildError>();
    sync::<BuildError>();
}

#[test]
fn one_is_no_larger_than_it_must_be() {
    // It travels through the callers' frames: the pool; and in a second word the claim, whether it owns the pool, what its user has said.
    let words = |bytes: usize| bytes.div_ceil(size_of::<usize>());
    assert_eq!((words(size_of::<Lease<'_, Cells>>()), words(size_of::<GetError>())), (2, 1));
    assert_eq!(words(size_of::<Result<Lease<'_, Cells>, GetError>>()), 2);
}

// ---- other threads --------------------------------------------------------------------------------------------------------

#[test]
fn it_may_be_used_and_dropped_in_another_thread() {
    let server = Server::echo();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let pool = Pool::builder(manager).max_size(1).shards(2).build().unwrap();
    for round in 0..20 {
        let mut lease = pool.get().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                support::pin(round);
                lease.hold(|conn| exchange(conn, b"hello")).unwrap();
            });
        });
    }
    assert_eq!((census.opened(), pool.stats().leases, pool.stats().idle), (1, 20, 1));
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn one_that_is_leaked_is_lost_alone() {
    let (pool, census) = pool(2);
    std::mem::forget(pool.get().unwrap());
    for _ in 0..10 {
        assert_eq!(pool.get_timeout(HOPELESS).unwrap().id(), 1);
    }
    assert_eq!((pool.stats().open, pool.stats().idle), (2, 1));
    drop(pool);
    eventually("the other is closed", || census.closed(CloseReason::PoolClosed) == 1);
}

// ---- the thread's end -----------------------------------------------------------------------------------------------------

thread_local! {
    /// Ends with its thread.
    static KEPT: RefCell<Option<Owned>> = const { RefCell::new(None) };
    static LAST_WORD: RefCell<Option<LastWord>> = const { RefCell::new(None) };
}

/// Uses a pool when its thread ends.
struct LastWord {
    pool: Pool<Counting<Fake>>,
    also: Option<Owned>,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        self.pool.with(|thing| thing.hold(|thing| Ok::<_, GetError>(thing.0))).unwrap();
        drop(self.pool.try_get().unwrap());
        drop(self.also.take());
        drop(self.pool.get().unwrap());
    }
}

#[test]
fn it_may_end_in_a_thread_locals_destructor() {
    let (pool, census) = pool(1);
    for round in 0..20 {
        thread::scope(|scope| {
            scope.spawn(|| {
                if round % 2 == 0 {
                    // Destructors run in the opposite order: this one's before, or after, those that the pool may have here.
                    KEPT.with_borrow(|kept| assert!(kept.is_none()));
                }
                let lease = pool.get_owned().unwrap();
                assert_eq!(lease.id(), 0);
                KEPT.set(Some(lease));
            });
        });
        eventually("it is back", || pool.stats().idle == 1);
    }
    comes_to_rest(&pool);
    assert_eq!((census.opened(), pool.stats().leases), (1, 20));
    census.verify();
}

#[test]
fn whoever_waits_gets_what_a_dying_thread_held() {
    let (pool, census) = pool(1);
    let (kept, holds) = std::sync::mpsc::channel();
    let (end, ends) = std::sync::mpsc::channel::<()>();
    thread::scope(|scope| {
        let lease = pool.get_owned().unwrap();
        scope.spawn(move || {
            KEPT.set(Some(lease));
            kept.send(()).unwrap();
            let _ = ends.recv();
        });
        holds.recv().unwrap();
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(|lease| lease.id()));
        eventually("it waits", || pool.stats().waiting == 1);
        drop(end);
        assert_eq!(waiter.join().unwrap().unwrap(), 0);
    });
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_pool_may_be_used_in_a_thread_locals_destructor() {
    let (pool, census) = pool(2);
    let mut uses = 0;
    for (used_before, holds_one) in [(false, false), (false, true), (true, false), (true, true)] {
        thread::scope(|scope| {
            scope.spawn(|| {
                // Destructors run in the opposite order: before or after those of thread-locals that the pool may have here.
                if used_before {
                    drop(pool.get().unwrap());
                }
                LAST_WORD.with_borrow(|word| assert!(word.is_none()));
                if !used_before {
                    drop(pool.get().unwrap());
                }
                let also = holds_one.then(|| pool.get_owned().unwrap());
                LAST_WORD.set(Some(LastWord { pool: pool.clone(), also }));
            });
        });
        uses += 4 + u64::from(holds_one);
        // A scope's end does not wait for the destructors of its threads.
        eventually("all uses", || pool.stats().leases == uses && pool.stats().leased == 0);
    }
    comes_to_rest(&pool);
    assert_eq!(pool.stats().closed_in_all(), 0);
    census.verify();
}

// ---- owned ----------------------------------------------------------------------------------------------------------------

#[test]
fn an_owned_one_outlives_the_handle() {
    let server = Server::echo();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let pool = Pool::builder(manager).max_size(2).min_open(2).build().unwrap();
    let (mut first, second) = (pool.get_owned().unwrap(), pool.get_owned().unwrap());
    drop(pool);
    assert_eq!(census.closed_in_all(), 0);
    first.hold(|conn| exchange(conn, b"hello")).unwrap();
    drop(second);
    first.hold(|conn| exchange(conn, b"hello again")).unwrap();
    thread::spawn(move || drop(first)).join().unwrap();
    eventually("both are closed", || census.closed(CloseReason::PoolClosed) == 2 && census.alive() == 0);
    eventually("the server sees their end", || server.open() == 0);
    census.verify();
}

#[test]
fn an_owned_one_is_like_another() {
    let (pool, census) = pool(1);
    let (shared, lease) = (pool.clone(), pool.get_owned().unwrap());
    assert_eq!(pool.try_get().map(drop).unwrap_err().kind(), GetErrorKind::Busy);
    thread::scope(|scope| {
        let waiter = scope.spawn(move || shared.get_timeout(HOPELESS).map(drop));
        eventually("it waits", || pool.stats().waiting == 1);
        drop(lease);
        waiter.join().unwrap().unwrap();
    });
    Lease::discard(pool.get_owned().unwrap());
    let mut lease = pool.get_owned().unwrap();
    Lease::condemn(&mut lease);
    drop(lease);
    let detached: Counted<_> = Lease::detach(pool.get_owned().unwrap());
    assert_eq!((detached.id(), pool.stats().detached), (2, 1));
    eventually("two are closed", || census.closed(CloseReason::Condemned) == 2);
    drop((pool, detached));
    eventually("all are gone", || census.alive() == 0);
    census.verify();
}

#[test]
fn an_owned_lease_is_had_within_a_limit_or_at_once() {
    let pool = Pool::builder(Fake::default()).max_size(1).build().unwrap();
    let lease = pool.try_get_owned().unwrap();
    assert_eq!(pool.try_get_owned().unwrap_err().kind(), corepool::GetErrorKind::Busy);
    let error = pool.get_owned_timeout(std::time::Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.kind(), corepool::GetErrorKind::TimedOut);
    let told = (error.open(), error.opening(), error.waiting(), error.held_by_this_thread());
    assert_eq!(told, (Some(1), Some((0, std::time::Duration::ZERO)), Some(0), Some(1)));
    drop(lease);
    drop(pool.get_owned_timeout(HOPELESS).unwrap());
    assert_eq!(pool.with_timeout(HOPELESS, |thing| Ok::<_, corepool::GetError>(thing.0)).unwrap(), 1);
    assert_eq!((pool.is_paused(), pool.is_closed()), (false, false));
    pool.pause();
    assert!(pool.is_paused());
    pool.close();
    assert!(pool.is_closed());
}
