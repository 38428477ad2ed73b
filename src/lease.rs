//! A lease: the time for which one thread has a connection to itself.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::checkout::Hit;
use crate::error::UseError;
use crate::lockfree::bag::Claim;
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
    hold: Hold<'p, M>,
    /// A lease is to threads what the connection is.
    _connection: PhantomData<M::Connection>,
}

/// What a lease is made of. The same twice rather than a pool that may be the one or the other: so the tag lies beside the claim, and
/// a lease is two words.
enum Hold<'p, M: Manager> {
    Borrowed { said: Said, claim: Option<Claim>, pool: &'p Engine<M> },
    Owned { said: Said, claim: Option<Claim>, pool: Arc<Engine<M>> },
}

/// What its user has said of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Nothing,
    Failed,
    Condemned,
}

/// A lease for the time of one closure: no more than `with` needs, so that it stays in registers.
pub(crate) struct Loan<'p, M: Manager> {
    pool: &'p Engine<M>,
    hit: Option<Hit<'p, M>>,
}

impl<'p, M: Manager> Loan<'p, M> {
    #[inline(always)]
    pub(crate) fn new(pool: &'p Engine<M>, hit: Hit<'p, M>) -> Self {
        Loan { pool, hit: Some(hit) }
    }

    /// Lends the connection to `f`, and ends.
    #[inline(always)]
    pub(crate) fn lend<T, E: 'static>(
        mut self,
        f: impl FnOnce(&mut M::Connection) -> Result<T, E>,
    ) -> Result<T, UseError<E>> {
        let Some(hit) = &mut self.hit else { unreachable!("a loan has its connection until it ends") };
        match f(&mut hit.slot.resident_mut(&mut hit.claim).connection) {
            Ok(value) => {
                self.end();
                Ok(value)
            }
            Err(error) => Err(UseError::Use(self.fail(error))),
        }
    }

    #[inline(always)]
    fn end(&mut self) {
        if let Some(hit) = self.hit.take() {
            self.pool.check_in(hit, Outcome::Done);
        }
    }

    #[inline(always)]
    fn fail<E: 'static>(&mut self, error: E) -> E {
        match self.hit.take() {
            Some(hit) => fail(self.pool, hit, error),
            None => error,
        }
    }
}

/// The error by value: if it had an address in the hot path, the closure's result would live in memory.
#[cold]
#[inline(never)]
fn fail<M: Manager, E: 'static>(pool: &Engine<M>, hit: Hit<'_, M>, error: E) -> E {
    pool.check_in_failed(hit, &error);
    error
}

impl<M: Manager> Drop for Loan<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(hit) = self.hit.take() {
            // Not ended, so the closure unwinds.
            self.pool.check_in_panicked(hit);
        }
    }
}

impl<M: Manager> Hold<'_, M> {
    #[inline(always)]
    fn parts(&self) -> (Said, &Option<Claim>, &Engine<M>) {
        match self {
            Hold::Borrowed { said, claim, pool } => (*said, claim, pool),
            Hold::Owned { said, claim, pool } => (*said, claim, pool),
        }
    }

    #[inline(always)]
    fn parts_mut(&mut self) -> (&mut Said, &mut Option<Claim>, &Engine<M>) {
        match self {
            Hold::Borrowed { said, claim, pool } => (said, claim, pool),
            Hold::Owned { said, claim, pool } => (said, claim, pool),
        }
    }

    fn say(&mut self, what: Said) {
        let (said, ..) = self.parts_mut();
        *said = what.max(*said);
    }

    /// Takes what it has to end with, once.
    fn end<R>(&mut self, with: impl FnOnce(&Engine<M>, Claim, Said) -> R) -> Option<R> {
        let (said, claim, pool) = self.parts_mut();
        claim.take().map(|claim| with(pool, claim, *said))
    }
}

impl<'p, M: Manager> Lease<'p, M> {
    #[inline(always)]
    pub(crate) fn borrowed(pool: &'p Engine<M>, claim: Claim) -> Self {
        Lease { hold: Hold::Borrowed { said: Said::Nothing, claim: Some(claim), pool }, _connection: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn owned(pool: Arc<Engine<M>>, claim: Claim) -> Lease<'static, M> {
        Lease { hold: Hold::Owned { said: Said::Nothing, claim: Some(claim), pool }, _connection: PhantomData }
    }

    /// The use has returned this error, and ends.
    pub(crate) fn end_failed(mut self, error: &dyn Any) {
        self.hold.end(|pool, claim, said| match said {
            Said::Condemned => pool.check_in_condemned(claim),
            Said::Nothing | Said::Failed => pool.check_in_failed(pool.hit(claim), error),
        });
    }

    /// The use has ended well, unless its user has said something else.
    pub(crate) fn end(mut self) {
        self.hold.end(check_in);
    }

    /// Says that the use has failed: when the lease ends, [`Manager::on_return`] is told so, by whose default the connection is
    /// closed. For what a dropped lease does not say by itself: `get()` and a `?` out of the function look like a use that ended well.
    pub fn fail(lease: &mut Self) {
        lease.hold.say(Said::Failed);
    }

    /// Ends the lease and has the connection closed, whatever `on_return` would say. Another is opened when one is needed.
    pub fn discard(mut lease: Self) {
        lease.hold.say(Said::Condemned);
    }

    /// Has the connection closed when the lease ends, however it is used until then.
    pub fn condemn(lease: &mut Self) {
        lease.hold.say(Said::Condemned);
    }

    /// Takes the connection out of the pool for good. Its permit is free at once; its watch ends; nobody closes it but you.
    pub fn detach(mut lease: Self) -> M::Connection {
        lease.hold.end(|pool, claim, _| pool.detach(claim)).unwrap_or_else(|| ended())
    }

    /// Whether the pool wants the connection back, to close it: its peer has hung up, its lifetime is over, it was retired, it is one too
    /// many, or its lease was cut short. For a lease that is held for long, to know when to end it. One load.
    ///
    /// That the pool was closed does not show here.
    pub fn is_leaving(lease: &Self) -> bool {
        let (_, claim, pool) = lease.hold.parts();
        claim.as_ref().is_some_and(|claim| pool.slot(claim).notes().is_leaving())
    }

    /// Whether the watch has seen the peer hang up. Not true of a lease that the pool itself has cut short.
    ///
    /// It says that no answer will come any more, not that the request was not carried out: a server may execute it and then hang up.
    /// So a request on a stale lease may be tried again on another one only if it may be carried out twice.
    ///
    /// The caller's own read may know of the hang-up before the reactor does. One load; a connection that nobody watches never looks
    /// stale.
    pub fn stale(lease: &Self) -> bool {
        let (_, claim, pool) = lease.hold.parts();
        let notes = claim.as_ref().map(|claim| pool.slot(claim).notes());
        notes.is_some_and(|notes| notes.has(Notes::DEAD) && !notes.has(Notes::CUT))
    }
}

impl<M: Manager> Deref for Lease<'_, M> {
    type Target = M::Connection;

    #[inline]
    fn deref(&self) -> &M::Connection {
        match self.hold.parts() {
            (_, Some(claim), pool) => &pool.slot(claim).resident(claim).connection,
            (_, None, _) => ended(),
        }
    }
}

impl<M: Manager> DerefMut for Lease<'_, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Connection {
        match self.hold.parts_mut() {
            (_, Some(claim), pool) => &mut pool.slot(claim).resident_mut(claim).connection,
            (_, None, _) => ended(),
        }
    }
}

#[cold]
fn ended() -> ! {
    unreachable!("a lease has its connection until it ends")
}

impl<M: Manager> Drop for Lease<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        // Also of a lease that began while its thread was unwinding, in somebody's `Drop`: whether the use inside has panicked too
        // cannot be told, and a connection is cheaper than a reply to somebody else's request.
        if std::thread::panicking() {
            return end_panicked(&mut self.hold);
        }
        // Field by field: a lease that is moved out whole is read in one piece, out of parts just written, which takes a processor longer
        // than all the rest.
        match &mut self.hold {
            Hold::Borrowed { said: Said::Nothing, claim, pool } => {
                if let Some(claim) = claim.take() {
                    pool.check_in_lease(claim);
                }
            }
            other => end_otherwise(other),
        }
    }
}

#[cold]
#[inline(never)]
fn end_panicked<M: Manager>(hold: &mut Hold<'_, M>) {
    hold.end(|pool, claim, said| match said {
        Said::Condemned => pool.check_in_condemned(claim),
        Said::Nothing | Said::Failed => pool.check_in_lease_slow(claim, Outcome::Panicked),
    });
}

/// Of a lease that owns its pool, or whose user has said something.
#[inline(never)]
fn end_otherwise<M: Manager>(hold: &mut Hold<'_, M>) {
    hold.end(check_in);
}

#[inline(always)]
fn check_in<M: Manager>(pool: &Engine<M>, claim: Claim, said: Said) {
    match said {
        Said::Nothing => pool.check_in_lease(claim),
        Said::Failed => pool.check_in_lease_slow(claim, Outcome::Failed),
        Said::Condemned => pool.check_in_condemned(claim),
    }
}

impl<M: Manager> fmt::Debug for Lease<'_, M>
where
    M::Connection: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Lease");
        let (said, claim, _) = self.hold.parts();
        if claim.is_some() {
            debug.field("connection", &**self);
        }
        debug.field("condemned", &(said == Said::Condemned)).finish()
    }
}
