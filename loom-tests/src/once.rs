//! What std's `OnceLock` is to the crate: a value that is set once, and waited for. Here loom sees who may find it.

use std::sync::OnceLock as Value;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Condvar, Mutex};

pub(crate) struct OnceLock<T> {
    /// Std's own, which loom does not see: whether it is there is the word's to say.
    value: Value<T>,
    is_set: AtomicBool,
    gate: Mutex<()>,
    bell: Condvar,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        OnceLock { value: Value::new(), is_set: AtomicBool::new(false), gate: Mutex::new(()), bell: Condvar::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire: as std promises.
        if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        let _gate = self.gate.lock().unwrap();
        self.value.set(value)?;
        // Release: as std promises.
        self.is_set.store(true, Ordering::Release);
        self.bell.notify_all();
        Ok(())
    }

    pub(crate) fn wait(&self) -> &T {
        let mut gate = self.gate.lock().unwrap();
        loop {
            match self.value.get() {
                Some(value) => return value,
                None => gate = self.bell.wait(gate).unwrap(),
            }
        }
    }
}
