//! Dialing Unix stream sockets: [`UnixManager`], which yields [`Conn`]s.
//!
//! Why not std's `UnixStream::connect`: it waits for ever while the listener's backlog is full.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io;
#[cfg(feature = "redis")]
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::conn::Conn;
use super::connect_error::{ConnectError, Step};
use super::login::Login;
use super::options::{Options, SHORTEST_TIMEOUT};
use crate::manager::{Dial, Manager, Outcome, Verdict, Watch};

/// Opens connections to one Unix stream socket and lends them as raw streams.
///
/// As a manager it behaves like [`TcpManager`](crate::TcpManager). There is no keep-alive to set: the kernel tells at once when the
/// peer is gone.
///
/// ```
/// use corepool::UnixManager;
/// use std::time::Duration;
///
/// let manager = UnixManager::new("/run/postgresql/.s.PGSQL.5432").read_timeout(Some(Duration::from_secs(2)));
/// ```
#[derive(Debug, Clone)]
pub struct UnixManager {
    path: PathBuf,
    options: Options,
    login: Login,
}

impl UnixManager {
    /// For the socket at `path`, looked up anew at each dial. On Linux a path that begins with a zero byte is an abstract name.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        UnixManager { path: path.into(), options: Options::default(), login: Login::default() }
    }

    /// How long one read may wait for its first byte, like [`TcpManager::read_timeout`](crate::TcpManager::read_timeout).
    ///
    /// Default `None`, for ever. Less than 1 µs is refused at connect.
    pub fn read_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.options.timeouts.read = timeout;
        self
    }

    /// How long one write may wait for room in the send buffer, like
    /// [`TcpManager::write_timeout`](crate::TcpManager::write_timeout).
    ///
    /// Default `None`, for ever: no user timeout ends it here. Less than 1 µs is refused at connect.
    pub fn write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.options.timeouts.write = timeout;
        self
    }

    /// Whether what is written expects no reply, like [`TcpManager::one_way`](crate::TcpManager::one_way). Default `false`.
    pub fn one_way(mut self, one_way: bool) -> Self {
        self.options.one_way = one_way;
        self
    }

    /// Runs `login` on each new connection before it is lent, like [`TcpManager::with_login`](crate::TcpManager::with_login).
    pub fn with_login<E>(
        mut self,
        login: impl Fn(&mut Conn, &Dial<'_>) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.login = Login::new(login);
        self
    }

    /// For the error of what is spoken over it.
    #[cfg(feature = "redis")]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A connect waits while the listener's backlog is full. The send timeout bounds it on Linux, where `O_NONBLOCK` would not
    /// wait at all and offers nothing to poll for.
    fn open(&self, dial: &Dial<'_>) -> io::Result<Conn> {
        let address = SockAddr::unix(&self.path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        loop {
            let left = dial.remaining();
            if left < SHORTEST_TIMEOUT {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_write_timeout(Some(left))?;
            match socket.connect(&address) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the listener's backlog stayed full"));
                }
                Err(error) => return Err(error),
            }
        }
        Conn::open(socket, None, &self.options)
    }
}

impl Manager for UnixManager {
    type Connection = Conn;
    type Error = ConnectError;

    fn connect(&self, dial: &Dial<'_>) -> Result<Conn, ConnectError> {
        self.options.check()?;
        let conn = self.open(dial).map_err(|cause| ConnectError::new(Step::Unix { path: self.path.clone() }, cause))?;
        self.login.pass(conn, dial, || self.path.display().to_string())
    }

    #[inline]
    fn watch(&self, connection: &Conn, on: &mut Watch<'_>) {
        on.socket(connection);
    }

    #[inline]
    fn on_return(&self, connection: &mut Conn, how: Outcome) -> Verdict {
        connection.judge(how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tcp::tests::{AMPLE, assert_echoes, dial, echo, fill};
    use socket2::SockRef;
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    /// An abstract name leaves no file behind.
    fn abstract_name(test: &str) -> String {
        format!("\0corepool-{}-{test}", std::process::id())
    }

    fn listen(name: &str, backlog: i32) -> Socket {
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(name).unwrap()).unwrap();
        listener.listen(backlog).unwrap();
        listener
    }

    #[test]
    fn unix_connects_and_echoes() {
        let name = abstract_name("echo");
        let listener = listen(&name, 8);
        echo(move || listener.accept().unwrap().0);
        let mut conn = dial(&UnixManager::new(&name).read_timeout(Some(AMPLE)), AMPLE).unwrap();
        assert_eq!(conn.peer(), None);
        let socket = SockRef::from(&conn);
        assert_eq!(socket.read_timeout().unwrap(), Some(AMPLE));
        assert_eq!(socket.write_timeout().unwrap(), None, "the dial's own bound is gone");
        assert_echoes(&mut conn);
    }

    #[test]
    fn a_path_is_connected_to_and_named_when_refused() {
        let path = std::env::temp_dir().join(format!("corepool-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let manager = UnixManager::new(&path);
        let opened = dial(&manager, AMPLE);
        drop(listener);
        let refused = dial(&manager, AMPLE);
        std::fs::remove_file(&path).unwrap();
        opened.unwrap();
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.to_string(), format!("could not connect to {}", path.display()));

        let missing = dial(&manager, AMPLE).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn its_one_socket_is_watched_and_peeked_at_every_checkout() {
        let name = abstract_name("watch");
        let _listener = listen(&name, 8);
        let manager = UnixManager::new(&name);
        let conn = dial(&manager, AMPLE).unwrap();
        let mut watched = Ok(Vec::new());
        manager.watch(&conn, &mut Watch::collect(&mut watched));
        let watched = watched.unwrap();
        assert_eq!(watched.len(), 1);
        assert_eq!(manager.probe_after(), Duration::ZERO);
    }

    #[test]
    fn on_return_keeps_what_is_fit_after_a_use_that_ended_well() {
        let name = abstract_name("return");
        let _listener = listen(&name, 8);
        let manager = UnixManager::new(&name);
        let mut conn = dial(&manager, AMPLE).unwrap();
        assert_eq!(manager.on_return(&mut conn, Outcome::Done), Verdict::Keep);
        conn.mark_dirty();
        assert_eq!(manager.on_return(&mut conn, Outcome::Done), Verdict::Discard);
    }

    #[test]
    fn a_zero_timeout_is_refused_by_name() {
        let manager = UnixManager::new("/nowhere");
        for (manager, name) in [
            (manager.clone().read_timeout(Some(Duration::ZERO)), "read_timeout"),
            (manager.write_timeout(Some(Duration::ZERO)), "write_timeout"),
        ] {
            let error = dial(&manager, AMPLE).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), format!("{name} cannot be 0ns"));
        }
    }

    #[test]
    fn a_dial_without_time_does_not_wait() {
        let error = dial(&UnixManager::new("/nowhere"), Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_connect_to_a_full_backlog_ends_at_the_deadline() {
        let name = abstract_name("full");
        let _listener = listen(&name, 0);
        let _clients = fill(Domain::UNIX, &SockAddr::unix(&name).unwrap());
        let begun = Instant::now();
        let error = dial(&UnixManager::new(&name), Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < AMPLE / 2);
    }
}
