//! What the models of the policy stand on: a whole engine, an endpoint in memory, and callers.
//!
//! The engine is the real one. Beneath it are the model's own clock, threads and reactor (`os`, `watch`). Counts and settings that order
//! nothing are std's, so that loom does not have to try their turns; locks, and the atomics that order something, are loom's.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::Mutex as Untracked;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use std::{error, fmt};

use loom::sync::{Condvar, Mutex};
use loom::thread::JoinHandle;

use crate::engine::patience::Patience;
use crate::engine::{Engine, Plan};
use crate::error::GetErrorKind;
use crate::lockfree::bag::Claim;
use crate::manager::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};
use crate::observe::Observing;
use crate::os::background::{self, Where};
use crate::os::clock::{self, nanos};
use crate::os::{sys, thread, topology::Dispatch};
use crate::settings::Settings;
use crate::watch::reactor::Reactor;
use crate::watch::reactors::Reactors;

/// Whoever waits has no end to it: loom reports a deadlock if nobody serves them.
pub(crate) const ENDLESS: Patience = Patience::Only(Duration::MAX);
/// Whoever does not wait at all.
pub(crate) const AT_ONCE: Patience = Patience::Only(Duration::ZERO);

/// Where a model's time begins.
const BEGIN: Duration = Duration::from_secs(3_600);

/// What a dial takes: longer than the least time between two of an outage, so that demand ends a pause.
const DIAL: Duration = Duration::from_secs(1);

/// The endpoint.
#[derive(Default)]
pub(crate) struct World {
    /// So many dials are refused first.
    pub(crate) refusals: AtomicUsize,
    pub(crate) dials: AtomicUsize,
    /// The thread that dialed last.
    pub(crate) dialer: AtomicUsize,
    pub(crate) opened: AtomicUsize,
    pub(crate) closed: AtomicUsize,
    /// Connections have a socket, and their farewell takes until it is cut.
    pub(crate) patient: AtomicBool,
}

impl World {
    /// A model begins: its time, and its threads.
    pub(crate) fn begin() {
        clock::set(nanos(BEGIN));
        background::begin();
        Reactors::begin();
        sys::tell_of_cuts(cut);
        PLUGS.with(|plugs| plugs.lock().unwrap().clear());
    }
}

/// Both ends, and how its own one ends.
struct Socket {
    own: UnixStream,
    _peers: UnixStream,
    plug: Arc<Plug>,
}

/// One connection.
pub(crate) struct Conn {
    /// By which manager.
    pub(crate) by: usize,
    /// Which dial it was.
    pub(crate) turn: usize,
    socket: Option<Socket>,
    lent: AtomicBool,
}

impl Conn {
    pub(crate) fn is_cut(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| *socket.plug.cut.lock().unwrap())
    }

    /// Its farewell takes no time any more.
    pub(crate) fn forget_socket(&mut self) {
        self.socket = None;
    }
}

/// What the manager of this number opens.
pub(crate) struct Peer {
    world: Arc<World>,
    number: usize,
}

impl Peer {
    pub(crate) fn new(world: &Arc<World>, number: usize) -> Peer {
        Peer { world: Arc::clone(world), number }
    }
}

#[derive(Debug)]
pub(crate) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl error::Error for Refused {}

impl Manager for Peer {
    type Connection = Conn;
    type Error = Refused;

    fn connect(&self, _dial: &Dial<'_>) -> Result<Conn, Refused> {
        let turn = self.world.dials.fetch_add(1, SeqCst);
        self.world.dialer.store(thread::number() as usize, SeqCst);
        clock::set(clock::now() + nanos(DIAL));
        if self.world.refusals.load(SeqCst) > 0 {
            self.world.refusals.fetch_sub(1, SeqCst);
            return Err(Refused);
        }
        self.world.opened.fetch_add(1, SeqCst);
        let socket = self.world.patient.load(SeqCst).then(|| {
            let (own, peers) = UnixStream::pair().expect("a pair of sockets");
            let plug = Plug::of(&own);
            Socket { own, _peers: peers, plug }
        });
        Ok(Conn { by: self.number, turn, socket, lent: AtomicBool::new(false) })
    }

    fn watch(&self, connection: &Conn, on: &mut Watch<'_>) {
        connection.socket.iter().for_each(|socket| on.socket(socket.own.as_fd()));
    }

    fn on_checkout(&self, connection: &mut Conn) -> Result<Verdict, Refused> {
        // A look at its socket, at which threads may switch.
        connection.is_cut();
        Ok(Verdict::Keep)
    }

    fn close(&self, connection: Conn, _why: CloseReason) {
        assert!(!connection.lent.load(SeqCst), "closed while it is lent");
        if let Some(socket) = &connection.socket {
            socket.plug.wait();
        }
        self.world.closed.fetch_add(1, SeqCst);
    }
}

/// A socket's end, as whoever blocks on it sees it.
pub(crate) struct Plug {
    cut: Mutex<bool>,
    bell: Condvar,
}

thread_local!(static PLUGS: Untracked<HashMap<u64, Arc<Plug>>> = Untracked::default());

impl Plug {
    fn of(socket: &UnixStream) -> Arc<Plug> {
        let plug = Arc::new(Plug { cut: Mutex::new(false), bell: Condvar::new() });
        PLUGS.with(|plugs| plugs.lock().unwrap().insert(sys::cookie(socket.as_fd()), Arc::clone(&plug)));
        plug
    }

    fn wait(&self) {
        let mut cut = self.cut.lock().unwrap();
        while !*cut {
            cut = self.bell.wait(cut).unwrap();
        }
    }
}

/// Whether any socket was shut down.
pub(crate) fn any_cut() -> bool {
    let plugs: Vec<_> = PLUGS.with(|plugs| plugs.lock().unwrap().values().cloned().collect());
    plugs.iter().any(|plug| *plug.cut.lock().unwrap())
}

/// A socket is shut down.
fn cut(cookie: u64) {
    let plug = PLUGS.with(|plugs| plugs.lock().unwrap().get(&cookie).cloned());
    if let Some(plug) = plug {
        *plug.cut.lock().unwrap() = true;
        plug.bell.notify_all();
    }
}

/// A pool and its world.
pub(crate) struct Pool {
    pub(crate) engine: Arc<Engine<Peer>>,
    pub(crate) world: Arc<World>,
    pub(crate) reactor: Arc<Reactor>,
}

impl Pool {
    /// A pool of one connection that keeps none, with whatever else the model says. Jobs run at once, on the thread that has them run.
    pub(crate) fn new(change: impl FnOnce(&mut Settings)) -> Arc<Pool> {
        Pool::opening(false, change)
    }

    /// The same, which keeps nothing before its first caller.
    pub(crate) fn lazy(change: impl FnOnce(&mut Settings)) -> Arc<Pool> {
        Pool::opening(true, change)
    }

    fn opening(lazy: bool, change: impl FnOnce(&mut Settings)) -> Arc<Pool> {
        World::begin();
        let mut settings = Settings { max_size: 1, min_open: 0, max_closing: 9, dials_at_once: 1, ..Settings::usual() };
        change(&mut settings);
        let world = Arc::new(World::default());
        let reactor = Reactor::new();
        let plan = Plan {
            capacity: settings.max_size,
            settings,
            shards: 1,
            dispatch: Dispatch::over(1),
            reactors: Reactors { only: Arc::clone(&reactor) },
            observing: Observing::new(None),
            lazy,
        };
        let manager = Arc::new(Peer::new(&world, 1));
        Arc::new(Pool { engine: Engine::new(manager, plan).unwrap(), world, reactor })
    }

    /// Another manager.
    pub(crate) fn peer(&self, number: usize) -> Peer {
        Peer::new(&self.world, number)
    }

    /// What a caller gets: a connection, which is its own.
    pub(crate) fn get(&self, patience: Patience) -> Result<Claim, GetErrorKind> {
        let mut claim = self.engine.check_out(patience).map_err(|error| error.kind())?.claim;
        let lent = &self.conn(&mut claim).lent;
        assert!(!lent.swap(true, SeqCst), "lent to two");
        Ok(claim)
    }

    /// The connection.
    pub(crate) fn conn<'a>(&'a self, claim: &'a mut Claim) -> &'a mut Conn {
        &mut self.engine.slot(claim).resident_mut(claim).connection
    }

    /// It comes back.
    pub(crate) fn give(&self, mut claim: Claim) {
        assert!(self.conn(&mut claim).lent.swap(false, SeqCst));
        self.engine.check_in(self.engine.hit(claim), Outcome::Done);
    }

    /// It must not be lent again.
    pub(crate) fn condemn(&self, mut claim: Claim) {
        assert!(self.conn(&mut claim).lent.swap(false, SeqCst));
        self.engine.check_in_condemned(claim);
    }

    /// A whole use.
    pub(crate) fn call(&self, patience: Patience) -> Result<(), GetErrorKind> {
        self.get(patience).map(|claim| self.give(claim))
    }

    pub(crate) fn open(&self) -> usize {
        self.engine.stats().open
    }

    /// All is quiet: every connection is in the pool, or was closed once and told of.
    pub(crate) fn at_rest(&self) {
        background::join();
        self.engine.at_rest().unwrap_or_else(|what| panic!("not at rest: {what}"));
        let stats = self.engine.stats();
        assert_eq!((stats.opening, stats.waiting, stats.closing), (0, 0, 0), "opening, waiting, closing");
        let [opened, closed] = [&self.world.opened, &self.world.closed].map(|count| count.load(SeqCst));
        assert_eq!(opened, closed + stats.open, "{opened} opened, {closed} closed");
        assert_eq!(self.engine.untold(), 0, "of whose close the bag was not told");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // What is open closes now, and nothing of this run outlasts it.
        background::runs(Where::Here);
    }
}

/// Runs `part` on a thread of its own.
pub(crate) fn beside<O: 'static>(pool: &Arc<Pool>, part: impl FnOnce(&Pool) -> O + 'static) -> JoinHandle<O> {
    let pool = Arc::clone(pool);
    loom::thread::spawn(move || part(&pool))
}
