//! The pool's own hold on a connection's descriptors: a duplicate of each that is watched, by which a call that blocks for too long
//! is ended.
#![forbid(unsafe_code)]

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::file::FileId;
use super::source::Interest;
use crate::os::background;
use crate::os::contain::contain;
use crate::os::sys;
use crate::sync::{Mutex, lock};

/// The pool's duplicate of a descriptor that it watches. It keeps the socket open: the peer sees no end before it closes.
#[derive(Debug)]
pub(crate) struct Duplicate {
    pub(crate) fd: OwnedFd,
    /// The number of the connection's own descriptor.
    pub(crate) number: RawFd,
    pub(crate) interest: Interest,
    /// What its stream says that it is.
    pub(crate) identity: Option<u64>,
    /// What the kernel says that it is.
    pub(crate) file: FileId,
    /// The numbers that the manager gives for the whole connection, with its first descriptor.
    pub(crate) numbers: Vec<u64>,
}

impl Duplicate {
    /// Whether bytes may wait on it that nobody asked for.
    pub(crate) fn is_socket(&self) -> bool {
        self.interest == Interest::HangUp && !matches!(self.file, FileId::Other(..))
    }

    /// Whether this descriptor, which bears its number, is known to stand for another file. A system call or a few.
    #[cold]
    pub(crate) fn is_another(&self, fd: BorrowedFd<'_>) -> bool {
        self.file.differs(FileId::of(fd))
    }

    /// Whether its peer has hung up, or it has failed for good. A look at its state, which takes nothing from it.
    pub(crate) fn has_hung_up(&self) -> bool {
        let ends = PollFlags::RDHUP | PollFlags::HUP;
        let mut looks = [PollFd::new(&self.fd, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut looks, Some(&at_once)).is_ok() && looks[0].revents().intersects(ends)
    }

    /// Whoever blocks on it returns. Does not block.
    pub(crate) fn shut_down(&self) {
        sys::shut_down(&self.fd);
    }
}

/// Sockets to be shut down under somebody who blocks on them for too long.
///
/// Its state: waiting (sockets gather) or cut (what is added later is shut down at once, so that no order of the two loses one).
#[derive(Debug, Default)]
pub(crate) struct Cut {
    state: Mutex<CutState>,
}

#[derive(Default)]
struct CutState {
    cut: bool,
    /// A socket was added, and is or will be shut down by a cut.
    armed: bool,
    sockets: Vec<OwnedFd>,
    calls: Vec<Call>,
}

/// What the user wants called when the time is up.
type Call = Box<dyn FnOnce() + Send>;

impl fmt::Debug for CutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CutState").field("cut", &self.cut).field("armed", &self.armed).finish_non_exhaustive()
    }
}

impl Cut {
    pub(crate) fn add(&self, socket: OwnedFd) {
        let mut state = lock(&self.state);
        state.armed = true;
        if state.cut {
            sys::shut_down(&socket);
        } else {
            state.sockets.push(socket);
        }
    }

    /// Has `call` made by the cut, in the background; at once, and here, if that has been.
    pub(crate) fn add_call(&self, call: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.state);
        state.armed = true;
        if state.cut {
            drop(state);
            call();
        } else {
            state.calls.push(Box::new(call));
        }
    }

    /// There is nothing to cut any more. The calls are dropped here.
    pub(crate) fn forget_calls(&self) {
        let calls = std::mem::take(&mut lock(&self.state).calls);
        let _ = contain(|| drop(calls));
    }

    /// Whether a cut shuts anything down.
    pub(crate) fn is_armed(&self) -> bool {
        lock(&self.state).armed
    }

    /// Shuts down all that was added and will be. Does not block.
    pub(crate) fn cut(&self) {
        let mut state = lock(&self.state);
        state.cut = true;
        state.sockets.drain(..).for_each(|socket| sys::shut_down(&socket));
        // The user's code, and this may be a reactor.
        std::mem::take(&mut state.calls).into_iter().for_each(background::run_some_time);
    }
}
