//! A key's place in a map: one build of its pool, however many ask for it, and what came of it.
//!
//! An entry is good for one build. Whoever puts it into the table builds; whoever finds it there waits until it is **settled**, and is told
//! the same as all others. One that came to nothing is taken out of the table before anybody is told, and the next call begins
//! another. So nobody ever builds because somebody else has just failed to, and nobody is told of a failure older than their call.
//!
//! **A build must not wait for itself.** `make` is the user's and may ask a map for pools of other keys, whose builds other
//! threads may have begun, who may wait in turn. So all who wait for a build stand in one list of the process, whichever map it
//! is of, each with the build that they wait for; and a build knows the thread that runs it. Whoever is about to wait goes along
//! that chain, from thread to build to thread, and does not wait if it comes back to themselves. Looking and joining the list are
//! one critical section, so of several threads that would close a circle the last one is told. A build that is settled ends a
//! chain, though those who waited for it may not have run since and still stand in the list: they will run, whatever its thread
//! waits for by now.
#![forbid(unsafe_code)]

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::error::BuildError;
use crate::manager::Manager;
use crate::os::clock;
use crate::os::thread;
use crate::pool::Pool;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, OnceLock, lock};

/// What came of a build.
pub(super) type Outcome<M> = Result<Built<M>, BuildError>;

/// A key's place.
pub(super) struct Entry<M: Manager> {
    build: Arc<Build>,
    outcome: OnceLock<Outcome<M>>,
    /// It is not in the table any more, so its pool must not stay open.
    removed: Mutex<bool>,
}

/// A pool, and when it was last seen to be in use.
pub(super) struct Built<M: Manager> {
    pub(super) pool: Pool<M>,
    seen: Mutex<Seen>,
}

struct Seen {
    uses: u64,
    at: u64,
}

/// A build as those see it who wait for it, and who wait for them.
#[derive(Debug)]
struct Build {
    /// Which thread runs it.
    thread: u32,
    settled: AtomicBool,
    waiting: AtomicUsize,
}

/// Which build each thread waits for: one at a time.
type Waiters = BTreeMap<u32, Arc<Build>>;

/// Who waits for which build.
#[cfg(not(corepool_loom))]
static WAITING: Mutex<Waiters> = Mutex::new(BTreeMap::new());

#[cfg(corepool_loom)]
loom::lazy_static! {
    static ref WAITING: Mutex<Waiters> = Mutex::new(BTreeMap::new());
}

impl<M: Manager> Entry<M> {
    /// For a build that this thread is about to run.
    pub(super) fn new() -> Self {
        let build = Build { thread: thread::number(), settled: AtomicBool::new(false), waiting: AtomicUsize::new(0) };
        Entry { build: Arc::new(build), outcome: OnceLock::new(), removed: Mutex::new(false) }
    }

    /// The pool, if it is built.
    #[inline]
    pub(super) fn built(&self) -> Option<&Built<M>> {
        self.outcome.get().and_then(|outcome| outcome.as_ref().ok())
    }

    /// What came of the build. Waits for it.
    ///
    /// # Errors
    /// [`BuildError::Circular`] if the build would wait for this thread.
    pub(super) fn outcome(&self) -> Result<&Outcome<M>, BuildError> {
        if let Some(outcome) = self.outcome.get() {
            return Ok(outcome);
        }
        let _waiting = Waiting::begin(&self.build)?;
        Ok(self.outcome.wait())
    }

    /// Tells what came of the build to those who wait for it, and to those who come later. Once, by the thread that runs it.
    pub(super) fn settle(&self, built: Result<Pool<M>, BuildError>) {
        // Its rest begins now, however long the build took.
        let outcome = built.map(|pool| Built { pool, seen: Mutex::new(Seen { uses: 0, at: clock::now() }) });
        // Relaxed: read by others only under the list's lock, and in a chain only if this thread has joined the list since.
        self.build.settled.store(true, Ordering::Relaxed);
        let removed = {
            let removed = lock(&self.removed);
            let again = self.outcome.set(outcome).is_err();
            debug_assert!(!again, "a build is settled once");
            *removed
        };
        if removed {
            self.close();
        }
    }

    /// It was taken out of the table: its pool is closed, or will be as soon as it is built.
    pub(super) fn close(&self) {
        // Either the build finds the mark when it is settled, or we find its pool.
        *lock(&self.removed) = true;
        if let Some(built) = self.built() {
            built.pool.close();
        }
    }

    /// Whether it has a pool that nobody has used for so long.
    pub(super) fn has_rested(&self, now: u64, idle_for: u64) -> bool {
        let Some(Built { pool, seen }) = self.built() else { return false };
        let (uses, busy) = pool.engine.activity();
        let mut seen = lock(seen);
        if busy || seen.uses != uses {
            *seen = Seen { uses, at: now };
        }
        now.saturating_sub(seen.at) >= idle_for
    }

    /// How many callers wait for the build.
    pub(super) fn waiting(&self) -> usize {
        // Relaxed: a count.
        self.build.waiting.load(Ordering::Relaxed)
    }
}

/// This thread's place in the list.
struct Waiting<'b> {
    build: &'b Build,
}

impl<'b> Waiting<'b> {
    /// Joins the list, unless the build waits for this thread.
    fn begin(build: &'b Arc<Build>) -> Result<Self, BuildError> {
        let me = thread::number();
        let mut list = lock(&WAITING);
        let mut next = Some(build);
        // Relaxed: a thread that went on after its build, and waits for another, has joined the list after it had settled the first.
        while let Some(build) = next.filter(|build| !build.settled.load(Ordering::Relaxed)) {
            if build.thread == me {
                return Err(BuildError::Circular);
            }
            next = list.get(&build.thread);
        }
        list.insert(me, Arc::clone(build));
        // Relaxed: a count.
        build.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(Waiting { build })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Relaxed: a count.
        self.build.waiting.fetch_sub(1, Ordering::Relaxed);
        lock(&WAITING).remove(&thread::number());
    }
}

/// What a panic said.
pub(super) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}
