//! A connection pool for blocking, latency-sensitive servers.
mod error;
#[allow(dead_code)]
mod lockfree;
mod manager;
mod sync;

pub use error::{BuildError, Cause, GetError, GetErrorKind};
pub use manager::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};
