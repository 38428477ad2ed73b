//! When which: a connection per command, a pool, or a mux.
//!
//! The talk "Concurrent and Resilient Connections to Outside the BEAM" goes from one road to the next. All of them are here but the first,
//! which no library can help.
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
//! Callers that ask a real Redis for the same short value, again and again. *Own* is a connection for each caller. What has × is the median
//! of the rounds' ratios to that: of calls in a second, or of the time within which 999 of 1,000 calls end. The mux has a line a core; *its
//! RESP* is `mux::resp` with the `redis` crate's commands. *Tasks* and *threads* are callers of the `redis` crate's own multiplexed
//! connection under tokio, with a thread a core: as tasks of it, and as threads that block on it. The last two columns have *its RESP* to
//! these, since all three read with one parser.
//!
//! <!-- rivals -->
//! 2 cores, Intel(R) Xeon(R) Processor, shared with `redis-server`; medians of 5 rounds. Measured by `cargo run --release -p mux-rivals`,
//! which `-- --write` puts here.
//!
//! | callers | own: calls/s | p99.9, µs | pool of 4 | of 8 | mux | its RESP | tasks | threads | p99.9: mux | tasks | threads | mux to tasks | threads |
//! |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
//! | 1 | 153152 | 40 | 0.98 × | 0.93 × | 0.90 × | 0.87 × | 0.70 × | 0.32 × | 1.11 × | 1.21 × | 3.06 × | 1.24 × | 2.73 × |
//! | 2 | 140494 | 71 | 1.11 × | 0.87 × | 1.14 × | 0.77 × | 0.64 × | 0.50 × | 0.99 × | 1.56 × | 1.98 × | 1.21 × | 1.46 × |
//! | 4 | 111124 | 142 | 0.95 × | 0.95 × | 1.11 × | 1.08 × | 1.35 × | 0.67 × | 1.64 × | 0.78 × | 1.35 × | 0.76 × | 1.60 × |
//! | 8 | 113817 | 1790 | 0.77 × | 1.21 × | 1.72 × | 1.47 × | 0.85 × | 0.58 × | 0.09 × | 0.88 × | 1.16 × | 1.98 × | 2.20 × |
//! | 16 | 146725 | 1084 | 0.56 × | 0.67 × | 1.55 × | 1.28 × | 1.20 × | 1.08 × | 0.35 × | 0.81 × | 0.32 × | 0.99 × | 1.16 × |
//! | 32 | 148798 | 2398 | 0.52 × | 0.62 × | 1.92 × | 1.64 × | 2.08 × | 1.20 × | 0.52 × | 0.27 × | 0.63 × | 0.91 × | 1.46 × |
//! | 64 | 142427 | 3910 | 0.57 × | 0.65 × | 2.76 × | 2.42 × | 2.61 × | 1.39 × | 0.66 × | 0.35 × | 0.54 × | 0.93 × | 1.73 × |
//! | 128 | 139283 | 4547 | 0.55 × | 0.64 × | 3.26 × | 3.03 × | 3.37 × | 1.15 × | 0.42 × | 1.06 × | 0.67 × | 0.88 × | 2.26 × |
//! | 256 | 118804 | 9978 | 0.62 × | 0.73 × | 3.58 × | 2.80 × | 3.83 × | 1.10 × | 0.42 × | 1.31 × | 1.15 × | 0.78 × | 2.74 × |
//!
//! A mux made 0.61 calls of its sockets for each reply in all of these rounds, sends and receives together; a connection
//! of one's own makes 2. A lone caller gets 21 times as many requests answered by a `pipeline` of 100 as by single calls.
//! <!-- end of rivals -->
//!
//! The machine is a virtual one that had more to do than this: its figures differ from run to run by a fifth, those of the tail by far
//! more. The rows up to 4 callers, and the pipeline, are of a run before the others, in whose beginning it was too busy; since that
//! run a lone call has become shorter by a fifth of its instructions.
//!
//! What they say:
//! - **Alone**, a mux costs about a tenth: one send, one receive, nobody in between, but half a microsecond of bookkeeping, and a receive
//!   that ends at a deadline, which the connection beside it here has not.
//! - **A pool smaller than its callers** loses throughput here, since a Redis answers faster than a caller wakes up: its connections rest
//!   while their next users do. What it saves is connections.
//! - **From some eight callers on**, a mux wins, by more the more they are: requests and replies travel in company, so both sides make
//!   fewer system calls, and Redis works on what is there instead of going to sleep.
//! - **Tasks cost less than threads**: what is left of a call is mostly that its caller falls asleep and is woken, which a task does without
//!   the kernel. In the run before, a mux made 0.55 to 0.79 of the calls of tokio's tasks from 4 callers on. Callers that are threads make
//!   0.36 to 0.86 as many by tokio's connection as by a mux, at any number of them.
//! - **The tail** is mostly shorter than that of own connections where there is work for all, but it hangs on who reads: if the kernel takes
//!   the core from that caller, all of its line wait. In the run before, it was 1.2 to 2.3 times as long at 8 to 64 callers.
#![forbid(unsafe_code)]

#[cfg(doc)]
use crate::{Pool, mux::Mux};
