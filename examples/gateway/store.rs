//! The way to the store: a pool, whose requests each borrow a connection, or a mux, whose requests share one a core.

use std::error::Error;
use std::fmt;

use corepool::mux::{CallError, CallErrorKind, Decoded, Mux, MuxStats, Protocol};
use corepool::{GetErrorKind, Pool, Stats, UseError};
use redis::{Cmd, Commands, FromRedisValue, RedisError, Value};

use crate::resp::RespManager;

/// What `--mode` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Pool,
    Mux,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Pool => "pool",
            Mode::Mux => "mux",
        }
    }
}

/// Handles to it are cheap.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    Pool(Pool<RespManager>),
    Mux(Mux<RespManager, Replies>),
}

impl Store {
    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Store::Pool(pool) => Ok(pool.with(|connection| connection.get(key))?),
            Store::Mux(mux) => call(mux, &Cmd::get(key)),
        }
    }

    pub(crate) fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        match self {
            Store::Pool(pool) => Ok(pool.with(|connection| connection.set(key, value))?),
            Store::Mux(mux) => call(mux, &Cmd::set(key, value)),
        }
    }

    /// Sets all of them, with one connection or in one go.
    pub(crate) fn set_all(&self, items: &[(String, String)]) -> Result<(), StoreError> {
        match self {
            Store::Pool(pool) => {
                pool.with(|connection| items.iter().try_for_each(|(key, value)| connection.set(key, value)))?;
            }
            Store::Mux(mux) => {
                let packed: Vec<_> =
                    items.iter().map(|(key, value)| Cmd::set(key, value).get_packed_command()).collect();
                for reply in mux.pipeline(packed.iter().map(Vec::as_slice)) {
                    reply?.extract_error()?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        match self {
            Store::Pool(pool) => Ok(pool.with(|connection| connection.del(keys))?),
            Store::Mux(mux) => call(mux, &Cmd::del(keys)),
        }
    }

    /// The pool in numbers, or the one beneath the mux.
    pub(crate) fn stats(&self) -> Stats {
        match self {
            Store::Pool(pool) => pool.stats(),
            Store::Mux(mux) => mux.stats().pool,
        }
    }

    /// The mux in numbers, if it is one.
    pub(crate) fn mux_stats(&self) -> Option<MuxStats> {
        match self {
            Store::Pool(_) => None,
            Store::Mux(mux) => Some(mux.stats()),
        }
    }

    /// The most connections that it may have, and how many it keeps idle.
    pub(crate) fn limits(&self) -> (usize, usize) {
        match self {
            Store::Pool(pool) => (pool.settings().max_size, pool.settings().min_idle),
            Store::Mux(mux) => (mux.stats().lines.len(), 0),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Store::Pool(pool) => pool.close(),
            Store::Mux(mux) => mux.close(),
        }
    }
}

fn call<T: FromRedisValue>(mux: &Mux<RespManager, Replies>, command: &Cmd) -> Result<T, StoreError> {
    let reply = mux.call(&command.get_packed_command())?.extract_error()?;
    Ok(T::from_redis_value(reply).map_err(RedisError::from)?)
}

/// What the gateway's commands are answered with. Feature `redis` of the crate has a protocol for all commands (`mux::resp`); this is what
/// one of your own looks like.
#[derive(Debug)]
pub(crate) struct Replies;

impl Protocol for Replies {
    type Request = [u8];
    type Reply = Value;

    fn encode(&self, request: &[u8], into: &mut Vec<u8>) -> Result<(), Box<dyn Error + Send + Sync>> {
        into.extend_from_slice(request);
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<Value> {
        let Some(line) = bytes.iter().position(|byte| *byte == b'\n') else { return Decoded::More(1) };
        let end = match bytes[0] {
            b'+' | b'-' | b':' => line + 1,
            b'$' => match str::from_utf8(&bytes[1..line]).unwrap_or_default().trim_end().parse::<i32>() {
                Ok(-1) => line + 1,
                Ok(length @ 0..) => line + 1 + length as usize + 2,
                _ => return Decoded::Broken("a string of no length".into()),
            },
            _ => return Decoded::Broken("no reply to GET, SET or DEL".into()),
        };
        match bytes.get(..end).map(redis::parse_redis_value) {
            None => Decoded::More(end - bytes.len()),
            Some(Ok(value)) => Decoded::Reply(value, end),
            Some(Err(error)) => Decoded::Broken(error.into()),
        }
    }
}

/// Why a request has no answer from the store.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// The pool has no connection, or the use of one failed.
    Pool(UseError<RedisError>),
    /// The call has no reply.
    Mux(CallError),
    /// It has one that says no.
    Reply(RedisError),
}

impl StoreError {
    /// Whether the request has not reached the store.
    pub(crate) fn is_unsent(&self) -> bool {
        match self {
            StoreError::Pool(error) => matches!(error, UseError::Get(_)),
            StoreError::Mux(error) => !error.was_sent(),
            StoreError::Reply(_) => false,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            StoreError::Pool(UseError::Get(error)) => match error.kind() {
                GetErrorKind::TimedOut => "pool_timed_out",
                GetErrorKind::Down => "pool_down",
                GetErrorKind::Closed => "pool_closed",
                _ => "pool_refused",
            },
            StoreError::Mux(error) => match error.kind() {
                CallErrorKind::TimedOut if error.was_sent() => "backend_timed_out",
                CallErrorKind::TimedOut => "mux_timed_out",
                CallErrorKind::Disconnected => "backend_hung_up",
                CallErrorKind::Down => "mux_down",
                CallErrorKind::Closed => "mux_closed",
                CallErrorKind::Overloaded => "mux_overloaded",
                _ => "mux_refused",
            },
            StoreError::Pool(UseError::Use(error)) | StoreError::Reply(error) => {
                if error.is_timeout() {
                    "backend_timed_out"
                } else if error.is_io_error() {
                    "backend_hung_up"
                } else {
                    "backend_refused"
                }
            }
        }
    }

    fn inner(&self) -> &(dyn Error + 'static) {
        match self {
            StoreError::Pool(error) => error,
            StoreError::Mux(error) => error,
            StoreError::Reply(error) => error,
        }
    }
}

impl From<UseError<RedisError>> for StoreError {
    fn from(error: UseError<RedisError>) -> Self {
        StoreError::Pool(error)
    }
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        StoreError::Mux(error)
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        StoreError::Reply(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.inner(), f)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner().source()
    }
}
