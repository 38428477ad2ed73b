//! What is lent: [`MysqlConnection`].
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};

use mysql::prelude::Queryable;
use mysql::{Conn, DriverError, Error, Result};

use crate::manager::Watch;
use crate::os::sys;
use crate::watch::stream::Stream;

/// A `mysql::Conn` that knows whether it may be lent again.
///
/// It is `mysql::prelude::Queryable`. After an I/O or a protocol error it fails every further call, and the pool closes it when it comes
/// back: a plain `Conn` goes on, and answers the next query with what was due to the one before. An error that the server reports costs
/// nothing, unless the server hangs up with it (it shuts down, or the connection was killed).
///
/// A `QueryResult` that is dropped reads what is left of it, and tells nobody when that fails. So the methods that return values read all
/// of a result here, before they return. After a use that called [`query_iter`](Queryable::query_iter),
/// [`exec_iter`](Queryable::exec_iter) or [`client`](MysqlConnection::client), the server is asked for a random number when the
/// connection comes back, and the connection is kept if it answers with that.
pub struct MysqlConnection {
    pub(super) conn: Conn,
    /// It has failed, and may be owed an answer.
    broken: bool,
    /// An error may have gone by unseen.
    pub(super) unsure: bool,
    /// It was asked for something since it was last judged.
    pub(super) used: bool,
}

impl MysqlConnection {
    pub(super) fn new(conn: Conn) -> Self {
        MysqlConnection { conn, broken: false, unsure: false, used: false }
    }

    /// The client itself, for what this type does not offer.
    ///
    /// What happens to it is not seen, so that the connection is checked when it comes back: a round trip.
    pub fn client(&mut self) -> &mut Conn {
        (self.unsure, self.used) = (true, true);
        &mut self.conn
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// The client's.
    pub fn ping(&mut self) -> Result<()> {
        self.call(Conn::ping)
    }

    /// One call of the client, whose error tells whether the connection is still good.
    pub(super) fn call<T>(&mut self, call: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        if self.broken {
            return Err(broken());
        }
        let before = self.unsure;
        // Should it panic, in a closure of the user's.
        (self.unsure, self.used) = (true, true);
        let called = call(&mut self.conn);
        self.unsure = before;
        called.inspect_err(|error| self.broken |= breaks(error))
    }

    /// The same for one that returns before all of its answer is read.
    pub(super) fn begin(&mut self) -> Result<&mut Conn> {
        if self.broken { Err(broken()) } else { Ok(self.client()) }
    }

    pub(super) fn failed(&mut self, error: &Error) {
        self.broken |= breaks(error);
    }

    /// Whether it answers what it is asked.
    pub(super) fn answers(&mut self) -> bool {
        let number = fastrand::u64(..1 << 62);
        let answer = self.call(|conn| conn.query_first::<u64, _>(format!("SELECT {number}")));
        self.unsure = false;
        let answers = answer.is_ok_and(|answer| answer == Some(number));
        self.broken |= !answers;
        answers
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    #[inline]
    pub(super) fn watch(&self, on: &mut Watch<'_>) {
        sys::with_borrowed(&self.conn, |socket| {
            on.socket(Socket { socket, fit: !self.broken, identity: self.conn.connection_id().into() });
        });
    }
}

fn broken() -> Error {
    std::io::Error::new(std::io::ErrorKind::BrokenPipe, "an exchange on this connection has failed before").into()
}

/// What the server says as it hangs up: it shuts down, aborts the connection, was sent too large a packet, cannot read or write in time
/// (four), aborts a new one, the connection was killed (MariaDB's, MySQL's), or has lain idle.
const FAREWELLS: [u16; 11] = [1053, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1927, 3169, 4031];

/// Whether an answer may be due after it, or the end.
fn breaks(error: &Error) -> bool {
    match error {
        Error::MySqlError(error) => FAREWELLS.contains(&error.code),
        Error::UrlError(_) | Error::FromValueError(_) | Error::FromRowError(_) => false,
        // Found before anything was sent.
        Error::DriverError(
            DriverError::MismatchedStmtParams(..) | DriverError::Params(_) | DriverError::MixedParams,
        ) => false,
        _ => true,
    }
}

/// The client's own descriptor, which it shows.
struct Socket<'a> {
    socket: BorrowedFd<'a>,
    fit: bool,
    /// The server's number of the connection: another one is another number.
    identity: u64,
}

impl AsFd for Socket<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket
    }
}

impl Stream for Socket<'_> {
    fn is_fit(&self) -> bool {
        self.fit
    }

    fn identity(&self) -> Option<u64> {
        Some(self.identity)
    }
}

/// For what the client tells of itself, such as `last_insert_id`.
impl Deref for MysqlConnection {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl fmt::Debug for MysqlConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlConnection")
            .field("id", &self.conn.connection_id())
            .field("broken", &self.broken)
            .field("unsure", &self.unsure)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mysql::MySqlError;

    use super::*;

    fn reported(code: u16) -> Error {
        Error::MySqlError(MySqlError { state: "HY000".to_owned(), message: "why".to_owned(), code })
    }

    #[test]
    fn of_the_errors_that_the_server_reports_only_its_farewells_break_the_connection() {
        for code in [1053, 1152, 1158, 1159, 1160, 1161, 1927, 4031] {
            assert!(breaks(&reported(code)), "{code}");
        }
        // A duplicate key, a deadlock, a query that was interrupted, one that was not parsed.
        for code in [1062, 1213, 1317, 1064] {
            assert!(!breaks(&reported(code)), "{code}");
        }
    }
}
