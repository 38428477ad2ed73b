//! How eagerly connections are kept open that nobody has asked for.
//!
//! Some peers close what is not used for long, and some that is not long. To dial such a connection again at once is to do so for
//! ever. So each one that dies unused, while nobody waits, doubles a pause in the keeping, up to `backoff_max`; one that is used ends
//! it. This is no evidence against the endpoint: whoever wants a connection is served by a dial of its own.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::os::clock::{NEVER, nanos};
use crate::settings::Settings;

/// The first pause.
const SHORTEST: Duration = Duration::from_millis(50);

/// A connection that lives longer than this, unused, proves the next one worth while.
const LONG: Duration = Duration::from_secs(1);

/// Connections that are kept though nobody asks for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) min_open: usize,
    pub(crate) min_idle: usize,
}

impl Kept {
    pub(crate) const NONE: Kept = Kept { min_open: 0, min_idle: 0 };

    pub(crate) fn by(settings: &Settings) -> Self {
        Kept { min_open: settings.min_open, min_idle: settings.min_idle }
    }
}

/// The pace of keeping. All times are nanoseconds on the process's clock.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// Connections that died unused, one after another.
    lost: u32,
    pause: u64,
    pause_ends: u64,
}

impl Keeping {
    /// One has died unused.
    pub(super) fn lost(&mut self, now: u64, longest: Duration) {
        if now < self.pause_ends {
            // Opened together, lost together.
            return;
        }
        if now.saturating_sub(self.pause_ends) > nanos(LONG) {
            self.lost = 0;
        }
        // The first of them is dialed again at once.
        let doubled = nanos(SHORTEST).saturating_mul(1 << self.lost.min(20)).min(nanos(longest));
        self.pause = if self.lost == 0 { 0 } else { doubled / 2 + fastrand::u64(0..=doubled / 2) };
        self.pause_ends = now.saturating_add(self.pause);
        self.lost += 1;
    }

    /// The longest pause has changed.
    pub(super) fn set_longest(&mut self, now: u64, longest: Duration) {
        self.pause_ends = self.pause_ends.min(now.saturating_add(nanos(longest)));
    }

    /// One was used.
    pub(super) fn used(&mut self) {
        *self = Keeping::default();
    }

    /// Whether none is to be opened only to be kept.
    pub(super) fn is_paused(&self, now: u64) -> bool {
        now < self.pause_ends
    }

    /// When that ends.
    pub(super) fn due(&self, now: u64) -> u64 {
        if self.is_paused(now) { self.pause_ends } else { NEVER }
    }
}

#[cfg(all(test, not(corepool_loom)))]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// How many are opened in a minute if each dies after `lives` ms unless it is used, which one in `used` is.
    fn opened(lives: u64, used: usize) -> usize {
        let mut keeping = Keeping::default();
        let (mut now, mut opened) = (10_000 * MS, 0);
        let ends = now + 60_000 * MS;
        while now < ends {
            if keeping.is_paused(now) {
                now = keeping.due(now);
            }
            opened += 1;
            now += lives * MS;
            if opened % used == 0 { keeping.used() } else { keeping.lost(now, Duration::from_secs(30)) }
        }
        opened
    }

    #[test]
    fn what_dies_young_and_unused_is_kept_ever_more_rarely() {
        assert!(opened(300, usize::MAX) < 15);
        assert!(opened(1, usize::MAX) < 15);
    }

    #[test]
    fn what_lives_for_long_or_is_used_is_dialed_again_at_once() {
        assert_eq!(opened(2_000, usize::MAX), 30);
        assert!(opened(300, 2) >= 200);
    }

    #[test]
    fn the_pause_is_no_longer_than_the_longest_and_is_due_when_it_ends() {
        let mut keeping = Keeping::default();
        let mut now = 10_000 * MS;
        for lost in 0..30 {
            keeping.lost(now, Duration::from_secs(3));
            let due = keeping.due(now);
            assert_eq!(due == NEVER, lost == 0, "the first is dialed again at once");
            if lost > 0 {
                assert!(due <= now + 3_000 * MS, "{} ms", (due - now) / MS);
                assert_eq!([due - 1, due].map(|at| keeping.is_paused(at)), [true, false]);
                now = due;
            }
        }
        assert_eq!(keeping.due(now), NEVER);
    }

    #[test]
    fn a_shorter_longest_pause_shortens_the_one_under_way() {
        let mut keeping = Keeping::default();
        let mut now = 10_000 * MS;
        for _ in 0..12 {
            keeping.lost(now, Duration::from_secs(30));
            now = if keeping.is_paused(now) { keeping.due(now) } else { now };
        }
        keeping.lost(now, Duration::from_secs(30));
        assert!(keeping.is_paused(now + 10_000 * MS));
        keeping.set_longest(now, Duration::from_secs(1));
        assert_eq!(keeping.due(now), now + 1_000 * MS);
    }
}
