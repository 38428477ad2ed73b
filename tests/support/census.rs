//! A manager around another that follows each of its connections from its opening to its end.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corepool::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};

/// What became of each connection. Faults are gathered, since the threads that find them contain panics.
#[derive(Debug, Default)]
pub(crate) struct Census {
    lives: Mutex<Vec<Life>>,
    faults: Mutex<Vec<String>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Life {
    closed: Option<CloseReason>,
    dropped: bool,
}

impl Census {
    pub(crate) fn opened(&self) -> usize {
        self.lives.lock().unwrap().len()
    }

    /// Connections that exist: nobody has dropped them yet.
    pub(crate) fn alive(&self) -> usize {
        self.lives.lock().unwrap().iter().filter(|life| !life.dropped).count()
    }

    /// How many went through [`Manager::close`] for this reason.
    pub(crate) fn closed(&self, why: CloseReason) -> usize {
        self.lives.lock().unwrap().iter().filter(|life| life.closed == Some(why)).count()
    }

    /// How many went through [`Manager::close`].
    pub(crate) fn closed_in_all(&self) -> usize {
        self.lives.lock().unwrap().iter().filter(|life| life.closed.is_some()).count()
    }

    /// Why the `id`-th connection was closed, if it was.
    pub(crate) fn fate(&self, id: usize) -> Option<CloseReason> {
        self.lives.lock().unwrap()[id].closed
    }

    /// Fails the test if a connection was ever closed twice, used after its close, or used by two at once.
    #[track_caller]
    pub(crate) fn verify(&self) {
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{} faults: {:?}", faults.len(), &faults[..faults.len().min(5)]);
    }

    fn fault(&self, text: String) {
        self.faults.lock().unwrap().push(text);
    }

    fn born(self: &Arc<Self>) -> Tag {
        let mut lives = self.lives.lock().unwrap();
        lives.push(Life::default());
        Tag { id: lives.len() - 1, census: Arc::clone(self), in_use: AtomicBool::new(false) }
    }

    fn close(&self, id: usize, why: CloseReason) {
        let before = self.lives.lock().unwrap()[id].closed.replace(why);
        if let Some(before) = before {
            self.fault(format!("connection {id} closed for {why:?}, after {before:?}"));
        }
    }
}

/// One connection's entry. Its drop is the connection's.
#[derive(Debug)]
struct Tag {
    id: usize,
    census: Arc<Census>,
    in_use: AtomicBool,
}

impl Drop for Tag {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut self.census.lives.lock().unwrap()[self.id].dropped, true);
        if before {
            self.census.fault(format!("connection {} dropped twice", self.id));
        }
        if self.in_use.load(Ordering::SeqCst) {
            self.census.fault(format!("connection {} dropped while in use", self.id));
        }
    }
}

/// A connection that is followed.
#[derive(Debug)]
pub(crate) struct Counted<C> {
    inner: C,
    tag: Tag,
}

impl<C> Counted<C> {
    /// Which connection this is, in the order of their opening, from 0.
    pub(crate) fn id(&self) -> usize {
        self.tag.id
    }

    /// Uses it, and finds out if anybody else does at the same time, which its type forbids and a broken pool would do.
    pub(crate) fn hold<R>(&mut self, f: impl FnOnce(&mut C) -> R) -> R {
        struct Using<'a>(&'a Tag);
        impl Drop for Using<'_> {
            fn drop(&mut self) {
                if !self.0.in_use.swap(false, Ordering::SeqCst) {
                    self.0.census.fault(format!("connection {} was let go by somebody else", self.0.id));
                }
            }
        }
        if self.tag.in_use.swap(true, Ordering::SeqCst) {
            self.tag.census.fault(format!("connection {} is used by two", self.tag.id));
        }
        let life = self.tag.census.lives.lock().unwrap()[self.tag.id];
        if life.closed.is_some() || life.dropped {
            self.tag.census.fault(format!("connection {} is used after its end: {life:?}", self.tag.id));
        }
        let _using = Using(&self.tag);
        f(&mut self.inner)
    }
}

impl<C> Deref for Counted<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.inner
    }
}

impl<C> DerefMut for Counted<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.inner
    }
}

impl<C: AsFd> AsFd for Counted<C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// A manager whose connections are followed.
#[derive(Debug)]
pub(crate) struct Counting<M> {
    inner: M,
    census: Arc<Census>,
}

impl<M> Counting<M> {
    pub(crate) fn new(inner: M) -> (Self, Arc<Census>) {
        let census = Arc::new(Census::default());
        (Counting { inner, census: Arc::clone(&census) }, census)
    }
}

impl<M: Manager> Manager for Counting<M> {
    type Connection = Counted<M::Connection>;
    type Error = M::Error;

    fn connect(&self, dial: &Dial<'_>) -> Result<Self::Connection, M::Error> {
        let inner = self.inner.connect(dial)?;
        Ok(Counted { inner, tag: self.census.born() })
    }

    fn is_permanent(&self, error: &M::Error) -> bool {
        self.inner.is_permanent(error)
    }

    fn watch(&self, connection: &Self::Connection, on: &mut Watch<'_>) {
        self.inner.watch(&connection.inner, on);
    }

    fn on_idle_data(&self, connection: &mut Self::Connection, peeked: &[u8]) -> Verdict {
        self.inner.on_idle_data(&mut connection.inner, peeked)
    }

    fn on_checkout(&self, connection: &mut Self::Connection) -> Result<Verdict, M::Error> {
        self.inner.on_checkout(&mut connection.inner)
    }

    fn on_wait(&self, waiting: usize) -> Result<(), M::Error> {
        self.inner.on_wait(waiting)
    }

    fn ping(&self, connection: &mut Self::Connection) -> Result<(), M::Error> {
        self.inner.ping(&mut connection.inner)
    }

    fn on_error(&self, connection: &mut Self::Connection, error: &dyn Any) -> Verdict {
        self.inner.on_error(&mut connection.inner, error)
    }

    fn on_return(&self, connection: &mut Self::Connection, how: Outcome) -> Verdict {
        self.inner.on_return(&mut connection.inner, how)
    }

    fn close(&self, connection: Self::Connection, why: CloseReason) {
        let Counted { inner, tag } = connection;
        self.census.close(tag.id, why);
        self.inner.close(inner, why);
        drop(tag);
    }

    fn probe_after(&self) -> Duration {
        self.inner.probe_after()
    }
}
