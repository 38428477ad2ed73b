//! What the clients saw: each counts for itself, and the counts are added up at the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::outage::Window;

/// Microseconds, to three digits, up to the minute; a longer wait counts as a minute.
const LONGEST_US: u64 = 60_000_000;

#[derive(Debug)]
pub(crate) struct Tally {
    /// Latencies in microseconds, of every request.
    pub(crate) all: Histogram<u64>,
    /// Of those that ended outside the outage window.
    pub(crate) calm: Histogram<u64>,
    /// Failures by kind.
    pub(crate) errors: BTreeMap<String, Errors>,
    /// From the backend being back to the first success.
    pub(crate) recovery: Option<Duration>,
    /// How long the backend was away, if it was.
    pub(crate) outage: Option<Duration>,
    /// How long the load lasted.
    pub(crate) length: Duration,
}

/// Failures of one kind, by when they ended.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Errors {
    pub(crate) inside: u64,
    pub(crate) outside: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let histogram =
            Histogram::new_with_max(LONGEST_US, 3).expect("three digits up to a minute are within its limits");
        Tally {
            all: histogram.clone(),
            calm: histogram,
            errors: BTreeMap::new(),
            recovery: None,
            outage: None,
            length: Duration::ZERO,
        }
    }

    /// Counts a request that lasted from `begin` to `end`; a failure names its kind.
    pub(crate) fn count(&mut self, begin: Instant, end: Instant, outcome: Result<(), String>, window: &Window) {
        let inside = window.contains(end);
        let us = u64::try_from((end - begin).as_micros()).unwrap_or(u64::MAX);
        self.all.saturating_record(us);
        if !inside {
            self.calm.saturating_record(us);
        }
        match outcome {
            Ok(()) => {
                // A client's requests end one after the other, so its first is its earliest.
                if self.recovery.is_none() {
                    self.recovery = window.since_back(end);
                }
            }
            Err(kind) => {
                let errors = self.errors.entry(kind).or_default();
                *(if inside { &mut errors.inside } else { &mut errors.outside }) += 1;
            }
        }
    }

    /// Adds what another client counted.
    pub(crate) fn add(&mut self, other: Tally) {
        self.all += other.all;
        self.calm += other.calm;
        for (kind, errors) in other.errors {
            let sum = self.errors.entry(kind).or_default();
            sum.inside += errors.inside;
            sum.outside += errors.outside;
        }
        self.recovery = [self.recovery, other.recovery].into_iter().flatten().min();
    }

    /// All failures.
    pub(crate) fn failures(&self) -> Errors {
        self.errors.values().fold(Errors::default(), |sum, errors| Errors {
            inside: sum.inside + errors.inside,
            outside: sum.outside + errors.outside,
        })
    }
}
