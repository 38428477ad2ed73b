//! Every setting of a pool, with its default and its limits, checked all in one place.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::error::BuildError;
use crate::lockfree::bits::SlotId;

/// How a pool opens its first connections.
///
/// The talk's two ways to connect: in the foreground ("the connection is available") or in the background ("the connection manager
/// is available").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Opening {
    /// `build` dials, under backoff, until `min_idle` connections, at least one, are open; past this limit it fails with the last
    /// dial's error. The default, with 5 s.
    Wait(Duration),
    /// `build` returns at once; `min_idle` connections are dialed in the background, under backoff for as long as it takes.
    Background,
    /// `build` returns at once and dials nothing. Connections are opened as callers need them, and `min_idle` is kept from the first
    /// of them on.
    Lazy,
}

/// The settings as they are in force.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) max_size: usize,
    pub(crate) min_idle: usize,
    pub(crate) opening: Opening,
    pub(crate) wait_timeout: Duration,
    pub(crate) max_waiters: usize,
    pub(crate) handoff_after: Duration,
    pub(crate) dial_timeout: Duration,
    pub(crate) dials_at_once: usize,
    pub(crate) fail_fast_after: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) probe_after: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
}

/// Connections that one pool closes at a time, each on a background thread.
pub(crate) const CLOSES_AT_ONCE: usize = 4;

impl Settings {
    pub(crate) fn check(&self, shards: usize) -> Result<(), BuildError> {
        within("shards", shards, 1, 1_024)?;
        within("max_size", self.max_size, 1, SlotId::CAPACITY_LIMIT)?;
        if self.min_idle > self.max_size {
            let limit = format!("max_size is {}", self.max_size);
            return Err(BuildError::Setting { name: "min_idle", given: self.min_idle.to_string(), limit });
        }
        within("dials_at_once", self.dials_at_once, 1, 64)?;
        at_least("dial_timeout", Some(self.dial_timeout), Duration::from_millis(1))?;
        at_least("close_timeout", Some(self.close_timeout), Duration::from_millis(1))?;
        at_least("idle_timeout", self.idle_timeout, Duration::from_millis(10))?;
        at_least("max_lifetime", self.max_lifetime, Duration::from_millis(20))?;
        if let Opening::Wait(limit) = self.opening {
            at_least("opening", Some(limit), Duration::from_millis(1))?;
        }
        Ok(())
    }
}

fn within(name: &'static str, given: usize, least: usize, most: usize) -> Result<(), BuildError> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(BuildError::Setting { name, given: given.to_string(), limit: format!("must be {least} to {most}") })
}

fn at_least(name: &'static str, given: Option<Duration>, least: Duration) -> Result<(), BuildError> {
    match given {
        Some(given) if given < least => {
            let limit = format!("must be {least:?} or more");
            Err(BuildError::Setting { name, given: format!("{given:?}"), limit })
        }
        _ => Ok(()),
    }
}
