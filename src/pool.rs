//! The pool's face.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::patience::Patience;
use crate::error::{BuildError, GetError, UseError};
use crate::lease::{Lease, Loan};
use crate::manager::Manager;
use crate::settings::Settings;
use crate::stats::{DrainReport, Stats};

/// A pool of connections for blocking callers: one shard per core, idle connections watched for their peer's hang-up.
///
/// Made by [`Pool::builder`](crate::Pool::builder). Clones are handles to the same pool and cost an atomic increment; threads may as well
/// share one by reference. When the last handle and the last owned lease are gone, the pool closes.
pub struct Pool<M: Manager> {
    pub(crate) engine: Arc<Engine<M>>,
}

impl<M: Manager> Pool<M> {
    /// Runs `f` with a connection, waiting for one up to the pool's `wait_timeout`.
    ///
    /// The closure's `Err` reaches [`Manager::on_error`], by whose default the connection is discarded: a half-done exchange must not
    /// reach the next user. A manager that can tell that nothing is half done keeps it. A panic in the closure reaches
    /// [`Manager::on_return`] as [`Outcome::Panicked`](crate::Outcome::Panicked) and goes on to the caller.
    ///
    /// Costs two locked instructions, no system call, no allocation and no clock while this core's shard has an idle connection; one
    /// use in 1,024 reads the clock twice ([`Stats::holds`]).
    ///
    /// ```
    /// # use corepool::*;
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u32;
    /// #     type Error = std::io::Error;
    /// #     fn connect(&self, _: &Dial<'_>) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Numbers).max_size(4).build()?;
    /// let doubled = pool.with(|number| Ok::<_, GetError>(*number * 2))?;
    /// assert_eq!(doubled, 14);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`UseError`]: the closure's own error, or a [`GetError`] when no connection was had. `?` makes of it what the function around
    /// returns: an `io::Error`, a boxed error, `anyhow`'s.
    #[inline]
    pub fn with<T, E: 'static>(&self, f: impl FnOnce(&mut M::Connection) -> Result<T, E>) -> Result<T, UseError<E>> {
        let hit = self.engine.check_out(Patience::Usual).map_err(UseError::Get)?;
        Loan::new(&self.engine, hit).lend(f)
    }

    /// The same, waiting up to `limit`. Zero means not to wait.
    ///
    /// # Errors
    /// As for [`with`](Pool::with).
    pub fn with_timeout<T, E: 'static>(
        &self,
        limit: Duration,
        f: impl FnOnce(&mut M::Connection) -> Result<T, E>,
    ) -> Result<T, UseError<E>> {
        let hit = self.engine.check_out(Patience::Only(limit)).map_err(UseError::Get)?;
        Loan::new(&self.engine, hit).lend(f)
    }

    /// Runs `f` with a lease, for a closure that needs more than the connection: [`Lease::stale`], [`Lease::condemn`], [`Lease::fail`].
    /// The lease ends with the closure. Otherwise as [`with`](Pool::with), but some nanoseconds slower.
    ///
    /// # Errors
    /// As for [`with`](Pool::with).
    pub fn with_lease<T, E: 'static>(
        &self,
        f: impl FnOnce(&mut Lease<'_, M>) -> Result<T, E>,
    ) -> Result<T, UseError<E>> {
        let mut lease = self.get().map_err(UseError::Get)?;
        match f(&mut lease) {
            Ok(value) => {
                lease.end();
                Ok(value)
            }
            Err(error) => {
                lease.end_failed(&error);
                Err(UseError::Use(error))
            }
        }
    }

    /// Takes a connection, waiting for one up to the pool's `wait_timeout`. May park the thread.
    ///
    /// # Errors
    /// `TimedOut`, `Down`, `Refused`, `Closed`: see [`GetErrorKind`](crate::GetErrorKind).
    #[inline(always)]
    pub fn get(&self) -> Result<Lease<'_, M>, GetError> {
        let hit = self.engine.check_out(Patience::Usual)?;
        Ok(Lease::borrowed(&self.engine, hit.claim))
    }

    /// The same, waiting up to `limit`. Zero means not to wait, as [`try_get`](Pool::try_get).
    ///
    /// # Errors
    /// As for [`get`](Pool::get).
    #[inline(always)]
    pub fn get_timeout(&self, limit: Duration) -> Result<Lease<'_, M>, GetError> {
        let hit = self.engine.check_out(Patience::Only(limit))?;
        Ok(Lease::borrowed(&self.engine, hit.claim))
    }

    /// Takes a connection if one is idle in any shard; never waits for one and never dials. With room to grow, it asks for one dial in
    /// the background. What is asked about the connection itself, by `on_checkout` or a ping under
    /// [`validate_after`](crate::Builder::validate_after), may block for up to the pool's `wait_timeout`.
    ///
    /// # Errors
    /// `Busy`, which allocates nothing, or `Closed`; `Refused` where the manager's `on_checkout` refuses.
    #[inline(always)]
    pub fn try_get(&self) -> Result<Lease<'_, M>, GetError> {
        self.get_timeout(Duration::ZERO)
    }

    /// Takes a connection as [`get`](Pool::get) does, for a lease that does not borrow the pool but keeps it alive: two locked
    /// instructions more.
    ///
    /// # Errors
    /// As for [`get`](Pool::get).
    pub fn get_owned(&self) -> Result<Lease<'static, M>, GetError> {
        let hit = self.engine.check_out(Patience::Usual)?;
        Ok(Lease::<M>::owned(Arc::clone(&self.engine), hit.claim))
    }

    /// The same, waiting up to `limit`. Zero means not to wait.
    ///
    /// # Errors
    /// As for [`get`](Pool::get).
    pub fn get_owned_timeout(&self, limit: Duration) -> Result<Lease<'static, M>, GetError> {
        let hit = self.engine.check_out(Patience::Only(limit))?;
        Ok(Lease::<M>::owned(Arc::clone(&self.engine), hit.claim))
    }

    /// The same without waiting, as [`try_get`](Pool::try_get).
    ///
    /// # Errors
    /// As for [`try_get`](Pool::try_get).
    pub fn try_get_owned(&self) -> Result<Lease<'static, M>, GetError> {
        self.get_owned_timeout(Duration::ZERO)
    }

    /// Waits until `connections` are open, up to `limit`; for a pool that was built to open them in the background. It does not open
    /// more than the settings keep open. Blocks.
    ///
    /// # Errors
    /// [`BuildError::Opening`], with the last dial's error; at once if that is permanent.
    pub fn wait_ready(&self, connections: usize, limit: Duration) -> Result<(), BuildError> {
        self.engine.wait_until_open(connections, limit)
    }

    /// Whether the pool was closed. Takes the lock of those who wait, for a moment.
    pub fn is_closed(&self) -> bool {
        self.engine.is_closed()
    }

    /// Whether the pool is paused. Takes the lock of those who wait, for a moment.
    pub fn is_paused(&self) -> bool {
        self.engine.is_paused()
    }

    /// The pool in numbers. Takes the lock of those who wait, and reads every slot: for a metrics page, not for each request, and
    /// not in a tight loop, which would keep those who wait from their lock. Cheap enough for each second: `telemetry`'s page says how long
    /// it takes with 10,000 connections.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Closes the pool: whoever waits or comes later gets [`GetErrorKind::Closed`](crate::GetErrorKind::Closed), idle connections
    /// are closed in the background, leased ones when they are given back. Returns at once. Idempotent.
    pub fn close(&self) {
        self.engine.close();
    }

    /// Ends the pool in good order: [`close`](Pool::close), then waits up to `limit` until every lease has come back and every connection
    /// is closed, also one that a dial given up may still open within its `dial_timeout`. Reports what has not ended by then.
    ///
    /// Blocks. A `main` that returns without it ends the process under its background threads: farewells that were not said by then
    /// are not said, and the peers see the sockets close.
    pub fn drain(&self, limit: Duration) -> DrainReport {
        self.engine.drain(limit, None)
    }

    /// The same; what has not ended after `limit` is cut short, by shutting its watched sockets down: leases, whose users get an error
    /// from their connection, and farewells. Then waits for them up to `hard`.
    pub fn drain_then_cut(&self, limit: Duration, hard: Duration) -> DrainReport {
        self.engine.drain(limit, Some(hard))
    }

    /// Changes settings while the pool runs: `change` gets the present ones. All are checked; if one is outside its limits,
    /// nothing changes.
    ///
    /// A lowered `max_size` closes idle connections above it at once and leased ones when they are given back; it may be raised
    /// up to the pool's `capacity`. No lease and no waiter is disturbed. `change` runs on this thread, again if another thread's
    /// change came first.
    ///
    /// ```
    /// # use corepool::*;
    /// # struct Numbers;
    /// # impl Manager for Numbers {
    /// #     type Connection = u32;
    /// #     type Error = std::io::Error;
    /// #     fn connect(&self, _: &Dial<'_>) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Numbers).max_size(4).capacity(64).build()?;
    /// pool.reconfigure(|settings| {
    ///     settings.max_size = 32;
    ///     settings.min_idle = 8;
    /// })?;
    /// assert!(pool.reconfigure(|settings| settings.max_size = 65).is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BuildError::Setting`] names the setting and its limit.
    pub fn reconfigure(&self, change: impl FnMut(&mut Settings)) -> Result<(), BuildError> {
        self.engine.reconfigure(change)
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.engine.settings()
    }

    /// Has all connections that are open now leave the pool: leased ones when they are given back, idle ones spread over this time, so
    /// that the endpoint is not dialed all at once. Zero: now. For a failover, or a change of names. None is cut.
    ///
    /// Dials under way are given up; what one of them opens all the same is closed, and may come on top of `max_size`.
    pub fn retire(&self, over: Duration) {
        self.engine.retire(over);
    }

    /// Has those leave, of the connections that are open now, that `unwanted` means: what is connected to an address that is no
    /// primary any more, or has prepared what is out of date. deadpool's `retain`, the other way round. Idle ones are judged, and leave,
    /// before this returns; leased ones are judged when they are given back, and those that a ping has or a pause has put aside within
    /// some seconds of their return. None is lent unjudged meanwhile, none is cut (but for a predicate that takes longer than
    /// `wait_timeout`, as any hook), and what is dialed from now on is not judged; what is being dialed is, once it is open.
    ///
    /// `unwanted` has one connection at a time, which is nobody else's then: on this thread, and on any that is about to be lent one or
    /// gives one back, or in the background. It should not block; a panic in it retires the connection. It is kept until all have been
    /// judged, and asked about each connection once or twice. If more than 16 calls wait for that,
    /// what the oldest has not judged yet is retired unseen.
    ///
    /// ```
    /// # use corepool::*;
    /// # fn f(pool: &Pool<TcpManager>, old: std::net::SocketAddr) {
    /// pool.retire_where(move |conn| conn.peer() == Some(old));
    /// # }
    /// ```
    pub fn retire_where(&self, unwanted: impl Fn(&M::Connection) -> bool + Send + Sync + 'static) {
        self.engine.retire_where(unwanted);
    }

    /// Opens all further connections by `manager`, with new credentials or at another address, and [`retire`](Pool::retire)s those of
    /// the old one, whose hooks still run on the old one. Whoever waits is served by the new one; a backoff of the old
    /// endpoint is forgotten.
    pub fn replace_manager(&self, manager: M, over: Duration) {
        self.engine.replace_manager(manager, over);
    }

    /// Hands out no connection until [`resume`](Pool::resume): callers wait, within their own deadlines, and `try_get` is busy. A caller
    /// whose connection is being checked at this moment still gets it; during an outage callers are told so at once, as always.
    /// What is leased is given back as usual. For maintenance of the endpoint, during which it must be left alone. Idempotent.
    pub fn pause(&self) {
        self.engine.pause();
    }

    /// Ends a [`pause`](Pool::pause).
    pub fn resume(&self) {
        self.engine.resume();
    }

    /// Whether all that must hold when nothing is under way does hold. For tests, which make sure that nothing is.
    #[doc(hidden)]
    pub fn at_rest(&self) -> Result<(), String> {
        self.engine.at_rest()
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Pool { engine: Arc::clone(&self.engine) }
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
