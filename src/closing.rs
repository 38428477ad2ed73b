//! Closing: the ends of connections, on background threads, each with a deadline.
//!
//! Some clients block in their farewell until the peer answers, so a close may take for ever, and must not be on anybody's way:
//! not a caller's, not a reactor's, not another pool's. A few background threads a pool close one connection after another; each
//! close has `close_timeout`, after which the sockets that the pool watches are shut down under it.
//!
//! The order: the watch ends, then the manager closes the connection, then the pool's duplicates of its sockets go. The peer sees the
//! end when the last of them closes. A connection whose peer has hung up has its sockets shut down before, so its farewell
//! cannot block.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::background;
use crate::clock::{self, NEVER, nanos};
use crate::manager::{CloseReason, Cut, Manager};
use crate::net::reactor::{Client, Reactor};
use crate::resident::Resident;
use crate::settings::CLOSES_AT_ONCE;
use crate::sync::lock;

/// Closes the connections of one pool. Outlives the pool until the last of them is closed.
pub(crate) struct Closer<M: Manager> {
    me: Weak<Self>,
    state: Mutex<State<M>>,
    counts: [AtomicU64; CloseReason::ALL.len()],
    timeout: AtomicU64,
    reactor: Arc<Reactor>,
}

struct State<M: Manager> {
    queue: VecDeque<(Resident<M>, CloseReason)>,
    /// Background threads that take from the queue.
    threads: usize,
    /// The closes under way, with their deadlines.
    running: Vec<(u64, Arc<Cut>)>,
}

/// After no background thread could be started, the next try.
const RETRY: Duration = Duration::from_millis(100);

impl<M: Manager> Closer<M> {
    pub(crate) fn new(timeout: Duration, reactor: Arc<Reactor>) -> Arc<Self> {
        let closer = Arc::new_cyclic(|me| Closer {
            me: Weak::clone(me),
            state: Mutex::new(State { queue: VecDeque::new(), threads: 0, running: Vec::new() }),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            timeout: AtomicU64::new(nanos(timeout)),
            reactor,
        });
        closer.reactor.serve(closer.me.clone());
        closer
    }

    /// Has a connection closed in the background. Does not block.
    pub(crate) fn close(&self, resident: Resident<M>, why: CloseReason) {
        // Relaxed: statistics.
        self.counts[why as usize].fetch_add(1, Ordering::Relaxed);
        lock(&self.state).queue.push_back((resident, why));
        self.staff();
    }

    /// How many were closed for this reason.
    pub(crate) fn count(&self, why: CloseReason) -> u64 {
        // Relaxed: statistics.
        self.counts[why as usize].load(Ordering::Relaxed)
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
        loop {
            let next = {
                let mut state = lock(&self.state);
                let next = state.queue.pop_front();
                if next.is_none() {
                    state.threads -= 1;
                }
                next
            };
            match next {
                Some((resident, why)) => self.finish(resident, why),
                None => return,
            }
        }
    }

    /// Closes one connection. Blocks as long as the manager does, `close_timeout` at most if that waits on a watched socket.
    pub(crate) fn finish(&self, resident: Resident<M>, why: CloseReason) {
        let Resident { connection, manager, watched } = resident;
        let cut = Arc::new(Cut::default());
        watched.into_iter().for_each(|watched| cut.add(watched.unwatch()));
        if why == CloseReason::PeerClosed {
            cut.cut();
        } else {
            // Relaxed: a setting.
            let deadline = clock::now().saturating_add(self.timeout.load(Ordering::Relaxed));
            lock(&self.state).running.push((deadline, Arc::clone(&cut)));
            self.reactor.remind(deadline);
        }
        // The farewell is the user's code: a panic in it ends here. So is the drop of the last handle to a replaced manager.
        let _ = catch_unwind(AssertUnwindSafe(move || manager.close(connection, why)));
        lock(&self.state).running.retain(|(_, running)| !Arc::ptr_eq(running, &cut));
    }
}

impl<M: Manager> Client for Closer<M> {
    fn hung_up(&self, _key: u64) {}

    fn tick(&self, now: u64) -> u64 {
        self.staff();
        let mut state = lock(&self.state);
        state.running.retain(|(deadline, cut)| {
            if *deadline <= now {
                cut.cut();
            }
            *deadline > now
        });
        let deadlines = state.running.iter().map(|(deadline, _)| *deadline);
        let retry = (state.threads == 0 && !state.queue.is_empty()).then(|| now + nanos(RETRY));
        deadlines.chain(retry).min().unwrap_or(NEVER)
    }

    fn release(self: Arc<Self>) {
        background::drop_elsewhere(self);
    }
}
