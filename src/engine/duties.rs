//! What a transition of the bag leaves to be done: dial with these permits, close that connection.
#![forbid(unsafe_code)]

use super::Engine;
use super::counters::Count;
use super::dialing;
use super::resident::Resident;
use crate::lockfree::bag::{Claim, Duty, Permit};
use crate::lockfree::bits::{Flag, Life, Notes};
use crate::manager::{CloseReason, Manager};

impl<M: Manager> Engine<M> {
    /// Does what is left to be done, now that no lock is held.
    #[inline]
    pub(super) fn perform(&self, duty: Duty<Resident<M>>) {
        if !duty.is_none() {
            self.perform_some(duty);
        }
    }

    #[cold]
    fn perform_some(&self, duty: Duty<Resident<M>>) {
        if let Some((resident, notes)) = duty.close {
            self.closer.close(resident, reason(notes));
        }
        duty.dial.into_iter().for_each(|permit| self.dial(permit));
    }

    /// The same for each of these.
    pub(super) fn perform_all(&self, duties: impl IntoIterator<Item = Duty<Resident<M>>>) {
        duties.into_iter().for_each(|duty| self.perform(duty));
    }

    /// Dials with a permit, in the background.
    fn dial(&self, permit: Permit) {
        self.counters.add(Count::Dials);
        let attempt = self.dialing.begin(permit, self.live.settings().dial_timeout);
        let manager = self.live.manager_full();
        dialing::dial(attempt, manager, self.me.clone());
    }

    /// Takes an owned connection out of the pool and has it closed.
    #[cold]
    pub(super) fn evict(&self, claim: Claim, why: CloseReason) {
        self.evict_for(claim, |_| why);
    }

    /// The same for what is noted of it or, if nothing is, for `otherwise`.
    #[cold]
    pub(super) fn evict_noted(&self, claim: Claim, otherwise: CloseReason) {
        self.evict_for(claim, |notes| if notes.is_leaving() { reason(notes) } else { otherwise });
    }

    fn evict_for(&self, claim: Claim, why: impl FnOnce(Notes) -> CloseReason) {
        let mut duty = self.bag.evict(claim);
        if let Some((resident, notes)) = duty.close.take() {
            self.closer.close(resident, why(notes));
        }
        self.perform(duty);
    }

    /// Has a connection leave the pool: at once if it is idle, else when it is given back.
    pub(super) fn dismiss(&self, life: Life, flag: Flag) {
        if let Some(duty) = self.bag.dismiss(life, flag) {
            self.perform(duty);
        }
    }
}

/// Why a connection with these notes leaves. Without any that says so, the pool is closed.
pub(super) fn reason(notes: Notes) -> CloseReason {
    // Cut before dead: to shut a socket down looks like a hang-up too.
    let reasons = [
        (Notes::CUT, CloseReason::HeldTooLong),
        (Notes::DEAD, CloseReason::PeerClosed),
        (Notes::EXPIRED, CloseReason::Expired),
        (Notes::RETIRED, CloseReason::Retired),
        (Notes::SURPLUS, CloseReason::Surplus),
    ];
    let noted = reasons.into_iter().find(|(flag, _)| notes.has(*flag));
    noted.map_or(CloseReason::PoolClosed, |(_, why)| why)
}
