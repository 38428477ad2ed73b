//! Dialing TCP: [`TcpManager`], which yields [`Conn`]s.
//!
//! Why not std's `TcpStream`: its deadline does not span the addresses of a name, and it can set neither keep-alive nor user
//! timeout, without which a pool lends sockets whose peer vanished hours ago.
//!
//! A dial goes: check the settings; resolve the name anew, so that a moved endpoint is found; connect to whichever of its addresses
//! answers ([`race`]), beginning with the one that answered when another before it had not; set the socket's options; run the login.
#![forbid(unsafe_code)]

mod race;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Socket, TcpKeepalive};

use self::race::Lost;
use super::conn::{Conn, Ends};
use super::connect_error::{ConnectError, Step};
use super::login::Login;
use super::options::Options;
use crate::manager::{Dial, Manager, Outcome, Verdict, Watch};
use crate::sync::lock;

/// Opens TCP connections to one endpoint and lends them as raw streams.
///
/// What is to be said before a connection can be used is for [`with_login`](TcpManager::with_login). A manager of your own around this
/// one adds a protocol. It need forward only `connect` and `watch`, and judge what it keeps itself, as the buffer here:
///
/// ```
/// use corepool::{Conn, ConnectError, Dial, Manager, Outcome, TcpManager, Verdict, Watch};
/// use std::io::{self, BufRead, BufReader, Write};
///
/// /// A protocol of lines. Its buffer lives as long as the connection.
/// struct Lines(BufReader<Conn>);
///
/// impl Lines {
///     fn ask(&mut self, question: &str) -> io::Result<String> {
///         self.0.get_mut().write_all(format!("{question}\n").as_bytes())?;
///         let mut answer = String::new();
///         self.0.read_line(&mut answer)?;
///         // The end of the stream is no answer.
///         if answer.ends_with('\n') { Ok(answer) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
///     }
/// }
///
/// struct LinesManager(TcpManager);
///
/// impl Manager for LinesManager {
///     type Connection = Lines;
///     type Error = ConnectError;
///
///     fn connect(&self, dial: &Dial<'_>) -> Result<Lines, ConnectError> {
///         Ok(Lines(BufReader::new(self.0.connect(dial)?)))
///     }
///
///     fn watch(&self, lines: &Lines, on: &mut Watch<'_>) {
///         on.socket(lines.0.get_ref());
///     }
///
///     fn on_return(&self, lines: &mut Lines, how: Outcome) -> Verdict {
///         // What was read ahead of this answer would be the next one's.
///         if how == Outcome::Done && lines.0.buffer().is_empty() { Verdict::Keep } else { Verdict::Discard }
///     }
/// }
/// ```
///
/// As a manager it discards after a failed or panicked use, after any use that left the [`Conn`] unfit to be lent again, and when bytes
/// wait on an idle connection, for which it is looked at before every checkout (0.3 µs). Each connection takes two descriptors, its own
/// and the pool's duplicate.
#[derive(Debug, Clone)]
pub struct TcpManager {
    address: String,
    nodelay: bool,
    keepalive: Option<Duration>,
    keepalive_interval: Duration,
    keepalive_retries: u32,
    user_timeout: Option<Duration>,
    options: Options,
    login: Login,
    /// The address that answered last when one before it had not. Shared by its clones.
    preferred: Arc<Mutex<Option<SocketAddr>>>,
}

impl TcpManager {
    /// For the endpoint at `address`: `HOST:PORT`, where an IPv6 address stands in brackets (`[::1]:6379`).
    ///
    /// A host name is resolved anew at each dial. The resolver cannot be interrupted: one that takes longer than the dial may
    /// makes it fail, but only once it returns. Neither name nor address is checked before the first dial.
    ///
    /// Of several addresses the families take turns, and an attempt that has not answered after 250 ms has the next one begin beside
    /// it (RFC 8305); the first to connect is kept, the others are closed. Each attempt under way takes a descriptor. If it was not
    /// the first one that answered, later dials begin with the one that did, for as long as the resolver names it.
    pub fn new(address: impl Into<String>) -> Self {
        TcpManager {
            address: address.into(),
            nodelay: true,
            keepalive: Some(Duration::from_secs(60)),
            keepalive_interval: Duration::from_secs(10),
            keepalive_retries: 3,
            user_timeout: Some(Duration::from_secs(30)),
            options: Options::default(),
            login: Login::default(),
            preferred: Arc::default(),
        }
    }

    /// Whether small writes leave at once (`TCP_NODELAY`) instead of waiting for the acknowledgement of earlier ones.
    ///
    /// Default `true`. With `false`, a request written in two pieces may stall for the peer's delayed acknowledgement, 40 ms; with
    /// `true`, each `write` may become a packet of its own, so write a request in one piece.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// After how much silence the kernel asks the peer whether it is still there (`SO_KEEPALIVE`, `TCP_KEEPIDLE`), then
    /// each [`keepalive_interval`](TcpManager::keepalive_interval).
    ///
    /// Default 60 s; `None` never asks. It finds peers that vanished without closing, which the pool's watch then sees, and keeps
    /// the entry of a NAT or firewall on the way alive: choose less than that forgets after. A vanished peer is given up when the
    /// silence has lasted for [`user_timeout`](TcpManager::user_timeout) and a probe went unanswered: by default 70 s after the last
    /// packet. Without a user timeout [`keepalive_retries`](TcpManager::keepalive_retries) probes must go unanswered. Costs a packet
    /// each way per such silence, and no system call.
    ///
    /// Counted in whole seconds, 1 to 32767; anything else is refused at connect.
    pub fn keepalive(mut self, idle: Option<Duration>) -> Self {
        self.keepalive = idle;
        self
    }

    /// How long after a keep-alive probe that went unanswered the next one is sent (`TCP_KEEPINTVL`). Default 10 s. Means nothing
    /// without [`keepalive`](TcpManager::keepalive).
    ///
    /// Counted in whole seconds, 1 to 32767; anything else is refused at connect.
    pub fn keepalive_interval(mut self, interval: Duration) -> Self {
        self.keepalive_interval = interval;
        self
    }

    /// How many keep-alive probes must go unanswered before the connection fails (`TCP_KEEPCNT`). Default 3.
    ///
    /// With a [`user_timeout`](TcpManager::user_timeout), as by default, the kernel goes by that instead and ignores this number: say
    /// `user_timeout(None)` where it is to count. 1 to 127; anything else is refused at connect.
    pub fn keepalive_retries(mut self, probes: u32) -> Self {
        self.keepalive_retries = probes;
        self
    }

    /// How long what was written may stay unacknowledged before the connection fails (`TCP_USER_TIMEOUT`).
    ///
    /// Default 30 s; `None` leaves it to the kernel, about 15 minutes. It bounds how long a request to a vanished peer blocks, even
    /// without a read timeout. Its other side: a living peer that reads nothing for so long, with its buffer full, is cut off too.
    ///
    /// Counted in milliseconds, 1 to 2^31 − 1; anything else is refused at connect.
    pub fn user_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.user_timeout = timeout;
        self
    }

    /// How long one read may wait for its first byte (`SO_RCVTIMEO`); then it fails with `WouldBlock`.
    ///
    /// Default `None`, for ever: only the user knows how long a request may take. A read that times out makes the connection
    /// dirty, so the pool replaces it: choose what is longer than the slowest healthy reply. One system call per dial;
    /// [`Conn::set_read_timeout`] changes it for one use. Less than 1 µs is refused at connect.
    pub fn read_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.options.timeouts.read = timeout;
        self
    }

    /// How long one write may wait for room in the send buffer (`SO_SNDTIMEO`); then it fails with `WouldBlock`.
    ///
    /// Default `None`: until [`user_timeout`](TcpManager::user_timeout) ends it. As with the read timeout, it makes the connection
    /// dirty. Less than 1 µs is refused at connect.
    pub fn write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.options.timeouts.write = timeout;
        self
    }

    /// Whether what is written expects no reply: a use may then end with a write, and its connection is kept all the same.
    ///
    /// Default `false`: a use that ends with a write has not read the reply to it, and the connection is closed when it comes back. Say
    /// `true` where the peer never answers (a log, a counter), or where the last word of an exchange is the caller's (an
    /// acknowledgement).
    pub fn one_way(mut self, one_way: bool) -> Self {
        self.options.one_way = one_way;
        self
    }

    /// Runs `login` on each new connection before it is lent: greeting, authentication, choice of a database. Default: nothing.
    ///
    /// Runs inside [`connect`](Manager::connect), on a background thread, several at a time, and may block: when the dial's time is up,
    /// the socket is shut down under it, and its read or write ends. Until then the manager's timeouts hold; those that it sets itself end
    /// with it. It may end with a write. Its error fails the dial, as the source of the [`ConnectError`]; so does a connection that it
    /// leaves dirty. Costs a descriptor more for the time of the dial. Of two calls the last one counts.
    ///
    /// ```
    /// use corepool::TcpManager;
    /// use std::io::{self, Read, Write};
    ///
    /// let manager = TcpManager::new("127.0.0.1:6379").with_login(|conn, _dial| -> io::Result<()> {
    ///     conn.write_all(b"AUTH secret\r\n")?;
    ///     let mut answer = [0; 5];
    ///     conn.read_exact(&mut answer)?;
    ///     if &answer == b"+OK\r\n" { Ok(()) } else { Err(io::Error::other("the password is wrong")) }
    /// });
    /// ```
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
    #[cfg(any(feature = "redis", feature = "rustls"))]
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Before anything is sent: the kernel would take zero for "no timeout", or fail without naming the setting.
    fn check(&self) -> Result<(), ConnectError> {
        let refused = |name, given: &dyn fmt::Debug, limit| {
            let cause = io::Error::new(io::ErrorKind::InvalidInput, limit);
            Err(ConnectError::new(Step::Setting { name, given: format!("{given:?}") }, cause))
        };
        let seconds = |time: Duration| (1..=32767).contains(&time.as_secs());
        match (self.keepalive, self.user_timeout) {
            (Some(idle), _) if !seconds(idle) => {
                refused("keepalive", &idle, "must be 1 to 32767 s, or None for no keep-alive")
            }
            (Some(_), _) if !seconds(self.keepalive_interval) => {
                refused("keepalive_interval", &self.keepalive_interval, "must be 1 to 32767 s")
            }
            (Some(_), _) if !(1..=127).contains(&self.keepalive_retries) => {
                refused("keepalive_retries", &self.keepalive_retries, "must be 1 to 127")
            }
            (_, Some(timeout)) if !(1..=i32::MAX as u128).contains(&timeout.as_millis()) => {
                refused("user_timeout", &timeout, "must be 1 to 2147483647 ms, or None for the kernel's own")
            }
            _ => self.options.check(),
        }
    }

    fn resolve(&self, dial: &Dial<'_>) -> Result<Vec<SocketAddr>, ConnectError> {
        let failed = |cause| ConnectError::new(Step::Resolve { address: self.address.clone() }, cause);
        let found: Vec<_> = match self.address.to_socket_addrs() {
            Ok(found) => found.collect(),
            // std's word for a missing colon or a port that is no number.
            Err(cause) if cause.kind() == io::ErrorKind::InvalidInput => {
                return Err(ConnectError::new(Step::Parse { address: self.address.clone() }, cause));
            }
            Err(cause) => return Err(failed(cause)),
        };
        if dial.remaining().is_zero() {
            return Err(failed(io::Error::new(io::ErrorKind::TimedOut, "no time of the dial was left after it")));
        }
        Ok(found)
    }

    fn connect_to_any(&self, found: Vec<SocketAddr>, dial: &Dial<'_>) -> Result<Conn, ConnectError> {
        let address = || self.address.clone();
        if found.is_empty() {
            let cause = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return Err(ConnectError::new(Step::Resolve { address: address() }, cause));
        }
        let addresses = race::order(found, *lock(&self.preferred));
        match race::connect(&addresses, dial, |socket, address| self.finish(socket, address)) {
            Ok((conn, answered)) => {
                // Where the first one answers, the resolver's order holds, by which a name may spread its connections.
                if answered != addresses[0] {
                    *lock(&self.preferred) = Some(answered);
                }
                Ok(conn)
            }
            Err(Lost { last, others, cause }) => {
                Err(ConnectError::new(Step::Tcp { address: address(), last, others }, cause))
            }
        }
    }

    /// Of a socket that has just connected.
    fn finish(&self, socket: Socket, address: SocketAddr) -> io::Result<Conn> {
        let local = local_unless_itself(&socket)?;
        // After the handshake, which a short user timeout would cut before the dial's own deadline.
        socket.set_tcp_user_timeout(self.user_timeout)?;
        socket.set_tcp_nodelay(self.nodelay)?;
        if let Some(idle) = self.keepalive {
            let keepalive = TcpKeepalive::new().with_time(idle).with_interval(self.keepalive_interval);
            socket.set_tcp_keepalive(&keepalive.with_retries(self.keepalive_retries))?;
        }
        Conn::open(socket, Some(Ends { local, peer: address }), &self.options)
    }
}

impl Manager for TcpManager {
    type Connection = Conn;
    type Error = ConnectError;

    fn connect(&self, dial: &Dial<'_>) -> Result<Conn, ConnectError> {
        self.check()?;
        let addresses = self.resolve(dial)?;
        let conn = self.connect_to_any(addresses, dial)?;
        self.login.pass(conn, dial, || self.address.clone())
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

/// A dial to a local port that nobody listens on may be given that very port as its own, and TCP then joins the socket to itself:
/// an endpoint that is down would look up, echo every request, and find its port taken when it starts. A pool that redials for
/// hours meets it sooner or later. Returns the socket's own address.
fn local_unless_itself(socket: &Socket) -> io::Result<Option<SocketAddr>> {
    let local = socket.local_addr()?.as_socket();
    if local != socket.peer_addr()?.as_socket() {
        return Ok(local);
    }
    // Closes by reset: TIME_WAIT would hold the server's port for a minute more.
    socket.set_linger(Some(Duration::ZERO))?;
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there, the socket met itself"))
}

#[cfg(test)]
pub(super) mod tests;
