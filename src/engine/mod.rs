//! The pool itself, as all its handles, leases and threads share it: the concurrent core and the policy around it.
//!
//! This file has the parts, and the ways in from a reactor. What is done with them stands in `checkout.rs` (the callers' way in and
//! out), `dial.rs`, `aging.rs` (what the sweep finds) and `control.rs` (what its owner changes while it runs).
#![forbid(unsafe_code)]

pub(crate) mod checkout;
pub(crate) mod closing;
pub(crate) mod control;
pub(crate) mod dialing;
pub(crate) mod resident;
pub(crate) mod upkeep;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};

use arc_swap::ArcSwap;

use crate::engine::closing::Closer;
use crate::engine::dialing::backoff::Backoff;
use crate::engine::dialing::{Dials, Newborn};
use crate::engine::resident::Resident;
use crate::engine::upkeep::deadlines::Deadlines;
use crate::engine::upkeep::sweep::{Birth, Sweep};
use crate::error::Cause;
use crate::lockfree::bag::{Bag, Claim, Duty, Limits};
use crate::lockfree::bits::{Life, Notes};
use crate::manager::{CloseReason, Manager};
use crate::observe::Observing;
use crate::os::background;
use crate::os::clock::{NEVER, nanos};
use crate::os::sys;
use crate::os::topology::Dispatch;
use crate::settings::Settings;
use crate::stats::{Shards, Waits};
use crate::watch::reactor::{Handler, Reactor, Reactors};

/// A pool of `M`'s connections.
pub(crate) struct Shared<M: Manager> {
    pub(crate) bag: Bag<Resident<M>, Cause>,
    pub(crate) dispatch: Dispatch,
    pub(crate) me: Weak<Shared<M>>,
    pub(crate) settings: ArcSwap<Settings>,
    pub(crate) manager: ArcSwap<M>,
    pub(crate) closer: Arc<Closer<M>>,
    pub(crate) observing: Arc<Observing>,
    pub(crate) reactors: Reactors,
    /// The reactor that keeps this pool's deadlines.
    pub(crate) reactor: Arc<Reactor>,

    pub(crate) backoff: Mutex<Backoff>,
    pub(crate) dials: Mutex<Dials>,
    /// How often all connections were retired. One whose dial began before the last time is retired too.
    pub(crate) retirements: AtomicU64,
    /// Connections opened within the last second and not seen to be used since.
    pub(crate) newborns: Mutex<Vec<Newborn>>,
    /// Rung whenever a dial has ended, for a build that waits.
    pub(crate) dialed: (Mutex<()>, Condvar),
    /// `Opening::Lazy` before the first caller: `min_idle` is not kept yet.
    pub(crate) lazy: AtomicBool,

    /// The manager has once discarded or refused at checkout.
    pub(crate) choosy: AtomicBool,
    /// The last dial has failed.
    pub(crate) troubled: AtomicBool,
    /// Callers that wait, or are about to.
    pub(crate) waiting: AtomicUsize,

    pub(crate) births: Mutex<Vec<Birth>>,
    pub(crate) sweep: Mutex<Sweep>,
    /// When the next sweep is due.
    pub(crate) sweep_due: AtomicU64,
    pub(crate) pings: Deadlines,
    pub(crate) pinging: AtomicUsize,
    /// One at a time: settings and limits change together.
    pub(crate) reconfiguring: Mutex<()>,

    pub(crate) counts: Counts,
    pub(crate) waits: Waits,
    pub(crate) shards: Shards,
}

/// What is counted off the hot path.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) waited: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) dials: AtomicU64,
    pub(crate) dials_failed: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) detached: AtomicU64,
    pub(crate) hooks_overran: AtomicU64,
    pub(crate) holds_exceeded: AtomicU64,
    /// Unpinned reactors that the observer has been told of.
    pub(crate) unpinned_told: AtomicUsize,
}

/// Adds one to a counter.
pub(crate) fn count(counter: &AtomicU64) {
    // Relaxed: statistics.
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What a pool is made of, beside its manager.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) capacity: usize,
    pub(crate) shards: usize,
    pub(crate) dispatch: Dispatch,
    pub(crate) reactors: Reactors,
    pub(crate) observing: Arc<Observing>,
    pub(crate) lazy: bool,
}

impl<M: Manager> Shared<M> {
    /// Builds the pool. Dials nothing yet.
    pub(crate) fn new(manager: Arc<M>, parts: Parts) -> io::Result<Arc<Self>> {
        static POOLS: AtomicU64 = AtomicU64::new(0);
        let Parts { settings, capacity, shards, dispatch, reactors, observing, lazy } = parts;
        // Relaxed: spreads the pools' deadlines over the reactors.
        let home = POOLS.fetch_add(1, Ordering::Relaxed) as usize % shards;
        let reactor = Arc::clone(reactors.at(dispatch.home_core(home))?);
        let limits = Limits {
            max_size: settings.max_size,
            floor: 0,
            dials: settings.dials_at_once,
            max_waiters: settings.max_waiters,
            handoff_after: nanos(settings.handoff_after),
        };
        let shared = Arc::new_cyclic(|me| Shared {
            bag: Bag::new(shards, capacity, limits),
            dispatch,
            me: Weak::clone(me),
            manager: ArcSwap::new(manager),
            closer: Closer::new(settings.close_timeout, Arc::clone(&reactor), reactors.clone(), Arc::clone(&observing)),
            observing,
            backoff: Mutex::new(Backoff::new(settings.dials_at_once)),
            settings: ArcSwap::from_pointee(settings),
            reactors,
            reactor,
            dials: Mutex::default(),
            retirements: AtomicU64::new(0),
            newborns: Mutex::default(),
            dialed: (Mutex::new(()), Condvar::new()),
            lazy: AtomicBool::new(lazy),
            choosy: AtomicBool::new(false),
            troubled: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            births: Mutex::default(),
            sweep: Mutex::default(),
            sweep_due: AtomicU64::new(NEVER),
            pings: Deadlines::default(),
            pinging: AtomicUsize::new(0),
            reconfiguring: Mutex::new(()),
            counts: Counts::default(),
            waits: Waits::default(),
            shards: Shards::new(shards),
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

    /// Takes an owned connection out of the pool and has it closed.
    #[cold]
    pub(crate) fn retire(&self, claim: Claim, why: CloseReason) {
        let mut duty = self.bag.evict(claim);
        if let Some((resident, _)) = duty.close.take() {
            self.closer.close(resident, why);
        }
        self.perform(duty);
    }

    /// Has a connection leave the pool: at once if it is idle, else when it is given back.
    pub(crate) fn dismiss(&self, life: Life, flag: crate::lockfree::bits::Flag) {
        if let Some(duty) = self.bag.dismiss(life, flag) {
            self.perform(duty);
        }
    }
}

/// Why a connection with these notes leaves. Without any that says so, the pool is closed.
pub(crate) fn reason(notes: Notes) -> CloseReason {
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

impl<M: Manager> Handler for Shared<M> {
    fn hung_up(&self, key: u64) {
        let life = Life::from_word(key);
        // The pace before the permit, which would be dialed with at once.
        self.note_stillborn(life);
        self.dismiss(life, Notes::DEAD);
    }

    fn tick(&self, now: u64) -> u64 {
        let dials = self.tick_dials(now);
        self.run_sweep(now);
        // Relaxed: made visible by the alarm's edge (E9).
        dials.min(self.pings.keep(now)).min(self.sweep_due.load(Ordering::Relaxed))
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
