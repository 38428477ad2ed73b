//! Pools by key: one for each endpoint that turns up while the program runs, as Finch's registry by scheme, host and port.
//!
//! Looking a pool up is one load of the present table (arc-swap) and a hash: no lock, and in `with` nothing shared is written. A
//! key's pool is made on first use, once, while others of the same key wait for it and nobody else does; what comes of it, a pool
//! or an error, all of them are told ([`entry`]). A pool that nobody has used for `idle_for` is closed and forgotten; whoever
//! holds it at that moment finds it closed and makes it anew, once.
//!
//! A change is a changed copy of the table, put in its place if nobody was faster. Keys are hashed, compared, cloned and dropped
//! by the user's code, which may be slow, panic, or use the map itself: under a lock it would keep others waiting, or itself for
//! ever.
#![forbid(unsafe_code)]

mod entry;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::builder::Builder;
use crate::engine::patience::Patience;
use crate::error::{BuildError, Cause, Detail, GetError, GetErrorKind, UseError};
use crate::lease::{Lease, Loan};
use crate::lockfree::alarm::Due;
use crate::manager::Manager;
use crate::os::background;
use crate::os::clock::{self, NEVER, nanos};
use crate::pool::Pool;
use crate::sync::swap::{ArcSwap, Guard};
use crate::watch::handler::Handler;
use crate::watch::reactor::Timer;
use crate::watch::reactors::Reactors;
use entry::{Entry, message};

/// One pool for each key, made on first use. All of them share reactors and background threads.
///
/// ```
/// # use std::net::SocketAddr;
/// # use std::time::Duration;
/// use corepool::{Opening, Pool, PoolMap, TcpManager};
///
/// let upstreams = PoolMap::new(|endpoint: &SocketAddr| {
///     Pool::builder(TcpManager::new(endpoint.to_string())).max_size(16).opening(Opening::Lazy)
/// });
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let endpoint = listener.local_addr().unwrap();
/// upstreams.with(&endpoint, |stream| -> std::io::Result<()> {
///     assert_eq!(stream.peer(), Some(endpoint));
///     Ok(())
/// })?;
/// assert_eq!(upstreams.len(), 1);
/// # Ok::<_, std::io::Error>(())
/// ```
pub struct PoolMap<K, M: Manager> {
    inner: Arc<Inner<K, M>>,
}

type Make<K, M> = dyn Fn(&K) -> Builder<M> + Send + Sync;
type Table<K, M> = HashMap<K, Arc<Entry<M>>>;
/// The table as it was when it was looked at.
type Present<K, M> = Guard<Arc<Table<K, M>>>;

struct Inner<K, M: Manager> {
    me: Weak<Self>,
    make: Box<Make<K, M>>,
    table: ArcSwap<Table<K, M>>,
    idle_for: Option<Duration>,
    /// When to look for idle pools next.
    look_due: Due,
    timer: Option<Arc<Timer>>,
}

impl<K, M> PoolMap<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: Manager,
{
    /// A map that makes each key's pool by `make`, and keeps it until the map is dropped.
    ///
    /// `make` runs on the thread of the first caller with that key, under no lock; other callers with it wait for as long as the
    /// build takes, and get the same pool, or the same error. With [`Opening::Lazy`](crate::Opening::Lazy) that is quick, and the
    /// caller's own deadline covers the dial.
    ///
    /// `make` may ask this map, or another, for pools of other keys. If such a pool could not be there before the one that is
    /// being made (it has the same key, or its own `make` waits for this one, on whichever thread), it is told so, by
    /// [`BuildError::Circular`]. What it asks by way of another thread, for which it waits, is not seen to be its question, and
    /// hangs if it is about its own key.
    ///
    /// A panic in `make` goes on to the caller on whose thread it ran. Those who wait for the build are told of it
    /// ([`BuildError::Panicked`]), and the next call tries again.
    pub fn new(make: impl Fn(&K) -> Builder<M> + Send + Sync + 'static) -> Self {
        Self::over(Box::new(make), None)
    }

    /// The same, with a pool that nobody has used for `idle` (at least 10 ms) closed and forgotten. Looked for every half of it.
    pub fn with_idle_limit(make: impl Fn(&K) -> Builder<M> + Send + Sync + 'static, idle: Duration) -> Self {
        Self::over(Box::new(make), Some(idle.max(Duration::from_millis(10))))
    }

    fn over(make: Box<Make<K, M>>, idle_for: Option<Duration>) -> Self {
        // Without a reactor nothing is ever found idle, which costs memory and nothing else.
        let reactor = idle_for.and_then(|_| Reactors::shared().at(None).ok().cloned());
        let inner = Arc::new_cyclic(|me| Inner {
            me: Weak::clone(me),
            make,
            table: ArcSwap::default(),
            idle_for,
            look_due: Due::new(),
            timer: reactor.map(|reactor| reactor.serve(me.clone())),
        });
        PoolMap { inner }
    }

    /// Runs `f` with a connection of `key`'s pool: see [`Pool::with`]. Makes the pool if there is none.
    ///
    /// The key may be borrowed, as `&str` where `K` is `String`: it is made an owned one only for a pool that is new.
    ///
    /// # Errors
    /// As for [`Pool::with`]; a pool that could not be built is [`GetErrorKind::Down`], with the [`BuildError`] as its source.
    pub fn with<Q, T, E>(&self, key: &Q, f: impl FnOnce(&mut M::Connection) -> Result<T, E>) -> Result<T, UseError<E>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
        E: 'static,
    {
        loop {
            {
                let table = self.inner.table.load();
                if let Some((entry, built)) = table.get(key).and_then(|entry| Some((entry, entry.built()?))) {
                    let shared = &built.pool.engine;
                    match shared.check_out(Patience::Usual) {
                        Ok(claim) => {
                            let loan = Loan::new(shared, claim);
                            return loan.lend(f);
                        }
                        Err(error) => self.inner.replace_if_closed(key, entry, error).map_err(UseError::Get)?,
                    }
                }
            }
            self.inner.built(key).map_err(|error| UseError::Get(unbuilt(error)))?;
        }
    }

    /// Takes a connection of `key`'s pool, as [`Pool::get_owned`]. Makes the pool if there is none.
    ///
    /// # Errors
    /// As for [`with`](PoolMap::with).
    pub fn get<Q>(&self, key: &Q) -> Result<Lease<'static, M>, GetError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        loop {
            let (entry, pool) = self.inner.built(key).map_err(unbuilt)?;
            match pool.get_owned() {
                Ok(lease) => return Ok(lease),
                Err(error) => self.inner.replace_if_closed(key, &entry, error)?,
            }
        }
    }

    /// The pool of `key`, made if there is none. It may be closed, once idle or [removed](PoolMap::remove), while this handle to
    /// it is kept.
    ///
    /// # Errors
    /// What [`Builder::build`] said, to each caller that waited for it; [`BuildError::Circular`] and [`BuildError::Panicked`], of which
    /// [`new`](PoolMap::new) tells. The next call tries again.
    pub fn pool<Q>(&self, key: &Q) -> Result<Pool<M>, BuildError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.inner.built(key).map(|(_, pool)| pool)
    }

    /// How many keys have a pool, or are about to.
    pub fn len(&self) -> usize {
        self.inner.table.load().len()
    }

    /// Whether no key has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes `key`'s pool and forgets it. The next use makes it anew. False if there was none.
    ///
    /// One that is being made at this moment is closed as soon as it is built: a call that begins after this one returns does not get it.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let entry = self.inner.table.load().get(key).cloned();
        entry.is_some_and(|entry| self.inner.remove(key, &entry))
    }
}

/// A pool that could not be built, as its callers are told.
fn unbuilt(error: BuildError) -> GetError {
    let cause: Cause = Arc::new(error);
    GetError::detailed(GetErrorKind::Down, Detail { cause: Some(cause), ..Detail::default() })
}

impl<K: Eq + Hash + Clone, M: Manager> Inner<K, M> {
    /// The pool of `key`, and its entry. Builds it, or waits for another's build.
    fn built<Q>(&self, key: &Q) -> Result<(Arc<Entry<M>>, Pool<M>), BuildError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let found = self.table.load().get(key).cloned();
        let entry = found.unwrap_or_else(|| self.build(key));
        let error = match entry.outcome()? {
            Ok(built) => {
                let pool = built.pool.clone();
                return Ok((entry, pool));
            }
            Err(error) => error.clone(),
        };
        // Each who is told does this first, so no call that begins after one of them has returned finds this failure. Not the
        // builder alone, in whom the user's code might panic at it.
        self.take_out(key, &entry);
        Err(error)
    }

    /// Builds the key's pool and settles its entry, unless somebody else has begun meanwhile, whose entry it is then.
    fn build<Q>(&self, key: &Q) -> Arc<Entry<M>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let entry = Arc::new(Entry::new());
        // From the moment at which others may find the entry, nothing of the user's can keep it from being settled.
        let built = catch_unwind(AssertUnwindSafe(|| {
            let key = key.to_owned();
            match self.put_in(&key, &entry) {
                None => Ok((self.make)(&key).build()),
                Some(present) => Err(present),
            }
        }));
        match built {
            Ok(Ok(built)) => {
                entry.settle(built);
                self.remind();
                entry
            }
            Ok(Err(present)) => present,
            Err(panic) => {
                entry.settle(Err(BuildError::Panicked(message(&*panic))));
                self.take_out(key, &entry);
                resume_unwind(panic)
            }
        }
    }

    /// Puts an entry into the table, unless the key has one, which is returned.
    fn put_in(&self, key: &K, entry: &Arc<Entry<M>>) -> Option<Arc<Entry<M>>> {
        let mut table = self.table.load();
        loop {
            if let Some(present) = table.get(key) {
                return Some(Arc::clone(present));
            }
            let mut larger = Table::clone(&table);
            larger.insert(K::clone(key), Arc::clone(entry));
            match self.replace(table, larger) {
                Ok(()) => return None,
                Err(newer) => table = newer,
            }
        }
    }

    /// Takes this entry out of the table. False if it is not there any more.
    fn take_out<Q>(&self, key: &Q, entry: &Arc<Entry<M>>) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut table = self.table.load();
        while table.get(key).is_some_and(|present| Arc::ptr_eq(present, entry)) {
            let mut smaller = Table::clone(&table);
            smaller.remove(key);
            match self.replace(table, smaller) {
                Ok(()) => return true,
                Err(newer) => table = newer,
            }
        }
        false
    }

    /// Puts a changed copy in the table's place. If somebody was faster, returns what is there now: the change is to be made again.
    fn replace(&self, table: Present<K, M>, changed: Table<K, M>) -> Result<(), Present<K, M>> {
        let present = self.table.compare_and_swap(&table, Arc::new(changed));
        if Arc::ptr_eq(&present, &table) { Ok(()) } else { Err(present) }
    }

    /// Takes this entry out of the table and closes its pool. False if it is not there any more: who took it out closes it.
    fn remove<Q>(&self, key: &Q, entry: &Arc<Entry<M>>) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let removed = self.take_out(key, entry);
        if removed {
            entry.close();
        }
        removed
    }

    /// A pool was found closed, which for an idle one means nothing: another is made. Any other error is the caller's.
    fn replace_if_closed<Q>(&self, key: &Q, entry: &Arc<Entry<M>>, error: GetError) -> Result<(), GetError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if error.kind() != GetErrorKind::Closed {
            return Err(error);
        }
        self.remove(key, entry);
        Ok(())
    }

    fn remind(&self) {
        if let (Some(timer), Some(idle)) = (&self.timer, self.idle_for) {
            let due = clock::now().saturating_add(nanos(idle / 2));
            self.look_due.lower(due);
            timer.remind(due);
        }
    }

    /// Closes the pools that nobody has used for long. In the background, since keys are compared, and dropped, by the user's code.
    fn look(&self) {
        let idle_for = self.idle_for.map_or(NEVER, nanos);
        let table = self.table.load_full();
        if !table.is_empty() {
            // First, since the user's code may panic.
            self.remind();
        }
        let now = clock::now();
        for (key, entry) in table.iter().filter(|(_, entry)| entry.has_rested(now, idle_for)) {
            self.remove(key, entry);
        }
    }
}

impl<K, M> Handler for Inner<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: Manager,
{
    fn hung_up(&self, _key: u64) {}

    fn tick(&self, now: u64) -> u64 {
        if let Err(due) = self.look_due.take(now) {
            return due;
        }
        if let Some(me) = self.me.upgrade()
            && background::run(Box::new(move || me.look())).is_err()
        {
            self.remind();
        }
        self.look_due.at()
    }

    fn release(self: Arc<Self>) {
        background::drop_elsewhere(self);
    }
}

impl<K, M: Manager> Clone for PoolMap<K, M> {
    fn clone(&self) -> Self {
        PoolMap { inner: Arc::clone(&self.inner) }
    }
}

impl<K, M: Manager> fmt::Debug for PoolMap<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.inner.table.load();
        let built = table.values().filter(|entry| entry.built().is_some()).count();
        f.debug_struct("PoolMap")
            .field("pools", &built)
            .field("being_built", &(table.len() - built))
            .field("waiting_for_a_build", &table.values().map(|entry| entry.waiting()).sum::<usize>())
            .finish_non_exhaustive()
    }
}
