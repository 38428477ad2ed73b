//! The `redis` crate's own connections: [`RedisClientManager`].
#![forbid(unsafe_code)]

use std::any::Any;
use std::time::Duration;

use redis::{Client, Connection, ConnectionLike, ErrorKind, RedisError, RedisResult, cmd};

use crate::clients::fdhunt;
use crate::clients::watched::Watched;
use crate::manager::{Dial, Manager, Outcome, Verdict, Watch};

/// Opens the `redis` crate's own connections, over whatever it can connect by, and finds their sockets, so that they are watched.
///
/// For what [`RedisManager`](super::manager::RedisManager) does not do: TLS by another library than rustls, its push sender, `as_pubsub`.
/// It costs a descriptor more for each connection, and knows less: of replies that are still due only what the connection says. A use that
/// failed discards, unless the error is one that the server reported; a lease that is simply dropped ended well. Timeouts that a user has
/// set end with their use.
#[derive(Debug, Clone)]
pub struct RedisClientManager {
    client: Client,
    read: Option<Duration>,
    write: Option<Duration>,
}

impl RedisClientManager {
    /// For what this client connects to.
    pub fn new(client: Client) -> Self {
        RedisClientManager { client, read: None, write: None }
    }

    /// Bounds each read. Default `None`: for ever. A read that times out costs the connection if the use fails with it.
    pub fn read_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.read = timeout;
        self
    }

    /// Bounds each write. Default `None`: for ever.
    pub fn write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.write = timeout;
        self
    }
}

impl Manager for RedisClientManager {
    type Connection = Watched<Connection>;
    type Error = RedisError;

    fn connect(&self, dial: &Dial<'_>) -> RedisResult<Watched<Connection>> {
        let redis = self.client.get_connection_with_timeout(dial.remaining())?;
        redis.set_write_timeout(self.write)?;
        let found = fdhunt::by_read_timeout(|timeout| redis.set_read_timeout(timeout), self.read)?;
        Ok(Watched::new(redis, found))
    }

    /// A refused login.
    fn is_permanent(&self, error: &RedisError) -> bool {
        matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig)
    }

    #[inline]
    fn watch(&self, redis: &Watched<Connection>, on: &mut Watch<'_>) {
        Watched::watch(redis, on);
    }

    fn ping(&self, redis: &mut Watched<Connection>) -> RedisResult<()> {
        cmd("PING").exec(&mut **redis)
    }

    fn on_error(&self, redis: &mut Watched<Connection>, error: &dyn Any) -> Verdict {
        let reported = error.downcast_ref::<RedisError>().is_some_and(is_reported);
        self.on_return(redis, if reported { Outcome::Done } else { Outcome::Failed })
    }

    fn on_return(&self, redis: &mut Watched<Connection>, how: Outcome) -> Verdict {
        let kept = how == Outcome::Done && redis.is_open();
        // Its user may have set others, and does not say.
        let restored =
            |redis: &Connection| redis.set_read_timeout(self.read).and_then(|()| redis.set_write_timeout(self.write));
        if kept && restored(redis).is_ok() { Verdict::Keep } else { Verdict::Discard }
    }
}

/// Whether the server has answered, if with an error; or the answer was whole and of another type than wanted.
fn is_reported(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType)
}
