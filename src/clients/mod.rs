//! Managers for the clients that people use, each behind a feature of its own, off by default.
//!
//! | feature | manager | lends | its socket |
//! |---|---|---|---|
//! | `r2d2` | [`R2d2Manager`] | what any `r2d2::ManageConnection` opens | as you say: unwatched, named, or found |
//! | `postgres` | [`PostgresManager`] | a `postgres::Client` ([`PostgresConnection`]) | found; TCP and Unix sockets |
//! | `mysql` | [`MysqlManager`] | a `mysql::Conn` that goes dirty ([`MysqlConnection`]) | shown by the client |
//! | `redis` | [`RedisManager`] | one of ours for the `redis` crate's commands ([`RedisConnection`]) | ours; TCP, Unix sockets, and with `rustls` TLS |
//! | `redis` | [`RedisClientManager`] | the `redis` crate's own | found; TCP, TLS and Unix sockets |
//! | `rustls` | [`TlsManager`] | a TLS stream over TCP ([`TlsConn`]) | ours |
//! | `fdhunt` | one of your own, around a client that hides its socket | [`Watched`] | [`fdhunt`] |
//!
//! All of them close a connection that the server has closed while it lay idle, before it is lent; keep one whose use failed with an
//! error that the server reported; and discard one that may still be owed an answer, as far as its client can tell (each manager's page
//! says how far that is). In `tests/clients` each of these is in front of a real server, some thousand times, beside late replies, cuts
//! and users who give up. What they see to is on a page of its own, for [a manager of yours](crate::own_manager).
//!
//! A feature brings the client in its leanest form. TLS and other extras come by your own dependency on it, whose features are the same.

#[cfg(feature = "fdhunt")]
pub mod fdhunt;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "r2d2")]
mod r2d2;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "rustls")]
mod tls;
#[cfg(feature = "fdhunt")]
mod watched;

#[cfg(feature = "mysql")]
pub use self::mysql::{
    connection::MysqlConnection,
    manager::{MysqlManager, MysqlReset},
    transaction::MysqlTransaction,
};
#[cfg(feature = "postgres")]
pub use self::postgres::{
    connection::PostgresConnection,
    manager::{PostgresManager, PostgresReset},
};
#[cfg(feature = "r2d2")]
pub use self::r2d2::{R2d2Error, R2d2Manager, WatchedR2d2Manager};
/// What a mux of Redis's protocol refuses as well.
#[cfg(feature = "redis")]
pub(crate) use self::redis::changing::changing;
/// What a peer of Redis's protocol says, for the fuzz targets.
#[cfg(all(any(test, fuzzing), feature = "redis"))]
#[doc(hidden)]
pub use self::redis::twin::{peek, resp};
#[cfg(feature = "redis")]
pub use self::redis::{connection::RedisConnection, manager::RedisManager, stock::RedisClientManager};
#[cfg(feature = "rustls")]
pub use self::tls::{connection::TlsConn, manager::TlsManager};
#[cfg(feature = "fdhunt")]
pub use self::watched::Watched;
