//! What happens in a pool, told to whoever wants to log or count it.
//!
//! An observer is the user's code, so it may be slow, block and panic: events go through a queue and are told on a background
//! thread, one after another. Nothing is told of a checkout or a return that finds what it needs: the hot path has no events.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Cause, GetErrorKind};
use crate::manager::CloseReason;
use crate::os::background;
use crate::os::contain::contain;
use crate::sync::{Mutex, lock};

/// Told of everything that happens in a pool off the hot path. Set by [`Builder::observer`](crate::Builder::observer).
///
/// Runs on a background thread, one event at a time and in order, at most some thousand behind; what does not fit is counted in
/// [`Event::Missed`]. May block; a panic is contained.
pub trait Observer: Send + Sync + 'static {
    /// Something has happened.
    fn event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync + 'static> Observer for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn event(&self, event: &Event) {
        (**self).event(event);
    }
}

/// Two observers, one after the other. A panic of the first keeps the event from the second.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn event(&self, event: &Event) {
        self.0.event(event);
        self.1.event(event);
    }
}

/// What has happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A connection was opened.
    Opened {
        /// How long the dial took.
        took: Duration,
    },
    /// A dial failed, or outlasted `dial_timeout`.
    DialFailed {
        /// What the manager said.
        cause: Cause,
    },
    /// No dial succeeds any more.
    OutageBegan {
        /// What the first failed dial said.
        cause: Cause,
    },
    /// A dial succeeded again.
    OutageEnded {
        /// How long after the first failed dial.
        lasted: Duration,
    },
    /// A caller waited and got a connection.
    Waited {
        /// For how long.
        waited: Duration,
    },
    /// A caller waited in vain.
    Abandoned {
        /// What it was told.
        kind: GetErrorKind,
        /// After how long.
        waited: Duration,
    },
    /// A connection left the pool, to be closed.
    Discarded {
        /// Why.
        why: CloseReason,
        /// What the hook that discarded it said, or its ping failed with.
        cause: Option<Cause>,
    },
    /// A connection that left the pool has been closed.
    Closed {
        /// Why it had left.
        why: CloseReason,
        /// How long that took from when it left, its wait for a background thread included.
        took: Duration,
    },
    /// A lease has been held for longer than `hold_limit`.
    HoldExceeded {
        /// The thread that took it: its name, or its number if it has none.
        thread: String,
        /// For how long it has been seen to be held.
        held: Duration,
        /// Whether its socket was shut down.
        cut: bool,
    },
    /// A lease that was told of as [`HoldExceeded`](Event::HoldExceeded) is over: given back, discarded or detached, also
    /// when it was cut.
    HoldEnded {
        /// The thread that took it, as told before.
        thread: String,
        /// How long it was held, from when a sweep saw it first: up to a quarter of `hold_limit` less than it was, a second at most.
        held: Duration,
    },
    /// A hook on a connection has outlasted the caller's deadline; its socket was shut down.
    HookOverran {
        /// The thread that it runs on.
        thread: String,
    },
    /// A reactor could not be pinned to its core, which a sandbox may forbid; it runs unpinned. Told within about a second of its
    /// first connection, and again if more do.
    Unpinned {
        /// How many of the reactors run so.
        reactors: usize,
    },
    /// Somebody in this process has closed the descriptor on which reactors listen, as `close_range` does: they hear of no hang-up any
    /// more. Sockets that they watched, or would watch, are looked at on each checkout instead, and deadlines are kept at a grain of
    /// 100 ms. Nothing mends it but another process. Told within about a second of when a connection of this pool is concerned, and
    /// again if more reactors are.
    Deaf {
        /// How many of the reactors are so.
        reactors: usize,
    },
    /// A reactor has survived a panic in what it did for this pool: a fault of this crate, of which the panic's message tells more. What
    /// was to be done in that moment may be undone: a deadline is tried again 100 ms later, a hang-up is left to the next look at the
    /// socket. Told to the pool concerned alone; [`Reactors::panics`](crate::Reactors::panics) counts those of all.
    ReactorPanicked {
        /// How many that reactor has survived by now, for whichever pool.
        panics: u64,
    },
    /// The observer was too slow, and missed events.
    Missed {
        /// How many.
        events: u64,
    },
}

/// Where events wait for the observer.
pub(crate) struct Observing {
    observer: Option<Arc<dyn Observer>>,
    backlog: Mutex<Backlog>,
}

#[derive(Default)]
struct Backlog {
    events: VecDeque<Event>,
    missed: u64,
    /// A background thread is telling them.
    telling: bool,
}

/// Events that wait at most; then they are missed and counted.
const BACKLOG: usize = 4_096;

impl Observing {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Arc<Self> {
        Arc::new(Observing { observer, backlog: Mutex::default() })
    }

    /// Has the observer told, if there is one. Does not block.
    pub(crate) fn tell(self: &Arc<Self>, event: impl FnOnce() -> Event) {
        if self.observer.is_none() {
            return;
        }
        {
            let mut backlog = lock(&self.backlog);
            if backlog.events.len() < BACKLOG {
                backlog.events.push_back(event());
            } else {
                backlog.missed += 1;
            }
            if std::mem::replace(&mut backlog.telling, true) {
                return;
            }
        }
        let me = Arc::clone(self);
        if background::run(Box::new(move || me.drain())).is_err() {
            // The next event tries again.
            lock(&self.backlog).telling = false;
        }
    }

    fn drain(&self) {
        let Some(observer) = &self.observer else { return };
        while let Some(event) = self.next() {
            let _ = contain(|| observer.event(&event));
        }
    }

    fn next(&self) -> Option<Event> {
        let mut backlog = lock(&self.backlog);
        let event = backlog.events.pop_front().or_else(|| match std::mem::take(&mut backlog.missed) {
            0 => None,
            events => Some(Event::Missed { events }),
        });
        backlog.telling = event.is_some();
        event
    }
}

impl fmt::Debug for Observing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observing").field("observer", &self.observer.is_some()).finish()
    }
}
