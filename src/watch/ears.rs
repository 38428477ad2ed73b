//! What a reactor is reached by: its epoll, where others register what it is to watch, and the waker that ends its sleep.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{EventfdFlags, eventfd};

use super::file::FileId;

/// The waker's own token; watches are numbered from 1.
pub(super) const WAKE: Token = Token(0);

/// What it is reached by.
pub(super) struct Ears {
    pub(super) registry: Registry,
    /// An eventfd, registered for each write's edge, so that nobody has to read it: 64 bits of writes do not fill up.
    waker: OwnedFd,
    /// What its number stands for as long as nobody has closed it.
    file: FileId,
}

impl Ears {
    pub(super) fn new(registry: Registry) -> io::Result<Ears> {
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        SourceFd(&waker.as_raw_fd()).register(&registry, WAKE, Interest::READABLE)?;
        let file = FileId::of(waker.as_fd());
        Ok(Ears { registry, waker, file })
    }

    /// Wakes whoever listens. False: the waker was closed, and its number, if it is another file's by now, left alone.
    pub(super) fn ring(&self) -> bool {
        let closed = self.file.differs(FileId::of(self.waker.as_fd()));
        !closed && rustix::io::write(&self.waker, &1_u64.to_ne_bytes()).is_ok()
    }
}
