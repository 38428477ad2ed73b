//! The callers' way in and out: from an idle connection to a lease and back.
//!
//! The fast path, both ways: the core's shard, one locked read-modify-write on its word, one look at the notes. No clock, no system call
//! but the look at a socket that is to be probed, no allocation (but one use in 1,024 is timed). Everything else is `#[cold]` and out of
//! line: another note to act on, a shard that is empty, somebody who waits.
#![forbid(unsafe_code)]

use std::any::Any;

use super::Engine;
use super::inspection::Taken;
use super::patience::{Patience, Times};
use super::resident::{Resident, Unfit, Withheld};
use crate::error::GetError;
use crate::lockfree::bag::{Claim, Place, Slot, Unsettled};
use crate::manager::{CloseReason, Manager, Outcome};
use crate::os::clock;
use crate::os::sys::probes;
use crate::os::thread;

/// A connection that its caller may use.
pub(crate) struct Hit<'a, M: Manager> {
    pub(crate) claim: Claim,
    pub(crate) slot: &'a Slot<Resident<M>>,
    /// Where it goes back to.
    pub(crate) place: Place<'a>,
}

/// Why what was taken is not lent at once.
enum Unlent {
    /// Something is noted of it.
    Noted(Claim),
    /// The manager does not let the caller have it.
    Withheld(Claim, Withheld),
    /// Nothing: it is this caller's, and its use is to be timed.
    Sampled(Claim),
}

impl<M: Manager> Engine<M> {
    // ---- in ----------------------------------------------------------------------------------------------------------------

    /// Takes a connection for a caller: one of this core's shard that nothing is known against, or else the long way.
    // Each long way is called from where it begins, and its result, which comes back in memory, is looked at in one place: to gather first
    // why one is gone, or to let a hit come from here or there, would keep both in memory on the short way too.
    #[inline(always)]
    pub(crate) fn check_out(&self, patience: Patience) -> Result<Hit<'_, M>, GetError> {
        let shard = self.here();
        let checked_out = match (thread::known(), self.bag.take_top(shard)) {
            (_, None) => self.check_out_elsewhere(shard, patience),
            (None, Some((claim, _))) => self.check_out_taken(claim, patience),
            (Some(thread), Some((claim, place))) => match self.lend(claim, thread) {
                Ok((claim, slot)) => return Ok(Hit { claim, slot, place }),
                Err(Unlent::Noted(claim)) => self.check_out_noted(claim, patience),
                Err(Unlent::Withheld(claim, withheld)) => self.check_out_withheld(claim, withheld, patience),
                Err(Unlent::Sampled(claim)) => Ok(self.sample(claim)),
            },
        };
        match checked_out {
            Ok(claim) => Ok(self.hit(claim)),
            Err(error) => Err(error),
        }
    }

    /// Lends what was just taken, unless something speaks against it.
    #[inline(always)]
    fn lend(&self, mut claim: Claim, thread: u32) -> Result<(Claim, &Slot<Resident<M>>), Unlent> {
        let slot = self.bag.slot(claim.slot());
        slot.hold(&claim, thread);
        if !slot.notes().is_clean() {
            return Err(Unlent::Noted(claim));
        }
        match slot.resident_mut(&mut claim).judge_checkout() {
            Err(withheld) => Err(Unlent::Withheld(claim, withheld)),
            // Noted while the manager was asked: its word is void.
            Ok(()) if slot.notes().is_withheld() => Err(Unlent::Noted(claim)),
            Ok(()) if self.begin_use(&claim, slot) => Err(Unlent::Sampled(claim)),
            Ok(()) => Ok((claim, slot)),
        }
    }

    /// What is known of a claim that has gone a long way.
    #[cold]
    #[inline(never)]
    pub(crate) fn hit(&self, claim: Claim) -> Hit<'_, M> {
        let (slot, place) = (self.bag.slot(claim.slot()), self.bag.place(&claim));
        Hit { claim, slot, place }
    }

    /// The one that was given last is not idle: another one, or one of another shard. To steal takes neither a clock nor the settings.
    #[cold]
    #[inline(never)]
    fn check_out_elsewhere(&self, shard: usize, patience: Patience) -> Result<Claim, GetError> {
        match self.bag.take_home(shard).or_else(|| self.steal(shard)) {
            Some(claim) => self.check_out_taken(claim, patience),
            None => self.go_without(self.times(patience)),
        }
    }

    #[cold]
    fn check_out_taken(&self, claim: Claim, patience: Patience) -> Result<Claim, GetError> {
        match self.lend(claim, thread::number()) {
            Ok((claim, _)) => Ok(claim),
            Err(Unlent::Noted(claim)) => self.check_out_noted(claim, patience),
            Err(Unlent::Withheld(claim, withheld)) => self.check_out_withheld(claim, withheld, patience),
            Err(Unlent::Sampled(claim)) => Ok(self.sample(claim)),
        }
    }

    /// Something is noted of it. Mostly that its sockets are to be looked at, as they are on each checkout of a stream: that needs
    /// neither a clock nor the settings.
    #[cold]
    #[inline(never)]
    fn check_out_noted(&self, mut claim: Claim, patience: Patience) -> Result<Claim, GetError> {
        let slot = self.bag.slot(claim.slot());
        if !slot.notes().is_clean_but_for_probe() {
            return self.check_out_slow(Some(claim), patience);
        }
        if let Err(unfit) = slot.resident_mut(&mut claim).look_for_data() {
            self.leave_idle(claim, unfit);
            return self.check_out_slow(None, patience);
        }
        match slot.resident_mut(&mut claim).judge_checkout() {
            Err(withheld) => self.check_out_withheld(claim, withheld, patience),
            // Noted while it was looked at.
            Ok(()) if slot.notes().is_withheld() => self.check_out_slow(Some(claim), patience),
            Ok(()) if self.begin_use(&claim, slot) => Ok(self.sample(claim)),
            Ok(()) => Ok(claim),
        }
    }

    /// The manager does not let the caller have it.
    #[cold]
    #[inline(never)]
    fn check_out_withheld(&self, claim: Claim, withheld: Withheld, patience: Patience) -> Result<Claim, GetError> {
        match self.withhold(claim, withheld) {
            Taken::Refused(cause) => Err(self.refused(cause)),
            Taken::Fit(_) | Taken::Gone => self.check_out_slow(None, patience),
        }
    }

    /// Something is noted of what was taken, if anything was: look at it, then at others, here and elsewhere, until one is fit.
    #[cold]
    fn check_out_slow(&self, taken: Option<Claim>, patience: Patience) -> Result<Claim, GetError> {
        let (shard, times) = (self.here(), self.times(patience));
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
        self.go_without(times)
    }

    fn times(&self, patience: Patience) -> Times {
        Times::begin(patience, self.live.settings().wait_timeout)
    }

    /// Nothing is idle in any shard: ask for growth, and wait.
    fn go_without(&self, times: Times) -> Result<Claim, GetError> {
        self.awaken();
        // No spinning first, for a return that may be near: on 2 cores under load, echo round trips, 2 µs of it cost 16 threads on
        // 4 connections 5 % of their throughput and 10 µs cost 15 %, 64 threads 14 and 40 %, and made the longest waits longer;
        // 3 threads on 2 gained nothing.
        if times.waits() { self.wait(Times { in_line: true, ..times }) } else { Err(self.busy()) }
    }

    /// Takes from another shard, for a caller of this one: those that share its L3 first, each time beginning at another one.
    fn steal(&self, shard: usize) -> Option<Claim> {
        // Where a look is long, it is left out if it is known to be for nothing: callers fail fast in an outage, or beside others who wait.
        if self.bag.idle().are_many() && self.bag.is_dry() {
            return None;
        }
        let (near, far) = self.dispatch.neighbours(shard);
        let turn = self.counters.stolen(shard) as usize;
        let from = |shards| rotated(shards, turn).find_map(|victim| self.bag.take(victim));
        let claim = from(near).or_else(|| from(far))?;
        self.counters.add_stolen(shard);
        probes::steal(self.number(), shard, claim.slot().index());
        if self.bag.idle().note_steal(shard) {
            self.ask();
        }
        Some(claim.moved_to(shard))
    }

    // ---- out ---------------------------------------------------------------------------------------------------------------

    /// Takes back a connection that a caller has used: into the shard at home where it was taken, which is not asked for again. A caller
    /// that has moved to another core since steals it from there, and from then on it is at home here.
    #[inline(always)]
    pub(crate) fn check_in(&self, hit: Hit<'_, M>, how: Outcome) {
        let Hit { claim, slot, place } = hit;
        if self.end_use(&claim, slot) {
            self.check_in_sampled(claim, how);
        } else {
            self.check_in_ended(Hit { claim, slot, place }, how);
        }
    }

    #[inline(always)]
    fn check_in_ended(&self, hit: Hit<'_, M>, how: Outcome) {
        let Hit { mut claim, slot, place } = hit;
        match slot.resident_mut(&mut claim).judge_return(how) {
            Ok(()) => self.check_in_judged(Hit { claim, slot, place }),
            Err(unfit) => self.check_in_unfit(claim, unfit),
        }
    }

    /// A use that was timed has ended. Given the claim alone: all of a hit would go through memory, on the short way too.
    #[cold]
    #[inline(never)]
    fn check_in_sampled(&self, claim: Claim, how: Outcome) {
        self.holds.end(claim.slot().index());
        self.check_in_ended(self.hit(claim), how);
    }

    /// The same from a lease, which may come back on another thread than it was taken on.
    #[inline(always)]
    pub(crate) fn check_in_lease(&self, claim: Claim) {
        let (Some(thread), Some(place)) = (thread::known(), self.bag.place_near(&claim)) else {
            return self.check_in_lease_slow(claim, Outcome::Done);
        };
        let slot = self.bag.slot(claim.slot());
        slot.hold(&claim, thread);
        self.check_in(Hit { claim, slot, place }, Outcome::Done);
    }

    /// The same with another outcome, or a thread without a number, or a place farther away.
    #[cold]
    #[inline(never)]
    pub(crate) fn check_in_lease_slow(&self, claim: Claim, how: Outcome) {
        let hit = self.hit(claim);
        hit.slot.hold(&hit.claim, thread::number());
        self.check_in(hit, how);
    }

    /// The same from a use that returned this error.
    #[cold]
    #[inline(never)]
    pub(crate) fn check_in_failed(&self, hit: Hit<'_, M>, error: &dyn Any) {
        let Hit { mut claim, slot, place } = hit;
        if self.end_use(&claim, slot) {
            self.holds.end(claim.slot().index());
        }
        match slot.resident_mut(&mut claim).judge_error(error) {
            Ok(()) => self.check_in_judged(Hit { claim, slot, place }),
            Err(unfit) => self.check_in_unfit(claim, unfit),
        }
    }

    /// A use has ended. True: it was timed.
    #[inline(always)]
    fn end_use(&self, claim: &Claim, slot: &Slot<Resident<M>>) -> bool {
        probes::put(self.number(), claim.shard(), claim.slot().index());
        slot.end_use(claim)
    }

    #[inline(always)]
    fn check_in_judged(&self, hit: Hit<'_, M>) {
        let Hit { claim, slot, place } = hit;
        if !slot.notes().is_clean_but_for_probe() {
            self.check_in_noted(claim);
        } else if let Err(unsettled) = self.bag.give_at_once(claim, slot, place) {
            self.settle(unsettled);
        }
    }

    /// Somebody waits, or a note came in.
    #[cold]
    #[inline(never)]
    fn settle(&self, unsettled: Unsettled) {
        self.perform(self.bag.give_after(unsettled, clock::now));
    }

    /// The manager, or its own stream, says that it is not to be lent again.
    #[cold]
    #[inline(never)]
    fn check_in_unfit(&self, claim: Claim, unfit: Unfit) {
        self.end_own_hold(&claim);
        self.judge_rest(&claim, Some(unfit.why));
        self.discard(claim, unfit);
    }

    /// Something is noted of it.
    #[cold]
    #[inline(never)]
    fn check_in_noted(&self, claim: Claim) {
        self.end_own_hold(&claim);
        let notes = self.slot(&claim).notes();
        self.judge_rest(&claim, None);
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
    pub(crate) fn check_in_panicked(&self, hit: Hit<'_, M>) {
        self.check_in(hit, Outcome::Panicked);
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
