//! The one door to atomics, cells, locks and sleep: std in the crate, loom in the models, shuttle in the storms.
//!
//! `lockfree/` takes everything of this kind from here, so that `loom-tests` can compile the very same files against loom by
//! setting `cfg(corepool_loom)`. A cfg with the crate's own prefix, since a bare `cfg(loom)` set for somebody else's models would
//! switch this crate over too. In the crate's own tests the locks and sleeps lead to a simulation ([`turns`]), where there is one.

#[cfg(all(any(test, fuzzing), not(any(corepool_loom, corepool_shuttle))))]
#[path = "sync/turns.rs"]
pub(crate) mod turns;

#[cfg(corepool_loom)]
pub(crate) use crate::once::OnceLock;
#[cfg(corepool_loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(corepool_shuttle)]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(any(corepool_loom, corepool_shuttle, test, fuzzing)))]
pub(crate) use std::sync::Condvar;
#[cfg(not(any(corepool_loom, corepool_shuttle)))]
pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock};
#[cfg(all(any(test, fuzzing), not(any(corepool_loom, corepool_shuttle))))]
pub(crate) use turns::Condvar;

pub(crate) mod atomic {
    #[cfg(corepool_loom)]
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
    #[cfg(corepool_shuttle)]
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
    #[cfg(not(any(corepool_loom, corepool_shuttle)))]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
}

/// What is replaced as a whole, and read without a lock.
pub(crate) mod swap {
    #[cfg(corepool_loom)]
    pub(crate) use crate::swap::{ArcSwap, Guard};
    #[cfg(not(any(corepool_loom, corepool_shuttle)))]
    pub(crate) use arc_swap::{ArcSwap, Guard};
}

#[cfg(corepool_loom)]
pub(crate) use loom::cell::UnsafeCell;

/// `std::cell::UnsafeCell` with the shape of loom's, which reports every access that is not ordered after the last write.
#[cfg(not(corepool_loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(corepool_loom))]
impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Locks. Poison is ignored, since a pool that goes on serving beats one that fails every caller.
///
/// Little can panic under a lock of this crate. Under the bag's, only debug assertions can: no user code runs there, and no value of a
/// user's is dropped. A `PoolMap` compares keys and makes pools under its locks, which is user code; but these guard turns, not data.
/// Under the others at most a user's error is dropped, which the pace of dialing keeps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(all(any(test, fuzzing), not(any(corepool_loom, corepool_shuttle))))]
    if turns::is_on() {
        return turns::lock(mutex);
    }
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How long to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nap {
    /// This long at most.
    For(std::time::Duration),
    /// Until the bell rings. Only models do: a caller of the crate always has a deadline.
    #[cfg_attr(not(corepool_loom), allow(dead_code, reason = "as said"))]
    UntilRung,
}

/// The same in a simulation, and in tests without one.
#[cfg(all(any(test, fuzzing), not(any(corepool_loom, corepool_shuttle))))]
pub(crate) fn nap<'a, T>(bell: &Condvar, guard: MutexGuard<'a, T>, mutex: &'a Mutex<T>, nap: Nap) -> MutexGuard<'a, T> {
    match nap {
        Nap::For(left) if turns::is_on() => bell.sleep(guard, mutex, left),
        Nap::For(left) => bell.wait(guard, Some(left)),
        Nap::UntilRung if turns::is_on() => bell.sleep(guard, mutex, std::time::Duration::MAX),
        Nap::UntilRung => bell.wait(guard, None),
    }
}

/// Sleeps on `bell`. May return early.
#[cfg(not(any(corepool_loom, corepool_shuttle, test, fuzzing)))]
pub(crate) fn nap<'a, T>(
    bell: &Condvar,
    guard: MutexGuard<'a, T>,
    _mutex: &'a Mutex<T>,
    nap: Nap,
) -> MutexGuard<'a, T> {
    match nap {
        Nap::UntilRung => bell.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner()),
        Nap::For(left) => bell.wait_timeout(guard, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0,
    }
}

/// The same in a model: loom's and shuttle's timed wait never times out, so a timed nap is an unlock and a relock, after which the model's
/// clock may say that the time is up. An untimed one sleeps, and loom reports a deadlock if nobody rings.
#[cfg(any(corepool_loom, corepool_shuttle))]
pub(crate) fn nap<'a, T>(bell: &Condvar, guard: MutexGuard<'a, T>, mutex: &'a Mutex<T>, nap: Nap) -> MutexGuard<'a, T> {
    match nap {
        Nap::UntilRung => bell.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner()),
        // Longer than any model lasts: whoever has all the time of the clock.
        Nap::For(left) if left > std::time::Duration::from_secs(1 << 32) => {
            bell.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner())
        }
        Nap::For(_) => {
            drop(guard);
            // A schedule by priorities would have the same one look for ever.
            #[cfg(corepool_shuttle)]
            shuttle::thread::yield_now();
            lock(mutex)
        }
    }
}
