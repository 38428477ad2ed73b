//! How long a caller waits, and its hooks with it.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::os::clock::{self, nanos};

/// How long a caller is ready to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// The pool's `wait_timeout`.
    Usual,
    /// This long; zero means not at all.
    Only(Duration),
}

/// The times of one checkout that has left the fast path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) begun: u64,
    /// It waits until then; not at all if it has begun no earlier.
    pub(super) deadline: u64,
    /// Its hooks end by then.
    pub(super) hooks_end: u64,
    /// It has found nothing idle: what it is given now was opened, or given back, for it.
    pub(super) in_line: bool,
}

impl Times {
    pub(super) fn begin(patience: Patience, wait_timeout: Duration) -> Self {
        /// For whoever does not wait, in a pool where nobody does.
        const USUAL: Duration = Duration::from_secs(1);
        let begun = clock::now();
        let limit = match patience {
            Patience::Only(limit) => limit,
            Patience::Usual => wait_timeout,
        };
        let hooks = [limit, wait_timeout].into_iter().find(|limit| !limit.is_zero()).unwrap_or(USUAL);
        let after = |limit: Duration| begun.saturating_add(nanos(limit));
        Times { begun, deadline: after(limit), hooks_end: after(hooks), in_line: false }
    }

    pub(super) fn waits(self) -> bool {
        self.deadline > self.begun
    }
}
