//! The matrix of faults: what callers see of a fault, how long it is until a pool is whole, and what is left behind, told in records.
//!
//! A row is a [`Fault`](run::Fault), done to a real server; a column is a [`Subject`](subject::Subject): this pool or r2d2, with the same
//! client. [`run`](run::run) does one to the other and makes a [`Record`](record::Record) of it, which goes to the folder that
//! `COREPOOL_RECORDS` names. The example `faults_page` makes the docs page `faults` of such a folder.
//!
//! How often and how long: `COREPOOL_FAULT_ROUNDS` (1), `COREPOOL_OUTAGE_MS` (300), `COREPOOL_FLAPPING_MS` (1000).

#![allow(missing_debug_implementations, reason = "what is made of closures has nothing to show")]

use std::time::Duration;

pub mod census;
pub mod kind;
pub mod page;
pub mod record;
pub mod run;
pub mod subject;

/// Rounds of the whole matrix.
pub fn rounds() -> u32 {
    number("COREPOOL_FAULT_ROUNDS", 1) as u32
}

/// Whether records are kept.
pub fn are_kept() -> bool {
    std::env::var_os("COREPOOL_RECORDS").is_some()
}

/// How long an outage lasts that has no length of its own.
pub fn outage() -> Duration {
    Duration::from_millis(number("COREPOOL_OUTAGE_MS", 300))
}

/// How long a server flaps.
pub fn flapping() -> Duration {
    Duration::from_millis(number("COREPOOL_FLAPPING_MS", 1_000))
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}
