//! MySQL and MariaDB by the `mysql` crate: what is dialed ([`manager`]), what is lent ([`connection`], [`transaction`]).

pub(super) mod connection;
pub(super) mod manager;
mod queryable;
pub(super) mod transaction;
