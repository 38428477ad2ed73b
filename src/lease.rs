//! A lease: the time for which one thread has a connection to itself.
#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::engine::resident::Resident;
use crate::engine::{Shared, count};
use crate::lockfree::bag::{Claim, Slot};
use crate::lockfree::bits::Notes;
use crate::manager::{CloseReason, Manager, Outcome};

/// A connection on loan. It is given back when the lease is dropped, on that thread: [`Manager::on_return`] judges it there.
///
/// Borrows the pool, so that taking one touches no reference count; [`Pool::get_owned`](crate::Pool::get_owned) makes one that does not.
/// It may move to another thread and be dropped there, also while that thread ends. A lease that is leaked (`mem::forget`) keeps its
/// connection from the pool for ever.
///
/// What the compiler holds: a lease is not used after it was given back,
///
/// ```compile_fail,E0382
/// # use corepool::*;
/// # struct Numbers;
/// # impl Manager for Numbers {
/// #     type Connection = std::cell::Cell<u32>;
/// #     type Error = std::io::Error;
/// #     fn connect(&self, _: &Dial<'_>) -> std::io::Result<std::cell::Cell<u32>> { Ok(7.into()) }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Numbers).build()?;
/// let lease = pool.get()?;
/// drop(lease);
/// lease.set(8);
/// # Ok(())
/// # }
/// ```
///
/// it does not outlive the handle that it borrows,
///
/// ```compile_fail,E0505
/// # use corepool::*;
/// # struct Numbers;
/// # impl Manager for Numbers {
/// #     type Connection = std::cell::Cell<u32>;
/// #     type Error = std::io::Error;
/// #     fn connect(&self, _: &Dial<'_>) -> std::io::Result<std::cell::Cell<u32>> { Ok(7.into()) }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Numbers).build()?;
/// let lease = pool.get()?;
/// drop(pool);
/// lease.set(8);
/// # Ok(())
/// # }
/// ```
///
/// and it may be shared between threads only if its connection may (a `Cell` may not), but always be sent. The other way round all is well:
///
/// ```compile_fail,E0277
/// # use corepool::*;
/// # struct Numbers;
/// # impl Manager for Numbers {
/// #     type Connection = std::cell::Cell<u32>;
/// #     type Error = std::io::Error;
/// #     fn connect(&self, _: &Dial<'_>) -> std::io::Result<std::cell::Cell<u32>> { Ok(7.into()) }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Numbers).build()?;
/// let lease = pool.get()?;
/// std::thread::scope(|scope| { scope.spawn(|| lease.set(8)); });
/// # Ok(())
/// # }
/// ```
///
/// ```
/// # use corepool::*;
/// # struct Numbers;
/// # impl Manager for Numbers {
/// #     type Connection = std::cell::Cell<u32>;
/// #     type Error = std::io::Error;
/// #     fn connect(&self, _: &Dial<'_>) -> std::io::Result<std::cell::Cell<u32>> { Ok(7.into()) }
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Numbers).build()?;
/// let lease = pool.get()?;
/// lease.set(8);
/// std::thread::scope(|scope| { scope.spawn(move || lease.set(9)); });
/// drop(pool);
/// # Ok(())
/// # }
/// ```
///
/// Functions of the lease itself are not methods (`Lease::discard(lease)`), so that they hide none of the connection's.
#[must_use = "the connection goes back as soon as its lease is dropped"]
pub struct Lease<'p, M: Manager> {
    pool: Holder<'p, M>,
    /// `None` only once it was discarded or detached.
    claim: Option<Claim>,
    condemned: bool,
    failed: bool,
    /// The thread was unwinding already when the lease began, so that a panic during it cannot be told from `thread::panicking()`.
    panicking: bool,
    /// A lease is to threads what the connection is.
    _connection: PhantomData<M::Connection>,
}

/// A lease for the time of one closure: no more than `with` needs, so that it stays in registers.
pub(crate) struct Loan<'p, M: Manager> {
    pool: &'p Shared<M>,
    slot: &'p Slot<Resident<M>>,
    claim: Option<Claim>,
}

impl<'p, M: Manager> Loan<'p, M> {
    #[inline(always)]
    pub(crate) fn new(pool: &'p Shared<M>, claim: Claim) -> Self {
        Loan { pool, slot: pool.bag.slot(claim.slot()), claim: Some(claim) }
    }

    #[inline(always)]
    pub(crate) fn connection(&mut self) -> &mut M::Connection {
        match &mut self.claim {
            Some(claim) => connection_mut(self.slot, claim),
            None => unreachable!("a loan has its connection until it ends"),
        }
    }

    #[inline(always)]
    pub(crate) fn end(mut self, how: Outcome) {
        if let Some(claim) = self.claim.take() {
            self.pool.check_in(claim, self.slot, how);
        }
    }
}

impl<M: Manager> Drop for Loan<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            // Not ended, so the closure unwinds.
            self.pool.check_in_panicked(claim, self.slot);
        }
    }
}

#[inline(always)]
fn connection_mut<'a, M: Manager>(slot: &'a Slot<Resident<M>>, claim: &'a mut Claim) -> &'a mut M::Connection {
    &mut slot.resident_mut(claim).connection
}

enum Holder<'p, M: Manager> {
    Borrowed(&'p Shared<M>),
    Owned(Arc<Shared<M>>),
}

impl<M: Manager> Deref for Holder<'_, M> {
    type Target = Shared<M>;

    #[inline]
    fn deref(&self) -> &Shared<M> {
        match self {
            Holder::Borrowed(shared) => shared,
            Holder::Owned(shared) => shared,
        }
    }
}

impl<'p, M: Manager> Lease<'p, M> {
    #[inline]
    pub(crate) fn borrowed(pool: &'p Shared<M>, claim: Claim) -> Self {
        Lease::new(Holder::Borrowed(pool), claim)
    }

    pub(crate) fn owned(pool: Arc<Shared<M>>, claim: Claim) -> Lease<'static, M> {
        Lease::new(Holder::Owned(pool), claim)
    }

    #[inline]
    fn new(pool: Holder<'_, M>, claim: Claim) -> Lease<'_, M> {
        let panicking = std::thread::panicking();
        Lease { pool, claim: Some(claim), condemned: false, failed: false, panicking, _connection: PhantomData }
    }

    /// The use has failed: `on_return` will be told.
    #[inline]
    #[allow(dead_code, reason = "`with` has a loan, whose end is told how the use ended")]
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    /// Ends the lease and has the connection closed, whatever `on_return` would say. Another is opened when one is needed.
    pub fn discard(mut lease: Self) {
        lease.condemned = true;
    }

    /// Has the connection closed when the lease ends, however it is used until then.
    pub fn condemn(lease: &mut Self) {
        lease.condemned = true;
    }

    /// Takes the connection out of the pool for good. Its permit is free at once; its watch ends; nobody closes it but you.
    pub fn detach(mut lease: Self) -> M::Connection {
        count(&lease.pool.counts.detached);
        let resident = lease.claim.take().and_then(|claim| {
            let mut duty = lease.pool.bag.evict(claim);
            let resident = duty.close.take();
            lease.pool.perform(duty);
            resident
        });
        match resident {
            Some((resident, _)) => resident.connection,
            None => unreachable!("a lease has its connection until it ends"),
        }
    }

    /// Whether the watch has seen the peer hang up. A request that failed on a stale lease before any byte of an answer came may be tried
    /// again on another one.
    ///
    /// The caller's own read may know it before the reactor does: an end of the stream, a reset or a broken pipe before the first byte
    /// says the same. One load; a connection that nobody watches never looks stale.
    pub fn stale(lease: &Self) -> bool {
        let claim = lease.claim.as_ref();
        claim.is_some_and(|claim| lease.pool.bag.slot(claim.slot()).notes().has(Notes::DEAD))
    }
}

impl<M: Manager> Deref for Lease<'_, M> {
    type Target = M::Connection;

    #[inline]
    fn deref(&self) -> &M::Connection {
        match &self.claim {
            Some(claim) => &self.pool.bag.slot(claim.slot()).resident(claim).connection,
            None => unreachable!("a lease has its connection until it ends"),
        }
    }
}

impl<M: Manager> DerefMut for Lease<'_, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Connection {
        match &mut self.claim {
            Some(claim) => connection_mut(self.pool.bag.slot(claim.slot()), claim),
            None => unreachable!("a lease has its connection until it ends"),
        }
    }
}

impl<M: Manager> Drop for Lease<'_, M> {
    #[inline]
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        if self.condemned {
            return self.pool.check_in_condemned(claim);
        }
        let how = if std::thread::panicking() && !self.panicking {
            Outcome::Panicked
        } else if self.failed {
            Outcome::Failed
        } else {
            Outcome::Done
        };
        let slot = self.pool.bag.slot(claim.slot());
        self.pool.check_in(claim, slot, how);
    }
}

impl<M: Manager> Shared<M> {
    #[cold]
    fn check_in_panicked(&self, claim: Claim, slot: &Slot<Resident<M>>) {
        self.check_in(claim, slot, Outcome::Panicked);
    }

    #[cold]
    fn check_in_condemned(&self, claim: Claim) {
        self.retire(claim, CloseReason::Condemned);
    }
}

impl<M: Manager> fmt::Debug for Lease<'_, M>
where
    M::Connection: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Lease");
        if self.claim.is_some() {
            debug.field("connection", &**self);
        }
        debug.field("condemned", &self.condemned).finish()
    }
}
