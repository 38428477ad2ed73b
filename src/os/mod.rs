//! The machine beneath: system calls, cores, threads, the clock. Knows nothing of connections.

pub(crate) mod background;
pub(crate) mod clock;
pub(crate) mod sys;
pub(crate) mod thread;
pub(crate) mod topology;
