//! The concurrent core: memory only. No I/O, no clock, no user code.
//!
//! The `README.md` beside this file has the glossary, the state table, the edge table and the proofs. Read
//! `bits` for the words, `idle` for the stacks, `slot` for what a connection lives in, `queue` for those who wait, then `core`,
//! where they meet. `alarm` is the protocol by which a reactor goes to sleep.

pub(crate) mod alarm;
pub(crate) mod bag;
pub(crate) mod bits;
pub(crate) mod idle;
pub(crate) mod queue;
pub(crate) mod slot;
mod word;
