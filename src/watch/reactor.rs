//! Reactors: threads that sleep until a watched descriptor hangs up or a deadline comes, and tell the [`Handler`] that it concerns.
//!
//! One for each core, pinned to it, made on first use, shared by all pools of the process: a server of 64 cores with five pools
//! must not run 320 threads. A reactor runs none of the user's code and never blocks on anything but epoll.
//!
//! **Tokens** are numbers that are used once in the life of the process, and the reactor's table says whose each is. So neither an
//! event that comes late nor one of a descriptor number that was used again can name the wrong connection, and an event for a
//! number not in the table is nobody's.
//!
//! **Sleep**: see [`Alarm`]. A handler that sets an earlier deadline than the reactor has promised to keep wakes it; all others
//! cost nothing. With no deadline it sleeps until something happens. Awake, it calls those that are due, and no others.
//!
//! **Deaf.** Whoever closes all descriptors of a process but their own (`close_range`) closes the epoll's too. Its number may stand for
//! anything from then on, so the reactor touches it no more: what it watched is unwatched, and those concerned are told. It keeps
//! deadlines, at the grain of 100 ms. If it was asleep and its waker is closed too, another thread goes on in its place.
//!
//! **Order of closing.** A [`Registration`] ends strictly before its descriptor closes: epoll remembers open files,
//! and a number closed first may by then be somebody else's.
#![forbid(unsafe_code)]

#[cfg(any(test, fuzzing))]
mod simulated;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use mio::event::{Event, Source};
use mio::unix::SourceFd;
use mio::{Events, Poll, Token};

use super::duplicate::Duplicate;
use super::ears::{Ears, WAKE};
use super::handler::{Handler, Handlers};
use super::source::Descriptor;
use crate::lockfree::alarm::{Alarm, Due};
use crate::os::clock::{self, NEVER, nanos};
use crate::os::contain::contain;
use crate::os::sys;
use crate::os::thread;
use crate::sync::lock;

/// One reactor.
pub(crate) struct Reactor {
    ears: Arc<Ears>,
    alarm: Alarm,
    /// Whose each token is.
    table: Mutex<HashMap<Token, Subscriber>>,
    /// Those who want to be called at their deadlines.
    handlers: Handlers,
    /// Its thread, as [`thread::number`] has it.
    runner: AtomicU32,
    /// It has been told of an earlier deadline, and ticks before it sleeps again. Its own thread's.
    reminded: AtomicBool,
    stopped: AtomicBool,
    unpinned: AtomicBool,
    /// Its epoll's descriptor was closed under it.
    deaf: AtomicBool,
    wakeups: AtomicU64,
    events: AtomicU64,
    panics: AtomicU64,
    /// The process that it was made in.
    process: u32,
    /// Its place in the set.
    index: usize,
    #[cfg(any(test, fuzzing))]
    rung: simulated::Rung,
}

/// Whose a token is.
#[derive(Clone)]
struct Subscriber {
    handler: Weak<dyn Handler>,
    /// Its own name for the descriptor.
    key: u64,
    /// The descriptor is one of these.
    sockets: Weak<[Duplicate]>,
    place: usize,
}

/// How long a reactor rests that cannot hear.
const DEAF: Duration = Duration::from_millis(100);

/// Events taken in one poll. A mass closure of thousands takes some polls more, which costs nothing beside the closing.
const BATCH: usize = 256;

/// Nothing of the user's runs on it.
const STACK: usize = 256 << 10;

impl Reactor {
    pub(super) fn start(index: usize, core: Option<usize>) -> io::Result<Arc<Reactor>> {
        let poll = Poll::new()?;
        let reactor = Arc::new(Reactor {
            ears: Arc::new(Ears::new(poll.registry().try_clone()?)?),
            alarm: Alarm::new(),
            table: Mutex::default(),
            handlers: Handlers::default(),
            runner: AtomicU32::new(0),
            reminded: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            unpinned: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            wakeups: AtomicU64::new(0),
            events: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            process: std::process::id(),
            index,
            #[cfg(any(test, fuzzing))]
            rung: Default::default(),
        });
        #[cfg(any(test, fuzzing))]
        if simulated::begin(&reactor) {
            return Ok(reactor);
        }
        reactor.spawn(move |runner| runner.run(poll, core))?;
        Ok(reactor)
    }

    fn spawn(self: &Arc<Self>, body: impl FnOnce(&Self) + Send + 'static) -> io::Result<()> {
        let runner = Arc::clone(self);
        let builder = std::thread::Builder::new().name(format!("corepool-s{}", self.index)).stack_size(STACK);
        sys::spawn_without_signals(builder, move || body(&runner))
    }

    pub(super) fn stop(&self) {
        // Release: nothing else is to be seen with it; it pairs with the load in `run` through the waker anyway.
        self.stopped.store(true, Ordering::Release);
        let _ = self.wake();
    }

    /// False: it cannot be woken.
    fn wake(&self) -> bool {
        #[cfg(any(test, fuzzing))]
        if self.rung.ring() {
            return true;
        }
        // A deaf one looks by itself, and its waker's number may be somebody else's.
        self.is_deaf() || self.ears.ring()
    }

    fn run(&self, mut poll: Poll, core: Option<usize>) {
        let pinned = core.is_some_and(|id| core_affinity::set_for_current(core_affinity::CoreId { id }));
        // Relaxed: statistics.
        self.unpinned.store(!pinned, Ordering::Relaxed);
        self.runner.store(thread::number(), Ordering::Relaxed);
        let mut events = Events::with_capacity(BATCH);
        let mut due = self.tick();
        while !self.is_stopped() {
            let timeout = (due != NEVER).then(|| clock::until(due, clock::now()));
            // Interrupted: a debugger or a stop signal. Else the descriptor is closed, or something else by now.
            let heard = poll.poll(&mut events, timeout).or_else(forgive_interruption).is_ok();
            // Relaxed: statistics.
            self.wakeups.fetch_add(1, Ordering::Relaxed);
            if self.is_deaf() || !heard {
                std::mem::forget(poll);
                return self.run_deaf();
            }
            for event in &events {
                match event.token() {
                    // Relaxed: this thread's own.
                    WAKE => self.reminded.store(true, Ordering::Relaxed),
                    token => self.report(token, event),
                }
            }
            events.clear();
            // Relaxed: this thread's own.
            if self.reminded.load(Ordering::Relaxed) || due <= clock::now() {
                due = self.tick();
            }
        }
    }

    fn is_stopped(&self) -> bool {
        // Acquire: pairs with the Release in `stop`.
        self.stopped.load(Ordering::Acquire)
    }

    /// Nothing is heard any more, and what was watched is unwatched from now on. One thread goes on so: the first to find it out.
    #[cold]
    fn run_deaf(&self) {
        // Relaxed: ordered by the table's lock, as `watch` says.
        if self.deaf.swap(true, Ordering::Relaxed) {
            return;
        }
        // Relaxed: as in `run`.
        self.runner.store(thread::number(), Ordering::Relaxed);
        // The numbers may be somebody else's by now: they are never closed.
        std::mem::forget(Arc::clone(&self.ears));
        let watched: Vec<_> = lock(&self.table).values().cloned().collect();
        for Subscriber { handler, key, .. } in watched {
            self.call(&handler, |handler| handler.unwatched(key));
        }
        while !self.is_stopped() {
            let due = self.tick();
            std::thread::sleep(clock::until(due, clock::now()).min(DEAF));
            // Relaxed: statistics.
            self.wakeups.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn report(&self, token: Token, event: &Event) {
        // Relaxed: statistics.
        self.events.fetch_add(1, Ordering::Relaxed);
        let subscriber = lock(&self.table).get(&token).cloned();
        let Some(Subscriber { handler, key, sockets, place }) = subscriber else { return };
        // An error alone is no hang-up: the kernel also reports by it that a send without copying is done. But it may hide one.
        let doubtful = event.is_error() && !event.is_read_closed();
        if doubtful && sockets.upgrade().is_some_and(|sockets| !sockets[place].has_hung_up()) {
            return;
        }
        self.call(&handler, |handler| handler.hung_up(key));
    }

    fn call(&self, handler: &Weak<dyn Handler>, call: impl FnOnce(&dyn Handler)) {
        if let Some(handler) = handler.upgrade() {
            self.survive(&*handler, || call(&*handler));
            handler.release();
        }
    }

    /// A fault of this crate in what one pool wants done is no reason to leave all others unwatched.
    fn survive<R>(&self, handler: &dyn Handler, call: impl FnOnce() -> R) -> Option<R> {
        let done = contain(call);
        if done.is_err() {
            // Relaxed: statistics.
            let panics = self.panics.fetch_add(1, Ordering::Relaxed) + 1;
            let _ = contain(|| handler.survived(panics));
        }
        done.ok()
    }

    /// Announce, look, promise: see [`Alarm`].
    fn tick(&self) -> u64 {
        self.alarm.announce();
        let now = clock::now();
        let (handlers, mut due) = self.handlers.take_due(now);
        for (handler, its_due) in handlers {
            // After a panic, soon again: what else is due may not have been done.
            let next = self.survive(&*handler, || handler.tick(now)).unwrap_or(now.saturating_add(nanos(DEAF)));
            its_due.lower(next);
            due = due.min(next);
            handler.release();
        }
        // Relaxed: this thread's own. What it was told of meanwhile is in the promise.
        self.reminded.store(false, Ordering::Relaxed);
        self.alarm.promise(due)
    }

    /// Whether this is a copy of it, in a child that its process has forked: without its thread, and with the parent's epoll.
    pub(crate) fn is_in_child(&self) -> bool {
        self.process != std::process::id()
    }

    pub(super) fn wakeups(&self) -> u64 {
        // Relaxed: statistics.
        self.wakeups.load(Ordering::Relaxed)
    }

    pub(super) fn events(&self) -> u64 {
        // Relaxed: statistics.
        self.events.load(Ordering::Relaxed)
    }

    pub(super) fn panics(&self) -> u64 {
        // Relaxed: statistics.
        self.panics.load(Ordering::Relaxed)
    }

    pub(super) fn is_unpinned(&self) -> bool {
        // Relaxed: statistics.
        self.unpinned.load(Ordering::Relaxed)
    }

    pub(super) fn is_deaf(&self) -> bool {
        // Relaxed: see `turn_deaf`.
        self.deaf.load(Ordering::Relaxed)
    }

    /// Has a handler's deadlines kept from now on, for as long as it keeps the timer.
    pub(crate) fn serve(self: &Arc<Self>, handler: Weak<dyn Handler>) -> Arc<Timer> {
        let (number, due) = self.handlers.enter(handler);
        Arc::new(Timer { reactor: Arc::clone(self), number, due })
    }

    fn remind(self: &Arc<Self>, due: u64) {
        // A promise that was broken for long: it may have been woken, and its waker closed before it ran.
        if !self.alarm.lower(due) && self.alarm.promised() > clock::now().saturating_sub(nanos(DEAF)) {
            return;
        }
        // Relaxed, both: compared with this thread's own number, and told to this thread itself.
        if self.runner.load(Ordering::Relaxed) == thread::number() {
            // From a handler that the reactor is calling just now: to wake it would have it go round once more for nothing.
            self.reminded.store(true, Ordering::Relaxed);
        } else if !self.wake() {
            // Without a thread for it the next reminder tries again.
            let _ = self.spawn(Reactor::run_deaf);
        }
    }

    /// Watches the descriptor at `place` of these. A hang-up that has come already is reported too.
    ///
    /// An error means that it cannot be watched (a regular file, or the limit on watches): the connection then goes unwatched.
    pub(crate) fn watch(
        self: &Arc<Self>,
        sockets: &Arc<[Duplicate]>,
        place: usize,
        handler: Weak<dyn Handler>,
        key: u64,
    ) -> io::Result<Registration> {
        if cfg!(corepool_unwatched) {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        static NEXT: AtomicU64 = AtomicU64::new(WAKE.0 as u64 + 1);
        // Relaxed: only uniqueness matters. 64 bits: at a million connections a second it comes round after 580,000 years.
        let token = Token(NEXT.fetch_add(1, Ordering::Relaxed) as usize);
        // Into the table first: the event may come before the registration returns.
        lock(&self.table).insert(token, Subscriber { handler, key, sockets: Arc::downgrade(sockets), place });
        let Duplicate { fd, interest, .. } = &sockets[place];
        let mut descriptor = Descriptor { fd: fd.as_fd(), interest: *interest };
        // After the table: a reactor that has not found this in it has turned deaf before.
        let registered = match self.is_deaf() {
            true => Err(io::Error::from(io::ErrorKind::NotConnected)),
            false => descriptor.register(&self.ears.registry, token, mio::Interest::READABLE),
        };
        if let Err(error) = registered {
            lock(&self.table).remove(&token);
            return Err(error);
        }
        Ok(Registration { reactor: Arc::clone(self), token, number: fd.as_raw_fd() })
    }
}

fn forgive_interruption(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

/// A handler's place with the reactor that keeps its deadlines. Its drop ends that.
#[derive(Debug)]
pub(crate) struct Timer {
    reactor: Arc<Reactor>,
    number: u64,
    due: Arc<Due>,
}

impl Timer {
    /// The handler has a deadline at `due`, which a [`tick`](Handler::tick) that begins now would see.
    pub(crate) fn remind(&self, due: u64) {
        self.due.lower(due);
        self.reactor.remind(due);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // In a child nothing is locked: the thread that held the lock has stayed behind.
        if !self.reactor.is_in_child() {
            self.reactor.handlers.leave(self.number);
        }
    }
}

/// A descriptor's registration with a reactor. Its drop ends the watch; the descriptor must still be open then.
#[derive(Debug)]
pub(crate) struct Registration {
    reactor: Arc<Reactor>,
    token: Token,
    number: RawFd,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.reactor.is_in_child() {
            // The watch is the parent's.
            return;
        }
        if !self.reactor.is_deaf() {
            // Cannot fail for a descriptor that was registered and is open.
            let _ = SourceFd(&self.number).deregister(&self.reactor.ears.registry);
        }
        lock(&self.reactor.table).remove(&self.token);
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("watched", &lock(&self.table).len()).field("alarm", &self.alarm).finish()
    }
}

#[cfg(all(test, not(corepool_loom)))]
mod tests;
