//! What a connection has to pass before a caller gets it, off the fast path: its notes, its sockets, its manager.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Engine;
use super::counters::Count;
use super::patience::Times;
use super::resident::{Resident, Unfit, Withheld};
use super::told::Told;
use crate::error::Cause;
use crate::lockfree::bag::{Claim, Slot};
use crate::lockfree::bits::Notes;
use crate::manager::{CloseReason, Manager};
use crate::observe::Event;
use crate::os::clock;
use crate::os::contain::contain;
use crate::os::sys::{self, probes};
use crate::os::thread;
use crate::watch::naming::Files;

/// What became of a connection that was taken for a caller.
pub(super) enum Taken {
    /// The caller has it.
    Fit(Claim),
    /// It had to leave; the next one may be tried.
    Gone,
    /// The caller is refused, and the connection is back in the pool.
    Refused(Cause),
}

impl<M: Manager> Engine<M> {
    /// Looks at what is noted of a connection, then hands it over.
    pub(super) fn look_over(&self, claim: Claim, times: Times) -> Taken {
        // A waiter may have been granted it by somebody of another shard.
        let claim = claim.moved_to(self.here());
        let slot = self.bag.slot(claim.slot());
        let notes = slot.notes();
        if notes.is_leaving() {
            self.discard(claim, Unfit::new(CloseReason::Discarded));
            return Taken::Gone;
        }
        slot.hold(&claim, thread::number());
        let Some(mut claim) = self.judge(claim) else { return Taken::Gone };
        if (notes.has(Notes::AGED) || notes.has(Notes::PROBE))
            && let Err(unfit) = slot.resident_mut(&mut claim).look_for_data()
        {
            if times.in_line {
                self.discard(claim, unfit)
            } else {
                self.leave_idle(claim, unfit)
            }
            return Taken::Gone;
        }
        if notes.has(Notes::UNSURE) || notes.has(Notes::SUSPECT) {
            match self.validate(claim, times) {
                Some(valid) => claim = valid,
                None => return Taken::Gone,
            }
        }
        self.freshen(&claim, notes);
        let judged = if notes.has(Notes::TIMED) || notes.has(Notes::FRESH) {
            self.ask_manager_in_time(&mut claim, slot, times)
        } else {
            slot.resident_mut(&mut claim).judge_checkout()
        };
        match judged {
            Err(withheld) => self.withhold(claim, withheld),
            Ok(()) if slot.notes().is_leaving() => {
                self.discard(claim, Unfit::new(CloseReason::Discarded));
                Taken::Gone
            }
            Ok(()) => {
                // Again: a predicate may have been given while it was pinged or the manager asked.
                let Some(claim) = self.judge(claim) else { return Taken::Gone };
                if notes.has(Notes::FRESH) {
                    self.bag.clear(&claim, Notes::FRESH);
                    self.perform_all(self.dialing.proven(&self.bag, &self.live.settings()));
                }
                Taken::Fit(if self.begin_use(&claim, slot) { self.sample(claim) } else { claim })
            }
        }
    }

    /// What was found idle is unfit. That a peer has hung up on what nobody had asked for is no evidence against it.
    #[cold]
    pub(super) fn leave_idle(&self, claim: Claim, unfit: Unfit) {
        if unfit.why == CloseReason::PeerClosed { self.lose(claim) } else { self.discard(claim, unfit) }
    }

    /// Asks the manager with an eye on the clock: its sockets are shut down under it when the caller's time is up.
    #[cold]
    fn ask_manager_in_time(&self, claim: &mut Claim, slot: &Slot<Resident<M>>, times: Times) -> Result<(), Withheld> {
        let begun = clock::now();
        if begun >= times.hooks_end {
            // Granted at the last moment, and not known to take its time.
            return slot.resident_mut(claim).judge_checkout();
        }
        let resident = slot.resident_mut(claim);
        let sockets = Arc::clone(&resident.sockets);
        let mut blocks = false;
        let (judged, cut) = self.upkeep.run_hook(&sockets, times.hooks_end, || {
            if self.waits.is_choosy() {
                return resident.judge_checkout();
            }
            let rests = sys::rests();
            let judged = resident.judge_checkout();
            blocks = sys::rests() > rests;
            judged
        });
        // One that has done more than nothing may have left a half-done exchange.
        let judged = judged.and_then(|()| resident.compare(Files::Trusted).map_err(Withheld::Unfit));
        if blocks {
            self.turns_choosy();
        }
        if !cut {
            return judged;
        }
        // Its error is the user's, and may panic at its end; the connection must not be lost by that.
        let _ = contain(|| drop(judged));
        self.counters.add(Count::HooksOverran);
        self.observing.tell(|| Event::HookOverran { thread: thread::name(thread::number()) });
        Err(Withheld::Overran)
    }

    /// The manager has discarded or refused at checkout, or its hook has blocked, so it is more than the default, and may take its
    /// time. From now on the caller's deadline covers it: on the slow path, where a note sends every connection.
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
    pub(super) fn freshen(&self, claim: &Claim, notes: Notes) {
        if notes.has(Notes::AGED) || notes.has(Notes::RESTED) {
            self.bag.clear(claim, Notes::AGED);
            self.bag.clear(claim, Notes::RESTED);
            self.upkeep.rejuvenated(&self.live.settings());
        }
    }

    /// A caller has it. True: its use is to be timed.
    #[inline(always)]
    pub(super) fn begin_use(&self, claim: &Claim, slot: &Slot<Resident<M>>) -> bool {
        probes::get(self.number(), claim.shard(), claim.slot().index());
        slot.begin_use(claim)
    }

    /// The use of it begins, and is timed. Ends the short way, as the end of such a use does: a call in the middle of it would keep
    /// whatever lives across it in saved registers.
    #[cold]
    #[inline(never)]
    pub(super) fn sample(&self, claim: Claim) -> Claim {
        self.holds.begin(claim.slot().index());
        claim
    }

    /// The manager does not let the caller have it.
    #[cold]
    pub(super) fn withhold(&self, claim: Claim, withheld: Withheld) -> Taken {
        self.turns_choosy();
        match withheld {
            Withheld::Unfit(unfit) => {
                self.discard(claim, unfit);
                Taken::Gone
            }
            Withheld::Overran => {
                self.discard_whatever_noted(claim, Unfit::new(CloseReason::HeldTooLong));
                Taken::Gone
            }
            Withheld::Useless(cause) => {
                self.discard(
                    claim,
                    Unfit { why: CloseReason::Discarded, cause: Some(Told::new(Cause::clone(&cause))) },
                );
                Taken::Refused(cause)
            }
            Withheld::Refused(cause) => {
                self.slot(&claim).hold_by_pool(&claim);
                self.perform(self.bag.give_or_evict(claim, self.here(), clock::now));
                Taken::Refused(cause)
            }
        }
    }
}
