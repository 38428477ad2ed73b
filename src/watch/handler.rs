//! Whoever has descriptors watched or deadlines kept, as a reactor knows them: how to call them, and when they are due.
//!
//! A reactor that keeps the deadlines of thousands of pools wakes up for one of them at a time. So each has its [`Due`] here, and a
//! wake-up costs the others a compare.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::lockfree::alarm::Due;
use crate::os::clock::NEVER;
use crate::sync::{Mutex, lock};

/// Whoever has descriptors watched or deadlines kept. Its methods run on a reactor thread and must not block.
pub(crate) trait Handler: Send + Sync {
    /// A descriptor that was registered under `key` has hung up. May come more than once.
    fn hung_up(&self, key: u64);

    /// A descriptor that was registered under `key` is watched no more: the reactor is deaf.
    fn unwatched(&self, _key: u64) {}

    /// Does what is due, and answers when it wants to be called next; [`NEVER`] if not before it says so by its timer.
    fn tick(&self, now: u64) -> u64;

    /// One of these calls has panicked, and the reactor goes on. It has survived so many by now.
    fn survived(&self, _panics: u64) {}

    /// The reactor lets go of its handle. If it is the last one, what it holds of the user's must not be dropped on this thread.
    fn release(self: Arc<Self>);
}

/// Those that a reactor serves.
#[derive(Default)]
pub(super) struct Handlers {
    served: Mutex<Served>,
}

#[derive(Default)]
struct Served {
    numbers: u64,
    by_number: BTreeMap<u64, (Weak<dyn Handler>, Arc<Due>)>,
}

/// One whose time has come.
pub(super) type DueHandler = (Arc<dyn Handler>, Arc<Due>);

impl Handlers {
    /// One more, not due before its [`Due`] says so.
    pub(super) fn enter(&self, handler: Weak<dyn Handler>) -> (u64, Arc<Due>) {
        let due = Arc::new(Due::new());
        let mut served = lock(&self.served);
        served.numbers += 1;
        let number = served.numbers;
        served.by_number.insert(number, (handler, Arc::clone(&due)));
        (number, due)
    }

    pub(super) fn leave(&self, number: u64) {
        let left = lock(&self.served).by_number.remove(&number);
        // The last handle to its memory may be this one.
        drop(left);
    }

    /// Those who are due by `now`, whose time is taken off; and when the next of the others is.
    pub(super) fn take_due(&self, now: u64) -> (Vec<DueHandler>, u64) {
        let mut next = NEVER;
        let mut take = |(handler, due): &(Weak<dyn Handler>, Arc<Due>)| match due.take(now) {
            Ok(()) => Some((handler.upgrade()?, Arc::clone(due))),
            Err(later) => {
                next = next.min(later);
                None
            }
        };
        let due = lock(&self.served).by_number.values().filter_map(&mut take).collect();
        (due, next)
    }
}
