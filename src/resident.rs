//! What lives in a slot: the user's connection, the manager that opened it, and the pool's hold on its sockets.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::manager::{CloseReason, Manager, Outcome, Verdict, Watch, Watched};
use crate::net::probe::{Peeked, peek};
use crate::net::source::Interest;

/// A connection in the pool. Every hook on it runs on the manager that opened it.
#[derive(Debug)]
pub(crate) struct Resident<M: Manager> {
    pub(crate) connection: M::Connection,
    pub(crate) manager: Arc<M>,
    pub(crate) watched: Vec<Watched>,
}

impl<M: Manager> Resident<M> {
    /// Whether it may come back into the pool after this use; else why not.
    #[inline]
    pub(crate) fn judge_return(&mut self, how: Outcome) -> Result<(), CloseReason> {
        let Resident { connection, manager, watched } = self;
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let verdict = manager.on_return(connection, how);
            let mut watch = Watch::compare(watched);
            manager.watch(connection, &mut watch);
            (verdict, watch.same())
        }));
        match (judged, how) {
            (Ok((Verdict::Keep, true)), _) => Ok(()),
            (Ok((Verdict::Keep, false)), _) => Err(CloseReason::SocketReplaced),
            (Ok((Verdict::Discard, _)), Outcome::Done) => Err(CloseReason::Discarded),
            (Ok((Verdict::Discard, _)), Outcome::Failed) => Err(CloseReason::Failed),
            (Ok((Verdict::Discard, _)), Outcome::Panicked) | (Err(_), _) => Err(CloseReason::Panicked),
        }
    }

    /// Looks for bytes that wait on its sockets though nobody asked for any, and lets the manager judge them.
    pub(crate) fn look_for_data(&mut self) -> Result<(), CloseReason> {
        let Resident { connection, manager, watched } = self;
        let mut peeked = [0; 64];
        for socket in watched.iter().filter(|watched| watched.interest == Interest::HangUp) {
            match peek(&socket.duplicate, &mut peeked) {
                Peeked::Quiet => {}
                Peeked::Gone => return Err(CloseReason::PeerClosed),
                Peeked::Data(length) => {
                    let judge = || manager.on_idle_data(connection, &peeked[..length]);
                    match catch_unwind(AssertUnwindSafe(judge)) {
                        Ok(Verdict::Keep) => {}
                        Ok(Verdict::Discard) => return Err(CloseReason::IdleData),
                        Err(_) => return Err(CloseReason::Panicked),
                    }
                }
            }
        }
        Ok(())
    }
}
