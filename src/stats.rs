//! A pool in numbers, as a snapshot that prints as a table.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use crate::manager::CloseReason;

/// What a pool looks like and what it has done so far. From [`Pool::stats`](crate::Pool::stats).
///
/// The states are counted under one lock and agree with each other, but for `idle`, which is read beside those who take and give. The
/// counters only grow; each is exact once the pool is quiet.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
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
    /// Connections that have left the pool and are not closed yet.
    pub closing: usize,
    /// The fewest idle connections that a sweep, or a caller who had to wait, has seen in this minute of the pool's clock and in the one
    /// before: so in the last one to two minutes. By as many the pool could be smaller. Who reads it changes nothing, so all who read it
    /// within a moment see the same.
    pub idle_low: usize,
    /// Callers' uses begun.
    pub leases: u64,
    /// Uses served from another core's shard. A rate is the difference of two snapshots by the time between them.
    pub stolen: u64,
    /// Callers that had to wait, however it ended.
    pub waited: u64,
    /// Of these, those whose time ran out.
    pub timed_out: u64,
    /// Callers refused: by `max_waiters`, by a hook, or because the endpoint is down.
    pub refused: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials that failed or were overdue; also connections that were no good before anybody had used them: discarded by `on_checkout`, by
    /// a first ping, or for bytes that nobody asked for.
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
    /// How long uses lasted, from the lease to its return: of each 1,024th use of a slot, by its own counter, so that the others read no
    /// clock. A use that does not return (discarded, condemned, detached) is not in it.
    pub holds: WaitTimes,
    /// Each shard by itself.
    pub shards: Vec<ShardStats>,
    #[cfg_attr(feature = "serde", serde(serialize_with = "by_reason"))]
    pub(crate) closed: [u64; CloseReason::ALL.len()],
}

/// One shard in numbers.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ShardStats {
    /// Connections idle in it.
    pub idle: usize,
    /// Uses by its cores' callers that were served from another shard.
    pub stolen: u64,
}

/// How long something took, in powers of two of a microsecond: waits ([`Stats::waits`]), of which those who found an idle connection are
/// none; or uses ([`Stats::holds`]).
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct WaitTimes {
    buckets: [u64; WaitTimes::BUCKETS],
    nanos: u64,
}

impl WaitTimes {
    /// Up to 2^31 µs, which is 36 minutes.
    pub(crate) const BUCKETS: usize = 32;

    pub(crate) fn new(buckets: [u64; Self::BUCKETS], nanos: u64) -> Self {
        WaitTimes { buckets, nanos }
    }

    /// Where one of this length is counted.
    pub(crate) fn bucket_of(waited: Duration) -> usize {
        // What is left of a microsecond counts as one: nothing is in a bucket that it took longer than.
        let begun = u64::from(waited.subsec_nanos().div_ceil(1_000));
        let micros = waited.as_secs().saturating_mul(1_000_000).saturating_add(begun).clamp(1, 1 << 32);
        (micros.next_power_of_two().trailing_zeros() as usize).min(Self::BUCKETS - 1)
    }

    /// Each bucket: what those in it took at most, and how many they are. For a histogram elsewhere; the first is of up to 1 µs, the last
    /// of all that took longer than the one before it.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.buckets.iter().enumerate().map(|(bucket, count)| (Duration::from_micros(1 << bucket), *count))
    }

    /// How many are in it.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How long all of them took together: two snapshots and their counts give the mean between the two. Exact to the nanosecond; comes
    /// round after 584 years of it.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// How long they took on average; zero if there are none. A mean hides the long ones: look at a [`percentile`](WaitTimes::percentile)
    /// too.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.nanos.checked_div(self.count()).unwrap_or(0))
    }

    /// The time that this share of them (0.99: the fastest 99 in 100) took at most, rounded up to a power of two of a microsecond.
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

/// By name, as far as there were any.
#[cfg(feature = "serde")]
fn by_reason<S: serde::Serializer>(closed: &[u64; CloseReason::ALL.len()], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(
        CloseReason::ALL.iter().map(|why| (why.name(), closed[*why as usize])).filter(|(_, count)| *count > 0),
    )
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row =
            |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<24}{value:>14}");
        let states: [(&str, usize); 7] = [
            ("open", self.open),
            ("  idle", self.idle),
            ("  leased", self.leased),
            ("opening", self.opening),
            ("waiting", self.waiting),
            ("closing", self.closing),
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
        for (name, times) in [("waits that were served", &self.waits), ("uses sampled", &self.holds)] {
            if times.count() > 0 {
                let at_most = [("  p50", 0.5), ("  p99", 0.99), ("  p99.9", 0.999)];
                row(f, name, &times.count())?;
                let mut rows =
                    at_most.iter().map(|(name, share)| row(f, name, &format!("{:?}", times.percentile(*share))));
                rows.try_for_each(|row| row)?;
            }
        }
        for (number, shard) in self.shards.iter().enumerate().filter(|_| self.shards.len() > 1) {
            writeln!(f, "shard {number:<4} {:>10} idle {:>14} stolen", shard.idle, shard.stolen)?;
        }
        Ok(())
    }
}

/// How a [`drain`](crate::Pool::drain) ended.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DrainReport {
    /// Connections whose close ended meanwhile, also of those that had left before.
    pub closed: u64,
    /// Connections whose close has not ended yet, or not begun, since the pool itself has still a ping or a predicate to do on them.
    pub closing: usize,
    /// Dials that have not returned yet. What they may still open is closed at once.
    pub opening: usize,
    /// The threads that still hold a connection, one entry for each: the thread that took it, by name.
    pub leased: Vec<String>,
}

impl DrainReport {
    /// Everything came back and was closed in time, and nothing is being dialed any more.
    pub fn is_complete(&self) -> bool {
        self.closing == 0 && self.opening == 0 && self.leased.is_empty()
    }
}
