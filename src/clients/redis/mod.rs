//! Redis: connections of ours that speak its protocol ([`manager`], [`connection`]), and those of the `redis` crate ([`stock`]).

mod ahead;
pub(super) mod changing;
pub(super) mod connection;
mod frames;
pub(super) mod manager;
mod session;
pub(super) mod stock;
mod transport;
#[cfg(any(test, fuzzing))]
pub(crate) mod twin;
