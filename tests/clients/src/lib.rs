//! What the tests of `corepool::clients` share: real servers as a test's own, a proxy with faults, and the scenarios that every adapter is
//! put through.

#![allow(missing_docs, reason = "for the tests beside it, which show how all of it is used")]

/// The cookbook's TLS, run here, where there are a provider and a certificate.
///
/// ```
#[doc = include_str!("../../../src/docs/tls.txt")]
/// ```
#[cfg(doctest)]
struct CookbookTls;

pub mod cluster;
pub mod identity;
pub mod matrix;
pub mod proxy;
pub mod relays;
pub mod scenario;
pub mod server;
pub mod servers;
