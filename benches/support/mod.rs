//! What the benchmarks share: the pools that are compared, what they hold, and how they are timed.
#![allow(dead_code, reason = "no single benchmark needs everything")]

pub(crate) mod connections;
pub(crate) mod rivals;
pub(crate) mod rounds;
