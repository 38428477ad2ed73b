//! A manager around another whose connections know who has them: two owners at once, a use after the end, and an end during a use are
//! seen in the connection itself.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corepool::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};

/// What panics on purpose say.
pub(crate) const ON_PURPOSE: &str = "on purpose";

/// What all connections that were ever opened have come to.
#[derive(Default)]
pub(crate) struct Ledger {
    born: AtomicU64,
    closed: AtomicU64,
    dropped: AtomicU64,
    faults: AtomicU64,
    first: Mutex<Vec<String>>,
    /// Hooks neither discard nor refuse nor panic.
    calm: AtomicBool,
}

impl Ledger {
    pub(crate) fn fault(&self, what: impl FnOnce() -> String) {
        self.faults.fetch_add(1, Ordering::SeqCst);
        let mut first = self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if first.len() < 20 {
            first.push(what());
        }
    }

    /// How many faults there were, and what the first of them say.
    pub(crate) fn faults(&self) -> (u64, Vec<String>) {
        let first = self.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        (self.faults.load(Ordering::SeqCst), first.clone())
    }

    pub(crate) fn born(&self) -> u64 {
        self.born.load(Ordering::SeqCst)
    }

    /// Connections that went through [`Manager::close`].
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::SeqCst)
    }

    /// Connections that nobody has dropped yet.
    pub(crate) fn alive(&self) -> u64 {
        let dropped = self.dropped.load(Ordering::SeqCst);
        self.born().saturating_sub(dropped)
    }

    pub(crate) fn set_calm(&self, calm: bool) {
        self.calm.store(calm, Ordering::SeqCst);
    }
}

thread_local!(static ME: Cell<u64> = const { Cell::new(0) });

/// This thread's number, from 1.
fn me() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    if ME.get() == 0 {
        ME.set(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    ME.get()
}

/// A connection that knows who has it.
pub(crate) struct Checked<C> {
    inner: C,
    id: u64,
    /// The thread that was lent it; 0: nobody.
    owner: AtomicU64,
    closing: bool,
    ledger: Arc<Ledger>,
}

impl<C> Checked<C> {
    /// Whoever was lent it begins to use it.
    pub(crate) fn begin(&self, what: &str) {
        let before = self.owner.swap(me(), Ordering::SeqCst);
        if before != 0 || self.closing {
            self.ledger.fault(|| format!("{what} of connection {}: thread {before} has it, {}", self.id, self.closing));
        }
    }

    /// Its use is over. Its thread may be another one than the one that was lent it.
    pub(crate) fn end(&self, what: &str) {
        if self.owner.swap(0, Ordering::SeqCst) == 0 {
            self.ledger.fault(|| format!("{what} of connection {}, which nobody has", self.id));
        }
    }

    /// It is in use: by whoever says so.
    pub(crate) fn assert_owned(&self) {
        if self.owner.load(Ordering::SeqCst) == 0 || self.closing {
            self.ledger.fault(|| format!("connection {} is used, and nobody has it", self.id));
        }
    }

    /// Nobody has it: a hook or a predicate does, which has it to itself.
    pub(crate) fn look(&self, what: &str) -> u64 {
        self.begin(what);
        self.end(what);
        self.id
    }
}

impl<C> Deref for Checked<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.inner
    }
}

impl<C> DerefMut for Checked<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.inner
    }
}

impl<C> Drop for Checked<C> {
    fn drop(&mut self) {
        if self.owner.load(Ordering::SeqCst) != 0 {
            self.ledger.fault(|| format!("connection {} is dropped while it is in use", self.id));
        }
        self.ledger.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Opens what `M` opens, checked.
pub(crate) struct Checking<M> {
    inner: M,
    ledger: Arc<Ledger>,
    /// One checkout in so many is refused, discarded or panics; 0: none.
    one_in: u32,
}

impl<M> Checking<M> {
    pub(crate) fn new(inner: M, ledger: &Arc<Ledger>, one_in: u32) -> Self {
        Checking { inner, ledger: Arc::clone(ledger), one_in }
    }
}

impl<M: Manager<Error: Into<io::Error>>> Manager for Checking<M> {
    type Connection = Checked<M::Connection>;
    type Error = io::Error;

    fn connect(&self, dial: &Dial<'_>) -> io::Result<Self::Connection> {
        let inner = self.inner.connect(dial).map_err(Into::into)?;
        let id = self.ledger.born.fetch_add(1, Ordering::SeqCst);
        Ok(Checked { inner, id, owner: AtomicU64::new(0), closing: false, ledger: Arc::clone(&self.ledger) })
    }

    fn watch(&self, connection: &Self::Connection, on: &mut Watch<'_>) {
        self.inner.watch(&connection.inner, on);
    }

    fn on_idle_data(&self, connection: &mut Self::Connection, peeked: &[u8]) -> Verdict {
        connection.look("a look at idle data");
        self.inner.on_idle_data(&mut connection.inner, peeked)
    }

    fn on_checkout(&self, connection: &mut Self::Connection) -> io::Result<Verdict> {
        if self.one_in > 0 && !self.ledger.calm.load(Ordering::Relaxed) {
            match fastrand::u32(0..self.one_in) {
                0 => return Ok(Verdict::Discard),
                1 => return Err(io::Error::other("not now")),
                2 => panic!("{ON_PURPOSE}"),
                _ => {}
            }
        }
        // Not lent yet: it may have to leave all the same.
        connection.look("a checkout");
        Ok(Verdict::Keep)
    }

    fn ping(&self, connection: &mut Self::Connection) -> io::Result<()> {
        connection.look("a ping");
        Ok(())
    }

    fn on_return(&self, connection: &mut Self::Connection, how: Outcome) -> Verdict {
        connection.end("a return");
        self.inner.on_return(&mut connection.inner, how)
    }

    fn close(&self, mut connection: Self::Connection, why: CloseReason) {
        // Whoever condemned it has ended the use before.
        connection.look("a close");
        connection.closing = true;
        self.ledger.closed.fetch_add(1, Ordering::SeqCst);
        drop(connection);
        let _ = why;
    }

    fn probe_after(&self) -> Duration {
        self.inner.probe_after()
    }
}

/// Opens nothing at all, at once.
pub(crate) struct Nothing;

impl Manager for Nothing {
    type Connection = ();
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<()> {
        Ok(())
    }
}
