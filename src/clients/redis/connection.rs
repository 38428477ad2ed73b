//! A connection to Redis over a stream of ours: [`RedisConnection`].
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, ConnectionLike, ErrorKind, RedisError, RedisResult, Value, parse_redis_value};

use super::ahead::Ahead;
use super::frames::{Malformed, Scan};
use super::session::Session;
use super::transport::Transport;
use crate::watch::stream::Stream;

/// A connection to Redis that knows whether it may be lent again.
///
/// It is `redis::ConnectionLike`: all of the `redis` crate's commands, pipelines and scripts work on it (`redis::Commands`,
/// `redis::pipe()`, `Cmd::query`). What it has not is `as_pubsub`; subscriptions need a connection of their own anyway.
///
/// The pool closes it when it comes back and
/// - an I/O error or a timeout was met on it, or something that is not Redis's protocol: a late reply would answer the next user's command.
///   Until then every further command on it fails;
/// - it is owed replies, or has some that nobody asked for;
/// - a transaction is open (`MULTI`, `WATCH`), also where the server refused the command that was to end it;
/// - its session is not what the login left: `SELECT`, `AUTH`, `HELLO`, `SUBSCRIBE`, `MONITOR`, `READONLY`, `CLIENT REPLY`,
///   `CLIENT TRACKING`, `CLIENT SETNAME`, `SCRIPT DEBUG`, … were sent, whatever came of it.
///
/// An error that the server reports costs nothing.
pub struct RedisConnection {
    stream: Transport,
    /// What arrived and was not taken yet; a frame begins with it.
    ahead: Ahead,
    scan: Scan,
    /// Replies that are due.
    owed: u64,
    session: Session,
    broken: bool,
    resp3: bool,
    database: i64,
    on_push: Option<Arc<OnPush>>,
}

pub(super) type OnPush = dyn Fn(Value) + Send + Sync;

impl RedisConnection {
    pub(super) fn new(stream: Transport, resp3: bool, database: i64, on_push: Option<Arc<OnPush>>) -> Self {
        RedisConnection {
            stream,
            ahead: Ahead::default(),
            scan: Scan::default(),
            owed: 0,
            session: Session::default(),
            broken: false,
            resp3,
            database,
            on_push,
        }
    }

    /// The login is over: what it has changed is how the session is to be.
    pub(super) fn logged_in(&mut self) {
        self.session = Session::default();
    }

    /// Bounds each read of this use, as [`Conn::set_read_timeout`](crate::Conn::set_read_timeout) does.
    ///
    /// # Errors
    /// Less than 1 µs is refused with [`InvalidInput`](io::ErrorKind::InvalidInput); a socket that is gone.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)
    }

    /// Bounds each write of this use, as [`Conn::set_write_timeout`](crate::Conn::set_write_timeout) does.
    ///
    /// # Errors
    /// Less than 1 µs is refused with [`InvalidInput`](io::ErrorKind::InvalidInput); a socket that is gone.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_write_timeout(timeout)
    }

    /// Sends commands that are packed already, and reads no reply: [`recv_response`](RedisConnection::recv_response) does. A
    /// connection that comes back before all of them are read is closed.
    pub fn send_packed_command(&mut self, packed: &[u8]) -> RedisResult<()> {
        if self.broken {
            return Err(
                io::Error::new(io::ErrorKind::BrokenPipe, "an exchange on this connection has failed before").into()
            );
        }
        self.owed += self.session.sends(packed);
        self.stream.write_all(packed).map_err(|error| self.breaks(error))
    }

    /// The next reply; pushes that come before it go to the manager's [`on_push`](crate::clients::RedisManager::on_push).
    ///
    /// An error of the server's is an `Ok(Value::ServerError)`.
    pub fn recv_response(&mut self) -> RedisResult<Value> {
        if self.owed == 0 {
            return Err((ErrorKind::Client, "no reply is due").into());
        }
        loop {
            match self.next_frame()? {
                Value::Push { kind, data } => self.pushed(Value::Push { kind, data }),
                reply => {
                    self.owed -= 1;
                    self.session.hears(&reply);
                    if self.owed == 0 {
                        self.take_pushes()?;
                    }
                    return Ok(reply);
                }
            }
        }
    }

    /// Replies of this use that nobody waits for, such as those to commands sent with `set_no_response`.
    fn skip(&mut self, replies: u64) -> RedisResult<()> {
        (0..replies).try_for_each(|_| self.recv_response().map(drop))
    }

    fn next_frame(&mut self) -> RedisResult<Value> {
        loop {
            if let Some(value) = self.frame_ahead()? {
                return Ok(value);
            }
            self.read_more()?;
        }
    }

    /// The frame that has arrived, if it has.
    fn frame_ahead(&mut self) -> RedisResult<Option<Value>> {
        let length = match self.scan.whole(self.ahead.bytes()) {
            Ok(Some(length)) => length,
            Ok(None) => return Ok(None),
            Err(Malformed) => return Err(self.breaks(io::Error::new(io::ErrorKind::InvalidData, Malformed))),
        };
        let value = parse_redis_value(&self.ahead.bytes()[..length]);
        self.ahead.take(length);
        self.scan = Scan::default();
        match value {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.broken = true;
                Err(error)
            }
        }
    }

    fn read_more(&mut self) -> RedisResult<()> {
        let stream = &mut self.stream;
        let read = loop {
            match self.ahead.fill(|into| stream.read(into)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) => Err(self.breaks(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(self.breaks(error)),
        }
    }

    /// Pushes that came with the last reply must not look like something unasked for.
    fn take_pushes(&mut self) -> RedisResult<()> {
        while self.stream.has_more() {
            self.read_more()?;
        }
        while self.resp3 && self.ahead.bytes().first() == Some(&b'>') {
            match self.frame_ahead()? {
                Some(push) => self.pushed(push),
                None => break,
            }
        }
        Ok(())
    }

    /// Takes what waits on an idle connection, as long as it is pushes. `false`: something else.
    pub(super) fn take_idle(&mut self) -> bool {
        loop {
            let stream = &mut self.stream;
            match self.ahead.fill(|into| stream.read_now(into)) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        self.take_pushes().is_ok() && self.is_fit()
    }

    /// It is about to be closed.
    pub(super) fn say_goodbye(&mut self) {
        self.stream.say_goodbye();
    }

    fn pushed(&self, push: Value) {
        if let Some(on_push) = &self.on_push {
            on_push(push);
        }
    }

    fn breaks(&mut self, error: io::Error) -> RedisError {
        self.broken = true;
        error.into()
    }
}

impl ConnectionLike for RedisConnection {
    fn req_command(&mut self, command: &Cmd) -> RedisResult<Value> {
        if command.is_no_response() {
            return self.send_packed_command(&command.get_packed_command()).map(|()| Value::Nil);
        }
        self.req_packed_command(&command.get_packed_command())
    }

    fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
        let before = self.owed;
        self.send_packed_command(packed)?;
        self.skip(before)?;
        self.recv_response()
    }

    fn req_packed_commands(&mut self, packed: &[u8], offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        let before = self.owed;
        self.send_packed_command(packed)?;
        self.skip(before)?;
        // What an atomic pipeline's commands were answered before its EXEC is in the answer to that as well.
        self.skip(offset as u64)?;
        (0..count).map(|_| self.recv_response()).collect()
    }

    fn get_db(&self) -> i64 {
        self.database
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").query::<String>(self).is_ok_and(|answer| answer == "PONG")
    }

    fn is_open(&self) -> bool {
        !self.broken
    }
}

impl AsFd for RedisConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Stream for RedisConnection {
    #[inline]
    fn is_fit(&self) -> bool {
        // A push that has arrived in part will be whole when the next reply is.
        let clean = self.ahead.bytes().first().is_none_or(|first| self.resp3 && *first == b'>');
        clean && self.owed == 0 && !self.broken && self.session.is_clean() && self.stream.is_fit()
    }

    #[inline]
    fn identity(&self) -> Option<u64> {
        self.stream.identity()
    }

    #[inline]
    fn restore(&self) -> io::Result<()> {
        self.stream.restore()
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection")
            .field("stream", &self.stream)
            .field("ahead", &self.ahead.bytes().len())
            .field("owed", &self.owed)
            .field("session", &self.session)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
