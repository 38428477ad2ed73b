//! The callers' way in and out: from an idle connection to a lease and back.
//!
//! The fast path, both ways: the core's shard, one locked read-modify-write on its word, one look at the notes. No clock, no system call,
//! no allocation. Everything else is `#[cold]`: a note to act on, a shard that is empty, somebody who waits.
#![forbid(unsafe_code)]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::counters::Count;
use super::resident::{Resident, Withheld};
use crate::error::{Cause, GetError, GetErrorKind};
use crate::lockfree::bag::{Claim, Fate, Slot};
use crate::lockfree::bits::Notes;
use crate::manager::{CloseReason, Manager, Outcome};
use crate::observe::Event;
use crate::os::clock::{self, nanos, until};
use crate::os::thread;
use crate::sync::Nap;

/// How long a caller is ready to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// The pool's `wait_timeout`.
    Usual,
    /// This long; zero means not at all.
    Only(Duration),
}

/// Why the fast path has no connection for its caller.
#[derive(Debug)]
pub(crate) enum Miss {
    /// None is idle in this core's shard.
    Nothing,
    /// Something is noted of the one that it took.
    Noted(Claim),
    /// The manager does not let the caller have the one that it took.
    Withheld(Claim, Withheld),
}

/// What became of a connection that was taken for a caller.
enum Taken {
    /// The caller has it.
    Fit(Claim),
    /// It had to leave; the next one may be tried.
    Gone,
    /// The caller is refused, and the connection is back in the pool.
    Refused(Cause),
}

impl<M: Manager> Engine<M> {
    // ---- in ----------------------------------------------------------------------------------------------------------------

    /// Takes a connection for a caller: at once, or else the long way.
    #[inline]
    pub(crate) fn check_out(&self, patience: Patience) -> Result<Claim, GetError> {
        self.check_out_at_once().or_else(|miss| self.check_out_after(miss, patience))
    }

    /// Takes a connection of this core's shard that nothing is known against.
    // Apart from the long way, whose result comes back in memory: so that here the claim travels in a register.
    #[inline(always)]
    pub(crate) fn check_out_at_once(&self) -> Result<Claim, Miss> {
        let Some(mut claim) = self.bag.take_home(self.here()) else { return Err(Miss::Nothing) };
        let slot = self.bag.slot(claim.slot());
        if !slot.notes().is_clean() {
            return Err(Miss::Noted(claim));
        }
        match self.ask_manager(&mut claim, slot) {
            Err(withheld) => Err(Miss::Withheld(claim, withheld)),
            // Noted while the manager was asked: its word is void.
            Ok(()) if slot.notes().is_leaving() => Err(Miss::Noted(claim)),
            Ok(()) => {
                slot.begin_use(&claim);
                Ok(claim)
            }
        }
    }

    /// The long way.
    #[cold]
    pub(crate) fn check_out_after(&self, miss: Miss, patience: Patience) -> Result<Claim, GetError> {
        match miss {
            Miss::Nothing => self.check_out_slow(None, patience),
            Miss::Noted(claim) => self.check_out_slow(Some(claim), patience),
            Miss::Withheld(claim, withheld) => match self.withhold(claim, withheld) {
                Some(cause) => Err(self.refused(cause)),
                None => self.check_out_slow(None, patience),
            },
        }
    }

    /// Asks the manager whether a caller may have it.
    #[inline(always)]
    fn ask_manager(&self, claim: &mut Claim, slot: &Slot<Resident<M>>) -> Result<(), Withheld> {
        slot.hold(claim, thread::number());
        slot.resident_mut(claim).judge_checkout()
    }

    /// The manager does not let the caller have it. The cause, if the caller is refused and the connection stays; else it is gone.
    #[cold]
    fn withhold(&self, claim: Claim, withheld: Withheld) -> Option<Cause> {
        self.turns_choosy();
        match withheld {
            Withheld::Unfit(why) => {
                self.evict_noted(claim, why);
                None
            }
            Withheld::Refused(cause) => {
                self.slot(&claim).hold_by_pool(&claim);
                self.perform(self.bag.give_or_evict(claim, self.here(), clock::now));
                Some(cause)
            }
        }
    }

    /// Nothing clean in this core's own shard: look at what was taken, steal, ask for growth, wait.
    #[cold]
    fn check_out_slow(&self, taken: Option<Claim>, patience: Patience) -> Result<Claim, GetError> {
        let shard = self.here();
        let begun = clock::now();
        let limit = match patience {
            Patience::Only(limit) => limit,
            Patience::Usual => self.live.settings().wait_timeout,
        };
        let (mut taken, mut tries) = (taken, 0);
        while let Some(claim) = taken.or_else(|| self.bag.take(shard)).or_else(|| self.steal(shard)) {
            match self.look_over(claim) {
                Taken::Fit(fit) => return Ok(fit),
                Taken::Refused(cause) => return Err(self.refused(cause)),
                // No hook begins after the caller's deadline, so nothing more is taken. A caller that does not wait takes what it finds.
                Taken::Gone if !limit.is_zero() && until(clock::now(), begun) >= limit => {
                    return Err(self.timed_out(begun));
                }
                // A manager that discards all it is shown must not keep a caller who would not wait for as long as others are dialed.
                Taken::Gone if limit.is_zero() && tries > self.bag.capacity() => break,
                Taken::Gone => (taken, tries) = (None, tries + 1),
            }
        }
        self.awaken();
        // No spinning first, for a return that may be near: on 2 cores under load, echo round trips, 2 µs of it cost 16 threads on
        // 4 connections 5 % of their throughput and 10 µs cost 15 %, 64 threads 14 and 40 %, and made the longest waits longer;
        // 3 threads on 2 gained nothing.
        if limit.is_zero() { Err(self.busy()) } else { self.wait(begun, limit) }
    }

    /// Takes from another shard: those that share this one's L3 first, each time beginning at another one.
    fn steal(&self, shard: usize) -> Option<Claim> {
        let (near, far) = self.dispatch.neighbours(shard);
        let turn = self.counters.stolen(shard) as usize;
        let claim = rotated(near, turn).chain(rotated(far, turn)).find_map(|victim| self.bag.take(victim))?;
        self.counters.add_stolen(shard);
        if self.bag.idle().note_steal(shard) {
            self.ask();
        }
        Some(claim)
    }

    /// Looks at what is noted of a connection, then hands it over.
    fn look_over(&self, mut claim: Claim) -> Taken {
        let slot = self.bag.slot(claim.slot());
        let notes = slot.notes();
        if notes.is_leaving() {
            self.evict_noted(claim, CloseReason::Discarded);
            return Taken::Gone;
        }
        if notes.has(Notes::AGED) || notes.has(Notes::PROBE) {
            slot.hold(&claim, thread::number());
            if let Err(why) = slot.resident_mut(&mut claim).look_for_data() {
                self.evict_noted(claim, why);
                return Taken::Gone;
            }
        }
        self.freshen(&claim, notes);
        match self.ask_manager(&mut claim, slot) {
            Err(withheld) => self.withhold(claim, withheld).map_or(Taken::Gone, Taken::Refused),
            Ok(()) if slot.notes().is_leaving() => {
                self.evict_noted(claim, CloseReason::Discarded);
                Taken::Gone
            }
            Ok(()) => {
                slot.begin_use(&claim);
                Taken::Fit(claim)
            }
        }
    }

    /// The manager has discarded or refused at checkout, so its hook is more than the default, and may take its time. From now on the clock
    /// is read before it, which the caller's deadline covers: on the slow path, where a note sends every connection.
    #[cold]
    fn turns_choosy(&self) {
        // Whoever is born meanwhile sees it, or is found here, or goes unnoted, as those before did.
        if self.waits.turn_choosy() {
            self.bag.lives().iter().for_each(|(life, _)| {
                self.bag.note(*life, Notes::TIMED);
            });
        }
    }

    /// It is in use, so it is not aged any more; the sweep may have to look at it again.
    fn freshen(&self, claim: &Claim, notes: Notes) {
        if notes.has(Notes::AGED) || notes.has(Notes::RESTED) {
            self.bag.clear(claim, Notes::AGED);
            self.bag.clear(claim, Notes::RESTED);
            self.upkeep.rejuvenated(&self.live.settings());
        }
    }

    // ---- in line -----------------------------------------------------------------------------------------------------------

    fn wait(&self, begun: u64, limit: Duration) -> Result<Claim, GetError> {
        let deadline = begun.saturating_add(nanos(limit));
        let before = self.waits.enter();
        let outcome = self.wait_in_line(begun, deadline, before);
        self.waits.leave();
        outcome
    }

    fn wait_in_line(&self, begun: u64, deadline: u64, before: usize) -> Result<Claim, GetError> {
        if let Err(cause) = self.admission(before) {
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
        self.counters.saw_idle(0);
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
                Fate::Granted(claim) => match self.look_over(claim) {
                    Taken::Fit(fit) => break Ok(fit),
                    Taken::Refused(cause) => break Err(self.refused(cause)),
                    Taken::Gone if clock::now() >= deadline => break Err(self.timed_out(begun)),
                    // Not the waiter's fault: back to its old place.
                    Taken::Gone => self.perform(self.bag.rejoin(&seat)),
                },
                Fate::Open => {}
                Fate::Closed => break Err(GetError::bare(GetErrorKind::Closed)),
                Fate::Refused(cause) => break Err(self.down(begun, cause)),
                Fate::TimedOut => break Err(self.timed_out(begun)),
            }
        };
        let waited = until(clock::now(), begun);
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
        let ask = || manager.on_wait(before);
        match catch_unwind(AssertUnwindSafe(ask)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Arc::new(error)),
            Err(_) => Err(Arc::new(io::Error::other("on_wait panicked"))),
        }
    }

    // ---- out ---------------------------------------------------------------------------------------------------------------

    /// Takes back a connection that a caller has used.
    #[inline(always)]
    pub(crate) fn check_in(&self, mut claim: Claim, slot: &Slot<Resident<M>>, how: Outcome) {
        slot.end_use(&claim);
        let judged = slot.resident_mut(&mut claim).judge_return(how);
        if judged.is_ok() && slot.notes().is_clean() {
            self.bag.give_or(claim, slot, self.here(), clock::now, |duty| self.perform(duty));
        } else {
            self.check_in_slow(claim, judged);
        }
    }

    /// It must leave, or something is noted of it.
    #[cold]
    fn check_in_slow(&self, claim: Claim, judged: Result<(), CloseReason>) {
        let notes = self.bag.slot(claim.slot()).notes();
        if notes.is_leaving() {
            return self.evict_noted(claim, CloseReason::Discarded);
        }
        if let Err(why) = judged {
            return self.evict(claim, why);
        }
        self.freshen(&claim, notes);
        self.perform(self.bag.give(claim, self.here(), clock::now));
    }

    /// Takes back a connection whose user unwinds.
    #[cold]
    pub(crate) fn check_in_panicked(&self, claim: Claim, slot: &Slot<Resident<M>>) {
        self.check_in(claim, slot, Outcome::Panicked);
    }

    /// Takes back a connection that its user wants closed.
    #[cold]
    pub(crate) fn check_in_condemned(&self, claim: Claim) {
        self.evict(claim, CloseReason::Condemned);
    }
}

/// The shards of `list`, beginning at another one each turn.
fn rotated(list: &[u16], turn: usize) -> impl Iterator<Item = usize> {
    let begin = turn % list.len().max(1);
    list[begin..].iter().chain(&list[..begin]).map(|shard| usize::from(*shard))
}
