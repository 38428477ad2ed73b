//! A Redis connection whose socket the pool can watch, and the manager that opens it.
//!
//! `redis::Connection` dials by itself and shows its socket to nobody. So the socket is dialed here and the `redis` crate brings
//! the protocol: its parser, its packing and, through `ConnectionLike`, all its commands and pipelines.
//!
//! A connection counts the replies that it is owed: up before a request is written, down once its reply has been read whole. So
//! whatever breaks an exchange (a lost socket, a timeout, bytes that are no RESP) leaves the count above zero for good, and
//! that one number tells [`on_return`](Manager::on_return) which connections may serve on. An error *reply* is a finished
//! exchange. What the count cannot see is session state: who sends MULTI, WATCH or SELECT by itself undoes it, or discards the
//! connection.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use corepool::{Dial, Manager, Outcome, Verdict, Watch};
use redis::{ConnectionAddr, ConnectionLike, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, Value};

/// How long a read or a write may block. A reply that comes later is lost, and its connection with it.
const IO_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens connections to one Redis server.
#[derive(Clone)]
pub(crate) struct RespManager {
    host: String,
    port: u16,
    login: redis::RedisConnectionInfo,
}

/// Why a connection could not be opened; never shows the password.
#[derive(Debug)]
pub(crate) struct ConnectError {
    step: &'static str,
    address: String,
    cause: RedisError,
}

/// A connection to a Redis server; what it can do comes from `redis::Commands`.
pub(crate) struct RespConnection {
    stream: TcpStream,
    parser: redis::Parser,
    /// Replies to requests that were begun, not yet read whole.
    owed: usize,
    db: i64,
}

impl RespManager {
    /// To a server that wants no password.
    pub(crate) fn new(address: SocketAddr) -> Self {
        RespManager {
            host: address.ip().to_string(),
            port: address.port(),
            login: redis::RedisConnectionInfo::default(),
        }
    }

    /// From `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`.
    pub(crate) fn from_url(url: &str) -> RedisResult<Self> {
        let info = url.into_connection_info()?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err((ErrorKind::InvalidClientConfig, "only redis://HOST:PORT is supported").into());
        };
        Ok(RespManager { host: host.clone(), port: *port, login: info.redis_settings().clone() })
    }

    /// Dials and logs in within `limit`. `dialed` sees the socket before anything is sent on it.
    pub(crate) fn open(
        &self,
        limit: Duration,
        dialed: impl FnOnce(&TcpStream) -> io::Result<()>,
    ) -> Result<RespConnection, ConnectError> {
        let stream = self.dial(Instant::now() + limit).and_then(|stream| {
            dialed(&stream)?;
            Ok(stream)
        });
        let stream = stream.map_err(|cause| self.error("reach", cause.into()))?;
        let mut connection = RespConnection { stream, parser: redis::Parser::new(), owed: 0, db: self.login.db() };
        self.log_in(&mut connection).map_err(|cause| self.error("log in to", cause))?;
        Ok(connection)
    }

    fn dial(&self, deadline: Instant) -> io::Result<TcpStream> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            // `connect_timeout` refuses a limit of zero.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(IO_TIMEOUT))?;
                    stream.set_write_timeout(Some(IO_TIMEOUT))?;
                    return Ok(stream);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn log_in(&self, connection: &mut RespConnection) -> RedisResult<()> {
        if let Some(password) = self.login.password() {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = self.login.username() {
                auth.arg(user);
            }
            auth.arg(password).exec(connection).map_err(without_echo)?;
        }
        if self.login.db() != 0 {
            redis::cmd("SELECT").arg(self.login.db()).exec(connection)?;
        }
        Ok(())
    }

    fn error(&self, step: &'static str, cause: RedisError) -> ConnectError {
        ConnectError { step, address: self.to_string(), cause }
    }
}

/// A server that does not know AUTH repeats its arguments in the error; of a refusal only the code is kept.
fn without_echo(error: RedisError) -> RedisError {
    match error.code() {
        Some(code) => (ErrorKind::AuthenticationFailed, "the server refused the password", code.to_owned()).into(),
        None => error,
    }
}

impl Manager for RespManager {
    type Connection = RespConnection;
    type Error = ConnectError;

    fn connect(&self, dial: &Dial<'_>) -> Result<RespConnection, ConnectError> {
        self.open(dial.remaining(), |stream| dial.cut_at_deadline(stream))
    }

    fn watch(&self, connection: &RespConnection, on: &mut Watch<'_>) {
        on.socket(&connection.stream);
    }

    fn on_return(&self, connection: &mut RespConnection, how: Outcome) -> Verdict {
        match how {
            Outcome::Done | Outcome::Failed if connection.owed == 0 => Verdict::Keep,
            _ => Verdict::Discard,
        }
    }
}

impl fmt::Debug for RespManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The login holds the password.
        f.debug_struct("RespManager").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl fmt::Display for RespManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl RespConnection {
    fn send(&mut self, packed: &[u8], replies: usize) -> RedisResult<()> {
        if self.owed > 0 {
            // The reply that is missing might still come, and would answer this request.
            return Err(io::Error::new(io::ErrorKind::NotConnected, "an earlier exchange was cut short").into());
        }
        self.owed += replies;
        Ok(self.stream.write_all(packed)?)
    }

    fn receive(&mut self) -> RedisResult<Value> {
        let value = self.parser.parse_value(&mut self.stream)?;
        self.owed -= 1;
        Ok(value)
    }
}

impl ConnectionLike for RespConnection {
    fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
        self.send(packed, 1)?;
        self.receive()
    }

    fn req_packed_commands(&mut self, packed: &[u8], offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        self.send(packed, offset + count)?;
        // The first replies are those to MULTI and to what it queued. All are read, whatever the first error: what stayed unread
        // would answer the next request.
        let mut queued = Ok(());
        for _ in 0..offset {
            let reply = self.receive()?.extract_error().map(drop);
            queued = queued.and(reply);
        }
        let replies = (0..count).map(|_| self.receive()).collect::<RedisResult<_>>()?;
        queued.map(|()| replies)
    }

    fn get_db(&self) -> i64 {
        self.db
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").exec(self).is_ok()
    }

    fn is_open(&self) -> bool {
        self.owed == 0
    }
}

impl fmt::Debug for RespConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RespConnection").field("stream", &self.stream).field("owed", &self.owed).finish_non_exhaustive()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {} redis at {}", self.step, self.address)
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}
