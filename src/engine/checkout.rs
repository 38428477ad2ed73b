//! The callers' way in and out: from an idle connection to a lease and back.
//!
//! The fast path, both ways: the core's shard, one locked read-modify-write on its word, one look at the notes. No clock, no system call,
//! no allocation. Everything else is `#[cold]`: a note to act on, a shard that is empty, somebody who waits.
#![forbid(unsafe_code)]

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::counters::Count;
use super::dialing::DialError;
use super::resident::{Resident, Unfit, Withheld};
use crate::error::{Cause, GetError};
use crate::lockfree::bag::{Claim, Fate, Slot};
use crate::lockfree::bits::Notes;
use crate::manager::{CloseReason, Manager, Outcome};
use crate::observe::Event;
use crate::os::clock::{self, nanos, until};
use crate::os::contain::{Panicked, contain};
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

/// The times of one checkout that has left the fast path.
#[derive(Debug, Clone, Copy)]
struct Limits {
    begun: u64,
    /// It waits until then; not at all if it has begun no earlier.
    deadline: u64,
    /// Its hooks end by then.
    hooks_end: u64,
}

impl Limits {
    fn begin(patience: Patience, wait_timeout: Duration) -> Self {
        /// For whoever does not wait, in a pool where nobody does.
        const USUAL: Duration = Duration::from_secs(1);
        let begun = clock::now();
        let limit = match patience {
            Patience::Only(limit) => limit,
            Patience::Usual => wait_timeout,
        };
        let hooks = [limit, wait_timeout].into_iter().find(|limit| !limit.is_zero()).unwrap_or(USUAL);
        let after = |limit: Duration| begun.saturating_add(nanos(limit));
        Limits { begun, deadline: after(limit), hooks_end: after(hooks) }
    }

    fn waits(self) -> bool {
        self.deadline > self.begun
    }
}

/// A manager whose checkout hook takes longer is timed from then on: longer than any that does no I/O.
const QUICK: Duration = Duration::from_micros(20);

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
                Taken::Refused(cause) => Err(self.refused(cause)),
                Taken::Fit(_) | Taken::Gone => self.check_out_slow(None, patience),
            },
        }
    }

    /// Asks the manager whether a caller may have it.
    #[inline(always)]
    fn ask_manager(&self, claim: &mut Claim, slot: &Slot<Resident<M>>) -> Result<(), Withheld> {
        slot.hold(claim, thread::number());
        slot.resident_mut(claim).judge_checkout()
    }

    /// The manager does not let the caller have it.
    #[cold]
    fn withhold(&self, claim: Claim, withheld: Withheld) -> Taken {
        self.turns_choosy();
        match withheld {
            Withheld::Unfit(unfit) => {
                self.discard(claim, unfit);
                Taken::Gone
            }
            Withheld::Useless(cause) => {
                self.discard(claim, Unfit { why: CloseReason::Discarded, cause: Some(Cause::clone(&cause)) });
                Taken::Refused(cause)
            }
            Withheld::Refused(cause) => {
                self.slot(&claim).hold_by_pool(&claim);
                self.perform(self.bag.give_or_evict(claim, self.here(), clock::now));
                Taken::Refused(cause)
            }
        }
    }

    /// Nothing clean in this core's own shard: look at what was taken, steal, ask for growth, wait.
    #[cold]
    fn check_out_slow(&self, taken: Option<Claim>, patience: Patience) -> Result<Claim, GetError> {
        let shard = self.here();
        let limits = Limits::begin(patience, self.live.settings().wait_timeout);
        let (mut taken, mut tries) = (taken, 0);
        while let Some(claim) = taken.or_else(|| self.bag.take(shard)).or_else(|| self.steal(shard)) {
            match self.look_over(claim, limits) {
                Taken::Fit(fit) => return Ok(fit),
                Taken::Refused(cause) => return Err(self.refused(cause)),
                // No hook begins after the caller's deadline, so nothing more is taken. A caller that does not wait takes what it finds.
                Taken::Gone if clock::now() >= limits.hooks_end => {
                    return Err(if limits.waits() { self.timed_out(limits.begun) } else { self.busy() });
                }
                // A manager that discards all it is shown must not keep a caller who would not wait for as long as others are dialed.
                Taken::Gone if !limits.waits() && tries > self.bag.capacity() => break,
                Taken::Gone => (taken, tries) = (None, tries + 1),
            }
        }
        self.awaken();
        // No spinning first, for a return that may be near: on 2 cores under load, echo round trips, 2 µs of it cost 16 threads on
        // 4 connections 5 % of their throughput and 10 µs cost 15 %, 64 threads 14 and 40 %, and made the longest waits longer;
        // 3 threads on 2 gained nothing.
        if limits.waits() { self.wait(limits) } else { Err(self.busy()) }
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
    fn look_over(&self, mut claim: Claim, limits: Limits) -> Taken {
        let slot = self.bag.slot(claim.slot());
        let notes = slot.notes();
        if notes.is_leaving() {
            self.discard(claim, Unfit::new(CloseReason::Discarded));
            return Taken::Gone;
        }
        slot.hold(&claim, thread::number());
        if (notes.has(Notes::AGED) || notes.has(Notes::PROBE))
            && let Err(unfit) = slot.resident_mut(&mut claim).look_for_data()
        {
            self.discard(claim, unfit);
            return Taken::Gone;
        }
        self.freshen(&claim, notes);
        let judged = if notes.has(Notes::TIMED) || notes.has(Notes::FRESH) {
            self.ask_manager_in_time(&mut claim, slot, limits)
        } else {
            self.ask_manager(&mut claim, slot)
        };
        match judged {
            Err(withheld) => self.withhold(claim, withheld),
            Ok(()) if slot.notes().is_leaving() => {
                self.discard(claim, Unfit::new(CloseReason::Discarded));
                Taken::Gone
            }
            Ok(()) => {
                if notes.has(Notes::FRESH) {
                    self.bag.clear(&claim, Notes::FRESH);
                    self.dialing.proven();
                }
                slot.begin_use(&claim);
                Taken::Fit(claim)
            }
        }
    }

    /// Asks the manager with an eye on the clock: its sockets are shut down under it when the caller's time is up.
    #[cold]
    fn ask_manager_in_time(
        &self,
        claim: &mut Claim,
        slot: &Slot<Resident<M>>,
        limits: Limits,
    ) -> Result<(), Withheld> {
        let resident = slot.resident_mut(claim);
        let sockets = Arc::clone(&resident.sockets);
        let begun = clock::now();
        let judged = self.upkeep.run_hook(&sockets, limits.hooks_end, || resident.judge_checkout());
        let ended = clock::now();
        if until(ended, begun) > QUICK {
            self.turns_choosy();
        }
        if ended < limits.hooks_end {
            return judged;
        }
        self.counters.add(Count::HooksOverran);
        self.observing.tell(|| Event::HookOverran { thread: thread::name(thread::number()) });
        Err(Withheld::Unfit(Unfit::new(CloseReason::HeldTooLong)))
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

    fn wait(&self, limits: Limits) -> Result<Claim, GetError> {
        let before = self.waits.enter();
        let outcome = self.wait_in_line(limits, before);
        self.waits.leave();
        outcome
    }

    fn wait_in_line(&self, limits: Limits, before: usize) -> Result<Claim, GetError> {
        let Limits { begun, deadline, .. } = limits;
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
                Fate::Granted(claim) => match self.look_over(claim, limits) {
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

    // ---- out ---------------------------------------------------------------------------------------------------------------

    /// Takes back a connection that a caller has used.
    #[inline(always)]
    pub(crate) fn check_in(&self, mut claim: Claim, slot: &Slot<Resident<M>>, how: Outcome) {
        slot.end_use(&claim);
        let judged = slot.resident_mut(&mut claim).judge_return(how);
        self.check_in_judged(claim, slot, judged);
    }

    /// The same from a lease, which may come back on another thread than it was taken on.
    #[inline]
    pub(crate) fn check_in_lease(&self, claim: Claim, how: Outcome) {
        let slot = self.bag.slot(claim.slot());
        slot.hold(&claim, thread::number());
        self.check_in(claim, slot, how);
    }

    /// The same from a use that returned this error.
    #[inline(always)]
    pub(crate) fn check_in_failed(&self, mut claim: Claim, slot: &Slot<Resident<M>>, error: &dyn Any) {
        slot.end_use(&claim);
        let judged = slot.resident_mut(&mut claim).judge_error(error);
        self.check_in_judged(claim, slot, judged);
    }

    #[inline(always)]
    fn check_in_judged(&self, claim: Claim, slot: &Slot<Resident<M>>, judged: Result<(), Unfit>) {
        if judged.is_ok() && slot.notes().is_clean() {
            self.bag.give_or(claim, slot, self.here(), clock::now, |duty| self.perform(duty));
        } else {
            self.check_in_slow(claim, judged);
        }
    }

    /// It must leave, or something is noted of it.
    #[cold]
    fn check_in_slow(&self, claim: Claim, judged: Result<(), Unfit>) {
        let notes = self.slot(&claim).notes();
        if let Err(unfit) = judged {
            return self.discard(claim, unfit);
        }
        if notes.is_leaving() {
            return self.discard(claim, Unfit::new(CloseReason::Discarded));
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
