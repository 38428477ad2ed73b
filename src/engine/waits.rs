//! Those who wait: how many, for how long, and whether a hook of the manager's may take part of their time.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::counters::Durations;
use crate::stats::WaitTimes;
use crate::sync::atomic::{AtomicBool, Ordering};

/// What a pool knows of its waits.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    /// Callers that wait, or are about to.
    waiting: AtomicUsize,
    /// The manager has once discarded or refused at checkout.
    choosy: AtomicBool,
    /// How long those waited who were served.
    served: Durations,
}

// Relaxed, throughout: counts, and a hint that is wrong for a moment at worst.
impl Waits {
    /// A caller is about to wait. Returns how many do already.
    pub(crate) fn enter(&self) -> usize {
        self.waiting.fetch_add(1, Ordering::Relaxed)
    }

    /// It waits no more.
    pub(crate) fn leave(&self) {
        // Relaxed: a count.
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// It was served after this time.
    pub(crate) fn record(&self, waited: Duration) {
        self.served.record(waited);
    }

    pub(crate) fn times(&self) -> WaitTimes {
        self.served.read()
    }

    /// The manager's checkout hook is more than the default, and may take its time. True the first time.
    pub(crate) fn turn_choosy(&self) -> bool {
        // Relaxed: whoever is born meanwhile reads it, or is noted by who turned it; see `turns_choosy`.
        !self.choosy.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_choosy(&self) -> bool {
        // Relaxed: as above.
        self.choosy.load(Ordering::Relaxed)
    }
}
