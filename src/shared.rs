//! The pool itself, as all its handles, leases and threads share it: the concurrent core and the policy around it.
//!
//! This file has the parts and the two ways in from a reactor; `checkout.rs` the callers' way in and out, `dial.rs` the dials.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};

use arc_swap::ArcSwap;

use crate::background;
use crate::backoff::Backoff;
use crate::clock::{self, NEVER, nanos};
use crate::closing::Closer;
use crate::dial::Dials;
use crate::error::Cause;
use crate::expiry::{Birth, Finding, Sweep};
use crate::lockfree::bits::{Life, Notes};
use crate::lockfree::core::{Core, Duty, Limits};
use crate::manager::{CloseReason, Manager};
use crate::net::reactor::{Client, Reactor, Reactors};
use crate::resident::Resident;
use crate::settings::{Opening, Settings};
use crate::stats::Stats;
use crate::sync::lock;
use crate::sys;
use crate::topology::Dispatch;

/// A pool of `M`'s connections.
pub(crate) struct Shared<M: Manager> {
    pub(crate) core: Core<Resident<M>, Cause>,
    pub(crate) dispatch: Dispatch,
    /// For each shard, how many of its callers' takes were steals.
    pub(crate) stolen: Box<[AtomicU64]>,
    pub(crate) me: Weak<Shared<M>>,
    pub(crate) settings: ArcSwap<Settings>,
    pub(crate) manager: ArcSwap<M>,
    pub(crate) closer: Arc<Closer<M>>,
    pub(crate) reactors: Reactors,
    /// The reactor that keeps this pool's deadlines.
    pub(crate) reactor: Arc<Reactor>,

    pub(crate) backoff: Mutex<Backoff>,
    pub(crate) dials: Mutex<Dials>,
    /// Rung whenever a dial has ended, for a build that waits.
    pub(crate) dialed: (Mutex<()>, Condvar),
    /// `Opening::Lazy` before the first caller: `min_idle` is not kept yet.
    lazy: AtomicBool,

    births: Mutex<Vec<Birth>>,
    sweep: Mutex<Sweep>,
    /// When the next sweep is due.
    sweep_due: AtomicU64,

    pub(crate) counts: Counts,
}

/// What is counted off the hot path.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) waited: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) dials: AtomicU64,
    pub(crate) dials_failed: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) detached: AtomicU64,
}

/// Adds one to a counter.
pub(crate) fn count(counter: &AtomicU64) {
    // Relaxed: statistics.
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    // Relaxed: statistics.
    counter.load(Ordering::Relaxed)
}

impl<M: Manager> Shared<M> {
    /// Builds the pool. Dials nothing yet.
    pub(crate) fn new(
        manager: Arc<M>,
        settings: Settings,
        dispatch: Dispatch,
        shards: usize,
        reactors: Reactors,
    ) -> std::io::Result<Arc<Self>> {
        static POOLS: AtomicU64 = AtomicU64::new(0);
        // Relaxed: spreads the pools' deadlines over the reactors.
        let home = POOLS.fetch_add(1, Ordering::Relaxed) as usize % shards;
        let reactor = Arc::clone(reactors.at(dispatch.home_core(home))?);
        let lazy = settings.opening == Opening::Lazy;
        let limits = Limits {
            max_size: settings.max_size,
            floor: 0,
            dials: settings.dials_at_once,
            max_waiters: settings.max_waiters,
            handoff_after: nanos(settings.handoff_after),
        };
        let shared = Arc::new_cyclic(|me| Shared {
            core: Core::new(shards, settings.max_size, limits),
            dispatch,
            stolen: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            me: Weak::clone(me),
            manager: ArcSwap::new(manager),
            closer: Closer::new(settings.close_timeout, Arc::clone(&reactor)),
            backoff: Mutex::new(Backoff::new(settings.dials_at_once)),
            settings: ArcSwap::from_pointee(settings),
            reactors,
            reactor,
            dials: Mutex::default(),
            dialed: (Mutex::new(()), Condvar::new()),
            lazy: AtomicBool::new(lazy),
            births: Mutex::default(),
            sweep: Mutex::default(),
            sweep_due: AtomicU64::new(NEVER),
            counts: Counts::default(),
        });
        shared.reactor.serve(shared.me.clone());
        Ok(shared)
    }

    /// The shard of the core that this thread runs on.
    #[inline]
    pub(crate) fn here(&self) -> usize {
        self.dispatch.shard_of(sys::current_core())
    }

    /// Does what a transition of the core has left to do, now that no lock is held.
    #[inline]
    pub(crate) fn perform(&self, duty: Duty<Resident<M>>) {
        if !duty.is_none() {
            self.perform_some(duty);
        }
    }

    #[cold]
    fn perform_some(&self, duty: Duty<Resident<M>>) {
        if let Some((resident, notes)) = duty.close {
            self.closer.close(resident, reason(notes));
        }
        for opening in duty.dial {
            self.begin_dial(opening);
        }
    }

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
        self.perform(self.core.limit(|limits| limits.floor = floor));
    }

    /// A connection was opened: the sweep keeps an eye on it.
    pub(crate) fn born(&self, life: Life, now: u64) {
        let birth = Birth::new(life, now, self.settings.load().max_lifetime);
        lock(&self.births).push(birth);
        self.sweep_by(birth.expires.min(now + Sweep::step(&self.settings.load())));
    }

    /// A connection was used that the sweep had taken for aged, so there is something that can age again.
    pub(crate) fn rejuvenated(&self) {
        self.sweep_by(clock::now() + Sweep::step(&self.settings.load()));
    }

    fn sweep_by(&self, due: u64) {
        // Relaxed: made visible to the reactor by the alarm's edge (E9).
        self.sweep_due.fetch_min(due, Ordering::Relaxed);
        self.reactor.remind(due);
    }

    fn run_sweep(&self, now: u64) {
        // Relaxed: as in `sweep_by`; what is lowered from here on is seen by the next look.
        if self.sweep_due.load(Ordering::Relaxed) > now {
            return;
        }
        self.sweep_due.store(NEVER, Ordering::Relaxed);
        let births = std::mem::take(&mut *lock(&self.births));
        let settings = self.settings.load();
        let found = |finding| match finding {
            Finding::Expired(life) => {
                if let Some(duty) = self.core.dismiss(life, Notes::EXPIRED) {
                    self.perform(duty);
                }
            }
            Finding::Idle(life, uses) => self.close_idle(life, uses),
        };
        let due = lock(&self.sweep).run(now, births, &self.core, &settings, found);
        self.sweep_due.fetch_min(due, Ordering::Relaxed);
    }

    fn close_idle(&self, life: Life, uses: u64) {
        let Some(claim) = self.core.remove(life.slot) else { return };
        let slot = self.core.slot(life.slot);
        if slot.uses() == uses && slot.notes().generation() == life.generation {
            self.retire(claim, CloseReason::IdleTimeout);
        } else {
            self.perform(self.core.settle(claim, 0, clock::now));
        }
    }

    /// Takes an owned connection out of the pool and has it closed.
    pub(crate) fn retire(&self, claim: crate::lockfree::core::Claim, why: CloseReason) {
        let mut duty = self.core.retire(claim);
        if let Some((resident, _)) = duty.close.take() {
            self.closer.close(resident, why);
        }
        self.perform(duty);
    }

    /// Closes the pool: see [`Pool::close`](crate::Pool::close).
    pub(crate) fn close(&self) {
        for (resident, _) in self.core.close() {
            self.closer.close(resident, CloseReason::PoolClosed);
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let census = self.core.census();
        let slots = (0..self.core.capacity()).map(crate::lockfree::bits::SlotId::at);
        Stats {
            open: census.open,
            idle: census.idle.min(census.open),
            leased: census.open.saturating_sub(census.idle),
            opening: census.opening,
            waiting: census.waiting,
            leases: slots.map(|slot| self.core.slot(slot).uses()).sum(),
            stolen: self.stolen.iter().map(read).sum(),
            waited: read(&self.counts.waited),
            timed_out: read(&self.counts.timed_out),
            dials: read(&self.counts.dials),
            dials_failed: read(&self.counts.dials_failed),
            opened: read(&self.counts.opened),
            detached: read(&self.counts.detached),
            closed: CloseReason::ALL.map(|why| self.closer.count(why)),
        }
    }
}

/// Why a connection with these notes leaves. Without any that says so, the pool is closed.
pub(crate) fn reason(notes: Notes) -> CloseReason {
    if notes.has(Notes::DEAD) {
        CloseReason::PeerClosed
    } else if notes.has(Notes::EXPIRED) {
        CloseReason::Expired
    } else {
        CloseReason::PoolClosed
    }
}

impl<M: Manager> Client for Shared<M> {
    fn hung_up(&self, key: u64) {
        if let Some(duty) = self.core.dismiss(Life::from_word(key), Notes::DEAD) {
            self.perform(duty);
        }
    }

    fn tick(&self, now: u64) -> u64 {
        let dials = self.tick_dials(now);
        self.run_sweep(now);
        // Relaxed: as in `sweep_by`.
        dials.min(self.sweep_due.load(Ordering::Relaxed))
    }

    fn release(self: Arc<Self>) {
        background::drop_elsewhere(self);
    }
}

impl<M: Manager> Drop for Shared<M> {
    fn drop(&mut self) {
        self.close();
    }
}
