//! What a caller is told that gets no connection: the kind of failure, and all that is known of why.
#![forbid(unsafe_code)]

use super::Engine;
use super::counters::Count;
use crate::error::{Cause, Detail, GetError, GetErrorKind};
use crate::lockfree::bag::Barred;
use crate::manager::Manager;
use crate::os::clock::{self, NEVER, until};
use crate::os::thread;

impl<M: Manager> Engine<M> {
    /// It does not wait, and nothing is idle. With room to grow, one dial begins for those who come later.
    pub(super) fn busy(&self) -> GetError {
        GetError::bare(if self.ask() { GetErrorKind::Busy } else { GetErrorKind::Closed })
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
        let cause = self.dialing.cause();
        self.failure(GetErrorKind::TimedOut, begun, cause)
    }

    /// The endpoint is down.
    pub(super) fn down(&self, begun: u64, cause: Cause) -> GetError {
        self.counters.add(Count::Refused);
        self.failure(GetErrorKind::Down, begun, Some(cause))
    }

    /// It is not let into the queue.
    pub(super) fn barred(&self, barred: Barred<Cause>, begun: u64) -> GetError {
        match barred {
            Barred::Closed => GetError::bare(GetErrorKind::Closed),
            Barred::Crowded => {
                self.counters.add(Count::Refused);
                self.failure(GetErrorKind::Refused, begun, None)
            }
            Barred::Refused(cause) => {
                // Nobody waits, so nobody would dial.
                self.ask();
                self.down(begun, cause)
            }
        }
    }

    /// An error with all that is known: since when it waited (if it did), the counts, whose leases, the cause.
    fn failure(&self, kind: GetErrorKind, begun: u64, cause: Option<Cause>) -> GetError {
        let census = self.bag.census();
        let me = thread::number();
        let leased = self.bag.lives().into_iter().filter(|(_, idle)| !idle);
        let detail = Detail {
            waited: until(clock::now(), begun),
            open: census.open,
            idle: census.idle,
            waiting: census.waiting,
            held_here: leased.filter(|(life, _)| self.bag.slot(life.slot).holder().thread == me).count(),
            cause,
        };
        GetError::detailed(kind, detail)
    }
}
