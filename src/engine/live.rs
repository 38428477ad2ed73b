//! The settings in force and the current manager: replaced while the pool runs, read on cold paths.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::error::BuildError;
use crate::settings::Settings;
use crate::sync::swap::{ArcSwap, Guard};
use crate::sync::{Mutex, MutexGuard, lock};

/// What a pool's owner may change. A read costs about as much as a whole checkout.
#[derive(Debug)]
pub(crate) struct Live<M> {
    settings: ArcSwap<Settings>,
    manager: ArcSwap<M>,
    /// Held while a change is put into force: one at a time, so that no copy of a setting stays behind.
    enforcing: Mutex<()>,
}

impl<M> Live<M> {
    pub(crate) fn new(settings: Settings, manager: Arc<M>) -> Self {
        Live { settings: ArcSwap::from_pointee(settings), manager: ArcSwap::new(manager), enforcing: Mutex::new(()) }
    }

    pub(crate) fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// The manager itself, not a guard: its hooks may take their time.
    pub(crate) fn manager(&self) -> Arc<M> {
        self.manager.load_full()
    }

    pub(crate) fn replace_manager(&self, manager: M) {
        self.manager.store(Arc::new(manager));
    }

    /// Changes the settings: all of them or, if one is outside its limits, none. Returns those before.
    pub(crate) fn change(
        &self,
        capacity: usize,
        mut change: impl FnMut(&mut Settings),
    ) -> Result<Arc<Settings>, BuildError> {
        loop {
            let old = self.settings.load_full();
            let mut new = Settings::clone(&old);
            // The user's code, so not under a lock.
            change(&mut new);
            new.check(capacity)?;
            if Arc::ptr_eq(&self.settings.compare_and_swap(&old, Arc::new(new)), &old) {
                return Ok(old);
            }
            // Somebody else's change came first: this one is made to what that has left.
        }
    }

    /// Whoever puts settings into force holds this, and reads the latest under it.
    pub(crate) fn enforce(&self) -> MutexGuard<'_, ()> {
        lock(&self.enforcing)
    }
}
