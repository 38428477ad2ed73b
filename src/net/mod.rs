//! Ready-made connections: streams over TCP and Unix sockets, and the managers that dial them.

pub(crate) mod conn;
pub(crate) mod connect_error;
pub(crate) mod tcp;
pub(crate) mod unix;
