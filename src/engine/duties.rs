//! What a transition of the bag leaves to be done: dial with these permits, close that connection.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Engine;
use super::counters::Count;
use super::dialing::{self, DialError};
use super::resident::{Resident, Unfit};
use super::told::Told;
use crate::error::Cause;
use crate::lockfree::bag::{Claim, Duty, Permit};
use crate::lockfree::bits::{Flag, Life, Notes};
use crate::manager::{CloseReason, Manager};
use crate::observe::Event;

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
            self.closer.close(resident, reason(notes), None);
        }
        duty.dial.into_iter().for_each(|permit| self.dial(permit));
        if duty.hasten > 0 {
            self.closer.hasten(duty.hasten);
        }
    }

    /// The same for each of these.
    pub(super) fn perform_all(&self, duties: impl IntoIterator<Item = Duty<Resident<M>>>) {
        duties.into_iter().for_each(|duty| self.perform(duty));
    }

    /// Dials with a permit, in the background.
    fn dial(&self, permit: Permit) {
        self.counters.add(Count::Dials);
        let attempt = self.dialing.begin(permit, &self.live.settings());
        let manager = self.live.manager();
        dialing::dial(attempt, manager, self.me.clone());
    }

    /// Takes an owned connection out of the pool and has it closed.
    #[cold]
    pub(super) fn evict(&self, claim: Claim, why: CloseReason) {
        self.evict_for(claim, |_| Unfit::new(why));
    }

    /// The same for what is noted of it or, if nothing is, because it is unfit. If nobody has used it yet, its dial was no success.
    #[cold]
    pub(super) fn discard(&self, claim: Claim, unfit: Unfit) {
        self.note_unused(&claim, &unfit);
        self.evict_for(claim, |notes| if notes.is_leaving() { Unfit::new(reason(notes)) } else { unfit });
    }

    /// Its peer has hung up on it while nobody used it. If nobody ever has, none is kept for a while.
    pub(super) fn lose(&self, claim: Claim) {
        if self.slot(&claim).notes().has(Notes::FRESH) {
            self.perform_all(self.dialing.lost_unused(&self.bag, &self.live.settings()));
        }
        self.evict_for(claim, |notes| {
            Unfit::new(if notes.is_leaving() { reason(notes) } else { CloseReason::PeerClosed })
        });
    }

    /// The same for this reason whatever is noted: where the pool has ended a call by shutting its sockets down, which looks like a
    /// hang-up.
    #[cold]
    pub(super) fn discard_whatever_noted(&self, claim: Claim, unfit: Unfit) {
        self.note_unused(&claim, &unfit);
        self.evict_for(claim, |_| unfit);
    }

    fn note_unused(&self, claim: &Claim, unfit: &Unfit) {
        let notes = self.slot(claim).notes();
        if notes.has(Notes::FRESH) && !notes.is_leaving() {
            let said = unfit.cause.as_ref().map(Told::cause);
            let cause = said.unwrap_or_else(|| Arc::new(DialError::of_unused(unfit.why)));
            // The pace before the permit.
            self.came_to_nothing(cause);
        }
    }

    fn evict_for(&self, claim: Claim, unfit: impl FnOnce(Notes) -> Unfit) {
        let mut duty = self.bag.evict(claim);
        if let Some((resident, notes)) = duty.close.take() {
            let Unfit { why, cause } = unfit(notes);
            self.closer.close(resident, why, cause);
        }
        self.perform(duty);
    }

    /// A dial has failed, or its connection came to nothing: counted, and told.
    pub(super) fn tell_failed(&self, cause: &Cause) {
        self.counters.add(Count::DialsFailed);
        self.observing.tell(|| Event::DialFailed { cause: Cause::clone(cause) });
    }

    /// A connection leaves that nobody has used, though somebody would have: its dial was no success.
    pub(super) fn came_to_nothing(&self, cause: Cause) {
        self.tell_failed(&cause);
        self.perform_all(self.dialing.came_to_nothing(&self.bag, &self.live.settings(), &cause));
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
    if notes.has(Notes::RETIRED) && notes.has(Notes::SUSPECT) && !notes.has(Notes::CUT) {
        return CloseReason::Suspect;
    }
    let noted = reasons.into_iter().find(|(flag, _)| notes.has(*flag));
    noted.map_or(CloseReason::PoolClosed, |(_, why)| why)
}
