//! What a pool's owner changes while it runs: limits, the manager, pause, retirement, the end.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::engine::{Shared, reason};
use crate::error::BuildError;
use crate::lockfree::bag::Limits;
use crate::lockfree::bits::{Life, Notes};
use crate::manager::{CloseReason, Manager};
use crate::os::clock::{self, nanos, until};
use crate::os::thread;
use crate::settings::Settings;
use crate::sync::{Nap, lock};

/// How a [`drain`](crate::Pool::drain) ended.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DrainReport {
    /// Connections that were closed meanwhile.
    pub closed: u64,
    /// Connections whose close has not ended yet.
    pub closing: usize,
    /// The threads that still hold a connection, one entry for each.
    pub leased: Vec<String>,
}

impl DrainReport {
    /// Everything came back and was closed in time.
    pub fn is_complete(&self) -> bool {
        self.closing == 0 && self.leased.is_empty()
    }
}

impl<M: Manager> Shared<M> {
    /// Somebody wants connections: a lazy pool keeps `min_idle` from now on.
    pub(crate) fn awaken(&self) {
        // Relaxed: whoever is first sets the floor, under the core's lock.
        if self.lazy.load(Ordering::Relaxed) && self.lazy.swap(false, Ordering::Relaxed) {
            let floor = self.settings.load().min_idle;
            self.set_floor(floor);
        }
    }

    /// Keeps this many connections open from now on.
    pub(crate) fn set_floor(&self, floor: usize) {
        self.perform(self.bag.limit(|limits| limits.floor = floor));
    }

    /// Changes settings: all of them or, if one is outside its limits, none.
    pub(crate) fn reconfigure(&self, mut change: impl FnMut(&mut Settings)) -> Result<(), BuildError> {
        loop {
            let old = self.settings.load_full();
            let mut new = Settings::clone(&old);
            // The user's code, so not under a lock.
            change(&mut new);
            new.check(self.bag.capacity())?;
            if Arc::ptr_eq(&self.settings.compare_and_swap(&old, Arc::new(new)), &old) {
                self.put_into_force(&old);
                return Ok(());
            }
            // Somebody else's change came first: this one is made to what that has left.
        }
    }

    /// Has everything that keeps a copy of a setting take it over. One at a time, and always from the latest, so that no copy stays behind.
    fn put_into_force(&self, old: &Settings) {
        let _one_at_a_time = lock(&self.reconfiguring);
        let new = self.settings.load();
        self.closer.set_timeout(new.close_timeout);
        // Relaxed: whether a lazy pool has been awoken; if it is just now, it reads the new settings.
        let floor = if self.lazy.load(Ordering::Relaxed) { 0 } else { new.min_idle };
        self.perform(self.bag.limit(|limits| {
            *limits = Limits {
                max_size: new.max_size,
                floor,
                dials: limits.dials,
                max_waiters: new.max_waiters,
                handoff_after: nanos(new.handoff_after),
            };
        }));
        self.pace(|backoff, _| backoff.set_most(new.dials_at_once));
        self.shed_surplus(new.max_size);
        if new.probe_after.is_zero() && !old.probe_after.is_zero() {
            self.bag.lives().iter().for_each(|(life, _)| {
                self.bag.note(*life, Notes::PROBE);
            });
        }
        self.sweep_by(clock::now());
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
    pub(crate) fn retire_all(&self, over: Duration) {
        // Release: the manager that was replaced before this; and it comes before the look at what is open. What is admitted before that look
        // is found by it; what is admitted after it reads the new number.
        self.retirements.fetch_add(1, Ordering::Release);
        let (idle, leased): (Vec<_>, Vec<_>) = self.bag.lives().into_iter().partition(|(_, idle)| *idle);
        // After the look, or what is dialed with the permits that this frees could be found by it.
        self.disown_dials();
        leased.iter().for_each(|(life, _)| self.dismiss(*life, Notes::RETIRED));
        if over.is_zero() {
            idle.iter().for_each(|(life, _)| self.dismiss(*life, Notes::RETIRED));
            return;
        }
        let idle: Vec<Life> = idle.into_iter().map(|(life, _)| life).collect();
        let now = clock::now();
        {
            let mut sweep = lock(&self.sweep);
            sweep.extend(std::mem::take(&mut *lock(&self.births)));
            sweep.retire(&idle, now, nanos(over));
        }
        self.sweep_by(now);
    }

    /// Opens all further connections by another manager, and retires those of the old one.
    pub(crate) fn replace_manager(&self, manager: M, over: Duration) {
        self.manager.store(Arc::new(manager));
        // Whatever the old endpoint's troubles were, they are not the new one's.
        self.pace(|backoff, _| {
            // Relaxed: under the pace's lock, as where it is set.
            self.troubled.store(false, Ordering::Relaxed);
            backoff.reset();
        });
        self.retire_all(over);
    }

    pub(crate) fn pause(&self) {
        self.bag.pause();
    }

    pub(crate) fn resume(&self) {
        let (duty, dead) = self.bag.resume();
        dead.into_iter().for_each(|(resident, notes)| self.closer.close(resident, reason(notes)));
        self.perform(duty);
    }

    /// Closes the pool: see [`Pool::close`](crate::Pool::close).
    pub(crate) fn close(&self) {
        for (resident, _) in self.bag.close() {
            self.closer.close(resident, CloseReason::PoolClosed);
        }
        self.cut_dials();
    }

    /// Closes, and waits for all that is leased and all closes until the deadline.
    pub(crate) fn drain(&self, limit: Duration) -> DrainReport {
        let before = self.closer.count_all();
        let deadline = clock::now().saturating_add(nanos(limit));
        self.close();
        self.bag.wait_until_empty(|| {
            let now = clock::now();
            (now < deadline).then(|| Nap::For(until(deadline, now)))
        });
        // Every connection that was opened is closed in the end, or was detached; a slot is vacant some moments before its connection is on its way.
        // Relaxed: statistics, asked again after each close, whose lock orders them.
        let gone = || self.gone() >= self.counts.opened.load(Ordering::Relaxed);
        let ends = Instant::now() + until(deadline, clock::now());
        let closing = self.closer.wait_until_finished(ends, gone);
        let holders = self.bag.lives().into_iter().map(|(life, _)| self.bag.slot(life.slot).holder());
        let leased = holders.filter(|holder| holder.is_caller()).map(|holder| thread::name(holder.thread));
        DrainReport {
            closed: (self.closer.count_all() - before).saturating_sub(closing as u64),
            closing,
            leased: leased.collect(),
        }
    }
}
