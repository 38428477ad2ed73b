//! A dial on its background thread: the manager's `connect` and `watch`, and what comes of them.
#![forbid(unsafe_code)]

use std::io;
use std::sync::{Arc, OnceLock, Weak};

use super::book::Attempt;
use super::error::DialError;
use crate::engine::resident::Resident;
use crate::error::Cause;
use crate::manager::{CloseReason, Dial, Manager, Watch};
use crate::os::contain::{Panicked, contain};
use crate::os::{background, clock};

/// Who is told how a dial has ended, on the dial's own thread: the pool.
pub(crate) trait Landing<M: Manager>: Send + Sync {
    /// It has opened a connection.
    fn opened(&self, attempt: Attempt, resident: Resident<M>);

    /// It has not, and this is why.
    fn failed(&self, attempt: Attempt, failure: Failure);
}

/// Why a dial has failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    /// The manager says that it will not go away by itself.
    pub(crate) permanent: bool,
}

impl Failure {
    /// One that the pool itself has found.
    pub(crate) fn of(error: DialError) -> Self {
        Failure { cause: Arc::new(error), permanent: false }
    }
}

/// A dial that has not ended. Dropped without an end, it has failed: no exit loses the permit.
struct Run<M: Manager> {
    attempt: Option<Attempt>,
    pool: Weak<dyn Landing<M>>,
    /// Why no thread could be started for it, written before it is dropped for that.
    no_thread: Arc<OnceLock<io::Error>>,
}

/// Dials in the background. Does not block.
pub(crate) fn dial<M: Manager>(attempt: Attempt, manager: Arc<M>, pool: Weak<dyn Landing<M>>) {
    let (deadline, number, cut) = (attempt.deadline, attempt.number, Arc::clone(&attempt.cut));
    let no_thread = Arc::new(OnceLock::new());
    let run = Run { attempt: Some(attempt), pool, no_thread: Arc::clone(&no_thread) };
    let job = move || {
        let dial = Dial::new(clock::instant(deadline), number, &cut);
        let opened = open(&manager, &dial);
        // What the manager wanted called at the deadline is its own to drop, here.
        cut.forget_calls();
        match opened {
            Ok(resident) => run.opened(resident),
            Err(failure) => run.failed(failure),
        }
    };
    // A job that no thread could be started for comes back and is dropped, and its run with it.
    if let Err((job, error)) = background::run(Box::new(job)) {
        // Nobody else writes to it.
        let _ = no_thread.set(error);
        drop((no_thread, job));
    }
}

impl<M: Manager> Run<M> {
    fn opened(mut self, resident: Resident<M>) {
        match (self.attempt.take(), self.pool.upgrade()) {
            (Some(attempt), Some(pool)) => pool.opened(attempt, resident),
            // There is no pool any more.
            _ => drop(contain(|| resident.manager.close(resident.connection, CloseReason::PoolClosed))),
        }
    }

    fn failed(mut self, failure: Failure) {
        self.end(failure);
    }

    fn end(&mut self, failure: Failure) {
        if let Some(attempt) = self.attempt.take()
            && let Some(pool) = self.pool.upgrade()
        {
            pool.failed(attempt, failure);
        }
    }
}

impl<M: Manager> Drop for Run<M> {
    fn drop(&mut self) {
        if self.attempt.is_some() {
            // Its job was never run.
            let error = Arc::get_mut(&mut self.no_thread).and_then(OnceLock::take);
            self.end(Failure::of(DialError::NoThread(error.unwrap_or_else(|| io::Error::other("it was dropped")))));
        }
    }
}

/// Opens a connection and duplicates what it wants watched. The manager's code: may block, fail and panic.
fn open<M: Manager>(manager: &Arc<M>, dial: &Dial<'_>) -> Result<Resident<M>, Failure> {
    let connection = match contain(|| manager.connect(dial)) {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let permanent = contain(|| manager.is_permanent(&error)).unwrap_or(false);
            return Err(Failure { cause: Arc::new(error), permanent });
        }
        Err(Panicked) => return Err(Failure::of(DialError::Panicked("connect"))),
    };
    let mut duplicates = Ok(Vec::new());
    let error = match (contain(|| manager.watch(&connection, &mut Watch::collect(&mut duplicates))), duplicates) {
        (Ok(()), Ok(duplicates)) => {
            let (registrations, sockets) = (Vec::new(), duplicates.into());
            return Ok(Resident { registrations, connection, manager: Arc::clone(manager), sockets });
        }
        (Ok(()), Err(error)) if error.kind() == io::ErrorKind::InvalidData => DialError::LeftUnfit,
        (Ok(()), Err(error)) => DialError::NoDescriptor(error),
        (Err(Panicked), _) => DialError::Panicked("watch"),
    };
    // Open, but no good to the pool: it ends as every connection does.
    drop(contain(|| manager.close(connection, CloseReason::Discarded)));
    Err(Failure::of(error))
}
