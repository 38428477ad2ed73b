//! A connection whose end shows that its reactor has dealt with all that it was told before.

use corepool::{CloseReason, Pool, Reactors, TcpManager};

use super::{HOPELESS, Server, eventually, local_port};

pub(crate) struct Canary {
    server: Server,
    pool: Pool<TcpManager>,
}

impl Canary {
    /// On this set, which must be of one reactor.
    pub(crate) fn new(reactors: &Reactors) -> Canary {
        let server = Server::echo();
        let builder = Pool::builder(TcpManager::new(server.address())).max_size(1).reactors(reactors.clone());
        Canary { pool: builder.max_lifetime(None).build().unwrap(), server }
    }

    /// Its peer hangs up; returns when the pool has seen it.
    #[track_caller]
    pub(crate) fn dies(&self) {
        let seen = || self.pool.stats().closed(CloseReason::PeerClosed);
        let before = seen();
        self.server.close(local_port(&*self.pool.get_timeout(HOPELESS).unwrap()));
        eventually("the canary's end is seen", || seen() > before);
    }
}
