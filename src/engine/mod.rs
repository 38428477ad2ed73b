//! A pool as all its handles, leases and threads share it: the lock-free bag, and the parts of the policy around it.
//!
//! A part owns its state, is given what else it needs, and hands back what is to be done elsewhere. It knows neither the engine
//! nor another part. What crosses parts is a verb of the engine's. There is a file of verbs for each side from which they are
//! called:
//!
//! | parts | | verbs | called by |
//! |---|---|---|---|
//! | `dialing/` | pace, dials under way | `checkout`, `inspection`, `validation` | a caller, on its way in and out |
//! | `upkeep/` | sweep, pings | `waiting`, `refusal` | a caller in line, and one that gets nothing |
//! | `waits` | those who wait | `demand` | whoever wants more connections |
//! | `closing` | the ends of connections | `duties` | whoever has changed the bag |
//! | `resident` | what lives in a slot | `landing` | a dial's thread |
//! | `live` | settings, manager | `findings` | the sweep |
//! | `counters` | | `control`, `snapshot` | the pool's owner |
//! | `predicates` | what is to be judged | `judging` | the pool's owner, a caller, the sweep |
//! | `told`, `patience` | errors kept, times of a caller | `handler` | the reactor, the closer |
#![forbid(unsafe_code)]

pub(crate) mod checkout;
mod closing;
mod control;
mod counters;
mod demand;
mod dialing;
mod duties;
mod findings;
mod handler;
mod inspection;
mod judging;
mod landing;
mod live;
pub(crate) mod patience;
mod predicates;
mod refusal;
pub(crate) mod resident;
mod snapshot;
mod told;
mod upkeep;
mod validation;
mod waiting;
mod waits;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crossbeam::utils::CachePadded;

use self::closing::Closer;
use self::counters::{Counters, Holds};
use self::dialing::Dialing;
pub(crate) use self::dialing::Kept;
use self::live::Live;
use self::predicates::Predicates;
use self::resident::Resident;
use self::told::Told;
use self::upkeep::Upkeep;
use self::waits::Waits;
use crate::error::GetError;
use crate::lockfree::bag::{Bag, Claim, Limits, Slot};
use crate::manager::Manager;
use crate::observe::Observing;
use crate::os::clock::nanos;
use crate::os::sys;
use crate::os::topology::Dispatch;
use crate::settings::Settings;
use crate::watch::reactor::Reactor;
use crate::watch::reactors::Reactors;

/// A pool of `M`'s connections.
pub(crate) struct Engine<M: Manager> {
    me: Weak<Engine<M>>,
    bag: Bag<Resident<M>, Told>,
    /// Every use reads it, so nothing that others write may lie beside it.
    dispatch: CachePadded<Dispatch>,
    live: Live<M>,
    dialing: Dialing,
    upkeep: Upkeep,
    waits: Waits,
    predicates: Predicates<M>,
    closer: Arc<Closer<M>>,
    counters: Counters,
    holds: Holds,
    observing: Arc<Observing>,
    reactors: Reactors,
    /// The reactor that keeps this pool's deadlines.
    home: Arc<Reactor>,
}

/// What a pool is made of, beside its manager.
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) capacity: usize,
    pub(crate) shards: usize,
    pub(crate) dispatch: Dispatch,
    pub(crate) reactors: Reactors,
    pub(crate) observing: Arc<Observing>,
    pub(crate) lazy: bool,
}

impl<M: Manager> Engine<M> {
    /// Builds the pool. Dials nothing yet.
    pub(crate) fn new(manager: Arc<M>, plan: Plan) -> io::Result<Arc<Self>> {
        static POOLS: AtomicU64 = AtomicU64::new(0);
        GetError::prepare();
        let Plan { settings, capacity, shards, dispatch, reactors, observing, lazy } = plan;
        // Relaxed: spreads the pools' deadlines over the reactors.
        let turn = POOLS.fetch_add(1, Ordering::Relaxed) as usize % shards;
        // A simulation comes out the same each time.
        #[cfg(all(any(test, fuzzing), not(corepool_loom)))]
        let turn = if crate::sync::turns::is_on() { 0 } else { turn };
        let home = Arc::clone(reactors.at(dispatch.home_core(turn))?);
        let limits = Limits {
            max_size: settings.max_size,
            max_closing: settings.max_closing,
            min_open: 0,
            min_idle: 0,
            dials: settings.dials_at_once,
            max_waiters: settings.max_waiters,
            handoff_after: nanos(settings.handoff_after),
        };
        let told = || Arc::clone(&observing);
        Ok(Arc::new_cyclic(|me: &Weak<Self>| {
            let timer = home.serve(me.clone());
            Engine {
                me: Weak::clone(me),
                bag: Bag::new(shards, capacity, limits),
                dispatch: CachePadded::new(dispatch),
                dialing: Dialing::new(settings.dials_at_once, lazy, Arc::clone(&timer), told()),
                upkeep: Upkeep::new(timer),
                waits: Waits::default(),
                predicates: Predicates::default(),
                closer: Closer::new(settings.close_timeout, me.clone(), &home, reactors.clone(), told()),
                counters: Counters::new(shards),
                holds: Holds::new(capacity),
                live: Live::new(settings, manager),
                observing: told(),
                reactors,
                home: Arc::clone(&home),
            }
        }))
    }

    /// The shard of the core that this thread runs on.
    #[inline]
    pub(crate) fn here(&self) -> usize {
        #[cfg(all(any(test, fuzzing), not(corepool_loom)))]
        if let Some(core) = crate::sync::turns::core() {
            return self.dispatch.shard_of(core);
        }
        self.dispatch.shard_of(sys::current_core())
    }

    /// Which pool it is, for probes.
    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The slot that a claim is on.
    #[inline]
    pub(crate) fn slot(&self, claim: &Claim) -> &Slot<Resident<M>> {
        self.bag.slot(claim.slot())
    }
}
