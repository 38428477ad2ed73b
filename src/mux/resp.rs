//! Redis's protocol for a mux, RESP2 and RESP3, over the `redis` crate's parser. Feature `redis`.
//!
//! ```no_run
//! use corepool::mux::{Mux, resp::Resp};
//! use corepool::{Pool, TcpManager};
//! use redis::Commands;
//!
//! let mux = Mux::builder(Pool::builder(TcpManager::new("127.0.0.1:6379")), Resp::new()).build()?;
//! // Any number of threads, each with its own handle, or by reference.
//! let mut redis = mux.clone();
//! let count: i64 = redis.incr("visits", 1)?;
//! let name: Option<String> = (&mux).get("name")?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! **What is refused.** All callers share the connection, so a command that would change it for the others (`SELECT`, `MULTI`, `WATCH`,
//! `SUBSCRIBE`, `CLIENT REPLY`) or hold it up (`BLPOP`, `XREAD BLOCK`, `WAIT`) is not sent: its caller gets an error that names the pool,
//! where such a command belongs. The list is of commands that Redis 7 has; a module's own that blocks is not on it. Nor is what holds up
//! the whole server (`CLIENT PAUSE`, `DEBUG SLEEP`, a slow script), since a pool would not help.
//!
//! **A line** (a status, an error, a number) of more than 1 MiB is taken for nonsense, and costs the connection: strings have no such limit
//! but [`max_reply`](super::MuxBuilder::max_reply).
//!
//! **Login** (`AUTH`, `HELLO 3`, `SELECT`) is the manager's: [`TcpManager::with_login`](crate::TcpManager::with_login).
//!
//! **Pushes** of RESP3 (invalidations of `CLIENT TRACKING`, which the login may turn on) go to [`Resp::on_push`], never to a caller.
//! Nobody reads while nobody calls, so a push may be heard of only with the next call.
#![forbid(unsafe_code)]

mod client;
mod frame;
mod refusal;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use redis::Value;

use self::frame::{Frame, Kind};
use self::refusal::Commands;
use super::protocol::{Decoded, Protocol};

/// Redis's protocol. A request is a packed command: what `redis::Cmd::get_packed_command` returns.
///
/// An error that Redis answers with is a reply like others, a [`Value::ServerError`]; [`redis::ConnectionLike`], which a mux of this
/// protocol implements, makes an error of it.
#[derive(Clone, Default)]
pub struct Resp {
    on_push: Option<Arc<dyn Fn(Value) + Send + Sync>>,
}

impl Resp {
    /// Without anybody who is told of pushes.
    pub fn new() -> Self {
        Resp::default()
    }

    /// Has `told` called with each push, on whichever caller's thread reads it. It must not block; a call of the same mux is refused there.
    pub fn on_push(mut self, told: impl Fn(Value) + Send + Sync + 'static) -> Self {
        self.on_push = Some(Arc::new(told));
        self
    }
}

impl Protocol for Resp {
    type Request = [u8];
    type Reply = Value;

    fn encode(&self, request: &[u8], into: &mut Vec<u8>) -> Result<(), Box<dyn Error + Send + Sync>> {
        refusal::check(request, 1)?;
        into.extend_from_slice(request);
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<Value> {
        let (kind, length) = match Frame::measure(bytes) {
            Frame::Whole(kind, length) => (kind, length),
            Frame::More(missing) => return Decoded::More(missing),
            Frame::Broken(why) => return Decoded::Broken(why.into()),
        };
        match kind {
            // The usual reply, without the parser's own buffer in between.
            Kind::Bulk(text) => Decoded::Reply(Value::BulkString(bytes[text].to_vec()), length),
            Kind::Push => match redis::parse_redis_value(&bytes[..length]) {
                Ok(value) => Decoded::Push(value, length),
                Err(error) => Decoded::Broken(Box::new(error)),
            },
            Kind::Other => match redis::parse_redis_value(&bytes[..length]) {
                Ok(value) => Decoded::Reply(value, length),
                Err(error) => Decoded::Broken(Box::new(error)),
            },
        }
    }

    fn on_push(&self, push: Value) {
        if let Some(told) = &self.on_push {
            told(push);
        }
    }

    /// Scripts and functions take as long as they like.
    fn may_block(&self, request: &[u8]) -> bool {
        const SLOW: [&[u8]; 6] = [b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO", b"FCALL", b"FCALL_RO"];
        Commands::of(request).any(|command| command.is_ok_and(|command| command.is_one_of(&SLOW)))
    }
}

impl fmt::Debug for Resp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resp").field("on_push", &self.on_push.is_some()).finish()
    }
}
