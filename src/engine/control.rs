//! What a pool's owner changes while it runs: limits, the manager, pause, retirement, the end.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::counters::Count;
use super::dialing::Kept;
use super::duties::reason;
use crate::error::BuildError;
use crate::lockfree::bag::{Claim, Cut, Limits};
use crate::lockfree::bits::{Life, Notes};
use crate::manager::{CloseReason, Manager};
use crate::os::clock::{self, nanos, until};
use crate::os::thread;
use crate::settings::Settings;
use crate::stats::DrainReport;
use crate::sync::Nap;
use crate::watch::duplicate::Duplicate;

impl<M: Manager> Engine<M> {
    /// The settings in force.
    pub(crate) fn settings(&self) -> Settings {
        Settings::clone(&self.live.settings())
    }

    /// Changes settings: all of them or, if one is outside its limits, none.
    pub(crate) fn reconfigure(&self, change: impl FnMut(&mut Settings)) -> Result<(), BuildError> {
        let old = self.live.change(self.bag.capacity(), change)?;
        self.put_into_force(&old);
        Ok(())
    }

    /// Has everything that keeps a copy of a setting take it over.
    fn put_into_force(&self, old: &Settings) {
        let _one_at_a_time = self.live.enforce();
        let new = self.live.settings();
        self.closer.set_timeout(new.close_timeout);
        // If it is awoken just now, it reads the new settings.
        let kept = if self.dialing.is_lazy() { Kept::NONE } else { Kept::by(&new) };
        self.perform(self.bag.limit(|limits| {
            *limits = Limits {
                max_size: new.max_size,
                max_closing: new.max_closing,
                max_waiters: new.max_waiters,
                handoff_after: nanos(new.handoff_after),
                // The pace's.
                min_open: limits.min_open,
                min_idle: limits.min_idle,
                dials: limits.dials,
            };
        }));
        self.perform_all(self.dialing.keep(&self.bag, &new, kept));
        self.perform_all(self.dialing.set_limits(&self.bag, &new));
        self.shed_surplus(new.max_size);
        if new.probe_after.is_zero() && !old.probe_after.is_zero() {
            let looked_at = self.upkeep.sockets();
            let with_sockets = looked_at.iter().filter(|(_, sockets)| sockets.iter().any(Duplicate::is_socket));
            with_sockets.for_each(|(life, _)| {
                self.bag.note(*life, Notes::PROBE);
            });
        }
        self.upkeep.sweep_by(clock::now());
    }

    /// Has what is above the limit leave: idle ones first, high slots first, so that the low ones stay packed.
    fn shed_surplus(&self, max_size: usize) {
        let mut lives = self.bag.lives();
        let surplus = lives.len().saturating_sub(max_size);
        lives.reverse();
        lives.sort_by_key(|(_, idle)| !idle);
        lives.iter().take(surplus).for_each(|(life, _)| self.dismiss(*life, Notes::SURPLUS));
    }

    /// Has all connections of now leave: leased ones when they are given back, idle ones spread over this time.
    pub(crate) fn retire(&self, over: Duration) {
        self.dialing.retire_all();
        let (idle, leased): (Vec<_>, Vec<_>) = self.bag.lives().into_iter().partition(|(_, idle)| *idle);
        // After the look, or what is dialed with the permits that this frees could be found by it.
        self.disown_dials();
        leased.iter().for_each(|(life, _)| self.dismiss(*life, Notes::RETIRED));
        let idle: Vec<Life> = idle.into_iter().map(|(life, _)| life).collect();
        if over.is_zero() {
            idle.iter().for_each(|life| self.dismiss(*life, Notes::RETIRED));
        } else {
            self.upkeep.retire(&idle, nanos(over));
        }
    }

    /// Opens all further connections by another manager, and retires those of the old one.
    pub(crate) fn replace_manager(&self, manager: M, over: Duration) {
        self.live.replace_manager(manager);
        self.perform_all(self.dialing.forget_outage(&self.bag, &self.live.settings()));
        self.retire(over);
    }

    /// Hands out nothing until [`resume`](Engine::resume).
    pub(crate) fn pause(&self) {
        self.bag.pause();
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.bag.emptiness().paused
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.bag.is_closed()
    }

    pub(crate) fn resume(&self) {
        let (duty, dead) = self.bag.resume();
        dead.into_iter().for_each(|(resident, notes)| self.closer.close(resident, reason(notes), None));
        self.perform(duty);
    }

    /// Takes a connection out for good, for a user who keeps it.
    pub(crate) fn detach(&self, claim: Claim) -> M::Connection {
        self.end_own_hold(&claim);
        self.counters.add(Count::Detached);
        let mut duty = self.bag.evict(claim);
        let resident = duty.close.take();
        self.perform(duty);
        // Nobody closes it but its user.
        self.perform(self.bag.closed());
        match resident {
            Some((resident, _)) => resident.connection,
            None => unreachable!("a claimed slot has its connection until it is moved out"),
        }
    }

    /// Closes the pool: see [`Pool::close`](crate::Pool::close).
    pub(crate) fn close(&self) {
        for (resident, _) in self.bag.close() {
            self.closer.close(resident, CloseReason::PoolClosed, None);
        }
        self.dialing.cut_all();
        self.dialing.ring();
    }

    /// Closes, and waits for all that is leased and all closes until `limit`; then cuts short what is left, if `hard` says for how long
    /// to wait after that.
    pub(crate) fn drain(&self, limit: Duration, hard: Option<Duration>) -> DrainReport {
        let (before, _) = self.closer.tally();
        self.close();
        self.wait_until_empty(limit);
        if let Some(hard) = hard {
            self.cut_leased();
            self.closer.hasten(usize::MAX);
            self.wait_until_empty(hard);
        }
        let uses = self.bag.lives().into_iter().map(|(life, _)| self.bag.slot(life.slot).last_use());
        let (callers, own): (Vec<_>, Vec<_>) = uses.partition(|last| last.is_callers());
        let leased = callers.into_iter().map(|last| thread::name(last.thread())).collect();
        let (ended, closing) = self.closer.tally();
        // What the pool has in hand itself, for a ping or to be judged, is closed when that ends.
        DrainReport { closed: ended - before, closing: closing + own.len(), opening: self.dialing.threads(), leased }
    }

    /// Sleeps until nothing is leased, and everything that was opened is closed, or until `limit` has passed.
    fn wait_until_empty(&self, limit: Duration) {
        let deadline = clock::now().saturating_add(nanos(limit));
        self.bag.wait_until_empty(|| {
            let now = clock::now();
            (now < deadline).then(|| Nap::For(until(deadline, now)))
        });
        // Every connection that was opened is closed in the end, or was detached; a slot is vacant some moments before its
        // connection is on its way. Asked again after each close, whose lock orders what is counted.
        let gone = || self.gone() >= self.counters.read(Count::Opened);
        self.closer.wait_until_finished(deadline, gone);
        // What was given up may still open something, which is closed at once: until its time is up, that is waited for.
        let left = until(deadline, clock::now()).min(self.dialing.pending());
        self.dialing.wait_until(left, || self.dialing.pending().is_zero());
        self.closer.wait_until_finished(deadline, gone);
    }

    /// Has whatever blocks on a leased connection return. The pool is closed, so nobody else will use it.
    fn cut_leased(&self) {
        for (life, sockets) in self.upkeep.sockets() {
            let last_use = self.bag.slot(life.slot).last_use();
            match self.bag.cut(life, last_use) {
                Cut::Now => sockets.iter().for_each(Duplicate::shut_down),
                Cut::TooLate(duty) => self.perform(duty),
            }
        }
    }
}

impl<M: Manager> Drop for Engine<M> {
    fn drop(&mut self) {
        if self.home.is_in_child() {
            // The sockets are the parent's too: a farewell, or whatever a connection does when it is dropped, would reach its peer.
            // Nothing is locked here either: the thread that held the lock has stayed behind.
            self.bag.leak();
            std::mem::forget(Arc::clone(&self.closer));
        } else {
            self.close();
        }
    }
}
