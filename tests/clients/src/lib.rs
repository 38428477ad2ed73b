//! What the tests of `corepool::clients` share: real servers as a test's own, a proxy with faults, and the scenarios that every adapter is
//! put through.

#![allow(missing_docs, reason = "for the tests beside it, which show how all of it is used")]

pub mod matrix;
pub mod proxy;
pub mod scenario;
pub mod server;
pub mod servers;
