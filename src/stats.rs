//! A pool in numbers, as a snapshot that prints as a table.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::engine::{Shared, count};
use crate::lockfree::bag::Bag;
use crate::lockfree::bits::SlotId;
use crate::manager::{CloseReason, Manager};
use crate::os::clock;
use crate::sync::lock;

/// What a pool looks like and what it has done so far. From [`Pool::stats`](crate::Pool::stats).
///
/// The states are counted under one lock and agree with each other, but for `idle`, which is read beside those who take and give. The
/// counters only grow; each is exact once the pool is quiet.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Connections open: idle, leased, or being looked at.
    pub open: usize,
    /// Of these, idle.
    pub idle: usize,
    /// Of these, not idle.
    pub leased: usize,
    /// Dials under way.
    pub opening: usize,
    /// Callers that wait.
    pub waiting: usize,
    /// The fewest idle connections that a sweep or a caller who had to wait has seen since the snapshot before this one; by as many the pool
    /// could be smaller.
    pub idle_low: usize,
    /// Callers' uses begun.
    pub leases: u64,
    /// Uses served from another core's shard.
    pub stolen: u64,
    /// The same a second, since the snapshot before this one.
    pub stolen_per_second: f64,
    /// Callers that had to wait, however it ended.
    pub waited: u64,
    /// Of these, those whose time ran out.
    pub timed_out: u64,
    /// Callers refused: by `max_waiters`, by a hook, or because the endpoint is down.
    pub refused: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials that failed or were overdue.
    pub dials_failed: u64,
    /// Connections opened.
    pub opened: u64,
    /// Connections taken out of the pool by [`Lease::detach`](crate::Lease::detach).
    pub detached: u64,
    /// Hooks that outlasted the caller's deadline.
    pub hooks_overran: u64,
    /// Leases held for longer than `hold_limit`.
    pub holds_exceeded: u64,
    /// Reactors that could not be pinned to their core.
    pub unpinned: usize,
    /// How long those who had to wait and got a connection did wait.
    pub waits: WaitTimes,
    /// Each shard by itself.
    pub shards: Vec<ShardStats>,
    closed: [u64; CloseReason::ALL.len()],
}

/// One shard in numbers.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ShardStats {
    /// Connections idle in it.
    pub idle: usize,
    /// Uses by its cores' callers that were served from another shard.
    pub stolen: u64,
}

/// How long callers waited, in powers of two of a microsecond. Those who found an idle connection did not wait and are not in it.
#[derive(Debug, Clone, Default)]
pub struct WaitTimes {
    buckets: [u64; BUCKETS],
}

/// Up to 2^31 µs, which is 36 minutes.
const BUCKETS: usize = 32;

impl WaitTimes {
    /// How many waited and got a connection.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The time that this share of them (0.99: the fastest 99 in 100) waited at most, rounded up to a power of two of a microsecond.
    pub fn percentile(&self, share: f64) -> Duration {
        let rank = (self.count() as f64 * share.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        let reached = self.buckets.iter().position(|bucket| {
            seen += bucket;
            seen >= rank && seen > 0
        });
        reached.map_or(Duration::ZERO, |bucket| Duration::from_micros(1 << bucket))
    }
}

/// The same as it is being counted.
#[derive(Debug)]
pub(crate) struct Waits {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Waits {
    fn default() -> Self {
        Waits { buckets: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Waits {
    pub(crate) fn record(&self, waited: Duration) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX).max(1);
        let bucket = (micros.next_power_of_two().trailing_zeros() as usize).min(BUCKETS - 1);
        count(&self.buckets[bucket]);
    }
}

/// What is counted for each shard, and since the last snapshot.
#[derive(Debug)]
pub(crate) struct Shards {
    stolen: Box<[AtomicU64]>,
    idle_low: AtomicUsize,
    /// When the last snapshot was taken, and what `stolen` was.
    last: Mutex<(u64, u64)>,
}

impl Shards {
    pub(crate) fn new(shards: usize) -> Self {
        Shards {
            stolen: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            idle_low: AtomicUsize::new(usize::MAX),
            last: Mutex::new((clock::now(), 0)),
        }
    }

    /// A caller of this shard has stolen.
    pub(crate) fn note_stolen(&self, shard: usize) {
        count(&self.stolen[shard]);
    }

    /// How often callers of this shard have.
    pub(crate) fn stolen(&self, shard: usize) -> u64 {
        // Relaxed: statistics.
        self.stolen[shard].load(Ordering::Relaxed)
    }

    /// A look at how many are idle.
    pub(crate) fn note_idle<T, R: Clone>(&self, bag: &Bag<T, R>) {
        // Relaxed: statistics.
        self.idle_low.fetch_min(bag.idle().total(), Ordering::Relaxed);
    }

    /// A caller has found none.
    pub(crate) fn note_exhausted(&self) {
        // Relaxed: statistics. Written only where it changes something, since many may wait.
        if self.idle_low.load(Ordering::Relaxed) != 0 {
            self.idle_low.store(0, Ordering::Relaxed);
        }
    }
}

impl Stats {
    /// Connections that left the pool for this reason, counted when they leave.
    pub fn closed(&self, why: CloseReason) -> u64 {
        self.closed[why as usize]
    }

    /// Connections that left the pool to be closed, for whatever reason.
    pub fn closed_in_all(&self) -> u64 {
        self.closed.iter().sum()
    }
}

impl<M: Manager> Shared<M> {
    /// How often the pool has been used, and whether it is just now.
    pub(crate) fn activity(&self) -> (u64, bool) {
        let census = self.bag.census();
        (self.uses(), census.waiting > 0 || census.idle < census.open)
    }

    fn uses(&self) -> u64 {
        (0..self.bag.capacity()).map(|index| self.bag.slot(SlotId::at(index)).uses()).sum()
    }

    /// A snapshot.
    pub(crate) fn stats(&self) -> Stats {
        // Relaxed, here and below: statistics.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let census = self.bag.census();
        let idle = census.idle.min(census.open);
        let stolen: u64 = self.shards.stolen.iter().map(read).sum();
        let stolen_per_second = {
            let mut last = lock(&self.shards.last);
            let now = clock::now();
            let (then, before) = std::mem::replace(&mut *last, (now, stolen));
            stolen.saturating_sub(before) as f64 / clock::until(now, then).as_secs_f64().max(1e-9)
        };
        Stats {
            open: census.open,
            idle,
            leased: census.open - idle,
            opening: census.opening,
            waiting: census.waiting,
            idle_low: self.shards.idle_low.swap(idle, Ordering::Relaxed).min(idle),
            leases: self.uses(),
            stolen,
            stolen_per_second,
            waited: read(&self.counts.waited),
            timed_out: read(&self.counts.timed_out),
            refused: read(&self.counts.refused),
            dials: read(&self.counts.dials),
            dials_failed: read(&self.counts.dials_failed),
            opened: read(&self.counts.opened),
            detached: read(&self.counts.detached),
            hooks_overran: read(&self.counts.hooks_overran),
            holds_exceeded: read(&self.counts.holds_exceeded),
            unpinned: self.reactors.unpinned(),
            waits: WaitTimes { buckets: std::array::from_fn(|bucket| read(&self.waits.buckets[bucket])) },
            shards: (0..self.bag.shards())
                .map(|shard| ShardStats { idle: self.bag.idle().count(shard), stolen: self.shards.stolen(shard) })
                .collect(),
            closed: CloseReason::ALL.map(|why| self.closer.count(why)),
        }
    }

    /// Connections that have left the pool: to be closed, or with whoever detached them.
    pub(crate) fn gone(&self) -> u64 {
        // Relaxed: statistics.
        self.closer.count_all() + self.counts.detached.load(Ordering::Relaxed)
    }

    /// Whether every connection that was opened is in the pool or was counted when it left: so once nothing is under way.
    pub(crate) fn balances(&self) -> Result<(), String> {
        // Relaxed: statistics.
        let (opened, open, gone) = (self.counts.opened.load(Ordering::Relaxed), self.bag.census().open, self.gone());
        if opened == open as u64 + gone { Ok(()) } else { Err(format!("{opened} opened, {open} open, {gone} gone")) }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row =
            |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<24}{value:>14}");
        let states: [(&str, usize); 6] = [
            ("open", self.open),
            ("  idle", self.idle),
            ("  leased", self.leased),
            ("opening", self.opening),
            ("waiting", self.waiting),
            ("fewest idle", self.idle_low),
        ];
        states.iter().try_for_each(|(name, value)| row(f, name, value))?;
        let counters: [(&str, u64); 10] = [
            ("leases", self.leases),
            ("  stolen", self.stolen),
            ("  waited", self.waited),
            ("timed out", self.timed_out),
            ("refused", self.refused),
            ("hooks overran", self.hooks_overran),
            ("holds exceeded", self.holds_exceeded),
            ("dials", self.dials),
            ("  failed", self.dials_failed),
            ("opened", self.opened),
        ];
        counters.iter().try_for_each(|(name, value)| row(f, name, value))?;
        row(f, "closed", &self.closed_in_all())?;
        for why in CloseReason::ALL.into_iter().filter(|why| self.closed(*why) > 0) {
            row(f, &format!("  {}", why.name()), &self.closed(why))?;
        }
        if self.detached > 0 {
            row(f, "detached", &self.detached)?;
        }
        if self.waits.count() > 0 {
            let at_most = [("  p50", 0.5), ("  p99", 0.99), ("  p99.9", 0.999)];
            row(f, "waits that were served", &self.waits.count())?;
            let rows = |(name, share): &(&str, f64)| row(f, name, &format!("{:?}", self.waits.percentile(*share)));
            at_most.iter().try_for_each(rows)?;
        }
        for (number, shard) in self.shards.iter().enumerate().filter(|_| self.shards.len() > 1) {
            writeln!(f, "shard {number:<4} {:>10} idle {:>14} stolen", shard.idle, shard.stolen)?;
        }
        Ok(())
    }
}
