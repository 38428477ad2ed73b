//! What lives in a slot: the user's connection, the manager that opened it, and the pool's hold on its sockets.
//!
//! Every hook of the user's on a connection is called from here or from `dialing/job.rs` and `closing.rs`, and contained: a panic in it
//! costs this connection and nothing else.
#![forbid(unsafe_code)]

use std::any::Any;
use std::sync::Arc;

use super::told::Told;
use crate::error::Cause;
use crate::manager::{CloseReason, Manager, Outcome, Verdict, Watch};
use crate::os::contain::contain;
use crate::watch::duplicate::Duplicate;
use crate::watch::naming::{Files, Found};
use crate::watch::probe::{Peeked, peek};
use crate::watch::reactor::Registration;

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

/// Why a connection has to leave.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) why: CloseReason,
    /// What the hook said.
    pub(crate) cause: Option<Told>,
}

impl Unfit {
    pub(crate) fn new(why: CloseReason) -> Self {
        Unfit { why, cause: None }
    }
}

/// Why a caller does not get the connection that was taken for it.
#[derive(Debug)]
pub(crate) enum Withheld {
    /// The connection must leave; the caller is served another.
    Unfit(Unfit),
    /// The hook took longer than the caller's time, and its sockets were shut down.
    Overran,
    /// The connection must leave, and the caller is refused.
    Useless(Cause),
    /// The caller is refused; the connection stays.
    Refused(Cause),
}

impl<M: Manager> Resident<M> {
    /// Whether a caller may have it.
    #[inline]
    pub(crate) fn judge_checkout(&mut self) -> Result<(), Withheld> {
        let Resident { connection, manager, .. } = self;
        match contain(|| manager.on_checkout(connection)) {
            Ok(Ok(Verdict::Keep)) => Ok(()),
            Ok(Ok(Verdict::Discard)) => Err(Withheld::Unfit(Unfit::new(CloseReason::Discarded))),
            Ok(Ok(Verdict::DiscardFor(cause))) => {
                Err(Withheld::Unfit(Unfit { why: CloseReason::Discarded, cause: Some(Told::new(cause)) }))
            }
            Ok(Ok(Verdict::Refuse(cause))) => Err(Withheld::Useless(cause)),
            Ok(Err(error)) => Err(Withheld::Refused(Arc::new(error))),
            Err(_) => Err(Withheld::Unfit(Unfit::new(CloseReason::Panicked))),
        }
    }

    /// Whether it may come back into the pool after this use; else why not.
    #[inline]
    pub(crate) fn judge_return(&mut self, how: Outcome) -> Result<(), Unfit> {
        self.judge(how, |manager, connection| manager.on_return(connection, how))
    }

    /// The same after a use that returned this error.
    #[inline]
    pub(crate) fn judge_error(&mut self, error: &dyn Any) -> Result<(), Unfit> {
        self.judge(Outcome::Failed, |manager, connection| manager.on_error(connection, error))
    }

    #[inline(always)]
    fn judge(&mut self, how: Outcome, ask: impl FnOnce(&M, &mut M::Connection) -> Verdict) -> Result<(), Unfit> {
        let Resident { connection, manager, sockets, .. } = self;
        let judged = contain(|| {
            let verdict = ask(manager, connection);
            // A client that reconnects by itself does so after a failure.
            let files = if how == Outcome::Done { Files::Trusted } else { Files::Compared };
            let mut watch = Watch::compare(sockets, files);
            manager.watch(connection, &mut watch);
            (verdict, watch.found())
        });
        match judged {
            Ok((Verdict::Keep, Found::Same)) => Ok(()),
            Ok((Verdict::Keep, Found::Replaced)) => Err(Unfit::new(CloseReason::SocketReplaced)),
            Ok((Verdict::Keep, Found::Unfit)) => Err(discarded(half_done(), how)),
            Ok((verdict, _)) => Err(discarded(verdict, how)),
            Err(_) => Err(Unfit::new(CloseReason::Panicked)),
        }
    }

    /// Whether it names a socket, on which bytes may wait that nobody asked for. What names none need not be looked at.
    pub(crate) fn has_sockets(&self) -> bool {
        self.sockets.iter().any(Duplicate::is_socket)
    }

    /// Looks whether its sockets are those that the pool watches, then for bytes that wait on them though nobody asked for any, and
    /// lets the manager judge them.
    pub(crate) fn look_for_data(&mut self) -> Result<(), Unfit> {
        if !self.has_sockets() {
            return Ok(());
        }
        self.compare(Files::Compared)?;
        let Resident { connection, manager, sockets, .. } = self;
        let mut peeked = [0; 64];
        for socket in sockets.iter().filter(|socket| socket.is_socket()) {
            match peek(&socket.fd, &mut peeked) {
                Peeked::Quiet => {}
                Peeked::Gone => return Err(Unfit::new(CloseReason::PeerClosed)),
                Peeked::Data(length) => match contain(|| manager.on_idle_data(connection, &peeked[..length])) {
                    Ok(Verdict::Keep) => {}
                    Ok(verdict) => return Err(Unfit { why: CloseReason::IdleData, cause: reason(verdict) }),
                    Err(_) => return Err(Unfit::new(CloseReason::Panicked)),
                },
            }
        }
        Ok(())
    }

    /// Whether its sockets are those that the pool watches, and fit to be lent: after a hook that may have used them.
    /// With `Files::Trusted` without a system call.
    pub(crate) fn compare(&mut self, files: Files) -> Result<(), Unfit> {
        let Resident { connection, manager, sockets, .. } = self;
        let compared = contain(|| {
            let mut watch = Watch::compare(sockets, files);
            manager.watch(connection, &mut watch);
            watch.found()
        });
        match compared {
            Ok(Found::Same) => Ok(()),
            Ok(Found::Replaced) => Err(Unfit::new(CloseReason::SocketReplaced)),
            Ok(Found::Unfit) => Err(discarded(half_done(), Outcome::Done)),
            Err(_) => Err(Unfit::new(CloseReason::Panicked)),
        }
    }

    /// Whether it gives a sign of life, and is as it was after that. May block.
    pub(crate) fn ping(&mut self) -> Result<(), Unfit> {
        let Resident { connection, manager, .. } = self;
        match contain(|| manager.ping(connection)) {
            Ok(Ok(())) => self.compare(Files::Compared),
            Ok(Err(error)) => Err(Unfit { why: CloseReason::PingFailed, cause: Some(Told::new(Arc::new(error))) }),
            Err(_) => Err(Unfit::new(CloseReason::Panicked)),
        }
    }
}

/// What a stream says that is not fit.
#[cold]
fn half_done() -> Verdict {
    Verdict::discard("its stream is not fit to be lent again: an exchange on it failed or is half done")
}

#[cold]
fn discarded(verdict: Verdict, how: Outcome) -> Unfit {
    let why = match how {
        Outcome::Done => CloseReason::Discarded,
        Outcome::Failed => CloseReason::Failed,
        Outcome::Panicked => CloseReason::Panicked,
    };
    Unfit { why, cause: reason(verdict) }
}

fn reason(verdict: Verdict) -> Option<Told> {
    match verdict {
        Verdict::DiscardFor(cause) | Verdict::Refuse(cause) => Some(Told::new(cause)),
        Verdict::Keep | Verdict::Discard => None,
    }
}
