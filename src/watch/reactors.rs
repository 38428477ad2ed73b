//! The reactors of the process, or of a pool that is kept apart: one for each core, started when it is first needed.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use super::reactor::Reactor;
use crate::os::topology::{Dispatch, Topology};

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
    ///
    /// The cores are those of the first pool's time. On fewer (a smaller cpuset, `taskset -ap`) all goes on: what lies in the shards of the
    /// others is stolen from there. But threads that the pools start after `taskset -ap` run on all of the first cores again; a cpuset
    /// holds them.
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
        self.started().map(|reactor| reactor.wakeups()).sum()
    }

    /// How many events of watched descriptors they have seen: hang-ups, never replies.
    pub fn events(&self) -> u64 {
        self.started().map(|reactor| reactor.events()).sum()
    }

    /// How many panics they have survived, each a fault of this crate; see [`Event::ReactorPanicked`](crate::Event::ReactorPanicked).
    pub fn panics(&self) -> u64 {
        self.started().map(|reactor| reactor.panics()).sum()
    }

    /// How many of the reactors that run could not be pinned to their core, which a sandbox may forbid. They run unpinned.
    pub fn unpinned(&self) -> usize {
        self.started().filter(|reactor| reactor.is_unpinned()).count()
    }

    /// How many of them hear of no hang-up any more, because somebody in this process has closed their epoll's descriptor; see
    /// [`Event::Deaf`](crate::Event::Deaf).
    pub fn deaf(&self) -> usize {
        self.started().filter(|reactor| reactor.is_deaf()).count()
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
