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
//! cost nothing. With no deadline it sleeps until something happens.
//!
//! **Order of closing.** A [`Registration`] ends strictly before its descriptor closes: epoll remembers open files,
//! and a number closed first may by then be somebody else's.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use mio::event::{Event, Source};
use mio::unix::SourceFd;
use mio::{Events, Poll, Registry, Token, Waker};

use crate::lockfree::alarm::Alarm;
use crate::os::clock::{self, NEVER, nanos};
use crate::os::contain::contain;
use crate::os::sys;
use crate::os::thread;
use crate::os::topology::{Dispatch, Topology};
use crate::sync::lock;
use crate::watch::duplicate::Duplicate;
use crate::watch::source::Descriptor;

/// Whoever has descriptors watched or deadlines kept. Its methods run on a reactor thread and must not block.
pub(crate) trait Handler: Send + Sync {
    /// A descriptor that was registered under `key` has hung up. May come more than once.
    fn hung_up(&self, key: u64);

    /// Does what is due, and answers when it wants to be called next; [`NEVER`] if not before it says so by [`Reactor::remind`].
    fn tick(&self, now: u64) -> u64;

    /// The reactor lets go of its handle. If it is the last one, what it holds of the user's must not be dropped on this thread.
    fn release(self: Arc<Self>);
}

/// A set of reactors. The process has one that all pools share unless told otherwise; a set of its own keeps a pool apart.
///
/// Clones are handles to the same set. Its threads, named `corepool-sN` (the kernel keeps 15 bytes of a name), start when they are
/// first needed; those of a set of its own end when the last handle and the last pool on it are gone.
#[derive(Clone)]
pub struct Reactors {
    set: Arc<Set>,
}

struct Set {
    dispatch: Dispatch,
    reactors: Box<[OnceLock<Arc<Reactor>>]>,
}

impl Reactors {
    /// The most reactors that a set can have.
    pub(crate) const LIMIT: usize = 1_024;

    /// The set of the process: one reactor for each core that it may use. It lives as long as the process.
    pub fn shared() -> Reactors {
        static SHARED: OnceLock<Reactors> = OnceLock::new();
        SHARED
            .get_or_init(|| {
                let topology = Topology::of_process();
                let count = topology.budget().min(Self::LIMIT);
                Self::over(topology, count)
            })
            .clone()
    }

    /// A set of its own with this many reactors, 1 to 1,024; what is outside is taken as the nearest of these.
    pub fn new(count: usize) -> Reactors {
        Self::over(Topology::of_process(), count.clamp(1, Self::LIMIT))
    }

    fn over(topology: &Topology, count: usize) -> Reactors {
        let reactors = (0..count).map(|_| OnceLock::new()).collect();
        Reactors { set: Arc::new(Set { dispatch: Dispatch::new(topology, count), reactors }) }
    }

    /// The reactor at home on `core`, started if need be.
    pub(crate) fn at(&self, core: Option<usize>) -> io::Result<&Arc<Reactor>> {
        let index = core.map_or(0, |core| self.set.dispatch.shard_of(core));
        let place = &self.set.reactors[index];
        if let Some(reactor) = place.get() {
            return Ok(reactor);
        }
        let reactor = Reactor::start(index, self.set.dispatch.home_core(index))?;
        // Two may start at once; the loser's thread is told to end.
        if let Err(extra) = place.set(reactor) {
            extra.stop();
        }
        place.get().ok_or_else(|| io::Error::other("a reactor that was just set is there"))
    }

    fn started(&self) -> impl Iterator<Item = &Arc<Reactor>> {
        self.set.reactors.iter().filter_map(OnceLock::get)
    }

    /// How often the reactors have woken up so far, for whatever reason. Stands still while nothing happens.
    pub fn wakeups(&self) -> u64 {
        // Relaxed: statistics.
        self.started().map(|reactor| reactor.wakeups.load(Ordering::Relaxed)).sum()
    }

    /// How many events of watched descriptors they have seen: hang-ups, never replies.
    pub fn events(&self) -> u64 {
        // Relaxed: statistics.
        self.started().map(|reactor| reactor.events.load(Ordering::Relaxed)).sum()
    }

    /// How many panics they have survived, each a fault of this crate.
    pub fn panics(&self) -> u64 {
        // Relaxed: statistics.
        self.started().map(|reactor| reactor.panics.load(Ordering::Relaxed)).sum()
    }

    /// How many of the reactors that run could not be pinned to their core, which a sandbox may forbid. They run unpinned.
    pub fn unpinned(&self) -> usize {
        // Relaxed: statistics.
        self.started().filter(|reactor| reactor.unpinned.load(Ordering::Relaxed)).count()
    }
}

impl fmt::Debug for Reactors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactors")
            .field("reactors", &self.set.reactors.len())
            .field("started", &self.started().count())
            .field("wakeups", &self.wakeups())
            .finish()
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        // Not joined: the last handle may go on the reactor's own thread.
        self.reactors.iter().filter_map(OnceLock::get).for_each(|reactor| reactor.stop());
    }
}

/// One reactor.
pub(crate) struct Reactor {
    registry: Registry,
    waker: Waker,
    alarm: Alarm,
    /// Whose each token is.
    table: Mutex<HashMap<Token, Subscriber>>,
    /// Those who want to be called at their deadlines.
    handlers: Mutex<Vec<Weak<dyn Handler>>>,
    /// Its thread, as [`thread::number`] has it.
    runner: AtomicU32,
    /// It has been told of an earlier deadline, and ticks before it sleeps again. Its own thread's.
    reminded: AtomicBool,
    stopped: AtomicBool,
    unpinned: AtomicBool,
    wakeups: AtomicU64,
    events: AtomicU64,
    panics: AtomicU64,
    /// The process that it was made in.
    process: u32,
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

/// The waker's own token; watches are numbered from 1.
const WAKE: Token = Token(0);

/// Events taken in one poll. A mass closure of thousands takes some polls more, which costs nothing beside the closing.
const BATCH: usize = 256;

/// Nothing of the user's runs on it.
const STACK: usize = 256 << 10;

impl Reactor {
    fn start(index: usize, core: Option<usize>) -> io::Result<Arc<Reactor>> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let reactor = Arc::new(Reactor {
            waker: Waker::new(&registry, WAKE)?,
            registry,
            alarm: Alarm::new(),
            table: Mutex::default(),
            handlers: Mutex::default(),
            runner: AtomicU32::new(0),
            reminded: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            unpinned: AtomicBool::new(false),
            wakeups: AtomicU64::new(0),
            events: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            process: std::process::id(),
        });
        let runner = Arc::clone(&reactor);
        let builder = std::thread::Builder::new().name(format!("corepool-s{index}")).stack_size(STACK);
        sys::spawn_without_signals(builder, move || runner.run(poll, core))?;
        Ok(reactor)
    }

    fn stop(&self) {
        // Release: nothing else is to be seen with it; it pairs with the load in `run` through the waker anyway.
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        // Fails only when the eventfd's counter is full: then it is readable, which is what was wanted.
        let _ = self.waker.wake();
    }

    fn run(&self, mut poll: Poll, core: Option<usize>) {
        let pinned = core.is_some_and(|id| core_affinity::set_for_current(core_affinity::CoreId { id }));
        // Relaxed: statistics.
        self.unpinned.store(!pinned, Ordering::Relaxed);
        self.runner.store(thread::number(), Ordering::Relaxed);
        let mut events = Events::with_capacity(BATCH);
        let mut due = self.tick();
        // Acquire: pairs with the Release in `stop`.
        while !self.stopped.load(Ordering::Acquire) {
            let timeout = (due != NEVER).then(|| clock::until(due, clock::now()));
            let polled = poll.poll(&mut events, timeout);
            // Relaxed: statistics.
            self.wakeups.fetch_add(1, Ordering::Relaxed);
            // Interrupted: a debugger or a stop signal.
            if polled.is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
                // Somebody has closed the epoll's descriptor. Nothing is heard any more, but deadlines are kept, at this grain.
                std::thread::sleep(DEAF);
                self.reminded.store(true, Ordering::Relaxed);
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
        if let Some(handler) = handler.upgrade() {
            self.survive(|| handler.hung_up(key));
            handler.release();
        }
    }

    /// A fault of this crate in what one pool wants done is no reason to leave all others unwatched.
    fn survive<R>(&self, call: impl FnOnce() -> R) -> Option<R> {
        let done = contain(call);
        if done.is_err() {
            // Relaxed: statistics.
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        done.ok()
    }

    /// Announce, look, promise: see [`Alarm`].
    fn tick(&self) -> u64 {
        self.alarm.announce();
        let handlers: Vec<_> = {
            let mut handlers = lock(&self.handlers);
            handlers.retain(|handler| handler.strong_count() > 0);
            handlers.iter().filter_map(Weak::upgrade).collect()
        };
        let now = clock::now();
        let mut due = NEVER;
        for handler in handlers {
            // After a panic, soon again: what else is due may not have been done.
            due = due.min(self.survive(|| handler.tick(now)).unwrap_or(now.saturating_add(nanos(DEAF))));
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

    /// Has a handler's deadlines kept from now on, for as long as it lives.
    pub(crate) fn serve(&self, handler: Weak<dyn Handler>) {
        lock(&self.handlers).push(handler);
    }

    /// A handler has a deadline at `due`, which a [`tick`](Handler::tick) that begins now would see.
    pub(crate) fn remind(&self, due: u64) {
        if !self.alarm.lower(due) {
            return;
        }
        // Relaxed, both: compared with this thread's own number, and told to this thread itself.
        if self.runner.load(Ordering::Relaxed) == thread::number() {
            // From a handler that the reactor is calling just now: to wake it would have it go round once more for nothing.
            self.reminded.store(true, Ordering::Relaxed);
        } else {
            self.wake();
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
        let registered =
            Descriptor { fd: fd.as_fd(), interest: *interest }.register(&self.registry, token, mio::Interest::READABLE);
        if let Err(error) = registered {
            lock(&self.table).remove(&token);
            return Err(error);
        }
        Ok(Registration { reactor: Arc::clone(self), token, number: fd.as_raw_fd() })
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
        // Cannot fail for a descriptor that was registered and is open.
        let _ = SourceFd(&self.number).deregister(&self.reactor.registry);
        lock(&self.reactor.table).remove(&self.token);
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("watched", &lock(&self.table).len()).field("alarm", &self.alarm).finish()
    }
}
