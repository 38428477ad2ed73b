//! Calls of the user's that may block, each with the time by which its sockets are shut down under it.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use crate::os::clock::NEVER;
use crate::sync::{Mutex, lock};
use crate::watch::duplicate::Duplicate;

/// The calls under way. A handful: they are bounded where they are begun.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    calls: Mutex<Vec<(u64, Arc<[Duplicate]>)>>,
}

impl Deadlines {
    /// Runs `call` with `deadline`, which `remind` makes known to whoever will [`keep`](Deadlines::keep) it. Returns what it returned,
    /// and whether it was cut short.
    pub(crate) fn run<R>(
        &self,
        sockets: &Arc<[Duplicate]>,
        deadline: u64,
        remind: impl FnOnce(u64),
        call: impl FnOnce() -> R,
    ) -> (R, bool) {
        lock(&self.calls).push((deadline, Arc::clone(sockets)));
        remind(deadline);
        let result = call();
        let mut calls = lock(&self.calls);
        let before = calls.len();
        calls.retain(|(_, running)| !Arc::ptr_eq(running, sockets));
        (result, calls.len() == before)
    }

    /// Whether a call on these is under way.
    pub(crate) fn has(&self, sockets: &Weak<[Duplicate]>) -> bool {
        lock(&self.calls).iter().any(|(_, running)| std::ptr::addr_eq(Arc::as_ptr(running), sockets.as_ptr()))
    }

    /// Cuts short the calls whose time is up. Returns the next deadline.
    pub(crate) fn keep(&self, now: u64) -> u64 {
        // Under the lock, so that a call that has ended is not cut: its sockets may be somebody else's by then.
        let mut calls = lock(&self.calls);
        calls.retain(|(deadline, sockets)| {
            if *deadline <= now {
                sockets.iter().for_each(Duplicate::shut_down);
            }
            *deadline > now
        });
        calls.iter().map(|(deadline, _)| *deadline).min().unwrap_or(NEVER)
    }
}

#[cfg(all(test, not(corepool_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_its_own_deadline() {
        let deadlines = Deadlines::default();
        let calls: [Arc<[Duplicate]>; 2] = std::array::from_fn(|_| Vec::new().into());
        let [first, second] = &calls;
        let under_way = || calls.each_ref().map(|call| deadlines.has(&Arc::downgrade(call)));
        assert_eq!((deadlines.keep(0), under_way()), (NEVER, [false, false]));
        let mut reminded = Vec::new();
        let (inner, cut) = deadlines.run(
            first,
            100,
            |due| reminded.push(due),
            || {
                let inner = deadlines.run(
                    second,
                    50,
                    |due| assert_eq!(due, 50),
                    || {
                        assert_eq!((deadlines.keep(49), under_way()), (50, [true, true]));
                        // Its time is up, and the other's is not.
                        assert_eq!((deadlines.keep(50), under_way()), (100, [true, false]));
                    },
                );
                assert_eq!(deadlines.keep(99), 100);
                inner.1
            },
        );
        assert_eq!((inner, cut, reminded), (true, false, vec![100]));
        assert_eq!((deadlines.keep(0), under_way()), (NEVER, [false, false]));
    }
}
