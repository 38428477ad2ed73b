//! Dialing Redis over streams of ours: [`RedisManager`].
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{
    Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    RedisError, RedisResult, Value, cmd,
};

use super::connection::{OnPush, RedisConnection};
use super::transport::Transport;
#[cfg(feature = "rustls")]
use crate::clients::tls::manager::{TlsManager, is_refusal};
use crate::manager::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};
use crate::net::connect_error::{ConnectError, Step};
use crate::net::tcp::TcpManager;
use crate::net::unix::UnixManager;

/// Opens connections to Redis that know whether they may be lent again: [`RedisConnection`].
///
/// ```no_run
/// use corepool::Pool;
/// use corepool::clients::RedisManager;
/// use redis::Commands;
///
/// let pool = Pool::builder(RedisManager::new("redis://:secret@localhost:6379/2")?).max_size(16).build()?;
/// let visits: i64 = pool.with(|redis| redis.incr("visits", 1))?;
/// # drop(visits);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// A dial connects, logs in (`AUTH`, or `HELLO 3` with it), selects the database, and names the library, all within `dial_timeout`. Idle
/// connections are watched, and looked at before each checkout: pushes of RESP3 are taken and go to
/// [`on_push`](RedisManager::on_push), anything else discards. A use that failed keeps its connection where the connection itself tells
/// that nothing is half done: an error of the server's costs nothing. One that panicked discards.
///
/// What the kernel is to do for a connection to a peer that vanished: [`tcp`](RedisManager::tcp).
#[derive(Clone)]
pub struct RedisManager {
    endpoint: Endpoint,
    login: RedisConnectionInfo,
    on_push: Option<Arc<OnPush>>,
}

#[derive(Debug, Clone)]
enum Endpoint {
    Tcp(TcpManager),
    Unix(UnixManager),
    #[cfg(feature = "rustls")]
    Tls(TlsManager),
}

impl RedisManager {
    /// For a URL: `redis://[USER][:PASSWORD@]HOST[:PORT][/DATABASE]`, or `redis+unix:///PATH[?db=DATABASE&user=USER&pass=PASSWORD]`; with
    /// `?protocol=resp3` for RESP3. Or for what the `redis` crate makes of one, a `ConnectionInfo`.
    ///
    /// A URL that does not parse, or one with TLS, is refused: that is for `with_tls`, which the feature `rustls` brings. Of a
    /// `ConnectionInfo`, the TCP settings are not used: those of [`tcp`](RedisManager::tcp) are.
    pub fn new(info: impl IntoConnectionInfo) -> RedisResult<Self> {
        let info: ConnectionInfo = info.into_connection_info()?;
        let endpoint = match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let host =
                    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.clone() };
                Endpoint::Tcp(TcpManager::new(format!("{host}:{port}")))
            }
            ConnectionAddr::Unix(path) => Endpoint::Unix(UnixManager::new(path)),
            _ => return Err((ErrorKind::InvalidClientConfig, "TLS is for `with_tls`").into()),
        };
        Ok(RedisManager { endpoint, login: info.redis_settings().clone(), on_push: None })
    }

    /// For a URL with TLS: `rediss://[USER][:PASSWORD@]HOST[:PORT][/DATABASE]`, `?protocol=resp3` as above. `config` has the roots, a
    /// crypto provider, a client's certificate: all that is rustls's. The peer's certificate must be for `HOST`.
    ///
    /// The handshake has what is left of `dial_timeout`; a certificate that is refused is permanent. What a connection may be kept after is
    /// as without TLS; session tickets that wait on an idle one are taken, and a `close_notify` ends it.
    ///
    /// # Errors
    /// What is no such URL is refused; so is `#insecure`, since what is checked is what `config` says.
    #[cfg(feature = "rustls")]
    pub fn with_tls(url: &str, config: Arc<rustls::ClientConfig>) -> RedisResult<Self> {
        let refused = |what: &'static str| RedisError::from((ErrorKind::InvalidClientConfig, what));
        let rest = url.strip_prefix("rediss://").or_else(|| url.strip_prefix("valkeys://"));
        let rest = rest.ok_or_else(|| refused("the URL of a connection with TLS begins with `rediss://`"))?;
        if rest.contains('#') {
            return Err(refused("what is checked of a certificate is for `config` to say, not for the URL"));
        }
        let info = format!("redis://{rest}").into_connection_info()?;
        let ConnectionAddr::Tcp(host, _) = info.addr() else { return Err(refused("TLS is for TCP")) };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = host.try_into().map_err(|_| refused("a certificate can not be for the URL's host"))?;
        let plain = RedisManager::new(info)?;
        let Endpoint::Tcp(tcp) = plain.endpoint else { return Err(refused("TLS is for TCP")) };
        Ok(RedisManager { endpoint: Endpoint::Tls(TlsManager::new(tcp, name, config)), ..plain })
    }

    /// Bounds each read of every use. Default `None`: for ever. A read that times out costs the connection.
    pub fn read_timeout(self, timeout: Option<Duration>) -> Self {
        self.tcp(|tcp| tcp.read_timeout(timeout)).unix(|unix| unix.read_timeout(timeout))
    }

    /// Bounds each write of every use. Default `None`: for ever.
    pub fn write_timeout(self, timeout: Option<Duration>) -> Self {
        self.tcp(|tcp| tcp.write_timeout(timeout)).unix(|unix| unix.write_timeout(timeout))
    }

    /// Changes how TCP is dialed, with or without TLS: keep-alive, user timeout. Without effect on a Unix socket.
    pub fn tcp(mut self, change: impl FnOnce(TcpManager) -> TcpManager) -> Self {
        self.endpoint = match self.endpoint {
            Endpoint::Tcp(tcp) => Endpoint::Tcp(change(tcp)),
            #[cfg(feature = "rustls")]
            Endpoint::Tls(tls) => Endpoint::Tls(tls.tcp(change)),
            unix @ Endpoint::Unix(_) => unix,
        };
        self
    }

    /// Changes how a Unix socket is dialed. Without effect on TCP.
    pub fn unix(mut self, change: impl FnOnce(UnixManager) -> UnixManager) -> Self {
        if let Endpoint::Unix(unix) = self.endpoint {
            self.endpoint = Endpoint::Unix(change(unix));
        }
        self
    }

    /// What becomes of RESP3's pushes, such as the invalidations of client-side caching. Default: they are dropped.
    ///
    /// Runs on whichever thread reads one: in the middle of a command, or at a checkout. Should not block.
    pub fn on_push(mut self, take: impl Fn(Value) + Send + Sync + 'static) -> Self {
        self.on_push = Some(Arc::new(take));
        self
    }

    /// In one round trip: all is sent, and then all is heard.
    fn log_in(&self, redis: &mut RedisConnection) -> RedisResult<()> {
        const AUTH: ErrorKind = ErrorKind::AuthenticationFailed;
        let mut asked = Vec::new();
        if resp3(&self.login) {
            asked.push((self.hello(), Some((AUTH, "HELLO was refused"))));
        } else if let Some(password) = self.login.password() {
            let mut auth = cmd("AUTH");
            if let Some(user) = self.login.username() {
                auth.arg(user);
            }
            auth.arg(password);
            asked.push((auth, Some((AUTH, "AUTH was refused"))));
        }
        // Tells whether a password was needed that was not given, whether the server is ready, and whether it has room.
        asked.push((cmd("PING"), None));
        if self.login.db() != 0 {
            let mut select = cmd("SELECT");
            select.arg(self.login.db());
            asked.push((select, Some((ErrorKind::InvalidClientConfig, "SELECT was refused"))));
        }
        if !self.login.skip_set_lib_name() {
            for (name, value) in [("LIB-NAME", "corepool"), ("LIB-VER", env!("CARGO_PKG_VERSION"))] {
                let mut inform = cmd("CLIENT");
                inform.arg("SETINFO").arg(name).arg(value);
                asked.push((inform, None));
            }
        }
        let packed: Vec<u8> = asked.iter().flat_map(|(command, _)| command.get_packed_command()).collect();
        redis.send_packed_command(&packed)?;
        asked.into_iter().try_for_each(|(_, refused)| judge(redis.recv_response()?, refused))
    }

    /// "Connection reset by peer" alone does not say of what. What the server says does.
    fn where_it_failed(&self, error: RedisError) -> RedisError {
        // A client of TLS 1.3 hears only now that its certificate is not taken.
        #[cfg(feature = "rustls")]
        let error = refused(error);
        if !error.is_io_error() {
            return error;
        }
        let address = match &self.endpoint {
            Endpoint::Tcp(tcp) => tcp.address().to_owned(),
            Endpoint::Unix(unix) => unix.path().display().to_string(),
            #[cfg(feature = "rustls")]
            Endpoint::Tls(tls) => tls.address().to_owned(),
        };
        io::Error::from(ConnectError::new(Step::Login { address, peer: None }, error)).into()
    }

    fn hello(&self) -> Cmd {
        let mut hello = cmd("HELLO");
        hello.arg(3);
        if let Some(password) = self.login.password() {
            hello.arg("AUTH").arg(self.login.username().unwrap_or("default")).arg(password);
        }
        hello
    }
}

fn resp3(login: &RedisConnectionInfo) -> bool {
    login.protocol() != ProtocolVersion::RESP2
}

/// An error that the server reports is one of this kind, with its text, unless it will go away by itself. Where none is named, only one
/// that tells of the whole session matters: an old server does not know of `SETINFO`, and a user may have no right to `PING`.
fn judge(reply: Value, refused: Option<(ErrorKind, &'static str)>) -> RedisResult<()> {
    match (reply.extract_error(), refused) {
        (Ok(_), _) => Ok(()),
        (Err(error), _) if is_passing(&error) => Err(error),
        (Err(error), Some((kind, what))) => Err((kind, what, error.to_string()).into()),
        (Err(error), None) if error.code() == Some("NOAUTH") => {
            Err((ErrorKind::AuthenticationFailed, "a password is needed", error.to_string()).into())
        }
        (Err(_), None) => Ok(()),
    }
}

/// What a server says that is just not ready.
fn is_passing(error: &RedisError) -> bool {
    matches!(error.code(), Some("LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN"))
        || error.to_string().contains("max number of clients")
}

/// A certificate that is refused is a fault of the configuration's: the client's error has no other way to say so.
#[cfg(feature = "rustls")]
fn refused(error: RedisError) -> RedisError {
    if !is_refusal(&error) {
        return error;
    }
    (ErrorKind::InvalidClientConfig, "the TLS handshake failed", error.to_string()).into()
}

impl Manager for RedisManager {
    type Connection = RedisConnection;
    type Error = RedisError;

    fn connect(&self, dial: &Dial<'_>) -> RedisResult<RedisConnection> {
        let stream = match &self.endpoint {
            Endpoint::Tcp(tcp) => Transport::Bare(tcp.connect(dial).map_err(io::Error::from)?),
            Endpoint::Unix(unix) => Transport::Bare(unix.connect(dial).map_err(io::Error::from)?),
            #[cfg(feature = "rustls")]
            Endpoint::Tls(tls) => Transport::Tls(tls.connect(dial).map_err(|error| refused(error.into()))?),
        };
        dial.cut_at_deadline(&stream)?;
        let mut redis = RedisConnection::new(stream, resp3(&self.login), self.login.db(), self.on_push.clone());
        self.log_in(&mut redis).map_err(|error| self.where_it_failed(error))?;
        redis.logged_in();
        Ok(redis)
    }

    /// A refused login, database or protocol.
    fn is_permanent(&self, error: &RedisError) -> bool {
        matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig)
    }

    #[inline]
    fn watch(&self, redis: &RedisConnection, on: &mut Watch<'_>) {
        on.socket(redis);
    }

    fn on_idle_data(&self, redis: &mut RedisConnection, _peeked: &[u8]) -> Verdict {
        if redis.take_idle() { Verdict::Keep } else { Verdict::Discard }
    }

    fn ping(&self, redis: &mut RedisConnection) -> RedisResult<()> {
        cmd("PING").exec(redis)
    }

    /// What the error says does not matter: the connection knows.
    fn on_error(&self, _redis: &mut RedisConnection, _error: &dyn Any) -> Verdict {
        Verdict::Keep
    }

    #[inline]
    fn on_return(&self, _redis: &mut RedisConnection, how: Outcome) -> Verdict {
        // One that is not fit does not get that far.
        if how == Outcome::Panicked { Verdict::Discard } else { Verdict::Keep }
    }

    fn close(&self, mut redis: RedisConnection, _why: CloseReason) {
        redis.say_goodbye();
    }
}

impl fmt::Debug for RedisManager {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisManager")
            .field("endpoint", &self.endpoint)
            .field("user", &self.login.username())
            .field("database", &self.login.db())
            .field("protocol", &self.login.protocol())
            .finish_non_exhaustive()
    }
}
