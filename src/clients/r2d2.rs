//! Managers written for r2d2, as they are: [`R2d2Manager`].
//!
//! What differs from r2d2's own pool. Its `is_valid` at every checkout is a round trip that finds what the watch has found already, so
//! here it runs after a rest. Its `has_broken` is all that r2d2 asks at a return, and most clients answer `false` whatever was: so a use
//! that failed or panicked costs its connection, unless the error is one that is known to leave nothing half done.
#![forbid(unsafe_code)]

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;

use r2d2::{CustomizeConnection, HandleError, ManageConnection, NopConnectionCustomizer, NopErrorHandler};

use super::fdhunt::Found;
use super::watched::Watched;
use crate::manager::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};

/// Any `r2d2::ManageConnection` as a [`Manager`](crate::Manager): diesel's, `r2d2_postgres`, `r2d2_sqlite`, `redis::Client`, …
///
/// A program moves over by changing the pool's type and how it is built:
///
/// ```
/// use corepool::Pool;
/// use corepool::clients::R2d2Manager;
/// # #[derive(Debug)] struct SqliteManager;
/// # impl r2d2::ManageConnection for SqliteManager {
/// #     type Connection = u8; type Error = std::io::Error;
/// #     fn connect(&self) -> Result<u8, Self::Error> { Ok(7) }
/// #     fn is_valid(&self, _: &mut u8) -> Result<(), Self::Error> { Ok(()) }
/// #     fn has_broken(&self, _: &mut u8) -> bool { false }
/// # }
///
/// // let pool = r2d2::Pool::builder().max_size(8).build(SqliteManager)?;
/// let pool = Pool::builder(R2d2Manager::new(SqliteManager)).max_size(8).build()?;
/// let connection = pool.get()?;
/// assert_eq!(*connection, 7);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// - `connect`, then the customizer's `on_acquire`, on a background thread. r2d2's `connect` knows no deadline: one that outlasts
///   `dial_timeout` counts as failed and is left alone, as [`Manager::connect`](crate::Manager::connect) says. Let the client bound it.
/// - `is_valid` as the pool's ping: before a checkout, for a connection that has lain idle for
///   [`validate_after`](crate::Builder::validate_after), and in the background every [`ping_interval`](crate::Builder::ping_interval) that
///   it does. Set one of them for a connection that is not watched. At every checkout only if
///   [`test_on_check_out`](R2d2Manager::test_on_check_out) says so.
/// - `has_broken` at every return.
/// - A use that failed discards, unless its error is among [`harmless_errors`](R2d2Manager::harmless_errors); one that panicked discards.
///   A lease that is simply dropped ended well, whatever its user has met with: prefer [`with`](crate::Pool::with), or call
///   [`Lease::fail`](crate::Lease::fail).
/// - Unwatched, unless you say how the socket is named ([`watch`](R2d2Manager::watch)) or found
///   ([`find_socket`](R2d2Manager::find_socket)).
pub struct R2d2Manager<M: ManageConnection> {
    inner: M,
    test_on_check_out: bool,
    customizer: Box<dyn CustomizeConnection<M::Connection, M::Error>>,
    errors: Box<dyn HandleError<M::Error>>,
    harmless: Vec<Box<Harmless>>,
    permanent: Option<Box<Permanent<M::Error>>>,
    name: Option<Box<Name<M::Connection>>>,
}

type Harmless = dyn Fn(&dyn Any) -> bool + Send + Sync;
type Permanent<E> = dyn Fn(&E) -> bool + Send + Sync;
type Name<C> = dyn Fn(&C, &mut Watch<'_>) + Send + Sync;
type Find<C> = dyn Fn(&mut C) -> io::Result<Option<Found>> + Send + Sync;

impl<M: ManageConnection> R2d2Manager<M> {
    /// With r2d2's defaults, but for `test_on_check_out`, which is off.
    pub fn new(inner: M) -> Self {
        R2d2Manager {
            inner,
            test_on_check_out: false,
            customizer: Box::new(NopConnectionCustomizer),
            errors: Box::new(NopErrorHandler),
            harmless: Vec::new(),
            permanent: None,
            name: None,
        }
    }

    /// Whether `is_valid` runs at every checkout, on the caller's thread: a round trip with most clients. Default `false`.
    ///
    /// For a client whose socket cannot be found, where a connection that died in the pool would else be met by its next user.
    pub fn test_on_check_out(mut self, test: bool) -> Self {
        self.test_on_check_out = test;
        self
    }

    /// r2d2's hooks at both ends of a connection's life; both run on background threads here. Default: none.
    pub fn connection_customizer(mut self, customizer: Box<dyn CustomizeConnection<M::Connection, M::Error>>) -> Self {
        self.customizer = customizer;
        self
    }

    /// r2d2's hook for the errors of `connect`, `on_acquire` and `is_valid`, on the thread that meets one. Default: none.
    pub fn error_handler(mut self, errors: Box<dyn HandleError<M::Error>>) -> Self {
        self.errors = errors;
        self
    }

    /// Which errors of a closure of [`with`](crate::Pool::with), of the type `E`, leave nothing half done, so that they cost no
    /// connection: those that the server reported, such as a duplicate key. Default: none. May be called for several types.
    ///
    /// For instance `|error: &postgres::Error| error.as_db_error().is_some_and(|error| error.parsed_severity() == Some(Severity::Error))`:
    /// one of another severity (`FATAL`, `PANIC`) ends the session. A timeout is never harmless: the answer is still to come.
    ///
    /// After such an error a watched connection is asked by `is_valid` at once, on the caller's thread: a client may tell an error before
    /// it has read the end of the reply, which would else lie in the socket at the next checkout, and cost the connection.
    pub fn harmless_errors<E: 'static>(mut self, is_harmless: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.harmless.push(Box::new(move |error| error.downcast_ref().is_some_and(&is_harmless)));
        self
    }

    /// Which errors of `connect` will not go away by themselves: see [`Manager::is_permanent`](crate::Manager::is_permanent). Default:
    /// none.
    pub fn permanent_errors(mut self, is_permanent: impl Fn(&M::Error) -> bool + Send + Sync + 'static) -> Self {
        self.permanent = Some(Box::new(is_permanent));
        self
    }

    /// For a client that shows its socket: names it, as [`Manager::watch`](crate::Manager::watch) does. Default: unwatched.
    pub fn watch(mut self, name: impl Fn(&M::Connection, &mut Watch<'_>) + Send + Sync + 'static) -> Self {
        self.name = Some(Box::new(name));
        self
    }

    /// For a client that hides its socket: finds it after `connect`, before `on_acquire`, as the functions of
    /// [`fdhunt`](crate::clients::fdhunt) do.
    ///
    /// `Ok(None)` leaves a connection unwatched; `Err` fails the dial. What is lent is then a [`Watched`] client, which dereferences to the
    /// client.
    ///
    /// ```
    /// use corepool::clients::{R2d2Manager, fdhunt};
    /// # use std::net::TcpStream; use std::time::Duration;
    /// # struct Connection(TcpStream);
    /// # impl Connection { fn set_read_timeout(&self, t: Option<Duration>) -> std::io::Result<()> { self.0.set_read_timeout(t) } }
    /// # struct Manager;
    /// # impl r2d2::ManageConnection for Manager {
    /// #     type Connection = Connection; type Error = std::io::Error;
    /// #     fn connect(&self) -> Result<Connection, Self::Error> { unreachable!() }
    /// #     fn is_valid(&self, _: &mut Connection) -> Result<(), Self::Error> { Ok(()) }
    /// #     fn has_broken(&self, _: &mut Connection) -> bool { false }
    /// # }
    /// let manager = R2d2Manager::new(Manager)
    ///     .find_socket(|connection| fdhunt::by_read_timeout(|timeout| connection.set_read_timeout(timeout), None));
    /// # drop(manager);
    /// ```
    pub fn find_socket(
        self,
        find: impl Fn(&mut M::Connection) -> io::Result<Option<Found>> + Send + Sync + 'static,
    ) -> WatchedR2d2Manager<M> {
        WatchedR2d2Manager { bridge: self, find: Box::new(find) }
    }

    fn open(&self, find: impl FnOnce(&mut M::Connection) -> io::Result<Option<Found>>) -> Opened<M> {
        let mut connection = self.inner.connect().map_err(|error| self.tell(error))?;
        let found = find(&mut connection).map_err(|error| R2d2Error { text: error.to_string(), permanent: false })?;
        self.customizer.on_acquire(&mut connection).map_err(|error| self.tell(error))?;
        Ok((connection, found))
    }

    /// What becomes of an error that r2d2's error type lets nobody share.
    fn tell(&self, error: M::Error) -> R2d2Error {
        let permanent = self.permanent.as_ref().is_some_and(|is_permanent| is_permanent(&error));
        let told = R2d2Error { text: error.to_string(), permanent };
        self.errors.handle_error(error);
        told
    }

    fn is_valid(&self, connection: &mut M::Connection) -> Result<(), R2d2Error> {
        self.inner.is_valid(connection).map_err(|error| self.tell(error))
    }

    fn checked_out(&self, connection: &mut M::Connection) -> Verdict {
        if !self.test_on_check_out {
            return Verdict::Keep;
        }
        self.is_valid(connection).map_or_else(Verdict::discard, |()| Verdict::Keep)
    }

    fn failed(&self, connection: &mut M::Connection, error: &dyn Any, is_watched: bool) -> Verdict {
        let harmless = self.harmless.iter().any(|is_harmless| is_harmless(error));
        let verdict = self.returned(connection, if harmless { Outcome::Done } else { Outcome::Failed });
        if !is_watched || !matches!(verdict, Verdict::Keep) {
            return verdict;
        }
        // A client may tell an error before it has read all that came with it. What is still to come would be taken for bytes that nobody
        // has asked for; a round trip has the client read it.
        self.is_valid(connection).map_or(Verdict::Discard, |()| Verdict::Keep)
    }

    fn returned(&self, connection: &mut M::Connection, how: Outcome) -> Verdict {
        // Asked in any case: some count on it.
        let broken = self.inner.has_broken(connection);
        if broken || how != Outcome::Done { Verdict::Discard } else { Verdict::Keep }
    }
}

type Opened<M> = Result<(<M as ManageConnection>::Connection, Option<Found>), R2d2Error>;

impl<M: ManageConnection> Manager for R2d2Manager<M> {
    type Connection = M::Connection;
    type Error = R2d2Error;

    fn connect(&self, _: &Dial<'_>) -> Result<M::Connection, R2d2Error> {
        self.open(|_| Ok(None)).map(|(connection, _)| connection)
    }

    fn is_permanent(&self, error: &R2d2Error) -> bool {
        error.permanent
    }

    fn watch(&self, connection: &M::Connection, on: &mut Watch<'_>) {
        if let Some(name) = &self.name {
            name(connection, on);
        }
    }

    fn on_checkout(&self, connection: &mut M::Connection) -> Result<Verdict, R2d2Error> {
        Ok(self.checked_out(connection))
    }

    fn ping(&self, connection: &mut M::Connection) -> Result<(), R2d2Error> {
        self.is_valid(connection)
    }

    fn on_error(&self, connection: &mut M::Connection, error: &dyn Any) -> Verdict {
        self.failed(connection, error, self.name.is_some())
    }

    fn on_return(&self, connection: &mut M::Connection, how: Outcome) -> Verdict {
        self.returned(connection, how)
    }

    fn close(&self, connection: M::Connection, _: CloseReason) {
        self.customizer.on_release(connection);
    }
}

impl<M: ManageConnection> fmt::Debug for R2d2Manager<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("R2d2Manager").field("test_on_check_out", &self.test_on_check_out).finish_non_exhaustive()
    }
}

/// An [`R2d2Manager`] that finds the socket of each connection, so that it is watched: see [`R2d2Manager::find_socket`].
pub struct WatchedR2d2Manager<M: ManageConnection> {
    bridge: R2d2Manager<M>,
    find: Box<Find<M::Connection>>,
}

impl<M: ManageConnection> Manager for WatchedR2d2Manager<M> {
    type Connection = Watched<M::Connection>;
    type Error = R2d2Error;

    fn connect(&self, _: &Dial<'_>) -> Result<Self::Connection, R2d2Error> {
        self.bridge.open(&self.find).map(|(connection, found)| Watched::new(connection, found))
    }

    fn is_permanent(&self, error: &R2d2Error) -> bool {
        error.permanent
    }

    fn watch(&self, connection: &Self::Connection, on: &mut Watch<'_>) {
        Watched::watch(connection, on);
    }

    fn on_checkout(&self, connection: &mut Self::Connection) -> Result<Verdict, R2d2Error> {
        Ok(self.bridge.checked_out(connection))
    }

    fn ping(&self, connection: &mut Self::Connection) -> Result<(), R2d2Error> {
        self.bridge.is_valid(connection)
    }

    fn on_error(&self, connection: &mut Self::Connection, error: &dyn Any) -> Verdict {
        self.bridge.failed(connection, error, true)
    }

    fn on_return(&self, connection: &mut Self::Connection, how: Outcome) -> Verdict {
        self.bridge.returned(connection, how)
    }

    fn close(&self, connection: Self::Connection, _: CloseReason) {
        self.bridge.customizer.on_release(Watched::into_client(connection));
    }
}

impl<M: ManageConnection> fmt::Debug for WatchedR2d2Manager<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedR2d2Manager").field(&self.bridge).finish()
    }
}

/// What an error of an `r2d2::ManageConnection` said. The error itself goes to r2d2's error handler: it need not be `Send` or `Sync`.
#[derive(Debug, Clone)]
pub struct R2d2Error {
    text: String,
    permanent: bool,
}

impl fmt::Display for R2d2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for R2d2Error {}
