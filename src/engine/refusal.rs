//! What a caller is told that gets no connection: the kind of failure, and all that is known of why.
#![forbid(unsafe_code)]

use super::Engine;
use super::counters::Count;
use super::told::Told;
use crate::error::{Busy, Cause, Detail, GetError, GetErrorKind};
use crate::lockfree::bag::Barred;
use crate::lockfree::bits::{Notes, SlotId};
use crate::manager::Manager;
use crate::os::clock::{self, NEVER, until};
use crate::os::thread;

/// Words that are looked at once more before somebody who was refused asks for a dial: what has come to another one meanwhile has a dial
/// beside it for nothing, which is better than to look at a million.
const LOOK: usize = 1_024;

impl<M: Manager> Engine<M> {
    /// It does not wait, and nothing is idle. With room to grow, one dial begins for those who come later.
    pub(super) fn busy(&self) -> GetError {
        // What has come meanwhile is there for those who come later, and needs no other beside it.
        let is_there = self.bag.idle().some(1, LOOK) > 0;
        let closed = if is_there { self.bag.is_closed() } else { !self.ask() };
        if closed {
            return GetError::closed();
        }
        let emptiness = self.bag.emptiness();
        GetError::busy(match emptiness {
            _ if emptiness.paused => Busy::Paused,
            _ if emptiness.none_open => Busy::NoneOpen,
            _ => Busy::InUse,
        })
    }

    /// The manager refuses it.
    #[cold]
    pub(super) fn refused(&self, cause: Cause) -> GetError {
        self.counters.add(Count::Refused);
        self.failure(GetErrorKind::Refused, NEVER, Some(cause))
    }

    /// Its time is up; it had begun to wait then.
    pub(super) fn timed_out(&self, begun: u64) -> GetError {
        self.counters.add(Count::TimedOut);
        self.failure(GetErrorKind::TimedOut, begun, self.cause())
    }

    /// The endpoint is down.
    pub(super) fn down(&self, begun: u64, told: &Told) -> GetError {
        self.counters.add(Count::Refused);
        // What is known by now says more: that no more dials may hang, for instance.
        let cause = self.cause().unwrap_or_else(|| told.cause());
        self.failure(GetErrorKind::Down, begun, Some(cause))
    }

    /// It is not let into the queue. It leaves a dial behind, since nobody else would cause one.
    pub(super) fn barred(&self, barred: Barred<Told>, begun: u64) -> GetError {
        match barred {
            Barred::Closed => GetError::closed(),
            Barred::Crowded => {
                self.ask();
                self.counters.add(Count::Refused);
                self.failure(GetErrorKind::Refused, begun, None)
            }
            Barred::Refused(told) => {
                self.ask();
                self.down(begun, &told)
            }
        }
    }

    /// An error with all that is known: since when it waited (if it did), the counts, whose leases, the cause.
    fn failure(&self, kind: GetErrorKind, begun: u64, cause: Option<Cause>) -> GetError {
        let census = self.bag.glance();
        let detail = Detail {
            waited: until(clock::now(), begun),
            open: census.open,
            idle: census.idle,
            opening: census.opening,
            oldest_dial: self.dialing.oldest().filter(|_| census.opening > 0),
            waiting: census.waiting,
            closing: self.closer.tally().1,
            paused: census.paused,
            held_here: self.held_here(),
            cause,
        };
        GetError::detailed(kind, detail)
    }

    /// How many leases this thread has, among the slots that fill up first: a thread that has so many as to be in none of them is
    /// not the one that is told why it waits for itself.
    fn held_here(&self) -> usize {
        const SLOTS: usize = 64;
        let me = thread::number();
        let slots = (0..self.bag.capacity().min(SLOTS)).map(SlotId::at);
        let held = slots.filter(|slot| {
            let slot_of = self.bag.slot(*slot);
            // Fresh: nobody has used it, or nobody lives there.
            slot_of.last_use().thread() == me && !slot_of.notes().has(Notes::FRESH) && !self.bag.is_idle(*slot)
        });
        held.count()
    }
}
