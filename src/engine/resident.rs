//! What lives in a slot: the user's connection, the manager that opened it, and the pool's hold on its sockets.
//!
//! Every hook of the user's on a connection is called from here, but for `connect` (`dialing/`) and `close` (`closing.rs`), and
//! contained: a panic in it costs this connection and nothing else.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::Cause;
use crate::manager::{CloseReason, Manager, Outcome, Verdict, Watch};
use crate::watch::duplicate::Duplicate;
use crate::watch::probe::{Peeked, peek};
use crate::watch::reactor::Registration;
use crate::watch::source::Interest;

/// A connection in the pool. Every hook on it runs on the manager that opened it.
#[derive(Debug)]
pub(crate) struct Resident<M: Manager> {
    /// Above the sockets, since fields drop in this order, and a descriptor that closes before its watch ends leaves a
    /// registration that nobody can take off.
    pub(crate) registrations: Vec<Registration>,
    pub(crate) connection: M::Connection,
    pub(crate) manager: Arc<M>,
    /// Shared with whoever may have to shut them down under a call that blocks for too long.
    pub(crate) sockets: Arc<[Duplicate]>,
}

/// Why a caller does not get the connection that was taken for it.
#[derive(Debug)]
pub(crate) enum Withheld {
    /// The connection must leave; the caller is served another.
    Unfit(CloseReason),
    /// The caller is refused; the connection stays.
    Refused(Cause),
}

impl<M: Manager> Resident<M> {
    /// Whether a caller may have it.
    #[inline]
    pub(crate) fn judge_checkout(&mut self) -> Result<(), Withheld> {
        let Resident { connection, manager, .. } = self;
        match catch_unwind(AssertUnwindSafe(|| manager.on_checkout(connection))) {
            Ok(Ok(Verdict::Keep)) => Ok(()),
            Ok(Ok(Verdict::Discard)) => Err(Withheld::Unfit(CloseReason::Discarded)),
            Ok(Err(error)) => Err(Withheld::Refused(Arc::new(error))),
            Err(_) => Err(Withheld::Unfit(CloseReason::Panicked)),
        }
    }

    /// Whether it may come back into the pool after this use; else why not.
    #[inline]
    pub(crate) fn judge_return(&mut self, how: Outcome) -> Result<(), CloseReason> {
        let Resident { connection, manager, sockets, .. } = self;
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let verdict = manager.on_return(connection, how);
            let mut watch = Watch::compare(sockets);
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
        let Resident { connection, manager, sockets, .. } = self;
        let mut peeked = [0; 64];
        for socket in sockets.iter().filter(|socket| socket.interest == Interest::HangUp) {
            match peek(&socket.fd, &mut peeked) {
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

    /// Whether it gives a sign of life. May block.
    pub(crate) fn ping(&mut self) -> Result<(), CloseReason> {
        let Resident { connection, manager, .. } = self;
        match catch_unwind(AssertUnwindSafe(|| manager.ping(connection))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(CloseReason::PingFailed),
            Err(_) => Err(CloseReason::Panicked),
        }
    }
}
