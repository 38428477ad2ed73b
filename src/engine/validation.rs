//! What lay idle for long: pinged before it is lent, if the pool is told to, or if another one failed that had lain as long.
//!
//! A peek finds what a peer has said, not that something between the two has forgotten the connection: then its first use fails, or
//! hangs. The sweep notes what lies idle so long, *lain*, and the note stays during the next use. If that fails, others that lie so just
//! then are *suspect*. A second failure, of a ping this time, is enough for all of them to leave; where there is no ping, the first is.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Engine;
use super::patience::Times;
use super::resident::Unfit;
use crate::lockfree::bag::Claim;
use crate::lockfree::bits::{Flag, Life, Notes};
use crate::manager::{CloseReason, Manager, ask};
use crate::os::clock::{self, nanos};

impl<M: Manager> Engine<M> {
    /// Pings one that is unsure or suspect, before anybody uses it. `None`: it has left, or is back in the pool, since there is no time.
    #[cold]
    pub(super) fn validate(&self, mut claim: Claim, times: Times) -> Option<Claim> {
        let ping_timeout = nanos(self.live.settings().ping_timeout);
        let begun = clock::now();
        let Some(left) = times.hooks_end.checked_sub(begun).filter(|left| *left > 0) else {
            self.slot(&claim).hold_by_pool(&claim);
            self.perform(self.bag.give_or_evict(claim, self.here(), clock::now));
            return None;
        };
        // Half of it, or a caller who meets one that is gone has no time for another.
        let ends = begun.saturating_add(ping_timeout.min(left / 2));
        let slot = self.bag.slot(claim.slot());
        let is_suspect = slot.notes().has(Notes::SUSPECT);
        let resident = slot.resident_mut(&mut claim);
        let sockets = Arc::clone(&resident.sockets);
        let ((judged, asked_nothing), cut) = self.upkeep.run_hook(&sockets, ends, || ask(|| resident.ping()));
        let unfit = match judged {
            Ok(()) if cut => Unfit::new(CloseReason::PingFailed),
            Ok(()) if is_suspect && asked_nothing => Unfit::new(CloseReason::Suspect),
            Ok(()) => {
                self.reassure(&claim);
                return Some(claim);
            }
            Err(unfit) => unfit,
        };
        if unfit.why == CloseReason::Suspect {
            self.evict(claim, CloseReason::Suspect);
        } else {
            self.discard_whatever_noted(claim, unfit);
        }
        if is_suspect {
            // A second one, or none that could be asked.
            self.idle_with(Notes::SUSPECT).for_each(|life| self.dismiss(life, Notes::RETIRED));
        }
        None
    }

    /// It has answered, or served: nothing speaks against it any more.
    pub(super) fn reassure(&self, claim: &Claim) {
        let notes = self.slot(claim).notes();
        for flag in [Notes::UNSURE, Notes::SUSPECT].into_iter().filter(|flag| notes.has(*flag)) {
            self.bag.clear(claim, flag);
        }
    }

    /// A connection is back from its use. If that was its first after a long rest, and has failed: others that rest so are suspect.
    pub(super) fn judge_rest(&self, claim: &Claim, unfit: Option<CloseReason>) {
        if self.slot(claim).notes().has(Notes::LAIN) {
            self.bag.clear(claim, Notes::LAIN);
            if unfit == Some(CloseReason::Failed) {
                self.suspect_others();
            }
        }
    }

    #[cold]
    fn suspect_others(&self) {
        let every = self.live.settings().suspect_after.map(nanos);
        if every.is_some_and(|every| self.upkeep.may_suspect(clock::now(), every)) {
            self.idle_with(Notes::LAIN).for_each(|life| {
                self.bag.note(life, Notes::SUSPECT);
            });
        }
    }

    /// Those that look idle and have this note.
    fn idle_with(&self, flag: Flag) -> impl Iterator<Item = Life> {
        let idle = self.bag.lives().into_iter().filter(|(_, idle)| *idle).map(|(life, _)| life);
        idle.filter(move |life| {
            let notes = self.bag.slot(life.slot).notes();
            notes.generation() == life.generation && notes.has(flag)
        })
    }
}
