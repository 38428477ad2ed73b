//! The clock of the process: nanoseconds since it was first read, so that deadlines and promises fit one word.
#![forbid(unsafe_code)]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A time that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// Now. 24 ns: not for the hot path.
pub(crate) fn now() -> u64 {
    #[cfg(any(test, fuzzing))]
    if let Some(now) = crate::sync::turns::now() {
        return now;
    }
    nanos(epoch().elapsed())
}

/// A duration as nanoseconds; past 584 years, [`NEVER`].
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// The same moment as an `Instant`, for the standard library and for users.
pub(crate) fn instant(at: u64) -> Instant {
    epoch() + Duration::from_nanos(at)
}

/// How long from `now` to `at`; zero once it is past.
pub(crate) fn until(at: u64, now: u64) -> Duration {
    Duration::from_nanos(at.saturating_sub(now))
}
