//! Upkeep: which connections have lain idle for long, reached their lifetime, or been held for too long, and the pings of those
//! that are idle.
//!
//! A sweep, on a reactor, looks at all of them when it is due and says what it has found; the pool carries that out.
#![forbid(unsafe_code)]

pub(crate) mod deadlines;
mod holds;
pub(crate) mod sweep;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use self::deadlines::Deadlines;
use self::holds::{Hold, Holds};
use self::sweep::{Entrant, Finding, Order, Sweep};
use crate::lockfree::alarm::Due;
use crate::lockfree::bag::Bag;
use crate::lockfree::bits::Life;
use crate::os::clock::{self, nanos};
use crate::settings::{PINGS_AT_ONCE, Settings};
use crate::sync::{Mutex, lock};
use crate::watch::duplicate::Duplicate;
use crate::watch::reactor::Timer;

/// The upkeep of one pool.
#[derive(Debug)]
pub(crate) struct Upkeep {
    /// Opened since the last sweep.
    entrants: Mutex<Vec<Entrant>>,
    sweep: Mutex<Sweep>,
    /// When the next sweep is due.
    due: Due,
    pings: Deadlines,
    /// Checkout hooks that keep to a caller's deadline.
    hooks: Deadlines,
    pinging: AtomicUsize,
    holds: Holds,
    /// When others were last suspected because one had failed; 0 for never.
    suspected: AtomicU64,
    /// Unpinned reactors that the observer has been told of.
    unpinned_told: AtomicUsize,
    /// Deaf ones likewise.
    deaf_told: AtomicUsize,
    /// Keeps its deadlines.
    timer: Arc<Timer>,
}

impl Upkeep {
    pub(crate) fn new(timer: Arc<Timer>) -> Self {
        Upkeep {
            entrants: Mutex::default(),
            sweep: Mutex::default(),
            due: Due::new(),
            pings: Deadlines::default(),
            hooks: Deadlines::default(),
            pinging: AtomicUsize::new(0),
            holds: Holds::default(),
            suspected: AtomicU64::new(0),
            unpinned_told: AtomicUsize::new(0),
            deaf_told: AtomicUsize::new(0),
            timer,
        }
    }

    // ---- when to sweep -----------------------------------------------------------------------------------------------------

    /// A connection was opened: the sweep keeps an eye on it.
    pub(crate) fn enter(&self, entrant: Entrant, settings: &Settings) {
        let due = entrant.expires.min(Sweep::next_look(entrant.at, settings));
        lock(&self.entrants).push(entrant);
        self.sweep_by(due);
    }

    /// A connection was used that the sweep had taken for aged, so there is something that can age again.
    pub(crate) fn rejuvenated(&self, settings: &Settings) {
        self.sweep_by(Sweep::next_look(clock::now(), settings));
    }

    /// The next sweep is due then, at the latest.
    pub(crate) fn sweep_by(&self, due: u64) {
        self.due.lower(due);
        self.timer.remind(due);
    }

    /// Whether a sweep is due. If so, its due time is taken off: the sweep is to follow.
    pub(crate) fn take_due(&self, now: u64) -> bool {
        self.due.take(now).is_ok()
    }

    /// When something of this is due next.
    pub(crate) fn due(&self, now: u64) -> u64 {
        self.pings.keep(now).min(self.hooks.keep(now)).min(self.due.at())
    }

    // ---- the sweep ---------------------------------------------------------------------------------------------------------

    /// Looks at all connections, and tells `found` what has to be done. Returns how many were idle, where a sweep began with this go.
    pub(crate) fn sweep<T, R: Clone>(
        &self,
        now: u64,
        bag: &Bag<T, R>,
        settings: &Settings,
        found: impl FnMut(Finding),
    ) -> Option<usize> {
        // Relaxed: only this thread begins pings.
        let pings = PINGS_AT_ONCE.saturating_sub(self.pinging.load(Ordering::Relaxed));
        let (due, idle) = {
            let mut sweep = lock(&self.sweep);
            sweep.extend(std::mem::take(&mut *lock(&self.entrants)));
            sweep.run(now, bag, settings, pings, found)
        };
        self.due.lower(due);
        idle
    }

    /// Has these retired, the first at once and the last after `over`.
    pub(crate) fn retire(&self, lives: &[Life], over: u64) {
        let now = clock::now();
        // Before the lock, for which a sweep may wait.
        let order = Order::new(lives, now, over);
        lock(&self.sweep).retire(order);
        self.sweep_by(now);
    }

    /// The sockets of all connections.
    pub(crate) fn sockets(&self) -> Vec<(Life, Arc<[Duplicate]>)> {
        let mut sweep = lock(&self.sweep);
        sweep.extend(std::mem::take(&mut *lock(&self.entrants)));
        sweep.sockets().collect()
    }

    /// Whether there are more unpinned reactors than the observer has been told of.
    pub(crate) fn tells_unpinned(&self, reactors: usize) -> bool {
        // Relaxed: only the sweep's thread tells.
        reactors > self.unpinned_told.swap(reactors, Ordering::Relaxed)
    }

    /// The same of deaf ones.
    pub(crate) fn tells_deaf(&self, reactors: usize) -> bool {
        // Relaxed: as above.
        reactors > self.deaf_told.swap(reactors, Ordering::Relaxed)
    }

    // ---- holds -------------------------------------------------------------------------------------------------------------

    /// A lease was told of that is held for too long.
    pub(crate) fn begin_hold(&self, life: Life, since: u64, thread: u32) {
        self.holds.begin(life, since, thread);
    }

    /// A lease has ended. If it was told of: what is known of it.
    pub(crate) fn end_hold(&self, life: Life) -> Option<Hold> {
        self.holds.end(life)
    }

    // ---- suspicion ---------------------------------------------------------------------------------------------------------

    /// Whether others may be suspected now: once in `every`.
    pub(crate) fn may_suspect(&self, now: u64, every: u64) -> bool {
        // Relaxed: it bounds how often; what is noted has its own edges.
        let last = self.suspected.load(Ordering::Relaxed);
        let may = last == 0 || now.saturating_sub(last) >= every;
        may && self.suspected.compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    // ---- pings -------------------------------------------------------------------------------------------------------------

    /// A connection is out for a ping.
    pub(crate) fn begin_ping(&self) {
        // Relaxed: a count that bounds.
        self.pinging.fetch_add(1, Ordering::Relaxed);
    }

    /// It is back.
    pub(crate) fn end_ping(&self) {
        // Relaxed: a count that bounds.
        self.pinging.fetch_sub(1, Ordering::Relaxed);
        // Others may wait for a turn.
        self.sweep_by(clock::now());
    }

    /// Runs a checkout hook, which may block until `deadline`; then these sockets are shut down under it. Says whether they were.
    pub(crate) fn run_hook<R>(&self, sockets: &Arc<[Duplicate]>, deadline: u64, hook: impl FnOnce() -> R) -> (R, bool) {
        self.hooks.run(sockets, deadline, |deadline| self.timer.remind(deadline), hook)
    }

    /// Whether a hook on these keeps to a caller's deadline, so that the sweep need not.
    pub(crate) fn is_timed(&self, sockets: &Weak<[Duplicate]>) -> bool {
        self.hooks.has(sockets)
    }

    /// Runs `ping`, which may block for `ping_timeout`; then these sockets are shut down under it.
    pub(crate) fn run_ping<R>(&self, sockets: &Arc<[Duplicate]>, settings: &Settings, ping: impl FnOnce() -> R) -> R {
        let deadline = clock::now().saturating_add(nanos(settings.ping_timeout));
        self.pings.run(sockets, deadline, |deadline| self.timer.remind(deadline), ping).0
    }
}

#[cfg(all(test, not(corepool_loom)))]
mod tests {
    use super::*;
    use crate::watch::handler::Handler;
    use crate::watch::reactors::Reactors;

    /// Has nothing done.
    struct Nobody;

    impl Handler for Nobody {
        fn hung_up(&self, _key: u64) {}

        fn tick(&self, _now: u64) -> u64 {
            crate::os::clock::NEVER
        }

        fn release(self: Arc<Self>) {}
    }

    #[test]
    fn others_are_suspected_once_in_so_long_and_again_after_it() {
        let reactors = Reactors::new(1);
        let upkeep = Upkeep::new(reactors.at(None).unwrap().serve(Weak::<Nobody>::new()));
        let may = [0, 1, 99, 100, 101, 199, 200, 1_000].map(|now| upkeep.may_suspect(now + 7, 100));
        assert_eq!(may, [true, false, false, true, false, false, true, true]);
    }
}
