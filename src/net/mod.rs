//! Ready-made connections, above the manager: the stream that is lent ([`conn`]), and the managers that dial it over TCP ([`tcp`]) and
//! Unix sockets ([`unix`]) with what both of them do with each connection ([`options`], [`login`]).

pub(crate) mod conn;
pub(crate) mod connect_error;
pub(crate) mod duplex;
pub(crate) mod login;
pub(crate) mod options;
pub(crate) mod tcp;
pub(crate) mod unix;
