//! What the sweep finds, carried out: expiry, idle timeout, pings, leases held too long.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use super::Engine;
use super::counters::Count;
use super::upkeep::sweep::Finding;
use crate::lockfree::bag::{Claim, Cut, Use};
use crate::lockfree::bits::{Life, Notes};
use crate::manager::{CloseReason, Manager};
use crate::observe::Event;
use crate::os::{background, clock, thread};
use crate::watch::duplicate::Duplicate;

impl<M: Manager> Engine<M> {
    /// Sweeps if it is time. On the reactor.
    pub(super) fn sweep_if_due(&self, now: u64) {
        if !self.upkeep.take_due(now) {
            return;
        }
        self.tell_of_reactors();
        self.look_after_kept();
        self.forget_predicates();
        let idle = self.upkeep.sweep(now, &self.bag, &self.live.settings(), |finding| self.carry_out(finding));
        // What a pause has put aside is idle too, and none of it is missed.
        if let Some(idle) = idle.filter(|_| !self.bag.emptiness().paused) {
            self.counters.saw_idle(idle, now);
        }
    }

    /// Reactors start when their first connection lands, and find out by themselves; the sweep that follows tells.
    fn tell_of_reactors(&self) {
        let reactors = self.reactors.unpinned();
        if self.upkeep.tells_unpinned(reactors) {
            self.observing.tell(|| Event::Unpinned { reactors });
        }
        let reactors = self.reactors.deaf();
        if self.upkeep.tells_deaf(reactors) {
            self.observing.tell(|| Event::Deaf { reactors });
        }
    }

    fn carry_out(&self, finding: Finding) {
        match finding {
            Finding::Leave(life, retired) => self.dismiss(life, if retired { Notes::RETIRED } else { Notes::EXPIRED }),
            Finding::Idle(life, last_use) => {
                if let Some(claim) = self.take_unused(life, last_use) {
                    self.evict(claim, CloseReason::IdleTimeout);
                }
            }
            Finding::Ping(life, last_use) => {
                if let Some(claim) = self.take_unused(life, last_use) {
                    self.begin_ping(claim);
                }
            }
            Finding::Held(life, seen, since, sockets) => self.held_too_long(life, seen, since, &sockets),
            // Its return has told, unless it came before the note by which it would have known.
            Finding::Ended(life) => self.end_hold(life),
            Finding::Unjudged => self.judge_in_background(),
        }
    }

    /// Takes a connection out of the idle stacks, if it is still the one that the sweep saw, unused since.
    fn take_unused(&self, life: Life, last_use: Use) -> Option<Claim> {
        let claim = self.bag.remove(life.slot)?;
        let slot = self.slot(&claim);
        if slot.last_use() == last_use && slot.notes().generation() == life.generation {
            return Some(claim);
        }
        self.perform(self.bag.give_or_evict(claim, 0, clock::now));
        None
    }

    fn begin_ping(&self, claim: Claim) {
        let Some(pool) = self.me.upgrade() else { return self.evict(claim, CloseReason::PoolClosed) };
        self.slot(&claim).hold_by_pool(&claim);
        self.upkeep.begin_ping();
        let mut ping = Ping { pool, claim: Some(claim) };
        // A job that no thread could be started for comes back and is dropped, and gives the connection back.
        drop(background::run(Box::new(move || ping.run())));
    }

    fn held_too_long(&self, life: Life, seen: Use, since: u64, sockets: &Weak<[Duplicate]>) {
        let in_hook = seen.is_in_hook();
        if in_hook && self.upkeep.is_timed(sockets) {
            return;
        }
        let cut = in_hook || self.live.settings().cut_held;
        if cut {
            // Noted first: so the hang-up that a cut looks like is not taken for the peer's, and nobody else is given the connection.
            match self.bag.cut(life, seen) {
                Cut::Now => {
                    sockets.upgrade().iter().flat_map(|sockets| sockets.iter()).for_each(Duplicate::shut_down);
                }
                // It came back just now, and leaves.
                Cut::TooLate(duty) => return self.perform(duty),
            }
        }
        self.counters.add(if in_hook { Count::HooksOverran } else { Count::HoldsExceeded });
        self.observing.tell(|| {
            let (thread, held) = (thread::name(seen.thread()), clock::until(clock::now(), since));
            if in_hook { Event::HookOverran { thread } } else { Event::HoldExceeded { thread, held, cut } }
        });
        if !in_hook {
            self.upkeep.begin_hold(life, since, seen.thread());
            // Its return may have looked before that. Then it had ended the use before it looked, which is seen here.
            let slot = self.bag.slot(life.slot);
            if slot.last_use() != seen || slot.notes().generation() != life.generation {
                self.end_hold(life);
            }
        }
    }

    /// A lease has ended: told, if it was told of before as held too long.
    pub(super) fn end_hold(&self, life: Life) {
        if let Some(hold) = self.upkeep.end_hold(life) {
            let held = clock::until(clock::now(), hold.since);
            self.observing.tell(|| Event::HoldEnded { thread: thread::name(hold.thread), held });
        }
    }

    /// The same for its owner. Whatever is held for long has a note of that.
    pub(super) fn end_own_hold(&self, claim: &Claim) {
        let notes = self.slot(claim).notes();
        if notes.has(Notes::RESTED) || notes.has(Notes::CUT) {
            self.end_hold(Life { slot: claim.slot(), generation: notes.generation() });
        }
    }
}

/// A connection that is out for a ping. Dropped, it is back in the pool: no exit loses it.
struct Ping<M: Manager> {
    pool: Arc<Engine<M>>,
    claim: Option<Claim>,
}

impl<M: Manager> Ping<M> {
    /// Pings, on a background thread.
    fn run(&mut self) {
        let Some(mut claim) = self.claim.take() else { return };
        let resident = self.pool.bag.slot(claim.slot()).resident_mut(&mut claim);
        let sockets = Arc::clone(&resident.sockets);
        match self.pool.upkeep.run_ping(&sockets, &self.pool.live.settings(), || resident.ping()) {
            Ok(()) => {
                self.pool.reassure(&claim);
                self.claim = Some(claim);
            }
            Err(unfit) => self.pool.discard_whatever_noted(claim, unfit),
        }
    }
}

impl<M: Manager> Drop for Ping<M> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.pool.perform(self.pool.bag.give_or_evict(claim, self.pool.here(), clock::now));
        }
        self.pool.upkeep.end_ping();
    }
}
