//! What a pool counts off the hot path, and what its shards count beside it.
#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::os::clock;
use crate::sync::lock;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    Waited,
    TimedOut,
    Refused,
    Dials,
    DialsFailed,
    Opened,
    Detached,
    HooksOverran,
    HoldsExceeded,
}

const COUNTS: usize = Count::HoldsExceeded as usize + 1;

/// The counters of a pool and of each of its shards.
#[derive(Debug)]
pub(crate) struct Counters {
    counts: [AtomicU64; COUNTS],
    /// Uses by each shard's callers that were served from another one.
    stolen: Box<[AtomicU64]>,
    /// The fewest idle connections seen since the last snapshot.
    idle_low: AtomicUsize,
    /// When the last snapshot was taken, and how many uses were stolen by then.
    last: Mutex<(u64, u64)>,
}

impl Counters {
    pub(crate) fn new(shards: usize) -> Self {
        Counters {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            stolen: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            idle_low: AtomicUsize::new(usize::MAX),
            last: Mutex::new((clock::now(), 0)),
        }
    }

    /// One more.
    pub(crate) fn add(&self, what: Count) {
        // Relaxed: statistics.
        self.counts[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, what: Count) -> u64 {
        self.counts[what as usize].load(Ordering::Relaxed)
    }

    /// A caller of this shard has stolen.
    pub(crate) fn add_stolen(&self, shard: usize) {
        // Relaxed: statistics.
        self.stolen[shard].fetch_add(1, Ordering::Relaxed);
    }

    /// How often callers of this shard have.
    pub(crate) fn stolen(&self, shard: usize) -> u64 {
        self.stolen[shard].load(Ordering::Relaxed)
    }

    /// How often callers of all shards have, and how often a second since this was asked last.
    pub(crate) fn all_stolen(&self) -> (u64, f64) {
        let stolen = (0..self.stolen.len()).map(|shard| self.stolen(shard)).sum();
        let mut last = lock(&self.last);
        let now = clock::now();
        let (then, before) = std::mem::replace(&mut *last, (now, stolen));
        let seconds = clock::until(now, then).as_secs_f64().max(1e-9);
        (stolen, stolen.saturating_sub(before) as f64 / seconds)
    }

    /// A look at how many are idle.
    pub(crate) fn saw_idle(&self, idle: usize) {
        // Relaxed: statistics. Written only where it changes something, since many may wait.
        if self.idle_low.load(Ordering::Relaxed) > idle {
            self.idle_low.fetch_min(idle, Ordering::Relaxed);
        }
    }

    /// The fewest idle ones since this was asked last, `idle` being how many there are now.
    pub(crate) fn take_idle_low(&self, idle: usize) -> usize {
        // Relaxed: statistics.
        self.idle_low.swap(idle, Ordering::Relaxed).min(idle)
    }
}
