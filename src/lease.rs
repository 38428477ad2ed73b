//! A lease: the time for which one thread has a connection to itself.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::resident::Resident;
use crate::error::UseError;
use crate::lockfree::bag::{Claim, Slot};
use crate::lockfree::bits::Notes;
use crate::manager::{Manager, Outcome};

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
    /// A lease is to threads what the connection is.
    _connection: PhantomData<M::Connection>,
}

/// A lease for the time of one closure: no more than `with` needs, so that it stays in registers.
pub(crate) struct Loan<'p, M: Manager> {
    pool: &'p Engine<M>,
    slot: &'p Slot<Resident<M>>,
    claim: Option<Claim>,
}

impl<'p, M: Manager> Loan<'p, M> {
    #[inline(always)]
    pub(crate) fn new(pool: &'p Engine<M>, claim: Claim) -> Self {
        Loan { pool, slot: pool.slot(&claim), claim: Some(claim) }
    }

    /// Lends the connection to `f`, and ends.
    #[inline(always)]
    pub(crate) fn lend<T, E: 'static>(
        mut self,
        f: impl FnOnce(&mut M::Connection) -> Result<T, E>,
    ) -> Result<T, UseError<E>> {
        let result = match &mut self.claim {
            Some(claim) => f(connection_mut(self.slot, claim)),
            None => unreachable!("a loan has its connection until it ends"),
        };
        let claim = self.claim.take();
        match result {
            Ok(value) => {
                if let Some(claim) = claim {
                    self.pool.check_in(claim, self.slot, Outcome::Done);
                }
                Ok(value)
            }
            Err(error) => {
                if let Some(claim) = claim {
                    self.pool.check_in_failed(claim, self.slot, &error);
                }
                Err(UseError::Use(error))
            }
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
    Borrowed(&'p Engine<M>),
    Owned(Arc<Engine<M>>),
}

impl<M: Manager> Deref for Holder<'_, M> {
    type Target = Engine<M>;

    #[inline]
    fn deref(&self) -> &Engine<M> {
        match self {
            Holder::Borrowed(shared) => shared,
            Holder::Owned(shared) => shared,
        }
    }
}

impl<'p, M: Manager> Lease<'p, M> {
    #[inline]
    pub(crate) fn borrowed(pool: &'p Engine<M>, claim: Claim) -> Self {
        Lease::new(Holder::Borrowed(pool), claim)
    }

    pub(crate) fn owned(pool: Arc<Engine<M>>, claim: Claim) -> Lease<'static, M> {
        Lease::new(Holder::Owned(pool), claim)
    }

    #[inline]
    fn new(pool: Holder<'_, M>, claim: Claim) -> Lease<'_, M> {
        Lease { pool, claim: Some(claim), condemned: false, failed: false, _connection: PhantomData }
    }

    /// The use has returned this error, and ends.
    pub(crate) fn end_failed(mut self, error: &dyn Any) {
        if !self.condemned
            && let Some(claim) = self.claim.take()
        {
            let slot = self.pool.slot(&claim);
            self.pool.check_in_failed(claim, slot, error);
        }
    }

    /// The use has ended well, unless it was said to have failed.
    pub(crate) fn end(mut self) {
        if let Some(claim) = self.claim.take() {
            if self.condemned {
                self.pool.check_in_condemned(claim);
            } else {
                self.pool.check_in_lease(claim, self.outcome());
            }
        }
    }

    fn outcome(&self) -> Outcome {
        if self.failed { Outcome::Failed } else { Outcome::Done }
    }

    /// Says that the use has failed: when the lease ends, [`Manager::on_return`] is told so, by whose default the connection is
    /// closed. For what a dropped lease does not say by itself: `get()` and a `?` out of the function look like a use that ended well.
    pub fn fail(lease: &mut Self) {
        lease.failed = true;
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
        match lease.claim.take() {
            Some(claim) => lease.pool.detach(claim),
            None => unreachable!("a lease has its connection until it ends"),
        }
    }

    /// Whether the watch has seen the peer hang up. Not true of a lease that the pool itself has cut short.
    ///
    /// It says that no answer will come any more, not that the request was not carried out: a server may execute it and then hang up.
    /// So a request on a stale lease may be tried again on another one only if it may be carried out twice.
    ///
    /// The caller's own read may know of the hang-up before the reactor does. One load; a connection that nobody watches never looks
    /// stale.
    pub fn stale(lease: &Self) -> bool {
        let notes = lease.claim.as_ref().map(|claim| lease.pool.slot(claim).notes());
        notes.is_some_and(|notes| notes.has(Notes::DEAD) && !notes.has(Notes::CUT))
    }
}

impl<M: Manager> Deref for Lease<'_, M> {
    type Target = M::Connection;

    #[inline]
    fn deref(&self) -> &M::Connection {
        match &self.claim {
            Some(claim) => &self.pool.slot(claim).resident(claim).connection,
            None => unreachable!("a lease has its connection until it ends"),
        }
    }
}

impl<M: Manager> DerefMut for Lease<'_, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Connection {
        match &mut self.claim {
            Some(claim) => connection_mut(self.pool.slot(claim), claim),
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
        // Also of a lease that began while its thread was unwinding, in somebody's `Drop`: whether the use inside has panicked too
        // cannot be told, and a connection is cheaper than a reply to somebody else's request.
        let how = if std::thread::panicking() { Outcome::Panicked } else { self.outcome() };
        self.pool.check_in_lease(claim, how);
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
