//! What the reactor calls.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Engine;
use crate::lockfree::bits::{Life, Notes};
use crate::manager::Manager;
use crate::os::background;
use crate::watch::reactor::Handler;

impl<M: Manager> Handler for Engine<M> {
    fn hung_up(&self, key: u64) {
        let life = Life::from_word(key);
        // The pace before the permit, which would be dialed with at once.
        self.perform_all(self.dialing.note_hang_up(&self.bag, &self.live.settings(), life));
        self.dismiss(life, Notes::DEAD);
    }

    fn tick(&self, now: u64) -> u64 {
        let dials = self.tick_dials(now);
        self.sweep_if_due(now);
        dials.min(self.upkeep.due(now))
    }

    fn release(self: Arc<Self>) {
        background::drop_elsewhere(self);
    }
}
