//! What is registered with epoll, once for a connection's whole life.
//!
//! Sockets are registered for **hang-up only, edge-triggered** (`EPOLLRDHUP | EPOLLET`, no `EPOLLIN`). A reply then wakes nobody: the
//! kernel filters it before it looks for a sleeper. FIN, RST and errors are reported at once, also while a caller uses the connection,
//! and also if they came before the registration. mio's own interests cannot say this: READABLE wakes the reactor at every reply
//! (half as much again on a round trip), PRIORITY misses FIN. With this registration all of mio's predicates are false on a FIN, so
//! an event's being there is the news, not what it says.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Registry, Token};
use rustix::event::epoll;

use crate::os::sys;

/// Which event on a descriptor means that the connection is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// The peer hung up; data is not reported. For sockets.
    HangUp,
    /// Anything to read, or a hang-up. For pidfds and pipes.
    Readable,
}

/// A descriptor as mio registers it.
#[derive(Debug)]
pub(crate) struct Descriptor<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) interest: Interest,
}

impl Source for Descriptor<'_> {
    fn register(&mut self, registry: &Registry, token: Token, interests: mio::Interest) -> io::Result<()> {
        match self.interest {
            Interest::Readable => SourceFd(&self.fd.as_raw_fd()).register(registry, token, interests),
            Interest::HangUp => sys::with_borrowed(registry, |epoll| {
                let flags = epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
                Ok(epoll::add(epoll, self.fd.as_fd(), epoll::EventData::new_u64(token.0 as u64), flags)?)
            }),
        }
    }

    fn reregister(&mut self, _registry: &Registry, _token: Token, _interests: mio::Interest) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.fd.as_raw_fd()).deregister(registry)
    }
}

#[cfg(not(target_pointer_width = "64"))]
compile_error!("corepool needs 64-bit tokens: an event's token is a number that is never used twice");
