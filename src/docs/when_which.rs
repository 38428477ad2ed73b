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
//! 2 cores, Intel(R) Xeon(R) Processor, shared with `redis-server`; medians of 5 rounds. Measured by
//! `cargo run --release -p mux-rivals`, which `-- --write` puts here.
//!
//! | callers | own: calls/s | p99.9, µs | pool of 4 | of 8 | mux | its RESP | tasks | threads | p99.9: mux | tasks | threads | mux to tasks | threads | socket calls |
//! |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
//! | 1 | 84858 | 99 | 0.85 × | 0.81 × | 1.46 × | 1.33 × | 0.63 × | 0.36 × | 0.77 × | 1.58 × | 2.33 × | 1.76 × | 3.70 × | 2.00 |
//! | 2 | 107450 | 113 | 0.96 × | 0.91 × | 1.08 × | 1.03 × | 0.86 × | 0.42 × | 0.85 × | 1.48 × | 2.10 × | 1.22 × | 2.17 × | 1.98 |
//! | 4 | 137746 | 132 | 0.94 × | 0.94 × | 1.13 × | 1.10 × | 1.15 × | 0.61 × | 1.15 × | 1.21 × | 1.83 × | 0.94 × | 1.82 × | 1.56 |
//! | 8 | 143922 | 299 | 0.69 × | 0.98 × | 1.44 × | 1.35 × | 1.77 × | 0.85 × | 0.73 × | 0.60 × | 0.99 × | 0.79 × | 1.61 × | 1.33 |
//! | 16 | 155504 | 1206 | 0.64 × | 0.68 × | 1.70 × | 1.59 × | 2.26 × | 1.09 × | 0.20 × | 0.21 × | 0.25 × | 0.68 × | 1.46 × | 1.16 |
//! | 32 | 162365 | 1688 | 0.67 × | 0.64 × | 2.09 × | 1.94 × | 3.07 × | 1.26 × | 0.34 × | 0.27 × | 0.97 × | 0.63 × | 1.53 × | 0.52 |
//! | 64 | 159522 | 3084 | 0.55 × | 0.64 × | 2.74 × | 2.42 × | 2.52 × | 1.31 × | 0.45 × | 0.73 × | 0.49 × | 0.93 × | 1.85 × | 0.25 |
//! | 128 | 150880 | 3846 | 0.58 × | 0.66 × | 3.13 × | 2.83 × | 3.39 × | 1.11 × | 0.81 × | 0.88 × | 1.05 × | 0.84 × | 2.54 × | 0.10 |
//! | 256 | 136200 | 7254 | 0.60 × | 0.69 × | 3.41 × | 3.02 × | 3.74 × | 1.07 × | 0.85 × | 1.57 × | 1.09 × | 0.82 × | 2.87 × | 0.07 |
//!
//! The last column has the calls that a mux made of its sockets for each reply, sends and receives together; a connection of one's
//! own makes 2. A lone caller gets 59 times as many requests answered by a `pipeline` of 100 as by single calls.
//! <!-- end of rivals -->
//!
//! The machine is a virtual one, and nothing else ran meanwhile; figures of up to 4 callers still hang on which core the kernel gives whom,
//! and those of the tail differ from run to run by half. In an earlier run a lone call took 1.02 to 1.11 of the time on a connection of its own.
//!
//! What they say:
//! - **Alone**, a mux costs about a tenth: one send, one receive, nobody in between, but half a microsecond of bookkeeping, and a receive
//!   that ends at a deadline, which the connection beside it here has not.
//! - **A pool smaller than its callers** loses throughput here, since a Redis answers faster than a caller wakes up: its connections rest
//!   while their next users do. What it saves is connections.
//! - **From some eight callers on**, a mux wins, by more the more they are: requests and replies travel in company, so both sides make
//!   fewer system calls, and Redis works on what is there instead of going to sleep.
//! - **Tasks cost less than threads**: what is left of a call is mostly that its caller falls asleep and is woken, which a task does without
//!   the kernel: a mux makes 0.6 to 0.9 of the calls of tokio's tasks from 4 callers on. Callers that are threads make 0.3 to 0.7 as many by
//!   tokio's connection as by a mux, at any number of them.
//! - **The tail** is mostly shorter than that of own connections where there is work for all, but it hangs on who reads: if the kernel takes
//!   the core from that caller, all of its line wait. In an earlier run it was 1.2 to 2.3 times as long at 8 to 64 callers.
#![forbid(unsafe_code)]

#[cfg(doc)]
use crate::{Pool, mux::Mux};
