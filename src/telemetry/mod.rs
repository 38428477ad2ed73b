//! The pool for those who watch a fleet: [`Traced`] tells the `tracing` crate what happens (feature `tracing`), [`metrics`](install) keeps
//! the `metrics` crate's gauges, counters and histograms (feature `metrics`), and [`probes`] are for a tracer that comes later (feature
//! `usdt`).
//!
//! The first two are [`Observer`](crate::Observer)s and snapshots of [`Pool::stats`](crate::Pool::stats): no checkout and no return that
//! finds what it needs passes by here, so they add nothing to the hot path. No text of theirs shows more than the observer is told: never
//! the manager, never a setting of it.
//!
//! # What each costs
//!
//! A `with` that finds an idle connection, in builds with one feature each, and that in use; measured and counted by
//! `tests/telemetry/overhead`. Valgrind, which counts, asks for the core's number by a longer way than a run does.
//!
#![doc = include_str!("overhead.md")]
#![forbid(unsafe_code)]

#[cfg(feature = "metrics")]
mod metered;
#[cfg(feature = "usdt")]
pub mod probes;
#[cfg(feature = "tracing")]
mod traced;

#[cfg(feature = "metrics")]
pub use metered::{install, update, update_every};
#[cfg(feature = "tracing")]
pub use traced::Traced;
