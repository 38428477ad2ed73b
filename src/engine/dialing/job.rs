//! A dial on its background thread: the manager's `connect` and `watch`, and what comes of them.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use super::book::Attempt;
use super::error::DialError;
use crate::engine::resident::Resident;
use crate::error::Cause;
use crate::manager::{CloseReason, Dial, Manager, Watch};
use crate::os::{background, clock};

/// Who is told how a dial has ended, on the dial's own thread: the pool.
pub(crate) trait Landing<M: Manager>: Send + Sync {
    /// It has opened a connection.
    fn opened(&self, attempt: Attempt, resident: Resident<M>);

    /// It has not, and this is why.
    fn failed(&self, attempt: Attempt, cause: Cause);
}

/// A dial that has not ended. Dropped without an end, it has failed: no exit loses the permit.
struct Run<M: Manager> {
    attempt: Option<Attempt>,
    pool: Weak<dyn Landing<M>>,
}

/// Dials in the background. Does not block.
pub(crate) fn dial<M: Manager>(attempt: Attempt, manager: Arc<M>, pool: Weak<dyn Landing<M>>) {
    let (deadline, number, cut) = (attempt.deadline, attempt.number, Arc::clone(&attempt.cut));
    let run = Run { attempt: Some(attempt), pool };
    let job = move || {
        let dial = Dial::new(clock::instant(deadline), number, &cut);
        match catch_unwind(AssertUnwindSafe(|| open(&manager, &dial))) {
            Ok(Ok(resident)) => run.opened(resident),
            Ok(Err(cause)) => run.failed(cause),
            Err(panic) => run.failed(Arc::new(DialError::panicked(&*panic))),
        }
    };
    // A job that no thread could be started for comes back and is dropped, and its run with it.
    drop(background::run(Box::new(job)));
}

impl<M: Manager> Run<M> {
    fn opened(mut self, resident: Resident<M>) {
        match (self.attempt.take(), self.pool.upgrade()) {
            (Some(attempt), Some(pool)) => pool.opened(attempt, resident),
            // There is no pool any more.
            _ => resident.manager.close(resident.connection, CloseReason::PoolClosed),
        }
    }

    fn failed(mut self, cause: Cause) {
        self.end(cause);
    }

    fn end(&mut self, cause: Cause) {
        if let Some(attempt) = self.attempt.take()
            && let Some(pool) = self.pool.upgrade()
        {
            pool.failed(attempt, cause);
        }
    }
}

impl<M: Manager> Drop for Run<M> {
    fn drop(&mut self) {
        // Its job was never run.
        self.end(Arc::new(DialError::NoThread));
    }
}

/// Opens a connection and duplicates what it wants watched. The manager's code: may block, fail and panic.
fn open<M: Manager>(manager: &Arc<M>, dial: &Dial<'_>) -> Result<Resident<M>, Cause> {
    let connection = manager.connect(dial).map_err(|error| Arc::new(error) as Cause)?;
    let mut duplicates = Ok(Vec::new());
    let watch = || manager.watch(&connection, &mut Watch::collect(&mut duplicates));
    let cause = match (catch_unwind(AssertUnwindSafe(watch)), duplicates) {
        (Ok(()), Ok(duplicates)) => {
            let (registrations, sockets) = (Vec::new(), duplicates.into());
            return Ok(Resident { registrations, connection, manager: Arc::clone(manager), sockets });
        }
        (Ok(()), Err(error)) => DialError::NoDescriptor(error),
        (Err(panic), _) => DialError::panicked(&*panic),
    };
    // Open, but no good to the pool: it ends as every connection does.
    manager.close(connection, CloseReason::Discarded);
    Err(Arc::new(cause))
}
