//! The lock-free bag, in which a pool keeps its connections: memory only. No I/O, no clock, no user code.
//!
//! The `README.md` beside this file has the glossary, the state table, the invariants, the edge table and the proofs. Read `bits` for
//! the packed words, `word` for one idle word, `idle` for the stacks, `slot` for what a connection lives in, `queue` for those who
//! wait, then `bag`, where they meet. `alarm` is the protocol by which a reactor goes to sleep. `twin/` is the bag once more, in
//! sets and queues, for the fuzz target.

pub(crate) mod alarm;
pub(crate) mod bag;
pub(crate) mod bits;
pub(crate) mod idle;
pub(crate) mod queue;
pub(crate) mod slot;
mod word;
