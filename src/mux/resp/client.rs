//! The `redis` crate's commands and pipelines, on a mux.
#![forbid(unsafe_code)]

use std::io;

use redis::{ConnectionLike, ErrorKind, RedisError, RedisResult, Value};

use super::{Resp, refusal};
use crate::manager::Manager;
use crate::mux::{CallError, CallErrorKind, Mux};
use crate::net::duplex::Duplex;

impl<M> Mux<M, Resp>
where
    M: Manager,
    M::Connection: Duplex,
{
    /// Sends `packed`, whole commands, and waits for so many replies.
    fn exchange(&self, packed: &[u8], replies: usize) -> RedisResult<Vec<Value>> {
        refusal::check(packed, replies).map_err(CallError::refused)?;
        self.call_raw(packed, replies).into_iter().map(|reply| reply.map_err(RedisError::from)).collect()
    }
}

/// Commands and pipelines of the `redis` crate: `redis::Commands` on a handle of the mux. Atomic pipelines, which are transactions, are
/// refused.
impl<M> ConnectionLike for Mux<M, Resp>
where
    M: Manager,
    M::Connection: Duplex,
{
    fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
        (&*self).req_packed_command(packed)
    }

    fn req_packed_commands(&mut self, packed: &[u8], offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        (&*self).req_packed_commands(packed, offset, count)
    }

    fn get_db(&self) -> i64 {
        0
    }

    fn check_connection(&mut self) -> bool {
        (&*self).check_connection()
    }

    fn is_open(&self) -> bool {
        (&self).is_open()
    }
}

/// The same by reference: `(&mux).get("key")`.
impl<M> ConnectionLike for &Mux<M, Resp>
where
    M: Manager,
    M::Connection: Duplex,
{
    fn req_packed_command(&mut self, packed: &[u8]) -> RedisResult<Value> {
        let reply = self.call(packed)?;
        reply.extract_error()
    }

    fn req_packed_commands(&mut self, packed: &[u8], offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        // Only those of a transaction, which is refused, have an offset.
        let mut replies = self.exchange(packed, offset + count)?;
        Ok(replies.split_off(offset))
    }

    /// Which database the manager's login has chosen is not known here.
    fn get_db(&self) -> i64 {
        0
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").exec(self).is_ok()
    }

    /// Until the mux is closed: a connection that is lost is opened anew.
    fn is_open(&self) -> bool {
        !self.is_closed()
    }
}

/// As the client's own errors: one that timed out is a timeout, and so on; one that was refused is of the kind `InvalidClientConfig`. It
/// says what the [`CallError`] says, but is none any more: whether it was sent is told by [`Mux::call`] alone.
impl From<CallError> for RedisError {
    fn from(error: CallError) -> RedisError {
        match error.kind() {
            CallErrorKind::Refused => {
                let why = error.cause().map_or_else(|| error.to_string(), |cause| cause.to_string());
                (ErrorKind::InvalidClientConfig, "not on a shared connection", why).into()
            }
            _ => io::Error::from(error).into(),
        }
    }
}
