//! The non-blocking way: one full-duplex connection, many blocking callers.
//!
//! A pool lends a connection to one caller at a time, so half of what it could carry lies idle: while a request travels, no other one
//! does. A protocol that answers in order (Redis, memcached's text, SMTP's pipelining) needs no such exclusion. A [`Mux`] lets the callers
//! of a core share one connection, its *line*: their requests leave together, with one system call for all that are there, and the replies
//! go to whoever is next in order. Each caller blocks; the connection never does.
//!
//! ```
//! use corepool::mux::{Decoded, Mux, Protocol};
//! use corepool::{Pool, TcpManager};
//! # use std::io::{Read, Write};
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let address = listener.local_addr()?.to_string();
//! # std::thread::spawn(move || {
//! #     for stream in listener.incoming() {
//! #         std::thread::spawn(move || -> std::io::Result<()> {
//! #             let (mut stream, mut bytes) = (stream?, [0; 1024]);
//! #             loop {
//! #                 match stream.read(&mut bytes)? {
//! #                     0 => return Ok(()),
//! #                     length => stream.write_all(&bytes[..length])?,
//! #                 }
//! #             }
//! #         });
//! #     }
//! # });
//!
//! /// A line of text is answered by a line of text.
//! struct Lines;
//!
//! impl Protocol for Lines {
//!     type Request = str;
//!     type Reply = String;
//!
//!     fn encode(&self, request: &str, into: &mut Vec<u8>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//!         if request.contains('\n') {
//!             return Err("a line has no line end in it".into());
//!         }
//!         into.extend_from_slice(request.as_bytes());
//!         into.push(b'\n');
//!         Ok(())
//!     }
//!
//!     fn decode(&self, bytes: &[u8]) -> Decoded<String> {
//!         match bytes.iter().position(|byte| *byte == b'\n') {
//!             Some(end) => Decoded::Reply(String::from_utf8_lossy(&bytes[..end]).into_owned(), end + 1),
//!             None => Decoded::More(1),
//!         }
//!     }
//! }
//!
//! // One for the process. Any number of threads call, by reference or by cheap clones.
//! let mux = Mux::builder(Pool::builder(TcpManager::new(address)), Lines).build()?;
//! assert_eq!(mux.call("ping")?, "ping");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! A caller appends its request to its core's batch. If nobody writes, it takes the batch and writes it, with one system call; what
//! others append meanwhile is the next batch. If nobody reads, it reads, for all: it decodes what comes, and takes each reply to its
//! caller. When its own is there, it passes the lead on to the caller who is next, then wakes the others. So a lone caller writes and
//! reads by itself, one send and one receive, without a thread in between; and with many callers most of them do neither.
//!
//! **On top of the pool.** Each line is a lease of a pool's connection, so dialing, backoff, the watch, failing fast in an outage,
//! retirement and drain are the pool's: what its builder says holds here too, but that it has as many connections as lines, keeps all of
//! them open, and limits no hold. A line gives its connection up when it fails, or when the pool wants it back and nobody waits for a
//! reply on it: before each write, one load tells whether its peer has hung up. The next caller has the pool open another one.
//!
//! # What becomes of a call when things go wrong
//!
//! - **It takes too long**: its caller goes, with [`CallErrorKind::TimedOut`]. If its request was written, the reply still comes, and is
//!   dropped: nobody else gets it. If not, it never is.
//! - **The connection ends**: who had written gets [`CallErrorKind::Disconnected`], with the cause, and is never repeated. What had not
//!   been written goes out on the next connection, and its callers know of nothing.
//! - **No connection is to be had**: calls wait while one is being opened, and fail at once in an outage, as the pool's do.
//! - **Nonsense**: bytes that the [`Protocol`] calls broken, a reply that nobody asked for, or one longer than
//!   [`max_reply`](MuxBuilder::max_reply) cost the connection.
//!
//! [`CallError::was_sent`] tells whether the request may have been carried out.
//!
//! [`when_which`](crate::when_which) has figures, and says when to take a pool instead.
//!
//! # What it is not for
//!
//! Whatever changes the connection or holds it: transactions, subscriptions, a command that blocks. All callers share it. Take a
//! [`Pool`](crate::Pool) for these; both may serve the same endpoint. Nor does anybody read while nobody calls, so what the peer
//! sends by itself ([`Protocol::on_push`]) is heard of with the next call; and a *reply* too many that comes while nobody calls would
//! answer the next one: what a pool's look before each checkout finds is not looked for here.
#![forbid(unsafe_code)]

mod builder;
mod error;
mod face;
mod feed;
mod line;
mod protocol;
#[cfg(feature = "redis")]
pub mod resp;
mod stats;
#[cfg(any(test, fuzzing))]
pub(crate) mod twin;

pub use self::builder::MuxBuilder;
pub use self::error::{CallError, CallErrorKind};
pub use self::face::Mux;
pub use self::protocol::{Decoded, Protocol};
pub use self::stats::{LineStats, MuxStats};
pub use crate::net::duplex::{Duplex, ReadHalf, SocketHalf, WriteHalf};
