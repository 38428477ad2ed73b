//! The guide: choosing sizes, and coming from another pool.
//!
//! - [`sizes`]: how many connections, kept how, in how many shards.
//! - [`from_r2d2`], [`from_deadpool`] (and bb8), [`from_hikari`] (and pgx), [`from_nimble_pool`] (and `connection` and db_connection).
//!
//! **How to read the tables.** A row is one callback, option or setting of theirs; what it is here, or why it has no meaning here; and a
//! test of it, as `FILE::NAME` in `tests/`. A test of its own, `tests/guide.rs`, holds these pages to that.
//!
//! Three differences run through all of them:
//! - **The caller's thread does the caller's work.** There is no pool process and no connection process: a checkout takes the
//!   connection itself, and the hooks about it run on the thread that asks or returns. What may block without a caller (dialing, pinging,
//!   closing) runs on background threads, each under a deadline.
//! - **The lease is `&mut`.** A use's changes need no message back, a connection cannot be used after it was given back, and nobody checks
//!   in by hand.
//! - **No state is threaded through.** Hooks take `&self`, from many threads at once: what NimblePool keeps in `pool_state` is a field of
//!   the manager, behind an atomic or a lock of its own.
#![forbid(unsafe_code)]

pub mod from_deadpool;
pub mod from_hikari;
pub mod from_nimble_pool;
pub mod from_r2d2;
pub mod sizes;
