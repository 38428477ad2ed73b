//! Making a mux.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use super::face::Mux;
use super::feed::Feed;
use super::line::Limits;
use super::protocol::Protocol;
use crate::builder::Builder;
use crate::error::BuildError;
use crate::manager::Manager;
use crate::net::duplex::Duplex;
use crate::os::clock::nanos;
use crate::settings::{at_least, within};

impl<M, P> Mux<M, P>
where
    M: Manager,
    M::Connection: Duplex,
    P: Protocol,
{
    /// Begins a mux that speaks `protocol` on connections of this pool to be.
    ///
    /// The pool is the mux's own. Its builder's `max_size`, `capacity`, `min_open`, `min_idle`, `hold_limit` and `wait_timeout` have no
    /// meaning here; all else holds: `shards`, `opening`, `dial_timeout`, `fail_fast_after`, `max_lifetime`, the observer.
    pub fn builder(pool: Builder<M>, protocol: P) -> MuxBuilder<M, P> {
        let limits = Limits { in_flight: 4_096, queued: 1 << 20 };
        let call_timeout = Duration::from_secs(1);
        MuxBuilder { pool, protocol, lines_per_shard: 1, call_timeout, limits, max_reply: 64 << 20, watchdog: None }
    }
}

/// The settings of a mux to be. Setters only store; [`build`](MuxBuilder::build) checks them all.
pub struct MuxBuilder<M: Manager, P> {
    pool: Builder<M>,
    protocol: P,
    lines_per_shard: usize,
    call_timeout: Duration,
    limits: Limits,
    max_reply: usize,
    watchdog: Option<Duration>,
}

impl<M, P> MuxBuilder<M, P>
where
    M: Manager,
    M::Connection: Duplex,
    P: Protocol,
{
    /// Connections for the callers of one shard, that is, of one core: 1 to 1,024. Default: 1. Callers are spread over them by thread.
    ///
    /// More of them are for replies that are long: those behind a long one wait for it.
    pub fn lines_per_shard(mut self, lines: usize) -> Self {
        self.lines_per_shard = lines;
        self
    }

    /// How long [`call`](Mux::call) and [`pipeline`](Mux::pipeline) may take in all: the wait for a connection, for room, and for the
    /// reply. Default: 1 s; at least 1 ms.
    pub fn call_timeout(mut self, limit: Duration) -> Self {
        self.call_timeout = limit;
        self
    }

    /// Calls of one line that may be in flight, those of callers that have gone included. Default: 4,096; at least 1. A call beyond that
    /// waits until there is room, within its time; then it is [`Overloaded`](super::CallErrorKind::Overloaded).
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.limits.in_flight = calls;
        self
    }

    /// Bytes of one line that may wait to be written. Default: 1 MiB. A call beyond that waits, as above; one that is longer by itself goes
    /// when nothing else waits.
    pub fn max_queued(mut self, bytes: usize) -> Self {
        self.limits.queued = bytes;
        self
    }

    /// The longest message that a peer may send, in bytes. Default: 64 MiB; at least 64. A longer one costs the connection. A line's buffer
    /// grows with what arrives, not with what is announced: to twice this at most. What a reply takes once it is decoded is the protocol's.
    pub fn max_reply(mut self, bytes: usize) -> Self {
        self.max_reply = bytes;
        self
    }

    /// How long a line may owe replies without any coming before its connection is given up, for a peer that is there and does not
    /// answer. Default: `None`, never: the callers' own time is limited, and a peer that vanishes is found by keep-alive. At least 1 ms.
    ///
    /// Requests that [may block](Protocol::may_block) are exempt. Looked at by whoever waits for a reply, so it may be late by
    /// 50 ms, and not before there is such a caller. Costs a call two looks at the clock.
    pub fn watchdog(mut self, silence: Option<Duration>) -> Self {
        self.watchdog = silence;
        self
    }

    /// Builds the mux and its pool. Blocks only as the pool's own `build` does, until all lines' connections are open.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn build(self) -> Result<Mux<M, P>, BuildError> {
        at_least("call_timeout", Some(self.call_timeout), Duration::from_millis(1))?;
        at_least("watchdog", self.watchdog, Duration::from_millis(1))?;
        within("max_in_flight", self.limits.in_flight, 1, usize::MAX)?;
        within("max_reply", self.max_reply, 64, usize::MAX)?;
        let (pool, lines) = self.pool.for_lines(self.lines_per_shard)?;
        let watchdog = self.watchdog.map(nanos);
        let feed = Feed { pool: pool.build()?, protocol: self.protocol, max_reply: self.max_reply, watchdog };
        Ok(Mux::new(feed, lines, self.lines_per_shard, self.limits, self.call_timeout))
    }
}

impl<M: Manager, P> fmt::Debug for MuxBuilder<M, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MuxBuilder")
            .field("pool", &self.pool)
            .field("lines_per_shard", &self.lines_per_shard)
            .field("call_timeout", &self.call_timeout)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
