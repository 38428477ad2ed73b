//! A dial's ways: its permit, its connection's arrival, its failure.

use super::super::bits::{Life, Notes};
use super::super::queue::Queue;
use super::{Bag, Claim, Duty, Permit};

impl<T, R: Clone> Bag<T, R> {
    /// Asks for one dial to be under way, beyond what waiters cause by themselves; if the policy allows none just now, as soon as it
    /// does. `None`: the pool is closed.
    pub(crate) fn demand(&self) -> Option<Duty<T>> {
        let mut queue = self.lock();
        if queue.closed {
            return None;
        }
        queue.asked = queue.hopeful() == 0 && queue.occupied(self.capacity()) < queue.limits.max_size;
        Some(self.finish(queue, None))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// A dial succeeded. The claim to move in with, or the resident again, which counts as closing from now on: the pool is closed, or
    /// the dial was overdue, has lost its permit and finds no other.
    pub(crate) fn admit(&self, permit: Permit, resident: T, probe: bool) -> Result<(Claim, Life), T> {
        let mut queue = self.lock();
        let room = |queue: &mut Queue<R>| {
            let room = queue.occupied(self.capacity()) < queue.limits.max_size && queue.room(self.capacity()) > 0;
            room.then(|| queue.vacant.pop_first()).flatten()
        };
        let slot = queue.redeem(permit.ticket).or_else(|| room(&mut queue));
        let Some(slot) = slot else {
            queue.closing += 1;
            return Err(resident);
        };
        if queue.closed {
            queue.vacant.insert(slot);
            queue.closing += 1;
            // Whoever drains the pool may be waiting for this dial alone.
            let duty = self.finish(queue, None);
            debug_assert!(duty.is_none(), "a closed pool dials nothing");
            return Err(resident);
        }
        queue.arriving += 1;
        drop(queue);
        let claim = Claim::of(slot);
        let generation = self.slot(slot).move_in(&claim, resident, probe);
        Ok((claim, Life { slot, generation }))
    }

    /// What was admitted is ready for use: into the pool with it, in `shard`.
    pub(crate) fn land(&self, claim: Claim, shard: usize, now: impl FnOnce() -> u64) -> Duty<T> {
        let mut queue = self.lock();
        queue.arriving -= 1;
        queue.asked = false;
        if queue.occupied(self.capacity()) > queue.limits.max_size {
            // The limit was lowered while it was being dialed.
            let slot = self.slot(claim.slot());
            slot.note(slot.notes().generation(), Notes::SURPLUS);
        }
        let (bell, resident) = self.give_locked(&mut queue, claim, shard, now);
        self.finish(queue, bell).closing(resident)
    }

    /// A dial failed: its permit is free, unless it was overdue and has lost it before.
    pub(crate) fn dial_failed(&self, permit: Permit) -> Duty<T> {
        self.overdue(permit.ticket).unwrap_or_else(Duty::none)
    }

    /// A dial has opened what is not wanted any more: its permit is free, and its connection counts as closing.
    pub(crate) fn turn_away(&self, permit: Permit) -> Duty<T> {
        let mut queue = self.lock();
        queue.closing += 1;
        let slot = queue.redeem(permit.ticket);
        queue.vacant.extend(slot);
        self.finish(queue, None)
    }

    /// A connection that had left the pool is closed, or is nobody's concern any more.
    pub(crate) fn closed(&self) -> Duty<T> {
        let mut queue = self.lock();
        queue.closing -= 1;
        self.finish(queue, None)
    }

    /// A dial has been under way for long: whoever waits is not to rely on it.
    pub(crate) fn slow(&self, ticket: u64) -> Duty<T> {
        let mut queue = self.lock();
        if queue.slow_down(ticket) { self.finish(queue, None) } else { Duty::none() }
    }

    /// A dial has outlasted its time: takes its permit away. `None` if it has ended just now.
    pub(crate) fn overdue(&self, ticket: u64) -> Option<Duty<T>> {
        let mut queue = self.lock();
        let slot = queue.redeem(ticket)?;
        queue.vacant.insert(slot);
        Some(self.finish(queue, None))
    }
}
