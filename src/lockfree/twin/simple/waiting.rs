//! A waiter's ways, in the twin.

#![forbid(unsafe_code)]

use super::Twin;
use crate::twin::known::{End, ToDo};

impl Twin {
    /// Why nobody may wait just now.
    pub(in crate::twin) fn barred(&self) -> Option<&'static str> {
        let crowded = self.waiting.len() >= self.limits.max_waiters;
        let refused = self.refused && self.occupied() == self.dialing();
        let reasons = [(self.closed, "closed"), (refused, "refused"), (crowded, "crowded")];
        reasons.into_iter().find_map(|(barred, why)| barred.then_some(why))
    }

    pub(in crate::twin) fn enqueue(&mut self, now: u64) -> (u64, ToDo) {
        self.arrivals += 1;
        self.sit(self.arrivals, now);
        (self.arrivals, self.balanced(None))
    }

    pub(in crate::twin) fn rejoin(&mut self, number: u64, arrived: u64) -> ToDo {
        if self.closed {
            self.settled.insert(number, End::Closed);
        } else {
            self.sit(number, arrived);
        }
        self.balanced(None)
    }

    /// Where a waiter belongs, also one that comes back: before all who came after it.
    fn sit(&mut self, number: u64, arrived: u64) {
        let place = self.waiting.partition_point(|(other, _)| *other < number);
        self.waiting.insert(place, (number, arrived));
    }

    pub(super) fn leave(&mut self, number: u64) {
        self.woken.remove(&number);
        self.waiting.retain(|(other, _)| *other != number);
    }

    /// A last look, then gone.
    pub(in crate::twin) fn wait(&mut self, number: u64) -> (End, ToDo) {
        if let Some(end) = self.settled.remove(&number) {
            return (end, ToDo::default());
        }
        self.leave(number);
        let end = (0..self.idle.len()).find_map(|shard| self.take(shard)).map_or(End::TimedOut, End::Granted);
        (end, self.balanced(None))
    }

    /// One that was rung looks, with time left. None: in vain, so it waits on.
    pub(in crate::twin) fn look(&mut self, number: u64) -> (Option<End>, ToDo) {
        self.woken.remove(&number);
        let found = (0..self.idle.len()).find_map(|shard| self.take(shard));
        if found.is_some() {
            self.leave(number);
        }
        (found.map(End::Granted), self.balanced(None))
    }
}
