//! A reactor in a simulation, where nothing is watched: it keeps deadlines, on the simulation's clock.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use super::Reactor;
use crate::os::{clock, thread};
use crate::sync::{Condvar, Nap, lock, nap, turns};

/// Whether it was woken, and its sleep.
#[derive(Debug, Default)]
pub(super) struct Rung {
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Rung {
    /// False: this is no simulation.
    pub(super) fn ring(&self) -> bool {
        if turns::is_on() {
            *lock(&self.rung) = true;
            self.bell.notify_all();
        }
        turns::is_on()
    }
}

/// Starts its thread, if this is a simulation.
pub(super) fn begin(reactor: &Arc<Reactor>) -> bool {
    let runner = Arc::clone(reactor);
    turns::spawn(Box::new(move || run(&runner))).is_ok()
}

fn run(reactor: &Reactor) {
    // Relaxed: as in `Reactor::run`.
    reactor.runner.store(thread::number(), Ordering::Relaxed);
    while !reactor.is_stopped() {
        let due = reactor.tick();
        let Rung { rung, bell } = &reactor.rung;
        let mut woken = lock(rung);
        // Relaxed: this thread's own.
        while !*woken && !reactor.reminded.load(Ordering::Relaxed) && clock::now() < due {
            woken = nap(bell, woken, rung, Nap::For(clock::until(due, clock::now())));
        }
        *woken = false;
    }
}
