//! Dialling TCP: [`TcpManager`], which yields [`Conn`]s.
//!
//! Why not std's `TcpStream`: its deadline does not span the addresses of a name, and it can set neither keep-alive nor user
//! timeout, without which a pool lends sockets whose peer vanished hours ago.
//!
//! A dial goes: check the settings; resolve the name anew, so that a moved endpoint is found; try its addresses in turn, each with
//! a fair share of the time that is left (what is left over the addresses left), so that a first one which swallows every packet
//! leaves time for the second. What an early address did not use goes to the later ones. The last one's error is the dial's.
#![forbid(unsafe_code)]

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::conn::{Conn, Timeouts};
use super::connect_error::{ConnectError, Step};
use crate::manager::{Dial, Manager, Outcome, Verdict, Watch};

/// Opens TCP connections to one endpoint and lends them as raw streams.
///
/// For a pool of its own, or inside a manager that adds a handshake or a protocol:
///
/// ```
/// use corepool::{Conn, Dial, Manager, Outcome, TcpManager, Verdict, Watch};
/// use std::io::{self, Read, Write};
/// use std::time::Duration;
///
/// /// Connections that have answered once.
/// struct Greeted(TcpManager);
///
/// impl Manager for Greeted {
///     type Connection = Conn;
///     type Error = io::Error;
///
///     fn connect(&self, dial: &Dial<'_>) -> io::Result<Conn> {
///         let mut conn = self.0.connect(dial)?;
///         dial.cut_at_deadline(&conn)?; // the handshake below may block
///         conn.write_all(b"PING\r\n")?;
///         conn.read_exact(&mut [0; 7])?;
///         Ok(conn)
///     }
///
///     fn watch(&self, conn: &Conn, on: &mut Watch<'_>) {
///         self.0.watch(conn, on)
///     }
///
///     fn on_return(&self, conn: &mut Conn, how: Outcome) -> Verdict {
///         self.0.on_return(conn, how)
///     }
///
///     fn probe_after(&self) -> Duration {
///         self.0.probe_after() // it lends raw streams, too
///     }
/// }
///
/// let manager = Greeted(TcpManager::new("127.0.0.1:6379").read_timeout(Some(Duration::from_secs(2))));
/// ```
///
/// As a manager it discards after a failed or panicked use, after any use that left the [`Conn`] dirty, and when bytes wait on an
/// idle connection. It asks for a peek at every checkout (0.3 µs): who hands out raw streams cannot know whether the last user
/// read the whole of his reply. Each connection takes two descriptors, its own and the pool's watch on it.
#[derive(Debug, Clone)]
pub struct TcpManager {
    address: String,
    nodelay: bool,
    keepalive: Option<Duration>,
    user_timeout: Option<Duration>,
    timeouts: Timeouts,
}

/// Between probes of an idle peer, and how many may stay unanswered when no user timeout decides it.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

impl TcpManager {
    /// For the endpoint at `address`: `HOST:PORT`, where an IPv6 address stands in brackets (`[::1]:6379`).
    ///
    /// A host name is resolved anew at each dial. The resolver cannot be interrupted: one that takes longer than the dial may
    /// makes it fail, but only once it returns. Neither name nor address is checked before the first dial.
    pub fn new(address: impl Into<String>) -> Self {
        TcpManager {
            address: address.into(),
            nodelay: true,
            keepalive: Some(Duration::from_secs(60)),
            user_timeout: Some(Duration::from_secs(30)),
            timeouts: Timeouts::default(),
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

    /// After how much silence the kernel asks the peer whether it is still there (`SO_KEEPALIVE`), then each 10 s.
    ///
    /// Default 60 s; `None` never asks. It finds peers that vanished without a word, which the pool's watch then sees, and keeps
    /// the entry of a NAT or firewall on the way alive. A vanished peer is given up when the silence has lasted for
    /// [`user_timeout`](TcpManager::user_timeout) and a probe went unanswered: by default 70 s after the last packet. Without a user
    /// timeout three probes must go unanswered. Costs a packet each way per such silence, and no system call.
    ///
    /// Counted in whole seconds, 1 to 32767; anything else is refused at connect.
    pub fn keepalive(mut self, idle: Option<Duration>) -> Self {
        self.keepalive = idle;
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
        self.timeouts.read = timeout;
        self
    }

    /// How long one write may wait for room in the send buffer (`SO_SNDTIMEO`); then it fails with `WouldBlock`.
    ///
    /// Default `None`: until [`user_timeout`](TcpManager::user_timeout) ends it. As with the read timeout, it makes the connection
    /// dirty. Less than 1 µs is refused at connect.
    pub fn write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeouts.write = timeout;
        self
    }

    /// Before anything is sent: the kernel would take zero for "no timeout", or fail without naming the setting.
    fn check(&self) -> Result<(), ConnectError> {
        let refused = |name, given, limit| {
            let cause = io::Error::new(io::ErrorKind::InvalidInput, limit);
            Err(ConnectError::new(Step::Setting { name, given }, cause))
        };
        match (self.keepalive, self.user_timeout) {
            (Some(idle), _) if !(1..=32767).contains(&idle.as_secs()) => {
                refused("keepalive", idle, "must be 1 to 32767 s, or None for no keep-alive")
            }
            (_, Some(timeout)) if !(1..=i32::MAX as u128).contains(&timeout.as_millis()) => {
                refused("user_timeout", timeout, "must be 1 to 2147483647 ms, or None for the kernel's own")
            }
            _ => self.timeouts.check(),
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

    fn connect_in_turn(&self, addresses: &[SocketAddr], dial: &Dial<'_>) -> Result<Conn, ConnectError> {
        let mut failed = Step::Resolve { address: self.address.clone() };
        let mut cause = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for (tried, &address) in addresses.iter().enumerate() {
            let share = dial.remaining() / (addresses.len() - tried) as u32;
            match self.open(address, share) {
                Ok(socket) => return Ok(Conn::new(socket, Some(address))),
                Err(error) => cause = error,
            }
            failed = Step::Tcp { address: self.address.clone(), last: address, others: tried };
        }
        Err(ConnectError::new(failed, cause))
    }

    fn open(&self, address: SocketAddr, share: Duration) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.connect_timeout(&address.into(), share)?;
        refuse_itself(&socket)?;
        // After the handshake, which a short user timeout would cut before the dial's own deadline.
        socket.set_tcp_user_timeout(self.user_timeout)?;
        socket.set_tcp_nodelay(self.nodelay)?;
        if let Some(idle) = self.keepalive {
            let keepalive = TcpKeepalive::new().with_time(idle);
            socket.set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_RETRIES))?;
        }
        self.timeouts.set(&socket)?;
        Ok(socket)
    }
}

impl Manager for TcpManager {
    type Connection = Conn;
    type Error = ConnectError;

    fn connect(&self, dial: &Dial<'_>) -> Result<Conn, ConnectError> {
        self.check()?;
        let addresses = self.resolve(dial)?;
        self.connect_in_turn(&addresses, dial)
    }

    #[inline]
    fn watch(&self, connection: &Conn, on: &mut Watch<'_>) {
        on.socket(connection);
    }

    #[inline]
    fn on_return(&self, connection: &mut Conn, how: Outcome) -> Verdict {
        connection.judge(how, self.timeouts)
    }

    fn probe_after(&self) -> Duration {
        Duration::ZERO
    }
}

/// A dial to a local port that nobody listens on may be given that very port as its own, and TCP then joins the socket to itself:
/// an endpoint that is down would look up, echo every request, and find its port taken when it starts. A pool that redials for
/// hours meets it sooner or later.
fn refuse_itself(socket: &Socket) -> io::Result<()> {
    if socket.local_addr()?.as_socket() != socket.peer_addr()?.as_socket() {
        return Ok(());
    }
    // Closes by reset: TIME_WAIT would hold the server's port for a minute more.
    socket.set_linger(Some(Duration::ZERO))?;
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there, the socket met itself"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::watch::duplicate::Cut;
    use socket2::SockRef;
    use std::error::Error;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Instant;

    /// Longer than anything here takes; a test that needs it has failed.
    pub(crate) const AMPLE: Duration = Duration::from_secs(20);

    pub(crate) fn dial<M: Manager>(manager: &M, limit: Duration) -> Result<M::Connection, M::Error> {
        manager.connect(&Dial::new(Instant::now() + limit, 1, &Cut::default()))
    }

    fn dial_in_turn(manager: &TcpManager, addresses: &[SocketAddr], limit: Duration) -> Result<Conn, ConnectError> {
        manager.connect_in_turn(addresses, &Dial::new(Instant::now() + limit, 1, &Cut::default()))
    }

    /// Echoes on one connection until its end.
    pub(crate) fn echo(accept: impl FnOnce() -> Socket + Send + 'static) {
        thread::spawn(move || {
            let socket = accept();
            io::copy(&mut &socket, &mut &socket)
        });
    }

    pub(crate) fn assert_echoes(conn: &mut Conn) {
        conn.write_all(b"hello").unwrap();
        let mut back = [0; 5];
        conn.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
        assert!(!conn.is_dirty());
    }

    fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A port that refuses, for as long as the socket lives: bound, so that nobody else gets it, but not listening.
    fn refusing() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    /// Connects until the listener's backlog takes no more; its clients keep it full.
    pub(crate) fn fill(domain: Domain, address: &socket2::SockAddr) -> Vec<Socket> {
        let mut clients = Vec::new();
        loop {
            let client = Socket::new(domain, Type::STREAM, None).unwrap();
            match client.connect_timeout(address, Duration::from_millis(200)) {
                Ok(()) => clients.push(client),
                Err(_) => return clients,
            }
            assert!(clients.len() < 100, "the backlog never fills");
        }
    }

    #[test]
    fn tcp_connects_and_echoes() {
        let (listener, address) = listen();
        echo(move || listener.accept().unwrap().0.into());
        let mut conn = dial(&TcpManager::new(address.to_string()), AMPLE).unwrap();
        assert_eq!(conn.peer(), Some(address));
        assert_echoes(&mut conn);
    }

    #[test]
    fn a_name_is_resolved() {
        let (listener, address) = listen();
        let conn = dial(&TcpManager::new(format!("localhost:{}", address.port())), AMPLE).unwrap();
        assert_eq!(conn.peer(), Some(address));
        drop(listener);
    }

    #[test]
    fn options_are_set() {
        let (_listener, address) = listen();
        let conn = dial(&TcpManager::new(address.to_string()), AMPLE).unwrap();
        let socket = SockRef::from(&conn);
        assert!(!socket.nonblocking().unwrap());
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_RETRIES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
        assert_eq!(socket.read_timeout().unwrap(), None);
        assert_eq!(socket.write_timeout().unwrap(), None);

        let manager = TcpManager::new(address.to_string())
            .nodelay(false)
            .keepalive(None)
            .user_timeout(None)
            .read_timeout(Some(Duration::from_secs(2)))
            .write_timeout(Some(Duration::from_secs(3)));
        let conn = dial(&manager, AMPLE).unwrap();
        let socket = SockRef::from(&conn);
        assert!(!socket.tcp_nodelay().unwrap());
        assert!(!socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        assert_eq!(socket.read_timeout().unwrap(), Some(Duration::from_secs(2)));
        assert_eq!(socket.write_timeout().unwrap(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_refused_dial_names_the_address() {
        let (_port, address) = refusing();
        let error = dial(&TcpManager::new(address.to_string()), AMPLE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(error.to_string(), format!("could not connect to {address}"));
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.raw_os_error(), Some(libc::ECONNREFUSED));
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_refused_name_tells_the_last_address_and_how_many_more() {
        let (_port, address) = refusing();
        let manager = TcpManager::new("db.example:5432");
        let told = |others: usize| dial_in_turn(&manager, &vec![address; others + 1], AMPLE).unwrap_err().to_string();
        assert_eq!(told(0), format!("could not connect to db.example:5432 at {address}"));
        assert_eq!(told(1), format!("could not connect to db.example:5432 at {address} (and 1 other address)"));
        assert_eq!(told(2), format!("could not connect to db.example:5432 at {address} (and 2 other addresses)"));
    }

    #[test]
    fn a_refused_first_address_leads_to_the_second() {
        let (_port, refused) = refusing();
        let (listener, address) = listen();
        echo(move || listener.accept().unwrap().0.into());
        let mut conn = dial_in_turn(&TcpManager::new("db.example:5432"), &[refused, address], AMPLE).unwrap();
        assert_eq!(conn.peer(), Some(address));
        assert_echoes(&mut conn);
    }

    /// A TCP listener with a full backlog drops what comes, as a black hole does.
    #[test]
    fn a_black_holed_first_address_leaves_time_for_the_second() {
        let (full, hole) = refusing();
        full.listen(0).unwrap();
        let _clients = fill(Domain::IPV4, &hole.into());
        let (_listener, address) = listen();
        let manager = TcpManager::new("db.example:5432");
        let conn = dial_in_turn(&manager, &[hole, address], Duration::from_secs(2)).unwrap();
        assert_eq!(conn.peer(), Some(address));

        let error = dial_in_turn(&manager, &[hole, hole], Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_dial_without_time_does_not_wait() {
        let (_listener, address) = listen();
        let error = dial(&TcpManager::new(address.to_string()), Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_socket_that_met_itself_is_refused_and_frees_the_port() {
        let (socket, address) = refusing();
        socket.connect(&address.into()).unwrap();
        assert_eq!(refuse_itself(&socket).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        drop(socket);
        TcpListener::bind(address).unwrap();
    }

    #[test]
    fn an_address_without_port_is_named() {
        let error = dial(&TcpManager::new("localhost"), AMPLE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "\"localhost\" is not HOST:PORT");
    }

    #[test]
    fn what_the_kernel_would_misread_is_refused_by_name() {
        let tcp = || TcpManager::new("127.0.0.1:1");
        let zero = Some(Duration::ZERO);
        for (refused, name) in [
            (dial(&tcp().keepalive(zero), AMPLE), "keepalive"),
            (dial(&tcp().keepalive(Some(Duration::from_secs(32768))), AMPLE), "keepalive"),
            (dial(&tcp().user_timeout(zero), AMPLE), "user_timeout"),
            (dial(&tcp().user_timeout(Some(Duration::MAX)), AMPLE), "user_timeout"),
            (dial(&tcp().read_timeout(zero), AMPLE), "read_timeout"),
            (dial(&tcp().write_timeout(zero), AMPLE), "write_timeout"),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().starts_with(&format!("{name} cannot be ")), "{error}");
        }
    }

    #[test]
    fn the_widest_settings_are_taken() {
        let (_listener, address) = listen();
        let manager = TcpManager::new(address.to_string())
            .keepalive(Some(Duration::from_secs(32767)))
            .user_timeout(Some(Duration::from_millis(i32::MAX as u64)))
            .read_timeout(Some(Duration::from_micros(1)))
            .write_timeout(Some(Duration::MAX));
        let conn = dial(&manager, AMPLE).unwrap();
        assert!(SockRef::from(&conn).read_timeout().unwrap().is_some());
    }

    #[test]
    fn its_one_socket_is_watched_and_peeked_at_every_checkout() {
        let (_listener, address) = listen();
        let manager = TcpManager::new(address.to_string());
        let conn = dial(&manager, AMPLE).unwrap();
        let mut watched = Ok(Vec::new());
        manager.watch(&conn, &mut Watch::collect(&mut watched));
        let watched = watched.unwrap();
        assert_eq!(watched.len(), 1);
        let mut again = Watch::compare(&watched);
        manager.watch(&conn, &mut again);
        assert!(again.same());
        assert_eq!(manager.probe_after(), Duration::ZERO);
    }

    #[test]
    fn on_return_restores_the_managers_timeouts() {
        let (_listener, address) = listen();
        let own = Some(Duration::from_secs(2));
        let manager = TcpManager::new(address.to_string()).read_timeout(own);
        let mut conn = dial(&manager, AMPLE).unwrap();
        conn.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
        assert_eq!(manager.on_return(&mut conn, Outcome::Done), Verdict::Keep);
        assert_eq!(SockRef::from(&conn).read_timeout().unwrap(), own);
        assert_eq!(manager.on_return(&mut conn, Outcome::Failed), Verdict::Discard);
    }
}
