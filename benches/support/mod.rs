//! What the benchmarks share: the pools that are compared, what they hold and whom they talk to, and how all is timed.
#![allow(dead_code, reason = "no single benchmark needs everything")]

pub(crate) mod connections;
pub(crate) mod crowd;
pub(crate) mod hikari;
pub(crate) mod rivals;
pub(crate) mod rounds;
pub(crate) mod servers;
pub(crate) mod watching;
