//! Closing: the ends of connections, on background threads, each with a deadline.
//!
//! Some clients block in their farewell until the peer answers, so a close may take for ever, and must not be on anybody's way:
//! not a caller's, not a reactor's, not another pool's. A few background threads a pool close one connection after another; each
//! close has `close_timeout`, after which the sockets that the pool registrations are shut down under it.
//!
//! The order: the watch ends, then the manager closes the connection, then the pool's duplicates of its sockets go. The peer sees the
//! end when the last of them closes. A connection whose peer has hung up has its sockets shut down before, so its farewell
//! cannot block.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use super::resident::Resident;
use super::upkeep::deadlines::Deadlines;
use crate::manager::{CloseReason, Manager};
use crate::observe::{Event, Observing};
use crate::os::background;
use crate::os::clock::{self, nanos};
use crate::settings::CLOSES_AT_ONCE;
use crate::sync::lock;
use crate::watch::duplicate::Duplicate;
use crate::watch::reactor::{Handler, Reactor, Reactors};

/// Closes the connections of one pool. Outlives the pool until the last of them is closed.
pub(crate) struct Closer<M: Manager> {
    me: Weak<Self>,
    state: Mutex<State<M>>,
    /// Rung when the last close has ended.
    finished: Condvar,
    running: Deadlines,
    counts: [AtomicU64; CloseReason::ALL.len()],
    timeout: AtomicU64,
    reactor: Arc<Reactor>,
    /// Keeps the reactor's thread until the last close has ended.
    _reactors: Reactors,
    observing: Arc<Observing>,
}

struct State<M: Manager> {
    queue: VecDeque<(Resident<M>, CloseReason)>,
    /// Background threads that take from the queue.
    threads: usize,
    /// What they have taken and not closed yet.
    closing: usize,
}

/// After no background thread could be started, the next try.
const RETRY: Duration = Duration::from_millis(100);

impl<M: Manager> Closer<M> {
    pub(crate) fn new(
        timeout: Duration,
        reactor: Arc<Reactor>,
        reactors: Reactors,
        observing: Arc<Observing>,
    ) -> Arc<Self> {
        let closer = Arc::new_cyclic(|me| Closer {
            me: Weak::clone(me),
            state: Mutex::new(State { queue: VecDeque::new(), threads: 0, closing: 0 }),
            finished: Condvar::new(),
            running: Deadlines::default(),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            timeout: AtomicU64::new(nanos(timeout)),
            reactor,
            _reactors: reactors,
            observing,
        });
        closer.reactor.serve(closer.me.clone());
        closer
    }

    pub(crate) fn set_timeout(&self, timeout: Duration) {
        // Relaxed: a setting.
        self.timeout.store(nanos(timeout), Ordering::Relaxed);
    }

    /// Has a connection closed in the background. Does not block.
    pub(crate) fn close(&self, resident: Resident<M>, why: CloseReason) {
        self.observing.tell(|| Event::Discarded { why });
        {
            let mut state = lock(&self.state);
            state.queue.push_back((resident, why));
            // Relaxed: statistics. Under the lock, so that whoever waits for the last one counts none that is not in the queue.
            self.counts[why as usize].fetch_add(1, Ordering::Relaxed);
        }
        self.staff();
    }

    /// How many were closed for this reason.
    pub(crate) fn count(&self, why: CloseReason) -> u64 {
        // Relaxed: statistics.
        self.counts[why as usize].load(Ordering::Relaxed)
    }

    /// How many were closed, for whatever reason.
    pub(crate) fn count_all(&self) -> u64 {
        CloseReason::ALL.iter().map(|why| self.count(*why)).sum()
    }

    /// Sleeps until nothing is left to close and `gone` says that nothing more will come, or until the deadline. Returns how many closes
    /// have not ended.
    pub(crate) fn wait_until_finished(&self, deadline: Instant, gone: impl Fn() -> bool) -> usize {
        let mut state = lock(&self.state);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let unfinished = state.closing + state.queue.len();
            if unfinished == 0 && gone() || left.is_zero() {
                return unfinished;
            }
            let woken = self.finished.wait_timeout(state, left);
            state = woken.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// Sees to it that somebody takes from the queue.
    fn staff(&self) {
        {
            let mut state = lock(&self.state);
            if state.queue.is_empty() || state.threads >= CLOSES_AT_ONCE {
                return;
            }
            state.threads += 1;
        }
        let Some(closer) = self.me.upgrade() else { return };
        if background::run(Box::new(move || closer.serve())).is_err() {
            lock(&self.state).threads -= 1;
            self.reactor.remind(clock::now() + nanos(RETRY));
        }
    }

    fn serve(&self) {
        while let Some((resident, why)) = self.next() {
            self.finish(resident, why);
            let mut state = lock(&self.state);
            state.closing -= 1;
            if state.closing == 0 && state.queue.is_empty() {
                self.finished.notify_all();
            }
        }
    }

    /// The next to close; none: this thread is not needed any more.
    fn next(&self) -> Option<(Resident<M>, CloseReason)> {
        let mut state = lock(&self.state);
        let next = state.queue.pop_front();
        match next {
            Some(_) => state.closing += 1,
            None => state.threads -= 1,
        }
        next
    }

    /// Closes one connection. Blocks as long as the manager does, `close_timeout` at most if that waits on a watched socket.
    fn finish(&self, resident: Resident<M>, why: CloseReason) {
        let Resident { registrations, connection, manager, sockets } = resident;
        drop(registrations);
        let begun = clock::now();
        // The farewell is the user's code: a panic in it ends here. So does the drop of the last handle to a replaced manager.
        let farewell = || catch_unwind(AssertUnwindSafe(move || manager.close(connection, why)));
        let _ = if why == CloseReason::PeerClosed {
            sockets.iter().for_each(Duplicate::shut_down);
            farewell()
        } else {
            // Relaxed: a setting.
            let deadline = begun.saturating_add(self.timeout.load(Ordering::Relaxed));
            self.running.run(&sockets, deadline, |deadline| self.reactor.remind(deadline), farewell)
        };
        drop(sockets);
        self.observing.tell(|| Event::Closed { why, took: clock::until(clock::now(), begun) });
    }
}

impl<M: Manager> Handler for Closer<M> {
    fn hung_up(&self, _key: u64) {}

    fn tick(&self, now: u64) -> u64 {
        self.staff();
        let state = lock(&self.state);
        let stranded = state.threads == 0 && !state.queue.is_empty();
        let retry = if stranded { now + nanos(RETRY) } else { clock::NEVER };
        self.running.keep(now).min(retry)
    }

    fn release(self: Arc<Self>) {
        background::drop_elsewhere(self);
    }
}
