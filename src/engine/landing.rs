//! How a dial ends: its connection into the pool, its failure into the pace, its time up.
//!
//! Whatever has failed, the pace is told first and the permit given back second: or the permit would be dialed with at once.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Engine;
use super::counters::Count;
use super::dialing::{Attempt, DialError, Ended, Failure, Landing};
use super::resident::Resident;
use super::upkeep::sweep::Entrant;
use crate::lockfree::bag::Claim;
use crate::lockfree::bits::{Life, Notes};
use crate::manager::{CloseReason, Manager};
use crate::observe::Event;
use crate::os::clock::{self, nanos};
use crate::os::sys::probes;

impl<M: Manager> Landing<M> for Engine<M> {
    fn opened(&self, attempt: Attempt, resident: Resident<M>) {
        let _arriving = self.predicates.arriving(attempt.begun);
        let unwanted = match self.dialing.end(&attempt) {
            Ended::Disowned => Some(CloseReason::Retired),
            // Its socket is being shut down.
            Ended::Overdue if attempt.cut.is_armed() => Some(CloseReason::Surplus),
            Ended::InTime | Ended::Overdue => None,
        };
        self.probe_dial(attempt.begun, true);
        // Before it can be closed, so that no more are ever closed than were opened.
        self.counters.add(Count::Opened);
        if let Some(why) = unwanted {
            self.thread_is_free();
            self.perform(self.bag.turn_away(attempt.permit));
            self.closer.close(resident, why, None);
            self.dialing.ring();
            return;
        }
        let Attempt { permit, begun, retirements, .. } = attempt;
        let probe = self.live.settings().probe_after.is_zero() && resident.has_sockets();
        match self.bag.admit(permit, resident, probe) {
            Ok((claim, life)) => self.land(claim, life, begun, retirements),
            Err(resident) => {
                self.dial_succeeded(begun);
                let why = if self.bag.is_closed() { CloseReason::PoolClosed } else { CloseReason::Surplus };
                self.closer.close(resident, why, None);
                self.dialing.ring();
            }
        }
    }

    fn failed(&self, attempt: Attempt, failure: Failure) {
        self.probe_dial(attempt.begun, false);
        let ended = self.dialing.end(&attempt);
        if ended == Ended::InTime {
            self.dial_failed(attempt.begun, &failure);
        }
        self.perform(self.bag.dial_failed(attempt.permit));
        match ended {
            Ended::InTime => {}
            Ended::Overdue => self.thread_is_free(),
            // Heard of, but no outage.
            Ended::Disowned => {
                self.tell_failed(&failure.cause);
                self.thread_is_free();
            }
        }
        self.dialing.ring();
    }
}

impl<M: Manager> Engine<M> {
    /// A dial has come back, in time or not.
    fn probe_dial(&self, begun: u64, opened: bool) {
        if cfg!(feature = "usdt") {
            probes::dial(self.number(), nanos(clock::until(clock::now(), begun)) as usize, opened.into());
        }
    }

    /// A connection is open: watched first, then into the pool.
    fn land(&self, mut claim: Claim, life: Life, begun: u64, retirements: u64) {
        self.observing.tell(|| Event::Opened { took: clock::until(clock::now(), begun) });
        let shard = life.slot.index() % self.bag.shards();
        // Before the watch, which may find that it was no success.
        self.dial_succeeded(begun);
        self.look_after(&mut claim, life);
        self.watch(&mut claim, life, shard);
        if self.dialing.is_retired(retirements) || self.is_retired_at_birth(&claim, begun) {
            self.bag.note(life, Notes::RETIRED);
        }
        self.perform(self.bag.land(claim, shard, clock::now));
        self.dialing.ring();
    }

    /// In the sweep's care from now on.
    fn look_after(&self, claim: &mut Claim, life: Life) {
        let settings = self.live.settings();
        let slot = self.slot(claim);
        let sockets = Arc::downgrade(&slot.resident(claim).sockets);
        self.upkeep.enter(Entrant::new(life, slot.last_use(), settings.max_lifetime, sockets), &settings);
        if self.waits.is_choosy() {
            self.bag.note(life, Notes::TIMED);
        }
    }

    fn watch(&self, claim: &mut Claim, life: Life, shard: usize) {
        let resident = self.bag.slot(life.slot).resident_mut(claim);
        let reactor = self.reactors.at(self.dispatch.home_core(shard)).unwrap_or(&self.home);
        // Exactly: a vector grows to four at once, and nearly all connections have one socket.
        resident.registrations.reserve_exact(resident.sockets.len());
        for (place, socket) in resident.sockets.iter().enumerate() {
            match reactor.watch(&resident.sockets, place, self.me.clone(), life.to_word()) {
                Ok(registration) => resident.registrations.push(registration),
                // A socket that nobody watches is looked at on every checkout.
                Err(_) if socket.is_socket() => {
                    self.bag.note(life, Notes::PROBE);
                }
                Err(_) => {}
            }
        }
    }

    fn dial_succeeded(&self, begun: u64) {
        self.perform_all(self.dialing.succeeded(&self.bag, &self.live.settings(), begun));
    }

    fn dial_failed(&self, begun: u64, failure: &Failure) {
        self.tell_failed(&failure.cause);
        self.perform_all(self.dialing.failed(&self.bag, &self.live.settings(), begun, failure));
    }

    /// The thread of a dial that was given up is back, and may dial for another.
    fn thread_is_free(&self) {
        self.look_at_pace();
    }

    /// What is due of the dials: overdue ones lose their permits, a pause that is over ends. Returns what is due next.
    pub(super) fn tick_dials(&self, now: u64) -> u64 {
        let limit = self.live.settings().dial_timeout;
        for running in self.dialing.take_overdue(now) {
            self.dial_failed(running.begun, &Failure::of(DialError::Overdue(limit)));
            if let Some(duty) = self.bag.overdue(running.ticket) {
                self.perform(duty);
            }
            // Last: what this makes its thread report has been counted by then.
            running.cut.cut();
            self.dialing.ring();
        }
        for ticket in self.dialing.take_slow(now) {
            self.perform(self.bag.slow(ticket));
        }
        if self.dialing.is_paced() {
            self.look_at_pace();
        }
        self.dialing.due(now, &self.live.settings())
    }

    /// What is being dialed is not wanted any more: whatever blocks on a socket that it named returns, its permit is free at once, its
    /// failure is no outage, and what it may still open is closed.
    pub(super) fn disown_dials(&self) {
        let disowned = self.dialing.disown();
        self.look_at_pace();
        for running in disowned {
            running.cut.cut();
            if let Some(duty) = self.bag.overdue(running.ticket) {
                self.perform(duty);
            }
        }
    }
}
