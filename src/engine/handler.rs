//! What the reactor and the closer call.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Engine;
use super::closing::Room;
use super::dialing::DialError;
use crate::lockfree::bits::{Life, Notes};
use crate::manager::Manager;
use crate::os::background;
use crate::watch::reactor::Handler;

impl<M: Manager> Handler for Engine<M> {
    fn hung_up(&self, key: u64) {
        let life = Life::from_word(key);
        let notes = self.bag.slot(life.slot).notes();
        if notes.generation() == life.generation && notes.has(Notes::FRESH) && !notes.is_leaving() {
            // Nobody has used it. The pace before the permit, which would be dialed with at once.
            if self.bag.waiting() > 0 {
                self.came_to_nothing(Arc::new(DialError::Stillborn));
            } else {
                self.perform_all(self.dialing.lost_unused(&self.bag, &self.live.settings()));
            }
        }
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

impl<M: Manager> Room for Engine<M> {
    fn closed(&self) {
        self.perform(self.bag.closed());
    }

    fn release(self: Arc<Self>) {
        background::drop_elsewhere(self);
    }
}
