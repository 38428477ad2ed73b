//! Every setting of a pool that may change while it runs, with its default and its limits, checked all in one place.
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
    /// `build` dials, under backoff, until `min_open` and `min_idle` connections, at least one, are open; past this limit it
    /// fails with the last dial's error. The default, with 5 s.
    Wait(Duration),
    /// `build` dials each of these, and fails with the error of the first dial that fails: for a program that rather ends than
    /// waits for its database. It fails too if they are not open by this limit. One that is lost meanwhile is dialed again.
    Once(Duration),
    /// `build` returns at once; they are dialed in the background, under backoff for as long as it takes.
    Background,
    /// `build` returns at once and dials nothing. Connections are opened as callers need them, and they are kept from the first
    /// of them on.
    Lazy,
}

/// The settings that a running pool can change, by [`Pool::reconfigure`](crate::Pool::reconfigure). Each is described at the setter of
/// its name in [`Builder`](crate::Builder).
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Settings {
    /// The most connections, open and being opened. Up to the pool's `capacity`. Lowered: idle connections above it are closed at
    /// once, leased ones when they are given back.
    pub max_size: usize,
    /// Connections that are kept open, used or not.
    pub min_open: usize,
    /// Connections that are kept idle, beside those that are used.
    pub min_idle: usize,
    /// How long `get` and `with` wait.
    pub wait_timeout: Duration,
    /// Callers that may wait at once.
    pub max_waiters: usize,
    /// When a return goes to the caller that has waited longest.
    pub handoff_after: Duration,
    /// How long a dial may take.
    pub dial_timeout: Duration,
    /// Dials at a time.
    pub dials_at_once: usize,
    /// When callers are refused instead of waiting.
    pub fail_fast_after: Duration,
    /// The longest pause between two dials.
    pub backoff_max: Duration,
    /// How long a close may take.
    pub close_timeout: Duration,
    /// Connections being closed beside those that are open.
    pub max_closing: usize,
    /// How long a connection lies idle before a checkout peeks at it.
    pub probe_after: Duration,
    /// How long a connection lies idle before it is pinged when it is lent.
    pub validate_after: Option<Duration>,
    /// How long a connection lies idle before others that do are suspect if its next use fails.
    pub suspect_after: Option<Duration>,
    /// How long a connection may lie idle.
    pub idle_timeout: Option<Duration>,
    /// How old a connection may grow. Those that are open keep the age they were born with.
    pub max_lifetime: Option<Duration>,
    /// How often an idle connection is pinged.
    pub ping_interval: Option<Duration>,
    /// How long a ping may take.
    pub ping_timeout: Duration,
    /// How long a lease may be held.
    pub hold_limit: Option<Duration>,
    /// Whether the socket of a lease that is held longer is shut down.
    pub cut_held: bool,
}

/// Connections that one pool closes at a time, each on a background thread. A model has few of these.
pub(crate) const CLOSES_AT_ONCE: usize = if cfg!(corepool_loom) { 1 } else { 4 };

/// Connections that one pool pings at a time, each on a background thread.
pub(crate) const PINGS_AT_ONCE: usize = 4;

/// The most shards of a pool.
pub(crate) const SHARDS_LIMIT: usize = 1_024;

impl Settings {
    /// The defaults, but for `max_size`, which depends on the shards, and `max_closing`, which depends on `max_size`.
    pub(crate) fn usual() -> Self {
        Settings {
            max_size: 0,
            min_open: 1,
            min_idle: 0,
            wait_timeout: Duration::from_secs(1),
            max_waiters: usize::MAX,
            handoff_after: Duration::from_millis(1),
            dial_timeout: Duration::from_secs(3),
            dials_at_once: 4,
            fail_fast_after: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            close_timeout: Duration::from_secs(1),
            max_closing: 0,
            probe_after: Duration::ZERO,
            validate_after: None,
            suspect_after: Some(Duration::from_secs(30)),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            ping_interval: None,
            ping_timeout: Duration::from_secs(1),
            hold_limit: None,
            cut_held: false,
        }
    }

    /// Checks all of them. The pool has this many slots.
    pub(crate) fn check(&self, capacity: usize) -> Result<(), BuildError> {
        if self.max_size == 0 || self.max_size > capacity {
            let limit = format!("must be 1 to {capacity}, the pool's capacity");
            return Err(BuildError::Setting { name: "max_size", given: self.max_size.to_string(), limit });
        }
        for (name, given) in [("min_open", self.min_open), ("min_idle", self.min_idle)] {
            if given > self.max_size {
                let limit = format!("must be at most max_size, which is {}", self.max_size);
                return Err(BuildError::Setting { name, given: given.to_string(), limit });
            }
        }
        within("dials_at_once", self.dials_at_once, 1, 64)?;
        within("max_closing", self.max_closing, 1, SlotId::CAPACITY_LIMIT)?;
        at_least("backoff_max", Some(self.backoff_max), Duration::from_millis(50))?;
        at_least("dial_timeout", Some(self.dial_timeout), Duration::from_millis(1))?;
        at_least("close_timeout", Some(self.close_timeout), Duration::from_millis(1))?;
        at_least("validate_after", self.validate_after, Duration::from_millis(10))?;
        at_least("suspect_after", self.suspect_after, Duration::from_millis(10))?;
        at_least("idle_timeout", self.idle_timeout, Duration::from_millis(10))?;
        at_least("max_lifetime", self.max_lifetime, Duration::from_millis(20))?;
        at_least("ping_interval", self.ping_interval, Duration::from_millis(10))?;
        at_least("ping_timeout", Some(self.ping_timeout), Duration::from_millis(1))?;
        at_least("hold_limit", self.hold_limit, Duration::from_millis(10))
    }
}

pub(crate) fn within(name: &'static str, given: usize, least: usize, most: usize) -> Result<(), BuildError> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(BuildError::Setting { name, given: given.to_string(), limit: format!("must be {least} to {most}") })
}

pub(crate) fn at_least(name: &'static str, given: Option<Duration>, least: Duration) -> Result<(), BuildError> {
    match given {
        Some(given) if given < least => {
            let limit = format!("must be {least:?} or more");
            Err(BuildError::Setting { name, given: format!("{given:?}"), limit })
        }
        _ => Ok(()),
    }
}
