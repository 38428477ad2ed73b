//! Sockets and readiness: what a connection is made of and how its end is noticed. Knows nothing of pools.

pub(crate) mod conn;
pub(crate) mod connect_error;
pub(crate) mod probe;
pub(crate) mod reactor;
pub(crate) mod source;
pub(crate) mod tcp;
pub(crate) mod unix;
