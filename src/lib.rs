//! A connection pool for blocking, latency-sensitive servers: one shard per core, lock-free checkout, and every idle socket watched for
//! its peer's hang-up.
//!
//! ```
//! use std::io::{Read, Write};
//! # use std::net::TcpListener;
//! use corepool::{Pool, TcpManager};
//!
//! # let listener = TcpListener::bind("127.0.0.1:0")?;
//! # let address = listener.local_addr()?.to_string();
//! # std::thread::spawn(move || -> std::io::Result<()> {
//! #     let mut peer = listener.accept()?.0;
//! #     let mut request = [0; 4];
//! #     while peer.read_exact(&mut request).is_ok() {
//! #         peer.write_all(&request)?;
//! #     }
//! #     Ok(())
//! # });
//! // One pool for the process; worker threads share it by reference, or by its cheap clones.
//! let pool = Pool::builder(TcpManager::new(address)).max_size(64).min_idle(1).build()?;
//!
//! // The connection itself, for the time of a closure. An error discards it, unless its manager can tell that nothing is half done.
//! let answer = pool.with(|connection| -> std::io::Result<[u8; 4]> {
//!     let mut answer = [0; 4];
//!     connection.write_all(b"ping")?;
//!     connection.read_exact(&mut answer)?;
//!     Ok(answer)
//! })?;
//! assert_eq!(&answer, b"ping");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! From here: the [`guide`] to sizes, and for those who come from r2d2, deadpool, bb8, HikariCP, pgx or NimblePool; a [`cookbook`]; how to
//! write [a manager of your own](own_manager); [when a mux, when a pool](when_which).
//!
//! # When to use it
//!
//! In a server whose worker threads block: it keeps connections (or anything that one thread uses at a time: a child process, a file)
//! ready, hands out one in some ten nanoseconds, and notices by itself when one dies. It is for Linux (epoll) on 64-bit targets; elsewhere
//! it does not compile, and the first error says so.
//!
//! Not in async code, where a lease must not be held across an await; not where a connection is opened per request by design. Callers of a
//! protocol that answers in order, such as Redis, may share one connection: a [`mux`] is that, on top of a pool.
//!
//! # What it guarantees, and what it costs
//!
//! | operation | progress | locked instructions | system calls | allocations | shared lines written |
//! |---|---|---|---|---|---|
//! | [`with`](Pool::with), [`get`](Pool::get), [`try_get`](Pool::try_get), an idle connection in this core's shard | lock-free | 1 | 0 | 0 | the shard's own word |
//! | the same, stolen from another shard | lock-free | 2 | 0 | 0 | that shard's word, and this one's counts |
//! | the same, none idle | parks, up to `wait_timeout` | a lock, and one a word of each shard for the first waiter | 2 or more | a few | all shards' words |
//! | before any of these, where the manager names a socket: a look at it ([`Manager::probe_after`]) | | 0 | 1, and 1 more for a stream without an identity | 0 | |
//! | a lease's drop, nobody waiting | lock-free | 1 | 0 | 0 | the shard's own word |
//! | a lease's drop, somebody waiting | takes the lock of those who wait | | a wake-up | | |
//! | a reply on a leased or idle connection | | 0 | 0, and no reactor wakes | 0 | |
//! | a peer that hangs up | the reactor, at once | one a shard | | | |
//!
//! In instructions, counted by a test: a `with` around an empty closure some 105, `get` and its drop some 150, `get_owned` and its drop
//! some 190 and two locked ones more, a `with` over a [`TcpManager`] with its defaults some 470 and one `recv`.
//! One use in 1,024 of each slot reads the clock twice, for [`Stats::holds`].
//!
//! - At most `max_size` connections are open or being opened, whatever fails, and at most
//!   [`max_closing`](Builder::max_closing) more with those that are being closed; of these, up to 16
//!   may hang beyond that.
//! - A connection is leased to one caller at a time, closed once, and not handed out after its peer's hang-up, its expiry or its
//!   retirement has been noted. A hang-up that is still on its way is seen by the caller's own I/O.
//! - A stream that its type says is not fit ([`Stream`]) is not lent again, whatever its user and its manager say; nor, while
//!   [`probe_after`](Manager::probe_after) is zero, one whose socket was replaced, or on which bytes wait that its manager does
//!   not keep.
//! - No caller waits while a connection is idle or could be opened, but until one that was woken for it gets a core; no wait is without
//!   a bound; every caller that fails is told the cause.
//! - A dial, a ping, a close and a checkout hook each have a deadline. A dial or a close that hangs beyond it is bounded in number, and
//!   stands in nobody's way. A ping or a hook is ended by shutting the watched sockets down; on a connection that names none it keeps
//!   that connection for as long as it runs.
//! - While the endpoint is down it is dialed at a pace: demand hastens a dial to four a second in the end, and never one whose
//!   failure the manager calls permanent.
//! - What comes back goes to the caller that has waited longest, once it has waited for `handoff_after`; before, newcomers may be faster.
//!   So they may later, where a connection would rest instead: one is left to whoever runs, while all others are on their way to
//!   callers that have still to wake up; none goes to more than four waiting callers in a row, and after that to one in each quarter
//!   of `handoff_after`; and while a caller that was woken for an idle one has still to get a core. With `handoff_after(0)` the order
//!   is that of arrival.
//! - A panic in the closure or in any hook costs one connection. Under `panic = "abort"` nothing is contained.
//! - The user's code never runs on a reactor, or under a lock of the pool.
//!
//! These are not claims alone: the lock-free bag of connections is model-checked (`loom-tests/`), each of its memory orderings
//! and re-checks has a model that fails without it, and the README of `src/lockfree/` has the argument. What else is checked, how far, and
//! what is not: [`verification`].
//!
//! # Limits
//!
//! A watched connection takes two descriptors, its own and the pool's duplicate, by which the pool can end a call that hangs. The
//! peer sees a connection's end when both are closed. No look finds bytes that are still to come: a user who leaves half of a reply
//! unread, and says that all went well, may leave it to the next one ([`Conn`] says more). A pool has at most 64,512 connections and
//! 1,024 shards. In a child that a process forks, the parent's pools may be dropped, which does nothing; they may not be used, nor may
//! others be built, before it executes another program. Where a process closes all its descriptors (`close_range`), the reactors' are
//! among them: connections are unwatched from then on ([`Event::Deaf`]).
//!
//! Where the ideas come from: [NimblePool](https://hexdocs.pm/nimble_pool)'s callbacks and its advice of one pool per scheduler;
//! HikariCP's names; HAProxy's restraint in stealing; parking_lot's bounded barging; nginx and Envoy for watching idle connections.
//!
//! # Features
//!
//! None is on by default, and none changes what the others do.
//!
//! - `metrics`: gauges, counters and histograms for the `metrics` crate ([`telemetry::install`]).
//! - `tracing`: events and outages for the `tracing` crate ([`telemetry::Traced`]).
//! - `usdt`: static probes for `bpftrace`, `perf` and `gdb` ([`telemetry::probes`]).
//! - `serde`: `Serialize` for [`Stats`] and [`Settings`], `Deserialize` for [`Settings`].
//! - `r2d2`, `postgres`, `mysql`, `redis`, `rustls`: managers for these clients ([`clients`]).
//! - `redis`, on a [`mux`], also Redis's protocol for many callers on one connection (`mux::resp`).
//! - `fdhunt`: for a manager of your own whose client hides its socket ([`clients::fdhunt`], [`own_manager`]).
//!
//! The minimum supported Rust version is 1.88, with and without them.

// The pages name what features bring. Built with all of them, as docs.rs and the gate do, no link may lead nowhere.
#![cfg_attr(
    not(all(
        feature = "metrics",
        feature = "tracing",
        feature = "usdt",
        feature = "fdhunt",
        feature = "r2d2",
        feature = "postgres",
        feature = "mysql",
        feature = "redis",
        feature = "rustls"
    )),
    allow(rustdoc::broken_intra_doc_links)
)]

#[cfg(not(target_os = "linux"))]
compile_error!("corepool runs on Linux only: it watches idle connections by epoll");

mod builder;
pub mod clients;
mod docs;
mod engine;
mod error;
mod lease;
mod lockfree;
mod manager;
mod map;
pub mod mux;
mod net;
mod observe;
mod os;
mod pool;
mod settings;
mod stats;
mod sync;
#[cfg(any(feature = "metrics", feature = "tracing", feature = "usdt"))]
pub mod telemetry;
mod watch;

pub use builder::Builder;
pub use docs::{beyond, cookbook, faults, guide, own_manager, verification, when_which};
pub use error::{BuildError, Cause, GetError, GetErrorKind, UseError};
pub use lease::Lease;
pub use manager::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};
pub use map::PoolMap;
pub use net::conn::Conn;
pub use net::connect_error::ConnectError;
pub use net::tcp::TcpManager;
pub use net::unix::UnixManager;
pub use observe::{Event, Observer};
pub use pool::Pool;
pub use settings::{Opening, Settings};
pub use stats::{DrainReport, ShardStats, Stats, WaitTimes};
pub use watch::reactors::Reactors;
pub use watch::stream::Stream;

/// The bag beside a simple twin, for the fuzz target.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
#[path = "lockfree/twin/mod.rs"]
pub mod twin;

/// What fuzzing has found.
#[cfg(all(test, not(corepool_loom)))]
#[path = "../tests/support/kept.rs"]
mod kept;

/// The engine in a world of its own, for the fuzz target and long runs.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod sim;

/// What a mux reads, in any cuts, for the fuzz target.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use mux::twin::mux_replies;

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
