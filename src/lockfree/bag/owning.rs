//! An owner's ways: take, give, evict, and the notes by which others tell an owner something.

use std::sync::Arc;

use super::super::bits::{Flag, Life, Notes, SlotId};
use super::super::queue::Queue;
use super::super::slot::Use;
use super::{Bag, Claim, Cut, Duty, Fate, Place, Slot, Unsettled};
use crate::sync::Condvar;

impl<T, R: Clone> Bag<T, R> {
    /// Takes an idle connection of `shard`. Lock-free: one locked read-modify-write when uncontended.
    ///
    /// The taker owns the slot, and must look at its notes before anybody uses it.
    pub(crate) fn take(&self, shard: usize) -> Option<Claim> {
        self.idle.take(shard).map(|slot| Claim::in_shard(slot, shard))
    }

    /// The same for a caller of this very shard.
    pub(crate) fn take_home(&self, shard: usize) -> Option<Claim> {
        self.idle.take_home(shard).map(|slot| Claim::in_shard(slot, shard))
    }

    /// The same for the hot path: only the connection that was given last, with the place from which it was taken.
    #[inline(always)]
    pub(crate) fn take_top(&self, shard: usize) -> Option<(Claim, Place<'_>)> {
        self.idle.take_top(shard).map(|(slot, place)| (Claim::in_shard(slot, shard), place))
    }

    /// The place that a claim is given back to: in its owner's shard.
    pub(crate) fn place(&self, claim: &Claim) -> Place<'_> {
        self.idle.place(claim.slot(), claim.shard())
    }

    /// The same for the hot path, which has it only for the first slots.
    #[inline(always)]
    pub(crate) fn place_near(&self, claim: &Claim) -> Option<Place<'_>> {
        self.idle.place_near(claim.slot(), claim.shard())
    }

    /// Gives an owned slot back, idle in `shard`. Lock-free: one locked read-modify-write when uncontended and nobody waits.
    ///
    /// `now`, in nanoseconds, is asked only if somebody waits.
    pub(crate) fn give(&self, claim: Claim, shard: usize, now: impl FnOnce() -> u64) -> Duty<T> {
        let (slot, claim) = (self.slot(claim.slot()), claim.moved_to(shard));
        let place = self.place(&claim);
        match self.give_at_once(claim, slot, place) {
            Ok(()) => Duty::none(),
            Err(unsettled) => self.give_after(unsettled, now),
        }
    }

    /// The same in the claim's own shard, for the hot path, which knows where the slot is and what its [`place`](Bag::place) is; and
    /// whose answer, unlike a duty, travels in registers.
    #[inline(always)]
    pub(crate) fn give_at_once(&self, claim: Claim, slot: &Slot<T>, place: Place<'_>) -> Result<(), Unsettled> {
        let (id, shard) = (claim.slot(), claim.shard());
        // The end of the hook after the use. A cutter has to see it, and this give is all that it can be sure to see of what comes
        // after: the next caller's name has no edge to it (E3, E6).
        slot.hold_by_pool(&claim);
        if place.publish(id).is_err() {
            return Err(Unsettled::Waited(claim));
        }
        // From here on the slot is anybody's. The second look at the notes: a reactor that wrote one in between has found
        // no bit to clear, takes it for owned, and will not come again (E2).
        if slot.notes().is_leaving() {
            return Err(Unsettled::Noted(id, shard));
        }
        Ok(())
    }

    /// What a give at once has left to be done.
    #[cold]
    pub(crate) fn give_after(&self, unsettled: Unsettled, now: impl FnOnce() -> u64) -> Duty<T> {
        match unsettled {
            Unsettled::Waited(claim) => {
                let shard = claim.shard();
                self.give_slow(claim, shard, now)
            }
            Unsettled::Noted(slot, shard) => self.withdraw(slot, shard),
        }
    }

    /// A note came in while the slot was being published: whoever clears the bit deals with it.
    #[cold]
    fn withdraw(&self, slot: SlotId, shard: usize) -> Duty<T> {
        if self.idle.remove(shard, slot) { self.give_or_evict(Claim::of(slot), shard, || 0) } else { Duty::none() }
    }

    #[cold]
    fn give_slow(&self, claim: Claim, shard: usize, now: impl FnOnce() -> u64) -> Duty<T> {
        let mut queue = self.lock();
        let (bell, resident) = self.give_locked(&mut queue, claim, shard, now);
        self.finish(queue, bell).closing(resident)
    }

    /// To the head if it must, else published for all, else out of the pool.
    pub(super) fn give_locked(
        &self,
        queue: &mut Queue<R>,
        claim: Claim,
        shard: usize,
        now: impl FnOnce() -> u64,
    ) -> (Option<Arc<Condvar>>, Option<(T, Notes)>) {
        if queue.closed || self.slot(claim.slot()).notes().is_leaving() {
            return (None, self.evict_locked(queue, claim));
        }
        if let Some(parked) = &mut queue.parked {
            // A note that comes from now on finds it here: `dismiss` looks under the lock.
            parked.insert(claim.slot());
            return (None, None);
        }
        if queue.head_is_due(claim.slot(), now) {
            return (queue.settle_head(Fate::Granted(claim)), None);
        }
        let slot = claim.slot();
        self.idle.publish_locked(shard, slot);
        queue.stirred = true;
        // The second look, as in `give`.
        if self.slot(slot).notes().is_leaving() && self.idle.remove(shard, slot) {
            return (None, self.evict_locked(queue, Claim::of(slot)));
        }
        (None, None)
    }

    /// Ends the ownership that a removal gave: the slot may have begun another life since the remover learned what it did, so
    /// the notes are read again. Leaving: evict; else it is an ordinary give.
    pub(crate) fn give_or_evict(&self, claim: Claim, shard: usize, now: impl FnOnce() -> u64) -> Duty<T> {
        if self.slot(claim.slot()).notes().is_leaving() { self.evict(claim) } else { self.give(claim, shard, now) }
    }

    /// Takes the connection out of the pool, to be closed by the caller; its permit is free at once.
    pub(crate) fn evict(&self, claim: Claim) -> Duty<T> {
        let mut queue = self.lock();
        let resident = self.evict_locked(&mut queue, claim);
        self.finish(queue, None).closing(resident)
    }

    /// The same under the lock: the slot is vacant when this returns.
    pub(super) fn evict_locked(&self, queue: &mut Queue<R>, claim: Claim) -> Option<(T, Notes)> {
        let resident = self.slot(claim.slot()).move_out(&claim);
        queue.closing += usize::from(resident.is_some());
        let fresh = queue.vacant.insert(claim.slot());
        debug_assert!(fresh, "{:?} is owned (I1), and vacant", claim.slot());
        resident
    }

    // ---- notes: the reactor's, the sweep's and the limits' word to whoever owns the slot ------------------------------------

    /// Notes `flag` on one life, and takes its connection out of the pool if it is idle; if it is owned, its owner will find the note.
    ///
    /// For the flags with which a connection must leave. `None`: that life was over or had the note already, or it is owned.
    pub(crate) fn dismiss(&self, life: Life, flag: Flag) -> Option<Duty<T>> {
        // First the note, then the removal: a return that publishes after the removal's look reads the note (E2).
        if self.slot(life.slot).note(life.generation, flag) { self.take_out(life.slot) } else { None }
    }

    /// A use, or a hook, that was `seen` on this life takes too long: has the connection leave, and says whether that very use may be
    /// cut short, its sockets be shut down. Not if it has ended meanwhile: the connection may be somebody else's by then.
    ///
    /// It may be cut after what is equal to it as a [`Use`], and a hook before a use may have become that use: the same caller's.
    pub(crate) fn cut(&self, life: Life, seen: Use) -> Cut<T> {
        let slot = self.slot(life.slot);
        // First the note: whoever is given the connection after the removal's look reads it, and does not use it (E2, E6). It may
        // stand there already, from a cut that came too late for the use before this one: to have read it is as good.
        if !slot.note(life.generation, Notes::CUT) && slot.notes().generation() != life.generation {
            return Cut::TooLate(Duty::none());
        }
        if let Some(duty) = self.take_out(life.slot) {
            return Cut::TooLate(duty);
        }
        // Whoever was given it before that look was given what had been given back after `seen`. The look, or the lock, has acquired
        // that give, and with it the end of what was seen: of a use by its word, of a hook by its thread (E3, E6). So the same value
        // here means that the same use goes on; in the same life, since an eviction writes no end.
        let now = slot.last_use();
        if now == seen && slot.notes().generation() == life.generation { Cut::Now } else { Cut::TooLate(Duty::none()) }
    }

    /// Takes a noted connection out of the pool, if nobody owns it.
    fn take_out(&self, slot: SlotId) -> Option<Duty<T>> {
        if self.idle.remove_anywhere(slot) {
            return Some(self.give_or_evict(Claim::of(slot), 0, || 0));
        }
        self.dismiss_parked(slot)
    }

    /// The noted connection is not idle: it is owned, or parked by a pause.
    fn dismiss_parked(&self, slot: SlotId) -> Option<Duty<T>> {
        let mut queue = self.lock();
        let parked = queue.parked.as_mut()?;
        // Not leaving: it is the slot's next life that is parked here.
        if !self.slot(slot).notes().is_leaving() || !parked.remove(&slot) {
            return None;
        }
        let resident = self.evict_locked(&mut queue, Claim::of(slot));
        Some(self.finish(queue, None).closing(resident))
    }

    /// Every connection in the pool, and whether it looks idle.
    pub(crate) fn lives(&self) -> Vec<(Life, bool)> {
        let lives: Vec<Life> = {
            let queue = self.lock();
            let mut lived_in = vec![true; self.capacity()];
            let empty = queue.vacant.iter().chain(queue.reserved());
            empty.for_each(|slot| lived_in[slot.index()] = false);
            let slots = (0..self.capacity()).filter(|index| lived_in[*index]).map(SlotId::at);
            slots.map(|slot| Life { slot, generation: self.slot(slot).notes().generation() }).collect()
        };
        // A look, as it would be under the lock, where it would keep callers waiting.
        let idle = self.idle.looks(self.capacity());
        lives.into_iter().map(|life| (life, idle[life.slot.index()])).collect()
    }

    /// Notes `flag` on one life for its owner, now or next. For the flags that only ask for a look. False: that life was over or had
    /// it already.
    pub(crate) fn note(&self, life: Life, flag: Flag) -> bool {
        self.slot(life.slot).note(life.generation, flag)
    }

    /// Clears a note that the owner has acted on.
    pub(crate) fn clear(&self, claim: &Claim, flag: Flag) {
        self.slot(claim.slot()).clear(claim, flag);
    }

    /// Takes one slot out of the idle stacks, if it is there.
    pub(crate) fn remove(&self, slot: SlotId) -> Option<Claim> {
        self.idle.remove_anywhere(slot).then(|| Claim::of(slot))
    }
}
