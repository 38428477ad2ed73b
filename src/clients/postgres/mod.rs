//! PostgreSQL by the `postgres` crate: what is dialed ([`manager`]), what is lent ([`connection`]).

pub(super) mod connection;
pub(super) mod manager;
mod unix;
