//! The pools that are compared, each behind the same door, and the two floors below them.
//!
//! All are built alike: as many connections as asked for, opened beforehand, never dialed anew; none tests a connection at checkout but the
//! one that says so; nobody gives up waiting. What none of them is configured to do is not measured.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use corepool::{GetError, Pool};
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use super::connections::{Endpoint, Framed, Tested};

/// Longer than any benchmark: waits are measured, not cut.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A pool of `C`s, as its users see it.
pub(crate) trait Rival<C>: Sync {
    /// Runs `f` with a connection, waiting for one as long as it takes.
    fn with<R>(&self, f: impl FnOnce(&mut C) -> R) -> R;
}

// ---- corepool ----------------------------------------------------------------------------------------------------------------

/// The settings under which corepool is compared.
pub(crate) fn settings<E: Endpoint>(endpoint: E, size: usize) -> corepool::Builder<Framed<E>> {
    let manager = Framed { endpoint, watched: true };
    Pool::builder(manager).max_size(size).min_open(size).wait_timeout(PATIENCE)
}

/// Corepool with its defaults, full.
pub(crate) fn corepool<E: Endpoint>(endpoint: E, size: usize) -> Pool<Framed<E>> {
    settings(endpoint, size).build().expect("every endpoint of a benchmark is up")
}

/// Corepool with this many shards, full.
pub(crate) fn corepool_sharded<E: Endpoint>(endpoint: E, size: usize, shards: usize) -> Pool<Framed<E>> {
    settings(endpoint, size).shards(shards).build().expect("every endpoint of a benchmark is up")
}

impl<E: Endpoint> Rival<E::Connection> for Pool<Framed<E>> {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut E::Connection) -> R) -> R {
        match Pool::with(self, |connection| Ok::<_, GetError>(f(connection))) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The same pool, by a lease instead of a closure.
pub(crate) struct Leasing<'a, E: Endpoint>(pub(crate) &'a Pool<Framed<E>>);

impl<E: Endpoint> Rival<E::Connection> for Leasing<'_, E> {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut E::Connection) -> R) -> R {
        match self.0.get() {
            Ok(mut lease) => f(&mut lease),
            Err(error) => panic!("{error}"),
        }
    }
}

/// The same by a look that never waits.
pub(crate) struct Trying<'a, E: Endpoint>(pub(crate) &'a Pool<Framed<E>>);

impl<E: Endpoint> Rival<E::Connection> for Trying<'_, E> {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut E::Connection) -> R) -> R {
        f(&mut self.0.try_get().expect("one is idle"))
    }
}

/// The same by a lease that borrows nothing, and may outlive the caller.
pub(crate) struct Owning<'a, E: Endpoint>(pub(crate) &'a Pool<Framed<E>>);

impl<E: Endpoint> Rival<E::Connection> for Owning<'_, E> {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut E::Connection) -> R) -> R {
        match self.0.get_owned() {
            Ok(mut lease) => f(&mut lease),
            Err(error) => panic!("{error}"),
        }
    }
}

// ---- r2d2 --------------------------------------------------------------------------------------------------------------------

/// r2d2 with `min_open` = `max_size`, which keeps it from dialing; `test` is its `test_on_check_out`, which it ships with.
pub(crate) fn r2d2<E: Endpoint>(endpoint: E, size: usize, test: bool) -> r2d2::Pool<Tested<E>> {
    let size = u32::try_from(size).expect("a benchmark's pool is small");
    let builder = r2d2::Pool::builder().max_size(size).min_idle(Some(size)).test_on_check_out(test);
    builder.connection_timeout(PATIENCE).build(Tested(endpoint)).expect("every endpoint of a benchmark is up")
}

impl<E: Endpoint> Rival<E::Connection> for r2d2::Pool<Tested<E>> {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut E::Connection) -> R) -> R {
        f(&mut self.get().expect("nobody gives up"))
    }
}

// ---- a lock and a condition variable ---------------------------------------------------------------------------------------------

/// The pool that everybody writes first: a `Mutex<Vec>` and a `Condvar`, which is rung only if somebody waits.
pub(crate) struct Locked<C> {
    state: Mutex<(Vec<C>, usize)>,
    bell: Condvar,
}

impl<C> Locked<C> {
    /// Full.
    pub(crate) fn new<E: Endpoint<Connection = C>>(endpoint: &E, size: usize) -> Self {
        Locked { state: Mutex::new((dial_all(endpoint, size), 0)), bell: Condvar::new() }
    }
}

impl<C: Send> Rival<C> for Locked<C> {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut C) -> R) -> R {
        let mut connection = {
            let mut state = self.state.lock().expect("no use panics");
            loop {
                match state.0.pop() {
                    Some(connection) => break connection,
                    None => {
                        state.1 += 1;
                        state = self.bell.wait(state).expect("no use panics");
                        state.1 -= 1;
                    }
                }
            }
        };
        let result = f(&mut connection);
        let mut state = self.state.lock().expect("no use panics");
        state.0.push(connection);
        let waits = state.1 > 0;
        drop(state);
        if waits {
            self.bell.notify_one();
        }
        result
    }
}

// ---- pools that do not wait ------------------------------------------------------------------------------------------------------

/// crossbeam's `ArrayQueue` used as a pool. It cannot wait: an empty one is tried again after a yield.
pub(crate) struct Queued<C> {
    idle: ArrayQueue<C>,
}

impl<C> Queued<C> {
    /// Full.
    pub(crate) fn new<E: Endpoint<Connection = C>>(endpoint: &E, size: usize) -> Self {
        let idle = ArrayQueue::new(size);
        for connection in dial_all(endpoint, size) {
            idle.push(connection).unwrap_or_else(|_| unreachable!("there is room for {size}"));
        }
        Queued { idle }
    }
}

impl<C: Send> Rival<C> for Queued<C> {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut C) -> R) -> R {
        let mut connection = loop {
            match self.idle.pop() {
                Some(connection) => break connection,
                None => std::thread::yield_now(),
            }
        };
        let result = f(&mut connection);
        self.idle.push(connection).unwrap_or_else(|_| unreachable!("it came from here"));
        result
    }
}

/// What opool makes objects with.
pub(crate) struct Maker<E>(E);

impl<E: Endpoint> opool::PoolAllocator<E::Connection> for Maker<E> {
    #[inline]
    fn allocate(&self) -> E::Connection {
        self.0.dial().expect("every endpoint of a benchmark is up")
    }
}

/// opool's pool: objects, not connections. It does not wait either, but makes another object and forgets it later.
pub(crate) type Opool<E> = opool::Pool<Maker<E>, <E as Endpoint>::Connection>;

/// opool, full.
pub(crate) fn opool<E: Endpoint>(endpoint: E, size: usize) -> Opool<E> {
    opool::Pool::new_prefilled(size, Maker(endpoint))
}

impl<E: Endpoint> Rival<E::Connection> for Opool<E>
where
    E::Connection: Sync,
{
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut E::Connection) -> R) -> R {
        f(&mut self.get())
    }
}

// ---- the floors --------------------------------------------------------------------------------------------------------------

/// Two bare locked read-modify-writes on one word: what a checkout and a return cost at least if others may take the connection away.
pub(crate) struct TwoRmws {
    word: CachePadded<AtomicU64>,
}

impl TwoRmws {
    /// A word of its own.
    pub(crate) fn new() -> Self {
        TwoRmws { word: CachePadded::new(AtomicU64::new(1)) }
    }
}

impl Rival<u64> for TwoRmws {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut u64) -> R) -> R {
        // Acquire and Release as a pool needs them; on x86 every swap is a full barrier anyway.
        let mut taken = self.word.swap(0, Ordering::Acquire);
        let result = f(&mut taken);
        self.word.swap(1, Ordering::Release);
        result
    }
}

/// A connection of each thread's own, taken and put back: what a checkout costs if nobody else may ever have it.
pub(crate) struct ThreadLocal;

thread_local! {
    static OWN: Cell<Option<&'static mut u64>> = const { Cell::new(None) };
}

impl Rival<u64> for ThreadLocal {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut u64) -> R) -> R {
        // Leaked once a thread, so that the cell needs no destructor.
        let taken = OWN.take().unwrap_or_else(|| Box::leak(Box::new(0)));
        let result = f(taken);
        OWN.set(Some(taken));
        result
    }
}

fn dial_all<E: Endpoint>(endpoint: &E, size: usize) -> Vec<E::Connection> {
    (0..size).map(|_| endpoint.dial().expect("every endpoint of a benchmark is up")).collect()
}
