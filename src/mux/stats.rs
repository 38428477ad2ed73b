//! A mux in numbers.
#![forbid(unsafe_code)]

use crate::stats::Stats;

/// What a mux looks like and what it has done so far. From [`Mux::stats`](super::Mux::stats).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MuxStats {
    /// Each line by itself: those of the first shard first.
    pub lines: Vec<LineStats>,
    /// The pool beneath.
    pub pool: Stats,
}

/// One line in numbers. The counters only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineStats {
    /// Calls in flight: not answered, and those of callers that have gone whose replies are still to come.
    pub in_flight: usize,
    /// Its connection is to be given up, as soon as nobody waits for a reply on it: its peer has hung up, it has expired or was retired, or
    /// the mux is closed. Of a line that nobody uses: with the next call.
    pub is_leaving: bool,
    /// Calls so far. A `pipeline` is one.
    pub calls: u64,
    /// Replies that have come, also to callers that had gone.
    pub replies: u64,
    /// Sends, also those that found no room.
    pub sends: u64,
    /// Receives, also those that found nothing.
    pub receives: u64,
    /// Calls whose time was up after they were written.
    pub abandoned: u64,
    /// Connections that the line has had.
    pub connections: u64,
    /// Of these, those that failed under it.
    pub failed: u64,
}

impl MuxStats {
    /// All lines together; leaving if any is.
    pub fn total(&self) -> LineStats {
        self.lines.iter().fold(LineStats::default(), |sum, line| LineStats {
            in_flight: sum.in_flight + line.in_flight,
            is_leaving: sum.is_leaving || line.is_leaving,
            calls: sum.calls + line.calls,
            replies: sum.replies + line.replies,
            sends: sum.sends + line.sends,
            receives: sum.receives + line.receives,
            abandoned: sum.abandoned + line.abandoned,
            connections: sum.connections + line.connections,
            failed: sum.failed + line.failed,
        })
    }
}
