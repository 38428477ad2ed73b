//! When the backend was away, and so which failures are excused.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long after the backend is back a request may still fail.
const GRACE: Duration = Duration::from_millis(400);

/// From the cut until [`GRACE`] after the backend is back; empty before the cut.
///
/// The cut is marked before the first connection is closed, and whoever asks took the time before asking. So no failure that the
/// outage caused is judged by a window which does not know of it yet.
#[derive(Debug, Default)]
pub(crate) struct Window {
    cut: OnceLock<Instant>,
    back: OnceLock<Instant>,
}

impl Window {
    pub(crate) fn cut(&self) {
        self.cut.get_or_init(Instant::now);
    }

    pub(crate) fn back(&self) {
        self.back.get_or_init(Instant::now);
    }

    /// Whether what ended at `time` ended inside.
    pub(crate) fn contains(&self, time: Instant) -> bool {
        let begun = self.cut.get().is_some_and(|cut| time >= *cut);
        begun && self.back.get().is_none_or(|back| time <= *back + GRACE)
    }

    /// How long before `time` the backend was back; `None` if it was not.
    pub(crate) fn since_back(&self, time: Instant) -> Option<Duration> {
        time.checked_duration_since(*self.back.get()?)
    }

    /// How long the backend was away.
    pub(crate) fn length(&self) -> Option<Duration> {
        Some(self.back.get()?.duration_since(*self.cut.get()?))
    }
}
