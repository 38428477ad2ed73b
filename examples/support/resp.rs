//! A Redis connection whose socket the pool can watch, and the manager that opens it.
//!
//! `redis::Connection` dials by itself and shows its socket to nobody. So the socket is dialed here and the `redis` crate brings
//! the protocol: its parser, its packing and, through `ConnectionLike`, all its commands and pipelines.
//!
//! **What a connection owes.** It counts the replies to come: up before a request is written, down once its reply has been read whole. So
//! whatever breaks an exchange (a lost socket, a timeout, bytes that are no RESP) leaves the count above zero for good. An error
//! *reply* is a finished exchange.
//!
//! **What it has too much of.** A server that says more than it was asked (a reply too many, another's reply) would answer the next
//! request with it. What has arrived with the last reply must not vanish in the parser, which keeps what it is given: it is given a line at
//! a time ([`ByLine`]), and what comes after the reply stays where it can be seen. [`on_return`](Manager::on_return) keeps a connection
//! that neither owes nor has anything. What arrives later is found by the peek at the next checkout.
//!
//! What none of it sees is session state: who sends MULTI, WATCH, SELECT, SUBSCRIBE or MONITOR undoes it, or discards the connection.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use corepool::mux::{Duplex, SocketHalf};
use corepool::{Dial, Manager, Outcome, Verdict, Watch};
use redis::{ConnectionAddr, ConnectionLike, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, Value};

/// How long a read or a write may block. A reply that comes later is lost, and its connection with it.
const IO_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest reply: a server could go on for ever, and each read would be in time. No example asks for more than a fourth of it.
const MAX_REPLY: usize = 4 * 1024 * 1024;

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
    stream: BufReader<TcpStream>,
    parser: redis::Parser,
    /// Replies to requests that were begun, not yet read whole.
    owed: usize,
    db: i64,
}

/// What a parser may read for one reply: no more than a line at a time. Every reply ends with the end of a line, so the parser, which stops
/// at the end of its reply, is never given what comes after.
struct ByLine<'c> {
    stream: &'c mut BufReader<TcpStream>,
    /// How much longer the reply may grow.
    left: usize,
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
        let (stream, parser, db) = (BufReader::new(stream), redis::Parser::new(), self.login.db());
        let mut connection = RespConnection { stream, parser, owed: 0, db };
        let ready = self.log_in(&mut connection).and_then(|()| connection.check());
        ready.map_err(|cause| self.error("log in to", cause))?;
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
        on.socket(connection.stream.get_ref());
    }

    fn on_return(&self, connection: &mut RespConnection, how: Outcome) -> Verdict {
        match how {
            Outcome::Done | Outcome::Failed if connection.is_fit() => Verdict::Keep,
            _ => Verdict::Discard,
        }
    }

    /// At every checkout: nothing else sees a reply too many that comes after the connection was given back.
    fn probe_after(&self) -> Duration {
        Duration::ZERO
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
    /// Its user has read a reply that makes no sense: another's, whose own is still to come. Nobody else may ask.
    pub(crate) fn distrust(&mut self) {
        self.owed += 1;
    }

    /// Whether the next reply that comes would be that to the next request.
    fn is_fit(&self) -> bool {
        self.check().is_ok()
    }

    fn check(&self) -> RedisResult<()> {
        let fault = if self.owed > 0 {
            "an earlier exchange was cut short"
        } else if !self.stream.buffer().is_empty() {
            "the server says more than it was asked"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::NotConnected, fault).into())
    }

    fn send(&mut self, packed: &[u8], replies: usize) -> RedisResult<()> {
        self.check()?;
        self.owed += replies;
        Ok(self.stream.get_mut().write_all(packed)?)
    }

    fn receive(&mut self) -> RedisResult<Value> {
        let value = self.parser.parse_value(ByLine { stream: &mut self.stream, left: MAX_REPLY })?;
        if let Value::Push { .. } = value {
            // Nobody here has subscribed to anything. The reply may come after it, or never.
            return Err(invalid("a message that nobody asked for").into());
        }
        self.owed -= 1;
        Ok(value)
    }
}

impl Read for ByLine<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let ahead = self.stream.fill_buf()?;
        let most = ahead.len().min(into.len());
        let length = ahead[..most].iter().position(|byte| *byte == b'\n').map_or(most, |end| end + 1);
        self.left = self.left.checked_sub(length).ok_or_else(|| invalid("a reply that is too long"))?;
        into[..length].copy_from_slice(&ahead[..length]);
        self.stream.consume(length);
        Ok(length)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
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
        self.is_fit()
    }
}

/// For a mux, once it is logged in: nothing is read ahead then.
impl Duplex for RespConnection {
    type Reader = SocketHalf;
    type Writer = SocketHalf;

    fn halves(&mut self) -> io::Result<(SocketHalf, SocketHalf)> {
        SocketHalf::pair(self.stream.get_ref())
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
