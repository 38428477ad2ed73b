//! The callers' way in and out: from an idle connection to a lease and back.
//!
//! The fast path, both ways: the core's shard, one locked read-modify-write on its word, one look at the notes. No clock, no system call,
//! no allocation. Everything else is `#[cold]`: a note to act on, a shard that is empty, somebody who waits.
#![forbid(unsafe_code)]

use std::any::Any;

use super::Engine;
use super::inspection::Taken;
use super::patience::{Patience, Times};
use super::resident::{Resident, Unfit, Withheld};
use crate::error::GetError;
use crate::lockfree::bag::{Claim, Slot};
use crate::manager::{CloseReason, Manager, Outcome};
use crate::os::clock;
use crate::os::thread;

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
            Miss::Noted(claim) => self.check_out_noted(claim, patience),
            Miss::Withheld(claim, withheld) => match self.withhold(claim, withheld) {
                Taken::Refused(cause) => Err(self.refused(cause)),
                Taken::Fit(_) | Taken::Gone => self.check_out_slow(None, patience),
            },
        }
    }

    /// Something is noted of it. Mostly that its sockets are to be looked at, as they are on each checkout of a stream: that needs
    /// neither a clock nor the settings.
    fn check_out_noted(&self, mut claim: Claim, patience: Patience) -> Result<Claim, GetError> {
        let slot = self.bag.slot(claim.slot());
        if !slot.notes().is_clean_but_for_probe() {
            return self.check_out_slow(Some(claim), patience);
        }
        slot.hold(&claim, thread::number());
        if let Err(unfit) = slot.resident_mut(&mut claim).look_for_data() {
            self.leave_idle(claim, unfit);
            return self.check_out_slow(None, patience);
        }
        match self.ask_manager(&mut claim, slot) {
            Err(withheld) => self.check_out_after(Miss::Withheld(claim, withheld), patience),
            // Noted while it was looked at.
            Ok(()) if slot.notes().is_leaving() => self.check_out_slow(Some(claim), patience),
            Ok(()) => {
                slot.begin_use(&claim);
                Ok(claim)
            }
        }
    }

    /// Nothing clean in this core's own shard: look at what was taken, steal, ask for growth, wait.
    #[cold]
    fn check_out_slow(&self, taken: Option<Claim>, patience: Patience) -> Result<Claim, GetError> {
        let shard = self.here();
        let times = Times::begin(patience, self.live.settings().wait_timeout);
        let (mut taken, mut tries) = (taken, 0);
        while let Some(claim) = taken.or_else(|| self.bag.take(shard)).or_else(|| self.steal(shard)) {
            match self.look_over(claim, times) {
                Taken::Fit(fit) => return Ok(fit),
                Taken::Refused(cause) => return Err(self.refused(cause)),
                // No hook begins after the caller's deadline, so nothing more is taken. A caller that does not wait takes what it finds.
                Taken::Gone if clock::now() >= times.hooks_end => {
                    return Err(if times.waits() { self.timed_out(times.begun) } else { self.busy() });
                }
                // A manager that discards all it is shown must not keep a caller who would not wait for as long as others are dialed.
                Taken::Gone if !times.waits() && tries > self.bag.capacity() => break,
                Taken::Gone => (taken, tries) = (None, tries + 1),
            }
        }
        self.awaken();
        // No spinning first, for a return that may be near: on 2 cores under load, echo round trips, 2 µs of it cost 16 threads on
        // 4 connections 5 % of their throughput and 10 µs cost 15 %, 64 threads 14 and 40 %, and made the longest waits longer;
        // 3 threads on 2 gained nothing.
        if times.waits() { self.wait(Times { in_line: true, ..times }) } else { Err(self.busy()) }
    }

    /// Takes from another shard: those that share this one's L3 first, each time beginning at another one.
    fn steal(&self, shard: usize) -> Option<Claim> {
        // Where a look is long, it is left out if it is known to be for nothing: callers fail fast in an outage, or beside others who wait.
        if self.bag.idle().are_many() && self.bag.is_dry() {
            return None;
        }
        let (near, far) = self.dispatch.neighbours(shard);
        let turn = self.counters.stolen(shard) as usize;
        let claim = rotated(near, turn).chain(rotated(far, turn)).find_map(|victim| self.bag.take(victim))?;
        self.counters.add_stolen(shard);
        if self.bag.idle().note_steal(shard) {
            self.ask();
        }
        Some(claim)
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
        if judged.is_ok() && slot.notes().is_clean_but_for_probe() {
            self.bag.give_or(claim, slot, self.here(), clock::now, |duty| self.perform(duty));
        } else {
            self.check_in_slow(claim, judged);
        }
    }

    /// It must leave, or something is noted of it.
    #[cold]
    fn check_in_slow(&self, claim: Claim, judged: Result<(), Unfit>) {
        self.end_own_hold(&claim);
        let notes = self.slot(&claim).notes();
        self.judge_rest(&claim, &judged);
        if let Err(unfit) = judged {
            return self.discard(claim, unfit);
        }
        if notes.is_leaving() {
            return self.discard(claim, Unfit::new(CloseReason::Discarded));
        }
        self.freshen(&claim, notes);
        self.reassure(&claim);
        if let Some(claim) = self.judge(claim) {
            self.perform(self.bag.give(claim, self.here(), clock::now));
        }
    }

    /// Takes back a connection whose user unwinds.
    #[cold]
    pub(crate) fn check_in_panicked(&self, claim: Claim, slot: &Slot<Resident<M>>) {
        self.check_in(claim, slot, Outcome::Panicked);
    }

    /// Takes back a connection that its user wants closed.
    #[cold]
    pub(crate) fn check_in_condemned(&self, claim: Claim) {
        self.end_own_hold(&claim);
        self.evict(claim, CloseReason::Condemned);
    }
}

/// The shards of `list`, beginning at another one each turn.
fn rotated(list: &[u16], turn: usize) -> impl Iterator<Item = usize> {
    let begin = turn % list.len().max(1);
    list[begin..].iter().chain(&list[..begin]).map(|shard| usize::from(*shard))
}
