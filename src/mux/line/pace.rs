//! How far away the peer is: whether to hold a batch back until its last words are answered is worth it.
//!
//! To wait for replies before the next batch is written saves system calls, for both sides, and costs what the peer idles meanwhile: a trip
//! there and back. On one machine that is nothing, since the peer is busy with the last batch; on a network it would double the time that a
//! call takes. Under load a trip is mostly time spent in queues, so the shortest one of many counts.
#![forbid(unsafe_code)]

/// The shortest trip there and back, of late.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The call whose trip is timed, and since when.
    timed: Option<(u64, u64)>,
    /// The shortest one of the window before this.
    before: Option<u64>,
    /// The shortest one of this window.
    now: Option<u64>,
    trips: u32,
    batches: u32,
}

/// One batch of so many is timed, beginning with the first: a look at the clock costs what a lock does.
const SAMPLE: u32 = 8;

/// Trips in a window.
const WINDOW: u32 = 64;

/// A peer that is no farther than this may be kept waiting: 100 µs, in nanoseconds.
const NEAR: u64 = 100_000;

impl Pace {
    /// A batch is about to be handed over. Whether it is to be timed.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.batches.is_multiple_of(SAMPLE);
        self.batches = self.batches.wrapping_add(1);
        due && self.timed.is_none()
    }

    /// Whether what is timed is answered, if the calls below this number are.
    pub(super) fn awaits(&self, below: u64) -> bool {
        self.timed.is_some_and(|(number, _)| number < below)
    }

    /// Calls up to this number were handed over.
    pub(super) fn sent(&mut self, number: u64, at: u64) {
        if self.timed.is_none() {
            self.timed = Some((number, at));
        }
    }

    /// Calls below this number are answered.
    pub(super) fn answered(&mut self, below: u64, at: u64) {
        let Some((_, begun)) = self.timed.take_if(|(number, _)| *number < below) else { return };
        let trip = at.saturating_sub(begun);
        self.now = Some(self.now.map_or(trip, |shortest| shortest.min(trip)));
        self.trips += 1;
        if self.trips == WINDOW {
            (self.before, self.now, self.trips) = (self.now, None, 0);
        }
    }

    /// Another connection: to another peer, maybe.
    pub(super) fn forget(&mut self) {
        *self = Pace::default();
    }

    /// Whether the peer is near, as far as that is known.
    pub(super) fn is_near(&self) -> bool {
        let shortest = self.before.into_iter().chain(self.now).min();
        shortest.is_some_and(|trip| trip <= NEAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trips of this length, one after another.
    fn travel(pace: &mut Pace, numbers: std::ops::Range<u64>, trip: u64) {
        for number in numbers {
            pace.sent(number, 1_000_000);
            pace.answered(number + 1, 1_000_000 + trip);
        }
    }

    #[test]
    fn nothing_is_near_before_it_is_known() {
        let mut pace = Pace::default();
        assert!(!pace.is_near());
        pace.sent(0, 1);
        pace.answered(0, 2);
        assert!(!pace.is_near(), "it is not answered yet");
        pace.answered(1, 3);
        assert!(pace.is_near());
        pace.forget();
        assert!(!pace.is_near());
    }

    #[test]
    fn the_shortest_trip_counts_and_is_forgotten_in_time() {
        let mut pace = Pace::default();
        travel(&mut pace, 0..10, 50 * NEAR);
        assert!(!pace.is_near());
        travel(&mut pace, 10..11, NEAR / 2);
        travel(&mut pace, 11..64, 50 * NEAR);
        assert!(pace.is_near(), "queues make the others long");
        travel(&mut pace, 64..64 + u64::from(WINDOW), 50 * NEAR);
        assert!(!pace.is_near(), "it has moved away");
    }
}
