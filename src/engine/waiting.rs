//! A caller in line: from an empty pool to a connection, or to the reason why there is none.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Engine;
use super::counters::Count;
use super::dialing::DialError;
use super::inspection::Taken;
use super::patience::Times;
use crate::error::{Cause, GetError};
use crate::lockfree::bag::{Claim, Fate};
use crate::manager::Manager;
use crate::observe::Event;
use crate::os::clock::{self, nanos, until};
use crate::os::contain::{Panicked, contain};
use crate::os::sys::probes;
use crate::sync::Nap;

impl<M: Manager> Engine<M> {
    pub(super) fn wait(&self, times: Times) -> Result<Claim, GetError> {
        let before = self.waits.enter();
        let outcome = self.wait_in_line(times, before);
        self.waits.leave();
        outcome
    }

    fn wait_in_line(&self, times: Times, before: usize) -> Result<Claim, GetError> {
        let Times { begun, deadline, .. } = times;
        if let Err(cause) = self.admission(before) {
            self.ask();
            return Err(self.refused(cause));
        }
        let (seat, duty) = match self.bag.enqueue(begun) {
            Ok(seated) => seated,
            Err(barred) => return Err(self.barred(barred, begun)),
        };
        self.perform(duty);
        if self.dialing.is_troubled() {
            self.hurry();
        }
        if !self.bag.emptiness().paused {
            self.counters.saw_idle(0, begun);
        }
        self.counters.add(Count::Waited);
        let outcome = loop {
            let (fate, duty) = self.bag.wait(&seat, || {
                let now = clock::now();
                (now < deadline).then(|| Nap::For(until(deadline, now)))
            });
            self.perform(duty);
            match fate {
                // The last look, which comes when the time is up, may find one: for nothing, if a hook would begin too late.
                Fate::Granted(claim) if self.waits.is_choosy() && clock::now() >= deadline => {
                    self.perform(self.bag.give_or_evict(claim, self.here(), clock::now));
                    break Err(self.timed_out(begun));
                }
                Fate::Granted(claim) => match self.look_over(claim, times) {
                    Taken::Fit(fit) => break Ok(fit),
                    Taken::Refused(cause) => break Err(self.refused(cause)),
                    Taken::Gone if clock::now() >= deadline => break Err(self.timed_out(begun)),
                    // Not the waiter's fault: back to its old place.
                    Taken::Gone => self.perform(self.bag.rejoin(&seat)),
                },
                Fate::Open => {}
                Fate::Closed => break Err(GetError::closed()),
                Fate::Refused(told) => {
                    // Nobody waits any more, so nobody would dial.
                    self.ask();
                    break Err(self.down(begun, &told));
                }
                Fate::TimedOut => break Err(self.timed_out(begun)),
            }
        };
        let waited = until(clock::now(), begun);
        probes::wait(self.number(), nanos(waited) as usize, usize::from(outcome.is_ok()));
        match &outcome {
            Ok(_) => {
                self.waits.record(waited);
                self.observing.tell(|| Event::Waited { waited });
            }
            Err(error) => self.observing.tell(|| Event::Abandoned { kind: error.kind(), waited }),
        }
        outcome
    }

    /// Asks the manager whether this caller may wait.
    fn admission(&self, before: usize) -> Result<(), Cause> {
        let manager = self.live.manager();
        match contain(|| manager.on_wait(before)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Arc::new(error)),
            Err(Panicked) => Err(Arc::new(DialError::Panicked("on_wait"))),
        }
    }
}
