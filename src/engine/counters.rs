//! What a pool counts off the hot path, and what its shards count beside it.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::utils::CachePadded;

use crate::os::clock::{self, nanos};
use crate::stats::WaitTimes;

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

/// How long each of many things took.
#[derive(Debug, Default)]
pub(super) struct Durations {
    buckets: [AtomicU64; WaitTimes::BUCKETS],
    nanos: AtomicU64,
}

impl Durations {
    /// One more.
    pub(super) fn record(&self, took: Duration) {
        // Relaxed, both, as where they are read: statistics.
        self.buckets[WaitTimes::bucket_of(took)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos(took), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> WaitTimes {
        // Relaxed, both: statistics.
        let buckets = std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed));
        WaitTimes::new(buckets, self.nanos.load(Ordering::Relaxed))
    }
}

/// How long uses last, of the few that a slot's counter samples.
#[derive(Debug)]
pub(super) struct Holds {
    /// When the sampled use of each slot began.
    begun: Box<[AtomicU64]>,
    times: Durations,
}

impl Holds {
    pub(super) fn new(capacity: usize) -> Self {
        Holds { begun: (0..capacity).map(|_| AtomicU64::new(0)).collect(), times: Durations::default() }
    }

    /// A use that is sampled begins in the slot of this index.
    #[cold]
    pub(super) fn begin(&self, slot: usize) {
        // Relaxed, as below: of the slot's owner, to whom it goes with the slot.
        self.begun[slot].store(clock::now(), Ordering::Relaxed);
    }

    /// It has ended.
    #[cold]
    pub(super) fn end(&self, slot: usize) {
        // Relaxed: written by the same use, whose slot is its own.
        self.times.record(clock::until(clock::now(), self.begun[slot].load(Ordering::Relaxed)));
    }

    pub(super) fn times(&self) -> WaitTimes {
        self.times.read()
    }
}

const COUNTS: usize = Count::HoldsExceeded as usize + 1;

/// The counters of a pool and of each of its shards.
#[derive(Debug)]
pub(crate) struct Counters {
    /// On lines of their own, since callers who wait write them, and callers who steal read what lies beside.
    counts: CachePadded<[AtomicU64; COUNTS]>,
    /// Uses by each shard's callers that were served from another one: a line for each shard, which a steal writes.
    stolen: Box<[CachePadded<AtomicU64>]>,
    /// The fewest idle connections seen of late: a [`Low`].
    idle_low: AtomicU64,
}

/// The fewest of something that were seen in this window of time, and in the one before, in one word. Who reads it changes nothing: the
/// windows are the clock's.
///
/// ```text
/// 63            34 33          17 16           0
/// [ window: 30    ][ before: 17  ][ present: 17 ]
/// ```
///
/// 30 bits of windows of a minute come round after 2,000 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Low(u64);

/// Between the snapshots of most scrapers lies a minute at most.
const WINDOW: Duration = Duration::from_secs(60);

const BITS: u32 = 17;

/// None was seen. More than a pool has slots.
const NONE: u64 = (1 << BITS) - 1;

impl Low {
    const UNSEEN: Low = Low((NONE << BITS) | NONE);

    /// As it is at `now`, before anything is seen then.
    fn at(self, now: u64) -> Low {
        const LAST: u64 = (1 << 30) - 1;
        let window = (now / nanos(WINDOW)) & LAST;
        let before = match window.wrapping_sub(self.0 >> (2 * BITS)) & LAST {
            0 => return self,
            1 => self.0 & NONE,
            // A clock that was read before the window turned.
            older if older > LAST / 2 => return self,
            // Nothing was looked at for a whole window, so nothing has changed.
            _ => NONE,
        };
        Low((window << (2 * BITS)) | (before << BITS) | NONE)
    }

    fn saw(self, count: usize) -> Low {
        let present = (self.0 & NONE).min(count as u64);
        Low((self.0 & !NONE) | present)
    }

    /// The fewest, `count` being how many there are now.
    fn least(self, count: usize) -> usize {
        (self.0 & NONE).min((self.0 >> BITS) & NONE).min(count as u64) as usize
    }
}

impl Counters {
    pub(crate) fn new(shards: usize) -> Self {
        Counters {
            counts: CachePadded::new(std::array::from_fn(|_| AtomicU64::new(0))),
            stolen: (0..shards).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            idle_low: AtomicU64::new(Low::UNSEEN.0),
        }
    }

    /// One more.
    pub(crate) fn add(&self, what: Count) {
        // Relaxed: statistics.
        self.counts[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, what: Count) -> u64 {
        // Relaxed: statistics.
        self.counts[what as usize].load(Ordering::Relaxed)
    }

    /// A caller of this shard has stolen.
    pub(crate) fn add_stolen(&self, shard: usize) {
        // Relaxed: statistics.
        self.stolen[shard].fetch_add(1, Ordering::Relaxed);
    }

    /// How often callers of this shard have.
    pub(crate) fn stolen(&self, shard: usize) -> u64 {
        // Relaxed: statistics.
        self.stolen[shard].load(Ordering::Relaxed)
    }

    /// How often callers of all shards have.
    pub(crate) fn all_stolen(&self) -> u64 {
        (0..self.stolen.len()).map(|shard| self.stolen(shard)).sum()
    }

    /// A look at how many are idle.
    pub(crate) fn saw_idle(&self, idle: usize, now: u64) {
        // Relaxed, all: statistics. Written only where it changes something, since many may wait.
        let mut low = Low(self.idle_low.load(Ordering::Relaxed));
        while low.at(now).saw(idle) != low {
            let next = low.at(now).saw(idle).0;
            match self.idle_low.compare_exchange_weak(low.0, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => low = Low(newer),
            }
        }
    }

    /// The fewest idle ones of late, `idle` being how many there are now.
    pub(crate) fn idle_low(&self, idle: usize, now: u64) -> usize {
        // Relaxed: statistics.
        Low(self.idle_low.load(Ordering::Relaxed)).at(now).least(idle)
    }
}

#[cfg(all(test, not(corepool_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_of_late_are_those_of_this_minute_and_the_one_before() {
        let counters = Counters::new(1);
        let minute = nanos(WINDOW);
        assert_eq!(counters.idle_low(7, 0), 7, "none was seen");
        counters.saw_idle(3, 5);
        counters.saw_idle(6, 6);
        for now in [7, minute - 1, minute, 2 * minute - 1] {
            assert_eq!([counters.idle_low(9, now), counters.idle_low(9, now)], [3, 3], "at {now}, for both who read");
        }
        assert_eq!(counters.idle_low(2, 7), 2, "now is of late");
        assert_eq!(counters.idle_low(9, 2 * minute), 9, "forgotten");
        // An earlier reader, or a later one, has changed nothing.
        assert_eq!(counters.idle_low(9, 7), 3);
        counters.saw_idle(5, minute + 1);
        assert_eq!([counters.idle_low(9, minute + 2), counters.idle_low(9, 2 * minute)], [3, 5]);
        counters.saw_idle(64_512, 9 * minute);
        assert_eq!(counters.idle_low(64_512, 9 * minute), 64_512);
        // Seen late, by one who had begun to wait before the window turned: of this window.
        counters.saw_idle(0, 9 * minute - 1);
        assert_eq!(counters.idle_low(9, 9 * minute), 0);
    }

    #[test]
    fn what_is_counted_took_no_longer_than_its_bucket_says_and_longer_than_the_one_before() {
        let lengths = (0..40).flat_map(|power| [1_u64 << power, (1 << power) - 1, (1 << power) + 1]);
        for length in lengths.flat_map(|length| [length, 1_000 * length, 1_000 * length + 1, 1_000 * length + 999]) {
            let durations = Durations::default();
            durations.record(Duration::from_nanos(length));
            let times = durations.read();
            let (place, most) = times.buckets().map(|(most, _)| most).enumerate().nth(bucket(&times)).unwrap();
            assert_eq!((times.count(), times.sum()), (1, Duration::from_nanos(length)));
            if place + 1 < WaitTimes::BUCKETS {
                assert!(Duration::from_nanos(length) <= most && times.percentile(1.0) == most, "{length} ns: {most:?}");
            }
            assert!(place == 0 || Duration::from_nanos(length) > most / 2, "{length} ns: {most:?}");
        }
        let forever = Durations::default();
        forever.record(Duration::MAX);
        assert_eq!(bucket(&forever.read()), WaitTimes::BUCKETS - 1);
    }

    #[test]
    fn a_percentile_is_of_no_fewer_than_its_share() {
        let durations = Durations::default();
        [1, 3, 100].into_iter().for_each(|micros| durations.record(Duration::from_micros(micros)));
        let times = durations.read();
        for (share, micros) in [(0.0, 1), (0.33, 1), (0.34, 4), (0.5, 4), (0.66, 4), (0.67, 128), (1.0, 128)] {
            assert_eq!(times.percentile(share), Duration::from_micros(micros), "{share}");
        }
    }

    /// Where the only one is counted.
    fn bucket(times: &WaitTimes) -> usize {
        times.buckets().position(|(_, count)| count == 1).unwrap()
    }
}
