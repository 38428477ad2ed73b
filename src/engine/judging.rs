//! Retiring by predicate: each connection is judged by whoever owns it, when it is nobody else's.
//!
//! First the predicate stands, so that what lands from now on is judged; then each connection that is open is noted *unjudged*; then
//! those that are idle are taken out, one by one, judged, and given back. What is taken, or comes back, with that note is judged first: so
//! none is lent unjudged. A sweep finds what slipped through to lie idle: what was out for a ping, or parked by a pause.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Engine;
use super::predicates::Predicate;
use super::upkeep::sweep::Sweep;
use crate::lockfree::bag::Claim;
use crate::lockfree::bits::{Life, Notes};
use crate::manager::{CloseReason, Manager};
use crate::os::{background, clock};

impl<M: Manager> Engine<M> {
    /// Has those leave that `unwanted` means: see [`Pool::retire_where`](crate::Pool::retire_where).
    pub(crate) fn retire_where(&self, unwanted: impl Fn(&M::Connection) -> bool + Send + Sync + 'static) {
        // The user's values, dropped here.
        drop(self.predicates_done());
        let (predicate, given_up) = self.predicates.add(clock::now(), unwanted);
        given_up.into_iter().for_each(|life| self.dismiss(life, Notes::RETIRED));
        let lives: Vec<Life> = self.bag.lives().into_iter().map(|(life, _)| life).collect();
        self.predicates.judges(&predicate, lives.iter().copied().collect());
        lives.iter().for_each(|life| {
            self.bag.note(*life, Notes::UNJUDGED);
        });
        self.judge_idle(&lives);
        self.upkeep.sweep_by(clock::now() + Sweep::step(&self.live.settings()));
    }

    /// Judges those of these that lie idle.
    fn judge_idle(&self, lives: &[Life]) {
        for life in lives {
            let is_unjudged = || {
                let notes = self.bag.slot(life.slot).notes();
                notes.generation() == life.generation && notes.has(Notes::UNJUDGED)
            };
            if is_unjudged()
                && let Some(claim) = self.bag.remove(life.slot)
                // It may have begun another life meanwhile, which is judged as well if it is noted.
                && let Some(claim) = self.judge(claim)
            {
                self.perform(self.bag.give_or_evict(claim, self.here(), clock::now));
            }
        }
    }

    /// The same of all, in the background.
    pub(super) fn judge_in_background(&self) {
        let Some(pool) = self.me.upgrade().filter(|_| self.predicates.begin_judging()) else { return };
        let job = Judging(pool);
        // A job that no thread could be started for comes back and is dropped; the next sweep tries again.
        drop(background::run(Box::new(move || {
            let lives: Vec<Life> = job.0.bag.lives().into_iter().map(|(life, _)| life).collect();
            job.0.judge_idle(&lives);
        })));
    }

    /// Has an owned connection judged, if it is to be. `None`: it has left.
    pub(super) fn judge(&self, claim: Claim) -> Option<Claim> {
        let slot = self.slot(&claim);
        let notes = slot.notes();
        if !notes.has(Notes::UNJUDGED) {
            return Some(claim);
        }
        // Before the look for predicates: one that is given after it notes the connection again.
        self.bag.clear(&claim, Notes::UNJUDGED);
        let predicates = self.predicates.of(Life { slot: claim.slot(), generation: notes.generation() });
        if self.is_meant(&claim, &predicates) {
            self.evict(claim, CloseReason::Retired);
            return None;
        }
        Some(claim)
    }

    /// Whether a connection that a dial has opened must not stay.
    pub(super) fn is_retired_at_birth(&self, claim: &Claim, begun: u64) -> bool {
        self.predicates.of_dial(begun).is_none_or(|predicates| self.is_meant(claim, &predicates))
    }

    fn is_meant(&self, claim: &Claim, predicates: &[Arc<Predicate<M>>]) -> bool {
        let connection = &self.slot(claim).resident(claim).connection;
        predicates.iter().any(|predicate| predicate.means(connection))
    }

    /// Lets go of the predicates that have judged all that they had to. On the reactor.
    pub(super) fn forget_predicates(&self) {
        self.predicates_done().into_iter().for_each(background::drop_elsewhere);
    }

    fn predicates_done(&self) -> Vec<Arc<Predicate<M>>> {
        // The book before the rest: what has left it is said to arrive by then.
        let oldest = self.dialing.oldest_begun();
        let is_there = |life: Life| self.bag.slot(life.slot).notes().generation() == life.generation;
        self.predicates.forget_done(oldest, is_there)
    }
}

/// While it lives, a background thread judges.
struct Judging<M: Manager>(Arc<Engine<M>>);

impl<M: Manager> Drop for Judging<M> {
    fn drop(&mut self) {
        self.0.predicates.end_judging();
    }
}
