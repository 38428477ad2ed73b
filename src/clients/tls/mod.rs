//! TLS by rustls: what is dialed ([`manager`]), what is lent ([`connection`]).

pub(super) mod connection;
pub(super) mod manager;
