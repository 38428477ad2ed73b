//! When which: a connection per command, a pool, or a mux.
//!
//! The talk "Concurrent and Resilient Connections to Outside the BEAM" goes from one road to the next. All of them are here but the first,
//! which
//! no library can help.
//!
//! | | a connection per command | a pool: [`Pool`] | a mux: [`Mux`] |
//! |---|---|---|---|
//! | a request has the connection | to itself | to itself, for as long as it takes | with others, before and behind it |
//! | connections | one for each command | as many as requests at a time | one a core |
//! | both directions of TCP at once | no | no: one waits for the other | yes |
//! | system calls a request | 5 and more | 2, and the look before it | 2 for a lone caller, fewer the more they are |
//! | a reply is decoded | on the caller's thread | on the caller's thread | on the thread of one of the callers, for all; then moved, not copied |
//! | a slow request | hinders nobody | holds one connection | holds up all behind it |
//! | state on the connection (a transaction, a subscription) | its own | its own for a use | none: refused, or not offered |
//! | what ends with the connection | one request | one request | all that are written and not answered |
//! | the protocol | any | any | one that answers in order |
//!
//! **Take a pool** where a request has the connection for a while (a transaction, a cursor, a large result), where the protocol does not
//! allow a second request before the first reply (most SQL databases, HTTP/1.1 in practice), or where requests differ much in length.
//! **Take a mux** where requests are short, many, and answered in order: Redis, memcached. **Take both** for one endpoint where a few
//! commands need a connection to themselves. NimblePool's documentation gives the same advice the other way round: no pool for what can be
//! multiplexed.
//!
//! # Figures
//!
//! Callers that ask a real Redis for the same short value, again and again. A figure with × is the median of the rounds' ratios to a
//! connection for each caller in the same round: of calls in a second, or of the 99.9th percentile of the time that a call takes. The mux
//! has a line a core, the runtime of tokio a thread a core and a task for each caller.
//!
//! <!-- rivals -->
//! <!-- end of rivals -->
//!
//! What they say:
//! - **Alone**, a mux is nearly a connection of one's own: one send, one receive, nobody in between, and half a microsecond of bookkeeping.
//! - **A pool smaller than its callers** loses throughput here, since a Redis answers faster than a caller wakes up: its connections rest
//!   while their next users do. What it saves is connections.
//! - **From some eight callers on**, a mux wins: requests and replies travel in company, so both sides make fewer system calls, and Redis
//!   works on what is there instead of going to sleep.
//! - The tail is shorter as well, as long as no request is much longer than the others.
#![forbid(unsafe_code)]

#[cfg(doc)]
use crate::{Pool, mux::Mux};
