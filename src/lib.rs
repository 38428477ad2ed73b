//! A connection pool for blocking, latency-sensitive servers.
mod error;
mod manager;

pub use error::{BuildError, Cause, GetError, GetErrorKind};
pub use manager::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};
