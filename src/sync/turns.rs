//! Turns: threads of a simulation, of which one runs at a time, on a clock that only sleep moves.
//!
//! The engine's tests cannot say when its background threads run, and an outage of an hour takes one. In a simulation both are chosen: the
//! doors lead here (the clock, locks, sleep, background threads, a reactor's thread), and whoever runs goes on until they sleep, or until a
//! choice has them pass the turn on at one of the doors. All choices come from a seed, or from bytes that a fuzzer makes up, so that a run
//! can be had again. When nobody is ready, the clock goes on to the next time at which anybody is due.
//!
//! Each is a thread of the system, which waits for its turn: nothing in the engine is changed for this, and a lock that is held while user
//! code sleeps is found, since its waiters then wait for too long.
//!
//! A fault ends the process, with the seed: threads that are stuck in the middle of something cannot be unwound.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar as Bell, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What one of the threads does.
type Job = Box<dyn FnOnce() + Send>;

/// A time that never comes.
const NEVER: u64 = u64::MAX;

/// One in so many passages through a door passes the turn on.
const PASSES: usize = 24;

/// Looks at one lock that somebody else holds, 10 µs apart, before that is a fault: two seconds.
const PATIENCE: u32 = 200_000;

/// Where choices come from: bytes first, as long as there are any, then a generator that was seeded.
#[derive(Debug)]
pub(crate) struct Choices {
    bytes: VecDeque<u8>,
    state: u64,
}

impl Choices {
    pub(crate) fn seeded(seed: u64) -> Choices {
        // Never zero, of which the generator would make nothing but zeros.
        Choices { bytes: VecDeque::new(), state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_bytes(bytes: &[u8]) -> Choices {
        Choices { bytes: bytes.iter().copied().collect(), ..Choices::seeded(bytes.len() as u64) }
    }

    /// One of so many, before the simulation begins.
    pub(crate) fn first(&mut self, below: usize) -> usize {
        self.below(below as u64) as usize
    }

    fn word(&mut self) -> u64 {
        // xorshift*: any sequence that spreads will do.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, most: u64) -> u64 {
        match self.bytes.pop_front() {
            Some(byte) if most <= 256 => u64::from(byte) % most,
            _ => (self.word() >> 11) % most,
        }
    }
}

/// All threads of one simulation.
struct Stage {
    state: Mutex<State>,
    name: String,
}

struct State {
    now: u64,
    /// Whose turn it is.
    turn: usize,
    actors: Vec<Actor>,
    ready: Vec<usize>,
    choices: Choices,
    /// A running digest of all that was chosen, to compare two runs by.
    trace: u64,
    over: bool,
}

/// One thread.
struct Actor {
    bell: Arc<Bell>,
    job: Option<Job>,
    /// Asleep until then.
    due: Option<u64>,
    idle: bool,
    thread: Option<JoinHandle<()>>,
}

thread_local!(static RESTS: Cell<i64> = const { Cell::new(0) });
thread_local!(static HERE: RefCell<Option<(Arc<Stage>, usize)>> = const { RefCell::new(None) });

fn here() -> Option<(Arc<Stage>, usize)> {
    // A thread that ends has left the stage.
    HERE.try_with(|here| here.borrow().clone()).ok().flatten()
}

/// Whether this thread is one of a simulation.
pub(crate) fn is_on() -> bool {
    HERE.try_with(|here| here.borrow().is_some()).unwrap_or(false)
}

impl Stage {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A fault: says so, and ends the process.
    fn fail(&self, what: &str) -> ! {
        // Past the capture of a test's output, which ends with the process.
        let _ = writeln!(std::io::stderr(), "\nsimulation of {}: {what}", self.name);
        std::process::abort()
    }

    /// Gives the turn to whoever is chosen, and returns when it is this one's again.
    fn pass<'s>(&'s self, mut state: MutexGuard<'s, State>, me: usize) -> MutexGuard<'s, State> {
        if state.ready.is_empty() {
            let next = state.actors.iter().filter_map(|actor| actor.due).min().unwrap_or(NEVER);
            if next == NEVER {
                self.fail("nobody is ready, and nobody is due: all sleep for ever");
            }
            state.now = state.now.max(next);
        }
        let now = state.now;
        let State { actors, ready, .. } = &mut *state;
        for (place, actor) in actors.iter_mut().enumerate().filter(|(_, actor)| actor.due.is_some_and(|due| due <= now))
        {
            actor.due = None;
            ready.push(place);
        }
        let ready = state.ready.len() as u64;
        let chosen = state.choose(ready) as usize;
        let next = state.ready.swap_remove(chosen);
        state.turn = next;
        if next != me {
            let bell = Arc::clone(&state.actors[next].bell);
            bell.notify_one();
            let own = Arc::clone(&state.actors[me].bell);
            while state.turn != me && !state.over {
                state = own.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        }
        state
    }

    /// The life of a thread: one job after another.
    fn act(self: Arc<Self>, me: usize) {
        HERE.set(Some((Arc::clone(&self), me)));
        let mut state = self.lock();
        let bell = Arc::clone(&state.actors[me].bell);
        loop {
            while state.turn != me && !state.over {
                state = bell.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            if state.over {
                break;
            }
            if let Some(job) = state.actors[me].job.take() {
                fastrand::seed(state.choices.word());
                drop(state);
                if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
                    self.fail(&format!("a thread has panicked: {}", message(&*payload)));
                }
                state = self.lock();
            }
            state.actors[me].idle = true;
            state = self.pass(state, me);
        }
        drop(state);
        HERE.set(None);
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("of no text")
}

impl State {
    fn choose(&mut self, below: u64) -> u64 {
        let chosen = if below > 1 { self.choices.below(below) } else { 0 };
        self.trace = (self.trace ^ chosen ^ self.now).wrapping_mul(0x0100_0000_01b3);
        chosen
    }
}

/// Runs `driver` as the first thread of a simulation, whose clock begins at `begin`. Returns when it has, and all others have no more to
/// do; with a digest of all that happened.
pub(crate) fn simulate<R>(name: &str, begin: u64, choices: Choices, driver: impl FnOnce() -> R) -> (R, u64) {
    // One runs at a time: on one core a turn is passed ten times as fast.
    let cores = rustix::thread::sched_getaffinity(None);
    let mut one = rustix::thread::CpuSet::new();
    one.set(rustix::thread::sched_getcpu());
    let _ = rustix::thread::sched_setaffinity(None, &one);
    let state = State { now: begin, turn: 0, actors: Vec::new(), ready: Vec::new(), choices, trace: 0, over: false };
    let stage = Arc::new(Stage { state: Mutex::new(state), name: name.to_owned() });
    let bell = Arc::default();
    stage.lock().actors.push(Actor { bell, job: None, due: None, idle: false, thread: None });
    fastrand::seed(stage.lock().choices.word());
    HERE.set(Some((Arc::clone(&stage), 0)));
    let result = match catch_unwind(AssertUnwindSafe(driver)) {
        Ok(result) => result,
        Err(payload) => stage.fail(&format!("its driver has panicked: {}", message(&*payload))),
    };
    let begun = stage.lock().now;
    while stage.lock().actors[1..].iter().any(|actor| !actor.idle) {
        if stage.lock().now.saturating_sub(begun) > 600_000_000_000 {
            stage.fail("some threads do not end");
        }
        sleep(Duration::from_millis(100));
    }
    HERE.set(None);
    let (threads, trace) = {
        let mut state = stage.lock();
        state.over = true;
        state.actors.iter().for_each(|actor| actor.bell.notify_all());
        (state.actors.iter_mut().filter_map(|actor| actor.thread.take()).collect::<Vec<_>>(), state.trace)
    };
    threads.into_iter().for_each(|thread| drop(thread.join()));
    let _ = cores.map(|cores| rustix::thread::sched_setaffinity(None, &cores));
    (result, trace)
}

/// The simulation's time, in nanoseconds. A look at it takes some time, and may pass the turn on.
pub(crate) fn now() -> Option<u64> {
    let (stage, me) = here()?;
    let mut state = stage.lock();
    state.now = state.now.saturating_add(20);
    if state.choose(PASSES as u64) == 1 {
        state.ready.push(me);
        state = stage.pass(state, me);
    }
    Some(state.now)
}

/// The core that this thread of a simulation runs on.
pub(crate) fn core() -> Option<usize> {
    here().map(|(_, me)| me)
}

/// One of so many.
pub(crate) fn pick(below: usize) -> usize {
    here().map_or(0, |(stage, _)| stage.lock().choose(below as u64) as usize)
}

/// Runs a job on a thread of the simulation; `Err`: there is none.
pub(crate) fn spawn(job: Job) -> Result<(), Job> {
    let Some((stage, _)) = here() else { return Err(job) };
    let mut state = stage.lock();
    if let Some(place) = state.actors.iter().position(|actor| actor.idle) {
        (state.actors[place].job, state.actors[place].idle) = (Some(job), false);
        state.ready.push(place);
        return Ok(());
    }
    let (place, begins) = (state.actors.len(), Arc::clone(&stage));
    let thread = thread::Builder::new().stack_size(512 << 10).spawn(move || begins.act(place));
    let thread = thread.unwrap_or_else(|error| stage.fail(&format!("no thread: {error}")));
    let bell = Arc::default();
    state.actors.push(Actor { bell, job: Some(job), due: None, idle: false, thread: Some(thread) });
    state.ready.push(place);
    Ok(())
}

/// How often this thread of a simulation has slept. How often it really did, waiting for its turn, is the machine's affair.
pub(crate) fn rests() -> Option<i64> {
    is_on().then(|| RESTS.get())
}

/// Sleeps for so long on the simulation's clock.
pub(crate) fn sleep(length: Duration) {
    let Some((stage, me)) = here() else { return };
    let length = u64::try_from(length.as_nanos()).unwrap_or(NEVER);
    RESTS.set(RESTS.get() + 1);
    let mut state = stage.lock();
    // Whoever sleeps for ever is due one tick before never.
    state.actors[me].due = Some(state.now.saturating_add(length).min(NEVER - 1));
    drop(stage.pass(state, me));
}

/// A door: the turn may be passed on.
fn pass() {
    let Some((stage, me)) = here() else { return };
    let mut state = stage.lock();
    if state.choose(PASSES as u64) == 1 {
        state.ready.push(me);
        drop(stage.pass(state, me));
    }
}

/// Locks; nobody but the threads of a simulation can hold it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    pass();
    for _ in 0..PATIENCE {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => sleep(Duration::from_micros(10)),
        }
    }
    match here() {
        Some((stage, _)) => stage.fail("a lock is held for two seconds"),
        None => mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner()),
    }
}

/// A condition variable that is the system's outside of a simulation.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    real: Bell,
    /// Who sleeps on it, in a simulation.
    sleepers: Mutex<Vec<usize>>,
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Condvar::default()
    }

    pub(crate) fn notify_one(&self) {
        self.real.notify_one();
        self.wake(1);
    }

    pub(crate) fn notify_all(&self) {
        self.real.notify_all();
        self.wake(usize::MAX);
    }

    fn sleepers(&self) -> MutexGuard<'_, Vec<usize>> {
        self.sleepers.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wake(&self, most: usize) {
        let Some((stage, _)) = here() else { return };
        let mut state = stage.lock();
        let mut sleepers = self.sleepers();
        let woken = sleepers.len().min(most);
        for place in sleepers.drain(..woken) {
            // One whose time has come is ready already.
            if state.actors[place].due.take().is_some() {
                state.ready.push(place);
            }
        }
    }

    /// The system's sleep. May return early.
    pub(super) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>, left: Option<Duration>) -> MutexGuard<'a, T> {
        match left {
            None => self.real.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner()),
            Some(left) => self.real.wait_timeout(guard, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0,
        }
    }

    /// The simulation's: nobody else runs between the unlock and the sleep.
    pub(super) fn sleep<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        mutex: &'a Mutex<T>,
        left: Duration,
    ) -> MutexGuard<'a, T> {
        if let Some((_, me)) = here() {
            self.sleepers().push(me);
            drop(guard);
            sleep(left);
            self.sleepers().retain(|sleeper| *sleeper != me);
            return lock(mutex);
        }
        guard
    }
}
