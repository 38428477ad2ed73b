//! How a reactor goes to sleep without missing a deadline that somebody sets meanwhile.
//!
//! **Why not wake it for each.** To wake the sleeper is a system call, and of a thousand new deadlines hardly one is earlier than the
//! time at which it wakes anyway.
//!
//! **State.** One word: the time by which the sleeper has promised to wake by itself.
//!
//! **Steps.** The sleeper *announces* that it is about to sleep and promises nothing, *looks* at everything that may have a deadline,
//! *promises* the earliest, and sleeps until then. Whoever has a new deadline first makes it visible, then *lowers* the promise; only
//! if it was later than their own do they wake the sleeper.
//!
//! **The race** is a deadline made while the sleeper goes to sleep. Either its lowering comes after the announcement: then it finds a
//! promise that is too late, and wakes (waking is sticky: it counts if the sleep begins after it). Or it comes before: then the look
//! that follows the announcement sees the deadline (E9).
//!
//! **Several**, of whom the sleeper calls only those that are due: each has a [`Due`] of its own, which is lowered before the promise is.
//! The sleeper takes it off before it calls its owner, who then sees what it was lowered for (E9 again): a lowering that comes later
//! stands for the next time.

use crate::sync::atomic::{AtomicU64, Ordering};

/// A sleeper's promise. Times are nanoseconds on one clock.
#[derive(Debug)]
pub(crate) struct Alarm {
    promise: AtomicU64,
}

/// No promise: sleep until woken.
pub(crate) const NEVER: u64 = u64::MAX;

impl Alarm {
    pub(crate) fn new() -> Self {
        Alarm { promise: AtomicU64::new(NEVER) }
    }

    /// Sleeper, first: nothing is promised. Then it looks at all deadlines.
    pub(crate) fn announce(&self) {
        // Acquire: what was made visible before a lowering that this overwrites; edge E9, written by the Release in `lower`.
        // Release is not needed: nothing of the sleeper's is read by those who lower.
        self.promise.swap(NEVER, Ordering::Acquire);
    }

    /// Sleeper, last: promises `due` or what others have lowered it to meanwhile, whichever is earlier. Sleep until then.
    pub(crate) fn promise(&self, due: u64) -> u64 {
        // Relaxed: the order of changes of this one word decides.
        self.promise.fetch_min(due, Ordering::Relaxed).min(due)
    }

    /// By when the sleeper has promised to wake: a look.
    #[cfg(not(corepool_loom))]
    pub(crate) fn promised(&self) -> u64 {
        // Relaxed: a look.
        self.promise.load(Ordering::Relaxed)
    }

    /// Others, after making a deadline visible. True: the sleeper must be woken for it.
    #[must_use = "the sleeper would sleep past the deadline"]
    pub(crate) fn lower(&self, due: u64) -> bool {
        // Release: the deadline itself; edge E9, read by the Acquire in `announce`.
        due < self.promise.fetch_min(due, Ordering::Release)
    }
}

/// When one of those whom a sleeper serves is due.
#[derive(Debug)]
pub(crate) struct Due {
    at: AtomicU64,
}

impl Due {
    pub(crate) fn new() -> Self {
        Due { at: AtomicU64::new(NEVER) }
    }

    /// Its owner, after making a deadline visible and before lowering the alarm; or the sleeper, for what its owner has answered.
    pub(crate) fn lower(&self, due: u64) {
        // Release: the deadline itself; edge E9, read by the Acquire in `take`, which may come before the alarm is lowered for it.
        self.at.fetch_min(due, Ordering::Release);
    }

    /// Sleeper, after the announcement: takes it off, if it is `now`, and then calls the owner. `Err`: when it is.
    pub(crate) fn take(&self, now: u64) -> Result<(), u64> {
        // Relaxed: a time that is lowered after this look comes with an alarm that is.
        let at = self.at.load(Ordering::Relaxed);
        if at > now {
            return Err(at);
        }
        // Acquire: what was made visible before the lowering that this takes off; edge E9.
        self.at.swap(NEVER, Ordering::Acquire);
        Ok(())
    }

    /// When it is, as far as is known.
    pub(crate) fn at(&self) -> u64 {
        // Relaxed: as in `take`; and what was lowered before the alarm was, the announcement has made visible (E9).
        self.at.load(Ordering::Relaxed)
    }
}
