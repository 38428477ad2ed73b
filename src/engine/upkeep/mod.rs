//! What the sweep finds, carried out: expiry, idle timeout, pings, leases held too long.
#![forbid(unsafe_code)]

pub(crate) mod deadlines;
pub(crate) mod sweep;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::engine::upkeep::sweep::{Birth, Finding, Sweep};
use crate::engine::{Shared, count};
use crate::lockfree::bag::Claim;
use crate::lockfree::bits::{Life, Notes};
use crate::lockfree::slot::Holder;
use crate::manager::{CloseReason, Manager};
use crate::observe::Event;
use crate::os::background;
use crate::os::clock::{self, NEVER, nanos};
use crate::os::thread;
use crate::settings::PINGS_AT_ONCE;
use crate::sync::lock;
use crate::watch::duplicate::Duplicate;

impl<M: Manager> Shared<M> {
    /// A connection was opened: the sweep keeps an eye on it.
    pub(crate) fn born(&self, life: Life, now: u64, sockets: Weak<[Duplicate]>) {
        let settings = self.settings.load();
        let uses = self.bag.slot(life.slot).uses();
        let birth = Birth::new(life, now, uses, settings.max_lifetime, sockets);
        let due = birth.expires.min(now + Sweep::step(&settings));
        lock(&self.births).push(birth);
        self.sweep_by(due);
    }

    /// A connection was used that the sweep had taken for aged, so there is something that can age again.
    pub(crate) fn rejuvenated(&self) {
        self.sweep_by(clock::now() + Sweep::step(&self.settings.load()));
    }

    /// The next sweep is due then, at the latest.
    pub(crate) fn sweep_by(&self, due: u64) {
        // Release: what there is to sweep, to the sweep that takes this due time off.
        self.sweep_due.fetch_min(due, Ordering::Release);
        self.reactor.remind(due);
    }

    /// Sweeps if it is time. On the reactor.
    pub(crate) fn run_sweep(&self, now: u64) {
        // Relaxed: as in `sweep_by`; what is lowered from here on is seen by the next look.
        if self.sweep_due.load(Ordering::Relaxed) > now {
            return;
        }
        // Acquire: what was there to be swept when the time that this takes off was set.
        self.sweep_due.swap(NEVER, Ordering::Acquire);
        self.shards.note_idle(&self.bag);
        self.tell_unpinned();
        let settings = self.settings.load();
        // Relaxed: only this thread begins pings.
        let pings = PINGS_AT_ONCE.saturating_sub(self.pinging.load(Ordering::Relaxed));
        let due = {
            let mut sweep = lock(&self.sweep);
            sweep.extend(std::mem::take(&mut *lock(&self.births)));
            sweep.run(now, &self.bag, &settings, pings, |finding| self.carry_out(finding))
        };
        // Relaxed: read by this thread's next tick.
        self.sweep_due.fetch_min(due, Ordering::Relaxed);
    }

    /// Reactors start when their first connection lands, and find out by themselves; the sweep that follows tells.
    fn tell_unpinned(&self) {
        let reactors = self.reactors.unpinned();
        // Relaxed: only this thread tells.
        if reactors > self.counts.unpinned_told.swap(reactors, Ordering::Relaxed) {
            self.observing.tell(|| Event::Unpinned { reactors });
        }
    }

    fn carry_out(&self, finding: Finding) {
        match finding {
            Finding::Leave(life, retired) => self.dismiss(life, if retired { Notes::RETIRED } else { Notes::EXPIRED }),
            Finding::Idle(life, uses) => {
                if let Some(claim) = self.take_unused(life, uses) {
                    self.retire(claim, CloseReason::IdleTimeout);
                }
            }
            Finding::Ping(life, uses) => {
                if let Some(claim) = self.take_unused(life, uses) {
                    self.begin_ping(claim);
                }
            }
            Finding::Held(life, holder, held, sockets) => self.held_too_long(life, holder, held, &sockets),
        }
    }

    /// Takes a connection out of the idle stacks, if it is still the one that the sweep saw, unused since.
    fn take_unused(&self, life: Life, uses: u64) -> Option<Claim> {
        let claim = self.bag.remove(life.slot)?;
        let slot = self.bag.slot(life.slot);
        if slot.uses() == uses && slot.notes().generation() == life.generation {
            return Some(claim);
        }
        self.perform(self.bag.give_or_evict(claim, 0, clock::now));
        None
    }

    fn begin_ping(&self, claim: Claim) {
        let Some(pool) = self.me.upgrade() else { return self.retire(claim, CloseReason::PoolClosed) };
        self.bag.slot(claim.slot()).hold_by_pool(&claim);
        // Relaxed: a count that bounds.
        self.pinging.fetch_add(1, Ordering::Relaxed);
        let mut ping = Ping { pool, claim: Some(claim) };
        // A job that no thread could be started for comes back and is dropped, and gives the connection back.
        drop(background::run(Box::new(move || ping.run())));
    }

    fn held_too_long(&self, life: Life, holder: Holder, held: Duration, sockets: &Weak<[Duplicate]>) {
        let in_hook = holder.in_hook;
        let cut = in_hook || self.settings.load().cut_held;
        if cut {
            // Noted first, so that the hang-up that this looks like is not taken for the peer's.
            self.dismiss(life, Notes::CUT);
            sockets.upgrade().iter().flat_map(|sockets| sockets.iter()).for_each(Duplicate::shut_down);
        }
        count(if in_hook { &self.counts.hooks_overran } else { &self.counts.holds_exceeded });
        self.observing.tell(|| {
            let thread = thread::name(holder.thread);
            if in_hook { Event::HookOverran { thread } } else { Event::HoldExceeded { thread, held, cut } }
        });
    }
}

/// A connection that is out for a ping. Dropped, it is back in the pool: no exit loses it.
struct Ping<M: Manager> {
    pool: Arc<Shared<M>>,
    claim: Option<Claim>,
}

impl<M: Manager> Ping<M> {
    /// Pings, on a background thread.
    fn run(&mut self) {
        let Some(mut claim) = self.claim.take() else { return };
        let pool = &self.pool;
        let deadline = clock::now().saturating_add(nanos(pool.settings.load().ping_timeout));
        let alive = {
            let resident = pool.bag.slot(claim.slot()).resident_mut(&mut claim);
            let sockets = Arc::clone(&resident.sockets);
            pool.pings.run(&sockets, deadline, |deadline| pool.reactor.remind(deadline), || resident.ping())
        };
        match alive {
            Ok(()) => self.claim = Some(claim),
            Err(why) => pool.retire(claim, why),
        }
    }
}

impl<M: Manager> Drop for Ping<M> {
    fn drop(&mut self) {
        // Relaxed: a count that bounds.
        self.pool.pinging.fetch_sub(1, Ordering::Relaxed);
        if let Some(claim) = self.claim.take() {
            self.pool.perform(self.pool.bag.give_or_evict(claim, self.pool.here(), clock::now));
        }
        // Others may wait for a turn.
        self.pool.sweep_by(clock::now());
    }
}
