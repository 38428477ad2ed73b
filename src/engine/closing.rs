//! Closing: the ends of connections, on background threads, each with a deadline.
//!
//! Some clients block in their farewell until the peer answers, so a close may take for ever, and must not be on anybody's way:
//! not a caller's, not a reactor's, not another pool's. A few background threads a pool close one connection after another.
//!
//! **Each end is bounded from its beginning.** A farewell has `close_timeout` from the moment when its connection left the pool, whether
//! its turn has come by then or not; after that the sockets that the pool watches are shut down under it. One that still does not
//! end, for as long again, *hangs*: its thread is given up, and its place is free. Few may hang; beyond that the places are kept, so
//! that a client that never lets go of its descriptors cannot make the pool take ever more of them.
//!
//! **Room.** A connection that is being closed still has its descriptors and its place at the peer. So the bag counts them until they
//! are closed, and dials only while there is room. Where a dial waits for room, the oldest farewell is cut short.
//!
//! The order: the watch ends, then the manager closes the connection, then the pool's duplicates of its sockets go. The peer sees the
//! end when the last of them closes. A connection whose peer has hung up has its sockets shut down at once, so its farewell cannot
//! block.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::resident::Resident;
use super::told::Told;
use crate::manager::{CloseReason, Manager};
use crate::observe::{Event, Observing};
use crate::os::background;
use crate::os::clock::{self, NEVER, nanos};
use crate::os::contain::contain;
use crate::os::sys::probes;
use crate::settings::CLOSES_AT_ONCE;
use crate::sync::{Condvar, Mutex, Nap, lock, nap};
use crate::watch::duplicate::Duplicate;
use crate::watch::handler::Handler;
use crate::watch::reactor::{Reactor, Timer};
use crate::watch::reactors::Reactors;

/// Who is told, once for each connection, that it is closed or has been given up: the pool, which counts them.
pub(crate) trait Room: Send + Sync {
    /// There is room for one more.
    fn closed(&self);

    /// Lets go of this handle. If it is the last one, what it holds of the user's must not be dropped on this thread.
    fn release(self: Arc<Self>);
}

/// Closes the connections of one pool. Outlives the pool until the last of them is closed.
pub(crate) struct Closer<M: Manager> {
    me: Weak<Self>,
    state: Mutex<State<M>>,
    /// Rung when the last close has ended.
    finished: Condvar,
    left: [AtomicU64; CloseReason::ALL.len()],
    timeout: AtomicU64,
    room: Weak<dyn Room>,
    timer: Arc<Timer>,
    /// Keeps the reactor's thread until the last close has ended.
    _reactors: Reactors,
    observing: Arc<Observing>,
}

struct State<M: Manager> {
    queue: VecDeque<(u64, Resident<M>, CloseReason)>,
    /// Those in the queue and those under way, in the order in which they left.
    farewells: BTreeMap<u64, Farewell>,
    numbers: u64,
    /// Those that are over.
    ended: u64,
    /// Farewells to be cut as soon as they come: room was wanted before they were here.
    owed: usize,
    /// Of the farewells, those that nobody has cut yet, in order: thousands may stand in line while room is wanted for each.
    patient: BTreeSet<u64>,
    /// Background threads that take from the queue.
    threads: usize,
    hung: usize,
}

/// The end of one connection.
#[derive(Debug)]
struct Farewell {
    left: u64,
    /// When its turn came.
    begun: Option<u64>,
    /// Its sockets are shut down.
    cut: bool,
    /// It has been given up.
    hung: bool,
    sockets: Arc<[Duplicate]>,
}

/// After no background thread could be started, the next try.
const RETRY: Duration = Duration::from_millis(100);

/// Farewells that may hang, each with a thread and its connection's descriptors. A model has few threads.
const HUNG: usize = if cfg!(corepool_loom) { 1 } else { 16 };

impl Farewell {
    fn cut(&mut self) {
        self.cut = true;
        self.sockets.iter().for_each(Duplicate::shut_down);
    }

    /// When it is to be cut or, after that, when it hangs.
    fn due(&self, timeout: u64) -> u64 {
        let cut_due = self.left.saturating_add(timeout);
        match self.begun {
            _ if self.hung => NEVER,
            _ if !self.cut => cut_due,
            Some(begun) => cut_due.max(begun).saturating_add(timeout),
            None => NEVER,
        }
    }
}

impl<M: Manager> Closer<M> {
    pub(crate) fn new(
        timeout: Duration,
        room: Weak<dyn Room>,
        reactor: &Arc<Reactor>,
        reactors: Reactors,
        observing: Arc<Observing>,
    ) -> Arc<Self> {
        let (queue, farewells, patient) = (VecDeque::new(), BTreeMap::new(), BTreeSet::new());
        Arc::new_cyclic(|me| Closer {
            me: Weak::clone(me),
            state: Mutex::new(State { queue, farewells, numbers: 0, ended: 0, owed: 0, patient, threads: 0, hung: 0 }),
            finished: Condvar::new(),
            left: std::array::from_fn(|_| AtomicU64::new(0)),
            timeout: AtomicU64::new(nanos(timeout)),
            room,
            timer: reactor.serve(me.clone()),
            _reactors: reactors,
            observing,
        })
    }

    pub(crate) fn set_timeout(&self, timeout: Duration) {
        // Relaxed: a setting.
        self.timeout.store(nanos(timeout), Ordering::Relaxed);
        // A shorter one may be over for some.
        self.timer.remind(clock::now());
    }

    fn timeout(&self) -> u64 {
        // Relaxed: a setting.
        self.timeout.load(Ordering::Relaxed)
    }

    /// Has a connection closed in the background. Does not block.
    pub(crate) fn close(&self, resident: Resident<M>, why: CloseReason, cause: Option<Told>) {
        let left = clock::now();
        // The room is the pool, at its address.
        probes::close(self.room.as_ptr().cast::<()>().addr(), why.name().as_ptr().addr(), why.name().len());
        let sockets = Arc::clone(&resident.sockets);
        let mut farewell = Farewell { left, begun: None, cut: false, hung: false, sockets };
        if why == CloseReason::PeerClosed {
            farewell.cut();
        }
        {
            let mut state = lock(&self.state);
            state.numbers += 1;
            let number = state.numbers;
            if state.owed > 0 && !farewell.cut {
                state.owed -= 1;
                farewell.cut();
            }
            if !farewell.cut {
                state.patient.insert(number);
            }
            state.farewells.insert(number, farewell);
            state.queue.push_back((number, resident, why));
            // Relaxed: statistics. Under the lock, so that whoever waits for the last one counts none that is not in the queue.
            self.left[why as usize].fetch_add(1, Ordering::Relaxed);
            // Before anybody can close it, and tell of that.
            self.observing.tell(|| Event::Discarded { why, cause: cause.as_ref().map(Told::cause) });
        }
        self.timer.remind(left.saturating_add(self.timeout()));
        self.staff();
    }

    /// Room is wanted for so many: cuts the oldest farewells short.
    pub(crate) fn hasten(&self, wanted: usize) {
        let mut state = lock(&self.state);
        let State { farewells, patient, hung, owed, .. } = &mut *state;
        // Those that were cut before will be gone soon.
        let coming = farewells.len() - patient.len() - *hung;
        let wanted = wanted.saturating_sub(coming);
        let mut cut = 0;
        while cut < wanted
            && let Some(number) = patient.pop_first()
        {
            farewells.get_mut(&number).into_iter().for_each(Farewell::cut);
            cut += 1;
        }
        // The rest have left the bag, and are on their way here.
        *owed = wanted - cut;
    }

    /// How many connections left for this reason.
    pub(crate) fn count(&self, why: CloseReason) -> u64 {
        // Relaxed: statistics.
        self.left[why as usize].load(Ordering::Relaxed)
    }

    /// How many left, for whatever reason.
    pub(crate) fn count_all(&self) -> u64 {
        CloseReason::ALL.iter().map(|why| self.count(*why)).sum()
    }

    /// How many have been closed, and how many are being closed.
    pub(crate) fn tally(&self) -> (u64, usize) {
        let state = lock(&self.state);
        (state.ended, state.farewells.len())
    }

    /// How many hang, if no more may.
    pub(crate) fn full(&self) -> Option<usize> {
        let hung = lock(&self.state).hung;
        (hung >= HUNG).then_some(hung)
    }

    /// Sleeps until nothing is left to close and `gone` says that nothing more will come, or until the deadline.
    pub(crate) fn wait_until_finished(&self, deadline: u64, gone: impl Fn() -> bool) {
        let mut state = lock(&self.state);
        loop {
            let left = clock::until(deadline, clock::now());
            if state.farewells.is_empty() && gone() || left.is_zero() {
                return;
            }
            state = nap(&self.finished, state, &self.state, Nap::For(left));
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
            self.timer.remind(clock::now() + nanos(RETRY));
        }
    }

    fn serve(&self) {
        while let Some((number, resident, why)) = self.next() {
            self.finish(resident, why);
            let ended = {
                let mut state = lock(&self.state);
                let ended = state.farewells.remove(&number);
                state.patient.remove(&number);
                // The room that this makes is weighed anew, and what is still wanted is asked for again.
                state.owed = 0;
                state.hung -= ended.iter().filter(|farewell| farewell.hung).count();
                state.ended += 1;
                if state.farewells.is_empty() {
                    self.finished.notify_all();
                }
                ended
            };
            // With the last of its descriptors the peer sees the end.
            let Some((left, hung)) = ended.map(|farewell| (farewell.left, farewell.hung)) else { return };
            let took = clock::until(clock::now(), left);
            self.observing.tell(|| Event::Closed { why, took });
            if hung {
                // This thread and this place were given up: others have taken over.
                return;
            }
            self.make_room();
        }
    }

    /// The next to close; none: this thread is not needed any more.
    fn next(&self) -> Option<(u64, Resident<M>, CloseReason)> {
        let mut state = lock(&self.state);
        let next = state.queue.pop_front();
        let Some((number, ..)) = &next else {
            state.threads -= 1;
            return None;
        };
        if let Some(farewell) = state.farewells.get_mut(number) {
            farewell.begun = Some(clock::now());
            let due = farewell.due(self.timeout());
            drop(state);
            self.timer.remind(due);
        }
        next
    }

    /// Closes one connection. Blocks as long as the manager does.
    fn finish(&self, resident: Resident<M>, why: CloseReason) {
        let Resident { registrations, connection, manager, sockets } = resident;
        drop(registrations);
        // The farewell is the user's code: a panic in it ends here. So does the drop of the last handle to a replaced manager.
        let _ = contain(move || manager.close(connection, why));
        drop(sockets);
    }

    fn make_room(&self) {
        if let Some(room) = self.room.upgrade() {
            room.closed();
            room.release();
        }
    }
}

impl<M: Manager> Handler for Closer<M> {
    fn hung_up(&self, _key: u64) {}

    fn tick(&self, now: u64) -> u64 {
        let timeout = self.timeout();
        let mut given_up = 0;
        {
            let mut state = lock(&self.state);
            let State { farewells, patient, threads, hung, owed, .. } = &mut *state;
            for (number, farewell) in farewells.iter_mut().filter(|(_, farewell)| farewell.due(timeout) <= now) {
                if !farewell.cut {
                    farewell.cut();
                    patient.remove(number);
                } else if *hung < HUNG {
                    farewell.hung = true;
                    *hung += 1;
                    *threads -= 1;
                    given_up += 1;
                    *owed = 0;
                }
            }
        }
        (0..given_up).for_each(|_| self.make_room());
        self.staff();
        let state = lock(&self.state);
        let stranded = state.threads == 0 && !state.queue.is_empty();
        let retry = if stranded { now + nanos(RETRY) } else { NEVER };
        // What is due already hangs, and has to wait for another to come back.
        let dues = state.farewells.values().map(|farewell| farewell.due(timeout)).filter(|due| *due > now);
        dues.min().unwrap_or(NEVER).min(retry)
    }

    fn survived(&self, panics: u64) {
        self.observing.tell(|| Event::ReactorPanicked { panics });
    }

    fn release(self: Arc<Self>) {
        background::drop_elsewhere(self);
    }
}
