//! Whoever wants more connections: a caller that found none, a pool that keeps some open, a build that waits for the first.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::dialing::{DialError, Kept};
use crate::error::{BuildError, Cause};
use crate::manager::Manager;
use crate::os::clock;

impl<M: Manager> Engine<M> {
    /// The pace may allow more than it did: time has passed, or a thread is free.
    pub(super) fn look_at_pace(&self) {
        self.perform_all(self.dialing.look_again(&self.bag, &self.live.settings()));
    }

    /// Somebody wants a connection: a pause that can be cut is cut.
    pub(super) fn hurry(&self) {
        self.perform_all(self.dialing.hurry(&self.bag, &self.live.settings()));
    }

    /// Asks for one dial in the background. False if the pool is closed.
    pub(super) fn ask(&self) -> bool {
        self.hurry();
        self.bag.demand().map(|duty| self.perform(duty)).is_some()
    }

    /// Somebody wants connections: a lazy pool keeps connections from now on.
    pub(super) fn awaken(&self) {
        if !self.dialing.is_lazy() {
            return;
        }
        // Beside settings that are put into force just now, or these would take it for asleep, and have it keep nothing after this.
        let _one_at_a_time = self.live.enforce();
        if self.dialing.awaken() {
            self.keep(Kept::by(&self.live.settings()));
        }
    }

    /// Keeps this many connections from now on.
    pub(crate) fn keep(&self, kept: Kept) {
        self.perform_all(self.dialing.keep(&self.bag, &self.live.settings(), kept));
    }

    /// Looks whether enough are kept. Callers take them without counting.
    pub(super) fn look_after_kept(&self) {
        if self.live.settings().min_idle > 0 {
            self.perform(self.bag.look_after());
        }
    }

    /// Why no connection can be opened, as far as that is known.
    pub(super) fn cause(&self) -> Option<Cause> {
        let full = self.closer.full().map(|closes| Arc::new(DialError::ClosesHang { closes }) as Cause);
        full.or_else(|| self.dialing.cause(&self.live.settings()))
    }

    /// Dials each of so many once, and sleeps until they are open; says why they are not as soon as one dial has failed, or past `limit`.
    pub(crate) fn open_once(&self, wanted: usize, limit: Duration, kept: Kept) -> Result<(), BuildError> {
        self.dialing.try_once(true);
        self.keep(Kept { min_open: wanted, ..kept });
        self.wait_until_open(wanted, limit)?;
        self.dialing.try_once(false);
        if self.dialing.is_permanent() {
            // One was lost since, and its dial has failed: no reason to give up any more.
            self.perform_all(self.dialing.forget_outage(&self.bag, &self.live.settings()));
        }
        Ok(())
    }

    /// Sleeps until this many are open; past `limit`, says why they are not.
    pub(crate) fn wait_until_open(&self, wanted: usize, limit: Duration) -> Result<(), BuildError> {
        let begun = clock::now();
        let mut open = 0;
        let done = || {
            open = self.bag.open();
            open >= wanted || self.dialing.is_permanent() || self.bag.is_closed()
        };
        self.dialing.wait_until(limit, done);
        if open >= wanted {
            return Ok(());
        }
        if self.bag.is_closed() {
            return Err(BuildError::Closed);
        }
        Err(BuildError::Opening {
            open,
            wanted,
            waited: clock::until(clock::now(), begun),
            opening: self.bag.census().opening,
            oldest_dial: self.dialing.oldest(),
            cause: self.cause(),
        })
    }
}
