//! Leases that have been told of as held too long, so that their end can be told as well.
#![forbid(unsafe_code)]

use crate::lockfree::bits::Life;
use crate::sync::{Mutex, lock};

/// One of them.
#[derive(Debug)]
pub(crate) struct Hold {
    life: Life,
    /// When a sweep saw it first.
    pub(crate) since: u64,
    /// The thread that took it.
    pub(crate) thread: u32,
}

/// All of them: one a connection at most. Asked about only by what comes back after it was seen for long.
#[derive(Debug, Default)]
pub(super) struct Holds {
    held: Mutex<Vec<Hold>>,
}

impl Holds {
    /// This one has been told of.
    pub(super) fn begin(&self, life: Life, since: u64, thread: u32) {
        lock(&self.held).push(Hold { life, since, thread });
    }

    /// It has ended. Once for each that has begun.
    pub(super) fn end(&self, life: Life) -> Option<Hold> {
        let mut held = lock(&self.held);
        let place = held.iter().position(|hold| hold.life == life)?;
        Some(held.swap_remove(place))
    }
}
