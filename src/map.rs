//! Pools by key: one for each endpoint that turns up while the program runs, as Finch's registry by scheme, host and port.
//!
//! Looking a pool up is one load of the present table (arc-swap) and a hash: no lock, and in `with` nothing shared is written. A
//! key's pool is made on first use, once, while others of the same key wait for it and nobody else does. A pool that nobody has
//! used for `idle_for` is closed and forgotten; whoever holds it at that moment finds it closed and makes it anew, once.
#![forbid(unsafe_code)]

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::builder::Builder;
use crate::error::{BuildError, Cause, Detail, GetError, GetErrorKind};
use crate::lease::Lease;
use crate::manager::Manager;
use crate::os::background;
use crate::os::clock::{self, NEVER, nanos};
use crate::pool::Pool;
use crate::sync::lock;
use crate::watch::reactor::{Handler, Reactor, Reactors};

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

struct Inner<K, M: Manager> {
    me: Weak<Self>,
    make: Box<Make<K, M>>,
    table: ArcSwap<Table<K, M>>,
    /// Taken to change the table, never to read it, and not while a pool is built.
    changing: Mutex<()>,
    idle_for: Option<Duration>,
    /// When to look for idle pools next.
    look_due: AtomicU64,
    reactor: Option<Arc<Reactor>>,
}

/// A key's place. Its pool is built under its own lock.
struct Entry<M: Manager> {
    pool: ArcSwap<Option<Pool<M>>>,
    building: Mutex<()>,
    /// How many uses a look has seen, and when it first did.
    seen: Mutex<(u64, u64)>,
}

impl<K, M> PoolMap<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: Manager,
{
    /// A map that makes each key's pool by `make`, and keeps it until the map is dropped.
    ///
    /// `make` runs on the thread of the first caller with that key; other callers with it wait for the build. With
    /// [`Opening::Lazy`](crate::Opening::Lazy) that is quick, and the caller's own deadline covers the dial.
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
            changing: Mutex::new(()),
            idle_for,
            look_due: AtomicU64::new(NEVER),
            reactor,
        });
        if let Some(reactor) = &inner.reactor {
            reactor.serve(inner.me.clone());
        }
        PoolMap { inner }
    }

    /// Runs `f` with a connection of `key`'s pool: see [`Pool::with`]. Makes the pool if there is none.
    ///
    /// The key may be borrowed, as `&str` where `K` is `String`: it is made an owned one only for a pool that is new.
    ///
    /// # Errors
    /// As for [`Pool::with`]; a pool that could not be built is [`GetErrorKind::Down`], with the [`BuildError`] as its source.
    pub fn with<Q, T, E>(&self, key: &Q, f: impl FnOnce(&mut M::Connection) -> Result<T, E>) -> Result<T, E>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
        E: From<GetError>,
    {
        loop {
            {
                let table = self.inner.table.load();
                let pool = table.get(key).map(|entry| entry.pool.load());
                if let Some(pool) = pool.as_ref().and_then(|pool| Option::as_ref(pool)) {
                    match pool.get() {
                        Ok(mut lease) => {
                            let result = f(&mut lease);
                            if result.is_err() {
                                lease.fail();
                            }
                            return result;
                        }
                        Err(error) => self.inner.replace_if_closed(key, pool, error)?,
                    }
                }
            }
            self.pool(key).map_err(unbuilt)?;
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
            let pool = self.pool(key).map_err(unbuilt)?;
            match pool.get_owned() {
                Ok(lease) => return Ok(lease),
                Err(error) => self.inner.replace_if_closed(key, &pool, error)?,
            }
        }
    }

    /// The pool of `key`, made if there is none. It may be closed, once idle, while this handle to it is kept.
    ///
    /// # Errors
    /// What [`Builder::build`] said. The next call tries again.
    pub fn pool<Q>(&self, key: &Q) -> Result<Pool<M>, BuildError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        loop {
            let found = self.inner.table.load().get(key).cloned();
            let entry = found.unwrap_or_else(|| self.inner.entry(key));
            if let Some(pool) = &**entry.pool.load() {
                return Ok(pool.clone());
            }
            let _one_at_a_time = lock(&entry.building);
            if let Some(pool) = &**entry.pool.load() {
                return Ok(pool.clone());
            }
            if !self.inner.table.load().get(key).is_some_and(|present| Arc::ptr_eq(present, &entry)) {
                // Another's build has failed meanwhile, and the key was forgotten.
                continue;
            }
            return match (self.inner.make)(&key.to_owned()).build() {
                Ok(pool) => {
                    entry.pool.store(Arc::new(Some(pool.clone())));
                    self.inner.remind();
                    Ok(pool)
                }
                Err(error) => {
                    self.inner.forget(key, &entry);
                    Err(error)
                }
            };
        }
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
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.inner.remove(key, |_| true)
    }
}

/// A pool that could not be built, as its callers are told.
fn unbuilt(error: BuildError) -> GetError {
    let cause: Cause = Arc::new(error);
    GetError::detailed(GetErrorKind::Down, Detail { cause: Some(cause), ..Detail::default() })
}

impl<K: Eq + Hash + Clone, M: Manager> Inner<K, M> {
    fn entry<Q>(&self, key: &Q) -> Arc<Entry<M>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let _one_at_a_time = lock(&self.changing);
        let table = self.table.load();
        if let Some(entry) = table.get(key) {
            return Arc::clone(entry);
        }
        let entry = Arc::new(Entry {
            pool: ArcSwap::new(Arc::new(None)),
            building: Mutex::new(()),
            seen: Mutex::new((0, clock::now())),
        });
        let mut larger = Table::clone(&table);
        larger.insert(key.to_owned(), Arc::clone(&entry));
        self.table.store(Arc::new(larger));
        entry
    }

    /// A pool was found closed, which for an idle one means nothing: another is made. Any other error is the caller's.
    fn replace_if_closed<Q>(&self, key: &Q, closed: &Pool<M>, error: GetError) -> Result<(), GetError>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if error.kind() != GetErrorKind::Closed {
            return Err(error);
        }
        self.remove(key, |present| Arc::ptr_eq(&present.engine, &closed.engine));
        Ok(())
    }

    /// Takes out an entry that came to nothing.
    fn forget<Q>(&self, key: &Q, entry: &Arc<Entry<M>>)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let _one_at_a_time = lock(&self.changing);
        let table = self.table.load();
        if table.get(key).is_some_and(|present| Arc::ptr_eq(present, entry)) {
            let mut smaller = Table::clone(&table);
            smaller.remove(key);
            self.table.store(Arc::new(smaller));
        }
    }

    /// Takes a key's entry out, if `condition` holds for its pool, and closes that.
    fn remove<Q>(&self, key: &Q, condition: impl FnOnce(&Pool<M>) -> bool) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let removed = {
            let _one_at_a_time = lock(&self.changing);
            let table = self.table.load();
            let Some(pool) = table.get(key).and_then(|entry| Option::clone(&entry.pool.load())) else { return false };
            if !condition(&pool) {
                return false;
            }
            let mut smaller = Table::clone(&table);
            smaller.remove(key);
            self.table.store(Arc::new(smaller));
            pool
        };
        removed.close();
        true
    }

    fn remind(&self) {
        if let (Some(reactor), Some(idle)) = (&self.reactor, self.idle_for) {
            let due = clock::now().saturating_add(nanos(idle / 2));
            // Release: the pool that there is to look at, to the look that takes this due time off.
            self.look_due.fetch_min(due, Ordering::Release);
            reactor.remind(due);
        }
    }

    /// Closes the pools that nobody has used for long. In the background, since keys are compared, and dropped, by the user's code.
    fn look(&self) {
        let idle_for = self.idle_for.map_or(NEVER, nanos);
        let now = clock::now();
        let table = self.table.load_full();
        for (key, entry) in table.iter() {
            let Some(pool) = Option::clone(&entry.pool.load()) else { continue };
            let (uses, busy) = pool.engine.activity();
            let unused_since = {
                let mut seen = lock(&entry.seen);
                if busy || seen.0 != uses {
                    *seen = (uses, now);
                }
                seen.1
            };
            if now.saturating_sub(unused_since) >= idle_for {
                self.remove(key, |pool| pool.engine.activity() == (uses, false));
            }
        }
        if !self.table.load().is_empty() {
            self.remind();
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
        // Relaxed: a time that is not seen yet comes with a reminder that makes this tick run again.
        let due = self.look_due.load(Ordering::Relaxed);
        if due > now {
            return due;
        }
        // Acquire: what was there to be looked at when the time that this takes off was set.
        self.look_due.swap(NEVER, Ordering::Acquire);
        if let Some(me) = self.me.upgrade()
            && background::run(Box::new(move || me.look())).is_err()
        {
            self.remind();
        }
        // Relaxed: as above.
        self.look_due.load(Ordering::Relaxed)
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
        f.debug_struct("PoolMap").field("pools", &self.inner.table.load().len()).finish_non_exhaustive()
    }
}
