//! Background threads: for what is the user's, or waits for the user's, and may block.
//!
//! What runs on them: dials, farewells, pings, the observer's calls, a [`PoolMap`](crate::PoolMap)'s look for pools that nobody uses
//! (it compares and drops keys), and the drop of what a thread that must not run the user's code held last ([`drop_elsewhere`]).
//!
//! Elastic: a job goes to a thread that waits for one, and to a new thread if none does. A channel without capacity says which: it
//! takes a job only while somebody stands at its other end. A thread that had no job for ten seconds ends. Shared by all pools of
//! the process; the *number* of jobs is bounded by each pool, so that one whose endpoint is a black hole cannot take the threads
//! of another.
#![forbid(unsafe_code)]

use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use crate::os::contain::contain;
use crate::os::sys;
use crate::os::topology::Topology;
use crate::sync::lock;

/// What runs in the background. A panic in it is contained.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// A thread that waits longer than this ends; a burst of dials then costs a few thread starts, 50 µs each.
const LINGER: Duration = Duration::from_secs(10);

/// What must run some time, and no thread could be started for.
static LEFT: Mutex<Vec<Job>> = Mutex::new(Vec::new());

/// Clients run their handshakes here: TLS libraries take some hundred KiB.
const STACK: usize = 1 << 20;

fn channel() -> &'static (Sender<Job>, Receiver<Job>) {
    static CHANNEL: OnceLock<(Sender<Job>, Receiver<Job>)> = OnceLock::new();
    CHANNEL.get_or_init(|| bounded(0))
}

/// Runs a job on a background thread. Does not block. The job comes back, with the reason, if no thread could be started.
pub(crate) fn run(job: Job) -> Result<(), (Job, io::Error)> {
    #[cfg(any(test, fuzzing))]
    let job = match crate::sync::turns::spawn(Box::new(move || drop(contain(job)))) {
        Ok(()) => return Ok(()),
        Err(job) => job,
    };
    let job = match channel().0.try_send(job) {
        Ok(()) => return Ok(()),
        Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job,
    };
    // The first job reaches its thread through a channel of its own, so that it is not lost when the thread cannot be started.
    let (hand_over, first) = bounded(1);
    let name = std::thread::Builder::new().name("corepool-bg".into()).stack_size(STACK);
    match sys::spawn_without_signals(name, move || serve(first)) {
        Ok(()) => hand_over.send(job).map_err(|job| (job.0, io::Error::other("the background thread ended at once"))),
        Err(error) => Err((job, error)),
    }
}

/// The same; and if no thread could be started, a background thread runs it when it has ended another job: never here, and never lost.
pub(crate) fn run_some_time(job: Job) {
    if let Err((job, _)) = run(job) {
        lock(&LEFT).push(job);
    }
}

fn serve(first: Receiver<Job>) {
    unpin();
    let Ok(mut job) = first.recv() else { return };
    loop {
        // What a panicking hook means is settled by the job itself; this keeps the thread.
        let _ = contain(job);
        while let Some(left) = take_left() {
            let _ = contain(left);
        }
        match channel().1.recv_timeout(LINGER) {
            Ok(next) => job = next,
            Err(_) => return,
        }
    }
}

fn take_left() -> Option<Job> {
    lock(&LEFT).pop()
}

/// A thread inherits its creator's affinity: a pool first used in a pinned worker would do all of the above on that
/// latency-critical core for ever.
fn unpin() {
    let mut set = rustix::thread::CpuSet::new();
    for core in Topology::of_process().all_ids() {
        if core < rustix::thread::CpuSet::MAX_CPU {
            set.set(core);
        }
    }
    // Forbidden by a sandbox: then the thread stays where its creator was.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Lets go of a handle on a thread that must not run the user's code: if it was the last one, what it holds is dropped in the
/// background. Not by a look at the count, which somebody else may lower after the look.
pub(crate) fn drop_elsewhere<T: Send + Sync + 'static>(handle: Arc<T>) {
    if let Some(last) = Arc::into_inner(handle) {
        run_some_time(Box::new(move || drop(last)));
    }
}
