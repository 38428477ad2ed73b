//! Farewells that take until a test lets them go.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use super::{Census, Counting, Fake, Hooked};

/// Closes that take until the gate is opened.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    bell: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        drop(self.bell.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.bell.notify_all();
    }

    /// How many closes are stuck.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

pub(crate) type Gated = Counting<Hooked<Fake>>;

/// A manager behind a gate, its census, and the gate.
pub(crate) fn gated() -> (Gated, Arc<Census>, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let waits = Arc::clone(&gate);
    let (manager, census) = Counting::new(Hooked::new(Fake::default()).before_close(move |_, _| waits.pass()));
    (manager, census, gate)
}
