//! What arc-swap is to the crate: a handle that is replaced as a whole and read without a lock. Here loom sees what a reader may miss.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use loom::sync::atomic::{AtomicUsize, Ordering};

/// A handle to one `T` after another.
pub(crate) struct ArcSwap<T> {
    /// All that there were. A lock of std's, which loom does not see: which of them is present is the word's to say.
    kept: Mutex<Vec<Arc<T>>>,
    present: AtomicUsize,
    /// Touched by every look and change, in no order that anything could rely on. Loom keeps the last access to each word only, and would
    /// not try a look after a change that comes with a look of its own.
    turns: AtomicUsize,
}

/// What was present at a look.
pub(crate) struct Guard<H>(H);

impl<T> ArcSwap<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        ArcSwap { kept: Mutex::new(vec![value]), present: AtomicUsize::new(0), turns: AtomicUsize::new(0) }
    }

    pub(crate) fn from_pointee(value: T) -> Self {
        ArcSwap::new(Arc::new(value))
    }

    fn at(&self, place: usize) -> Guard<Arc<T>> {
        Guard(Arc::clone(&self.kept.lock().unwrap()[place]))
    }

    fn keep(&self, value: Arc<T>) -> usize {
        let mut kept = self.kept.lock().unwrap();
        kept.push(value);
        kept.len() - 1
    }

    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        // Relaxed: see there.
        self.turns.fetch_add(1, Ordering::Relaxed);
        // Acquire: as arc-swap promises.
        self.at(self.present.load(Ordering::Acquire))
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        self.load().0
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        // Acquire and Release: as arc-swap promises.
        self.present.swap(self.keep(value), Ordering::AcqRel);
    }

    /// Returns what was present.
    pub(crate) fn compare_and_swap(&self, current: &Arc<T>, new: Arc<T>) -> Guard<Arc<T>> {
        let is_current = |kept: &Arc<T>| Arc::ptr_eq(kept, current);
        let current = self.kept.lock().unwrap().iter().position(is_current).expect("it was present once");
        let new = self.keep(new);
        // Relaxed: see there.
        self.turns.fetch_add(1, Ordering::Relaxed);
        // Acquire and Release: as arc-swap promises.
        let present = self.present.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire);
        self.at(present.unwrap_or_else(|present| present))
    }
}

impl<T: Default> Default for ArcSwap<T> {
    fn default() -> Self {
        ArcSwap::from_pointee(T::default())
    }
}

impl<H> Deref for Guard<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.0
    }
}

impl<T> fmt::Debug for ArcSwap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArcSwap").finish_non_exhaustive()
    }
}
