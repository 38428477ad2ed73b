//! What changes for the whole pool: limits, refusal, pause, close.

use std::sync::Arc;

use super::super::bits::Notes;
use super::{Bag, Claim, Duty, Fate, Limits};
use crate::sync::{Nap, nap};

impl<T, R: Clone> Bag<T, R> {
    /// Changes the limits.
    pub(crate) fn limit(&self, change: impl FnOnce(&mut Limits)) -> Duty<T> {
        let mut queue = self.lock();
        let before = queue.limits.handoff_after;
        change(&mut queue.limits);
        if queue.limits.handoff_after != before {
            queue.remit();
        }
        self.finish(queue, None)
    }

    /// From now on waiters and newcomers are told `reason` unless some connection is open; `None` lets them wait again.
    pub(crate) fn refuse(&self, reason: Option<R>) -> Duty<T> {
        let mut queue = self.lock();
        // The reason of before is the user's: its drop may run their code, so not under the lock.
        let _before = std::mem::replace(&mut queue.refusal, reason);
        self.finish(queue, None)
    }

    /// From now on nobody is given anything: callers wait, returns are parked. What is owned stays so.
    pub(crate) fn pause(&self) {
        let mut queue = self.lock();
        if !queue.closed && queue.parked.is_none() {
            // WAIT stays behind in every word until the resume, so all that comes back comes to the lock.
            queue.parked = Some(self.idle.seal().into_iter().collect());
            queue.announced = true;
        }
    }

    /// Ends a pause: everything parked is idle again. Returns, beside the duty, what has died meanwhile.
    pub(crate) fn resume(&self) -> (Duty<T>, Vec<(T, Notes)>) {
        let mut queue = self.lock();
        let mut dead = Vec::new();
        for slot in queue.parked.take().into_iter().flatten() {
            let shard = slot.index() % self.idle.shards();
            let (bell, resident) = self.give_locked(&mut queue, Claim::of(slot), shard, || 0);
            debug_assert!(bell.is_none() || queue.limits.handoff_after == 0);
            bell.inspect(|bell| bell.notify_one());
            dead.extend(resident);
        }
        (self.finish(queue, None), dead)
    }

    /// Closes: wakes all waiters and takes out all that is idle. What is owned leaves when it is given; nothing enters any more.
    /// Idempotent.
    pub(crate) fn close(&self) -> Vec<(T, Notes)> {
        let mut queue = self.lock();
        queue.closed = true;
        queue.announced = true;
        let parked = queue.parked.take().into_iter().flatten();
        let claims: Vec<_> = self.idle.seal().into_iter().chain(parked).map(Claim::of).collect();
        let residents = claims.into_iter().filter_map(|claim| self.evict_locked(&mut queue, claim)).collect();
        let bells: Vec<_> = std::iter::from_fn(|| queue.settle_head(Fate::Closed)).collect();
        let duty = self.finish(queue, None);
        debug_assert!(duty.is_none(), "a closed pool dials nothing");
        bells.iter().for_each(|bell| bell.notify_one());
        residents
    }

    /// Lets go of all connections without dropping one. In a process that has forked off another one, these are that one's.
    pub(crate) fn leak(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.leak());
    }

    /// Sleeps until the pool, which is closed, has no connection left. `left` as for [`wait`](Bag::wait). False: the time is up.
    pub(crate) fn wait_until_empty(&self, mut left: impl FnMut() -> Option<Nap>) -> bool {
        let mut queue = self.lock();
        let emptied = Arc::clone(&queue.emptied);
        while queue.vacant.len() < self.capacity() {
            match left() {
                None => return false,
                Some(left) => queue = nap(&emptied, queue, &self.queue, left),
            }
        }
        true
    }
}

#[cfg(all(test, not(any(corepool_loom, corepool_shuttle))))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Weak};

    use super::super::Bag;
    use super::Limits;

    /// A reason whose drop looks whether it runs under the lock.
    struct Reason {
        bag: Weak<Bag<(), Arc<Reason>>>,
        dropped: Arc<AtomicUsize>,
    }

    impl Drop for Reason {
        fn drop(&mut self) {
            let bag = self.bag.upgrade().expect("the bag outlives its reasons here");
            assert!(bag.queue.try_lock().is_ok(), "a reason was dropped under the lock");
            // Relaxed, both: one thread counts and reads.
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn no_reason_is_dropped_under_the_lock() {
        let limits = Limits {
            max_size: 1,
            max_closing: 1,
            min_open: 0,
            min_idle: 0,
            dials: 0,
            max_waiters: 1,
            handoff_after: 0,
        };
        let bag: Arc<Bag<(), Arc<Reason>>> = Arc::new(Bag::new(1, 1, limits));
        let dropped = Arc::new(AtomicUsize::new(0));
        let reason = || Arc::new(Reason { bag: Arc::downgrade(&bag), dropped: Arc::clone(&dropped) });
        for reason in [Some(reason()), Some(reason()), None] {
            assert!(bag.refuse(reason).is_none());
        }
        // Relaxed: this thread's own.
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }
}
