//! The machine beneath: system calls that have no safe form elsewhere, cores, threads and their numbers, background threads, the clock.
//! Knows nothing of connections.

pub(crate) mod background;
pub(crate) mod clock;
pub(crate) mod contain;
pub(crate) mod sys;
pub(crate) mod thread;
pub(crate) mod topology;
