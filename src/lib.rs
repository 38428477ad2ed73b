//! A connection pool for blocking, latency-sensitive servers: one shard per core, lock-free checkout, idle sockets watched.

mod background;
mod backoff;
mod builder;
mod checkout;
mod clock;
mod closing;
mod dial;
mod error;
mod expiry;
mod lease;
mod lockfree;
mod manager;
mod net;
mod pool;
mod resident;
mod settings;
mod shared;
mod stats;
mod sync;
mod sys;
mod thread;
mod topology;

pub use builder::Builder;
pub use error::{BuildError, Cause, GetError, GetErrorKind};
pub use lease::Lease;
pub use manager::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};
pub use net::conn::Conn;
pub use net::connect_error::ConnectError;
pub use net::reactor::Reactors;
pub use net::tcp::TcpManager;
pub use net::unix::UnixManager;
pub use pool::Pool;
pub use settings::Opening;
pub use stats::Stats;
