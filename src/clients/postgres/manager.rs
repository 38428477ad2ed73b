//! Dialing PostgreSQL: [`PostgresManager`].
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::time::Duration;

use postgres::config::Host;
use postgres::error::{Severity, SqlState};
use postgres::tls::{MakeTlsConnect, TlsConnect};
use postgres::{Config, Error, NoTls, Socket};

use super::connection::{Left, PostgresConnection};
use super::unix;
use crate::clients::fdhunt::UserTimeout;
use crate::manager::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};

/// Opens `postgres::Client`s, over TCP and Unix sockets, with TLS by whatever connector that crate takes.
///
/// ```no_run
/// use corepool::Pool;
/// use corepool::clients::PostgresManager;
///
/// let config = "host=localhost user=postgres dbname=shop".parse()?;
/// let pool = Pool::builder(PostgresManager::new(config)).max_size(16).build()?;
/// let count: i64 = pool.with(|client| client.query_one("select count(*) from orders", &[]).map(|row| row.get(0)))?;
/// # drop(count);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// - **Dial**: connect and login within `dial_timeout`. Over TCP a login that hangs is cut; over a Unix socket it cannot be, and counts as
///   a hung dial until the server's `authentication_timeout`. A refused login and a database that does not exist are permanent.
/// - **Watch**: the client hides its socket. Over TCP it is found by its user timeout, which is the configuration's own again when the
///   connection is lent. Over a Unix socket it is found by having the server send half a megabyte that the client does not read at once:
///   a query more for each dial. Should it not be found (no `/proc`, say), the connection is unwatched:
///   [`PostgresConnection::is_watched`] tells. Then set [`validate_after`](crate::Builder::validate_after).
/// - **Idle**: notices, notifications and changed parameters, which the server may send unasked, are taken and dropped; anything else
///   discards.
/// - **Return**: an error that the server reported costs nothing, whether or not the use failed with it: the client reads each answer to
///   its end, and knows when it is broken. A use that fails with one that ends the session (`FATAL`, `PANIC`) discards. So does a result of
///   which more waits (of one that is still to come, the client reads on at its next query), and a panic.
///   What a session is reset to is for [`reset`](PostgresManager::reset).
///
/// A cancel request that arrives late may hit the next user's query: that is so in the protocol. Cancel only while you hold the
/// connection, or use `statement_timeout`.
pub struct PostgresManager<T = NoTls> {
    config: Config,
    tls: T,
    reset: PostgresReset,
    discard_open: bool,
}

/// What is done with a session when it comes back: see [`PostgresManager::reset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PostgresReset {
    /// Nothing. A transaction that is left open is the next user's. For programs that open transactions only by
    /// `Client::transaction`, which ends them itself. A `COPY` ends where its `CopyInWriter` is dropped: one that is forgotten
    /// (`mem::forget`) leaves the connection in the `COPY`.
    None,
    /// After a use that failed, a transaction that it has left open is rolled back: one round trip to ask whether there is one. After
    /// one that ended well, nothing: so one who says `BEGIN` says `COMMIT`. The error must reach the pool: use
    /// [`with`](crate::Pool::with), or [`Lease::fail`](crate::Lease::fail).
    #[default]
    AfterErrors,
    /// The same after every use. One round trip each time.
    Rollback,
    /// The same, and all that `DISCARD ALL` ends: settings, listens, locks, temporary tables, cursors. Prepared statements are kept, since
    /// the client counts on them. One round trip.
    DiscardAll,
}

impl PostgresManager {
    /// Without TLS. Unless the configuration has a `connect_timeout`, a connect has what is left of `dial_timeout`.
    pub fn new(config: Config) -> Self {
        PostgresManager::with_tls(config, NoTls)
    }
}

impl<T> PostgresManager<T> {
    /// With TLS by this connector, such as those of `postgres-native-tls` or `tokio-postgres-rustls`, as the configuration's `sslmode`
    /// says.
    pub fn with_tls(config: Config, tls: T) -> Self {
        PostgresManager { config, tls, reset: PostgresReset::default(), discard_open: false }
    }

    /// What is done with a session that comes back, on the returning thread, unless its user never touched it. Default
    /// [`PostgresReset::AfterErrors`].
    ///
    /// A round trip blocks the returning thread; the pool's [`hold_limit`](crate::Builder::hold_limit) bounds it. One that
    /// fails discards.
    pub fn reset(mut self, reset: PostgresReset) -> Self {
        self.reset = reset;
        self
    }

    /// Whether a session whose transaction was left open is discarded, instead of being rolled back. Default `false`. Without
    /// effect where [`reset`](PostgresManager::reset) has nobody ask.
    pub fn discard_open_transactions(mut self, discard: bool) -> Self {
        self.discard_open = discard;
        self
    }

    fn judge(&self, postgres: &mut PostgresConnection, how: Outcome) -> Verdict {
        if !postgres.was_used() {
            return Verdict::Keep;
        }
        if postgres.is_closed() {
            return Verdict::Discard;
        }
        match postgres.waiting() {
            None => {}
            Some(first) if PostgresConnection::may_be_due(first) => postgres.drain(),
            // Not read to its end here, which may be far.
            Some(_) => return Verdict::discard("a result was not read to its end"),
        }
        let discard = self.reset == PostgresReset::DiscardAll;
        let reset = match self.reset {
            PostgresReset::None => Ok(Verdict::Keep),
            PostgresReset::AfterErrors if how == Outcome::Done => Ok(Verdict::Keep),
            _ => postgres.left(discard).and_then(|left| match left {
                Left::Nothing => Ok(Verdict::Keep),
                Left::Transaction if self.discard_open => Ok(Verdict::discard("a transaction was left open")),
                Left::Transaction => postgres.roll_back(discard).map(|()| Verdict::Keep),
            }),
        };
        postgres.forget_notifications();
        reset.unwrap_or_else(Verdict::discard)
    }
}

impl<T> Manager for PostgresManager<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::TlsConnect: Send,
    T::Stream: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    type Connection = PostgresConnection;
    type Error = Error;

    fn connect(&self, dial: &Dial<'_>) -> Result<PostgresConnection, Error> {
        let own = self.config.get_tcp_user_timeout().copied();
        let nonce = UserTimeout::new();
        let mut config = self.config.clone();
        // Zero would mean no timeout.
        let left = dial.remaining().max(Duration::from_millis(1));
        let limit =
            config.get_connect_timeout().filter(|limit| !limit.is_zero()).map_or(left, |limit| left.min(*limit));
        config.tcp_user_timeout(nonce.value()).connect_timeout(limit);
        let cut = nonce.cut_at_deadline(dial);
        let mut client = config.connect(self.tls.clone())?;
        // A socket that cannot be had is one more that is not watched.
        let mut found = nonce.find(own).ok().flatten();
        drop(cut);
        if found.is_none() && self.config.get_hosts().iter().any(|host| matches!(host, Host::Unix(_))) {
            found = unix::find(&mut client, dial.remaining().min(Duration::from_secs(1)))?;
        }
        Ok(PostgresConnection::new(client, found))
    }

    /// A refused login, or a database that does not exist.
    fn is_permanent(&self, error: &Error) -> bool {
        const PERMANENT: [SqlState; 3] =
            [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION, SqlState::INVALID_CATALOG_NAME];
        error.code().is_some_and(|code| PERMANENT.contains(code))
    }

    #[inline]
    fn watch(&self, postgres: &PostgresConnection, on: &mut Watch<'_>) {
        postgres.watch(on);
    }

    fn on_idle_data(&self, postgres: &mut PostgresConnection, peeked: &[u8]) -> Verdict {
        if !peeked.first().is_some_and(|first| PostgresConnection::may_be_due(*first)) {
            return Verdict::Discard;
        }
        postgres.drain();
        if postgres.waiting().is_some() || postgres.is_closed() { Verdict::Discard } else { Verdict::Keep }
    }

    fn ping(&self, postgres: &mut PostgresConnection) -> Result<(), Error> {
        let pinged = postgres.simple_query("").map(drop);
        postgres.was_used();
        pinged
    }

    /// Of what the error says, only one thing matters, since the session's end may come later than its announcement. All else the
    /// client knows.
    fn on_error(&self, postgres: &mut PostgresConnection, error: &dyn Any) -> Verdict {
        if error.downcast_ref().is_some_and(is_fatal) {
            return Verdict::discard("the server has ended the session");
        }
        self.judge(postgres, Outcome::Failed)
    }

    fn on_return(&self, postgres: &mut PostgresConnection, how: Outcome) -> Verdict {
        if how == Outcome::Panicked { Verdict::Discard } else { self.judge(postgres, how) }
    }

    /// The client says goodbye and waits for its peer's end, and before that for the answers that are due: only if it leaves in good order.
    fn close(&self, postgres: PostgresConnection, why: CloseReason) {
        if !is_whole(why) {
            postgres.shut_down();
        }
        drop(postgres);
    }
}

/// Whether the server ends the session with it.
fn is_fatal(error: &Error) -> bool {
    error.as_db_error().is_some_and(|error| match error.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        // In the server's language; in English from servers so old that they say it only so, as a rule.
        None => matches!(error.severity(), "FATAL" | "PANIC"),
    })
}

/// Whether it leaves in good order, so that it may take its time to say goodbye.
fn is_whole(why: CloseReason) -> bool {
    use CloseReason::{Expired, IdleTimeout, PoolClosed, Retired, Surplus};
    matches!(why, Expired | IdleTimeout | PoolClosed | Retired | Surplus)
}

impl<T> fmt::Debug for PostgresManager<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration's own Debug leaves the password out.
        f.debug_struct("PostgresManager")
            .field("config", &self.config)
            .field("reset", &self.reset)
            .finish_non_exhaustive()
    }
}
