//! A failure as the pool keeps it: to be told to callers, and dropped where the user's code may run.
//!
//! What a manager's error does in its `Drop` is the user's code. It must not run under a lock of the pool or on a reactor, and the pool
//! keeps errors in states that change under locks. So the pool keeps a handle of its own, and the last one of these lets go in the
//! background. A caller that was told has its own share, and drops it on its own thread.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::error::Cause;
use crate::os::background;

/// One failure, kept by the pool.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    // Two counts: the inner one is shared with callers; the outer one is the pool's alone, so that its last handle is known for sure.
    cause: Option<Arc<Cause>>,
}

impl Told {
    pub(crate) fn new(cause: Cause) -> Self {
        Told { cause: Some(Arc::new(cause)) }
    }

    /// A share for a caller.
    pub(crate) fn cause(&self) -> Cause {
        match &self.cause {
            Some(cause) => Cause::clone(cause),
            None => unreachable!("it is taken out by the drop alone"),
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(cause) = self.cause.take() {
            background::drop_elsewhere(cause);
        }
    }
}
