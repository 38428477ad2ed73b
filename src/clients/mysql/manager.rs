//! Dialing MySQL and MariaDB: [`MysqlManager`].
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::time::Duration;

use mysql::prelude::Queryable;
use mysql::{Conn, DriverError, Error, Opts, OptsBuilder, Result};
use socket2::SockRef;

use super::connection::MysqlConnection;
use crate::manager::{Dial, Manager, Outcome, Verdict, Watch};
use crate::os::sys;

/// Opens connections to MySQL and MariaDB that know whether they may be lent again: [`MysqlConnection`].
///
/// ```no_run
/// use corepool::Pool;
/// use corepool::clients::MysqlManager;
/// use mysql::prelude::Queryable;
///
/// let opts = mysql::Opts::from_url("mysql://shop:secret@localhost/shop")?;
/// let pool = Pool::builder(MysqlManager::new(opts)).max_size(16).build()?;
/// let count: Option<u64> = pool.with(|mysql| mysql.query_first("select count(*) from orders"))?;
/// # drop(count);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// - **Dial**: each read and write of the login is bounded by what is left of `dial_timeout`. A refused login and an unknown database
///   are permanent. Mind the client's `prefer_socket`, which is on by default: it then connects by TCP, asks for the server's Unix socket,
///   and connects again by that.
/// - **Watch**: by the client's own descriptor, over TCP and Unix sockets. Anything that waits on an idle connection discards: it is the
///   server's farewell.
/// - **Return**: an error that the server reported costs nothing, whether or not the use failed with it; one with which it hangs up, an I/O
///   or protocol error, and a panic discard. What a session is reset to is for [`reset`](MysqlManager::reset).
pub struct MysqlManager {
    opts: Opts,
    reset: MysqlReset,
}

/// What is done with a session when it comes back: see [`MysqlManager::reset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum MysqlReset {
    /// Nothing. A transaction that is left open is the next user's. For programs that open transactions only by
    /// [`MysqlConnection::start_transaction`], and want no round trip at a return.
    None,
    /// A transaction that is left open is rolled back. One round trip.
    #[default]
    Rollback,
    /// The same, and all that `COM_RESET_CONNECTION` ends: variables, temporary tables, locks, prepared statements. One round trip, and
    /// one more for the next use of each statement.
    Connection,
}

impl MysqlManager {
    /// For what these options connect to. Options that the client's own pool has are not used.
    pub fn new(opts: impl Into<Opts>) -> Self {
        MysqlManager { opts: opts.into(), reset: MysqlReset::default() }
    }

    /// What is done with a session that comes back, on the returning thread, unless its user asked it for nothing. Default
    /// [`MysqlReset::Rollback`].
    ///
    /// Any but `None` blocks the returning thread for a round trip; the client's read timeout or the pool's
    /// [`hold_limit`](crate::Builder::hold_limit) bounds it. One that fails discards.
    pub fn reset(mut self, reset: MysqlReset) -> Self {
        self.reset = reset;
        self
    }

    fn judge(&self, mysql: &mut MysqlConnection) -> Verdict {
        if !std::mem::take(&mut mysql.used) || mysql.is_broken() {
            // The pool looks at the latter itself.
            return Verdict::Keep;
        }
        if mysql.unsure && !mysql.answers() {
            return Verdict::discard("it does not answer what it is asked");
        }
        let reset = match self.reset {
            MysqlReset::None => Ok(()),
            MysqlReset::Rollback => mysql.query_drop("ROLLBACK"),
            MysqlReset::Connection => mysql.call(Conn::reset),
        };
        mysql.used = false;
        reset.map_or_else(Verdict::discard, |()| Verdict::Keep)
    }
}

impl Manager for MysqlManager {
    type Connection = MysqlConnection;
    type Error = Error;

    fn connect(&self, dial: &Dial<'_>) -> Result<MysqlConnection> {
        // Zero would mean no timeout.
        let left = dial.remaining().max(Duration::from_millis(1));
        let within = |own: Option<Duration>| Some(own.map_or(left, |own| own.min(left)));
        let (read, write) = (self.opts.get_read_timeout().copied(), self.opts.get_write_timeout().copied());
        let opts = OptsBuilder::from_opts(self.opts.clone())
            .tcp_connect_timeout(within(self.opts.get_tcp_connect_timeout()))
            .read_timeout(within(read))
            .write_timeout(within(write));
        let conn = Conn::new(opts)?;
        sys::with_borrowed(&conn, |socket| {
            let socket = SockRef::from(&socket);
            socket.set_read_timeout(read).and_then(|()| socket.set_write_timeout(write))
        })?;
        Ok(MysqlConnection::new(conn))
    }

    /// A refused login, an unknown database, or a way to log in that one of the sides does not have.
    fn is_permanent(&self, error: &Error) -> bool {
        /// Access denied to a database, to a user; unknown database; access denied without a password to tell.
        const PERMANENT: [u16; 4] = [1044, 1045, 1049, 1698];
        match error {
            Error::MySqlError(error) => PERMANENT.contains(&error.code),
            Error::DriverError(
                DriverError::OldMysqlPasswordDisabled
                | DriverError::CleartextPluginDisabled
                | DriverError::UnknownAuthPlugin(_)
                | DriverError::TlsNotSupported,
            ) => true,
            _ => false,
        }
    }

    #[inline]
    fn watch(&self, mysql: &MysqlConnection, on: &mut Watch<'_>) {
        mysql.watch(on);
    }

    fn ping(&self, mysql: &mut MysqlConnection) -> Result<()> {
        let pinged = mysql.ping();
        mysql.used = false;
        pinged
    }

    /// What the error says does not matter: the connection knows.
    fn on_error(&self, mysql: &mut MysqlConnection, _error: &dyn Any) -> Verdict {
        self.judge(mysql)
    }

    fn on_return(&self, mysql: &mut MysqlConnection, how: Outcome) -> Verdict {
        if how == Outcome::Panicked { Verdict::Discard } else { self.judge(mysql) }
    }
}

impl fmt::Debug for MysqlManager {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlManager")
            .field("host", &self.opts.get_ip_or_hostname())
            .field("port", &self.opts.get_tcp_port())
            .field("user", &self.opts.get_user())
            .field("database", &self.opts.get_db_name())
            .field("reset", &self.reset)
            .finish_non_exhaustive()
    }
}
