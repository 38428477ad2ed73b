//! How long the report may take over each figure.

use std::time::Duration;

/// How thoroughly to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    quick: bool,
}

impl Effort {
    /// For figures to be shown: some three minutes in all.
    pub(crate) const FULL: Effort = Effort { quick: false };

    /// Runs everything once, for a test that it runs. The figures mean nothing.
    pub(crate) const QUICK: Effort = Effort { quick: true };

    /// How many rounds.
    pub(crate) fn rounds(self, full: usize) -> usize {
        if self.quick { 1 } else { full }
    }

    /// How long a round.
    pub(crate) fn time(self, full: Duration) -> Duration {
        if self.quick { full / 20 } else { full }
    }

    /// How many of something that is counted.
    pub(crate) fn count(self, full: usize) -> usize {
        if self.quick { full.div_ceil(20) } else { full }
    }
}
