//! A pool in numbers, as a snapshot that prints as a table.
#![forbid(unsafe_code)]

use std::fmt;

use crate::manager::CloseReason;

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
    /// Callers' uses begun.
    pub leases: u64,
    /// Uses served from another core's shard.
    pub stolen: u64,
    /// Callers that had to wait, however it ended.
    pub waited: u64,
    /// Of these, those whose time ran out.
    pub timed_out: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials that failed or were overdue.
    pub dials_failed: u64,
    /// Connections opened.
    pub opened: u64,
    /// Connections taken out of the pool by [`Lease::detach`](crate::Lease::detach).
    pub detached: u64,
    pub(crate) closed: [u64; CloseReason::ALL.len()],
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

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: u64| writeln!(f, "{name:<24}{value:>14}");
        row(f, "open", self.open as u64)?;
        row(f, "  idle", self.idle as u64)?;
        row(f, "  leased", self.leased as u64)?;
        row(f, "opening", self.opening as u64)?;
        row(f, "waiting", self.waiting as u64)?;
        row(f, "leases", self.leases)?;
        row(f, "  stolen", self.stolen)?;
        row(f, "  waited", self.waited)?;
        row(f, "timed out", self.timed_out)?;
        row(f, "dials", self.dials)?;
        row(f, "  failed", self.dials_failed)?;
        row(f, "opened", self.opened)?;
        row(f, "closed", self.closed_in_all())?;
        for why in CloseReason::ALL.into_iter().filter(|why| self.closed(*why) > 0) {
            row(f, &format!("  {}", why.name()), self.closed(why))?;
        }
        if self.detached > 0 { row(f, "detached", self.detached) } else { Ok(()) }
    }
}
