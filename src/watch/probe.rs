//! A look at an idle socket: is anything waiting on it that nobody asked for?
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// What a peek found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Peeked {
    /// Nothing, as it should be.
    Quiet,
    /// This many bytes.
    Data(usize),
    /// The end of the stream, or an error.
    Gone,
}

/// Peeks at a socket, without reading and without waiting. About 0.3 µs.
///
/// With MSG_DONTWAIT, never by setting O_NONBLOCK: that belongs to the open file, which the connection's own descriptor shares.
pub(crate) fn peek(socket: &OwnedFd, into: &mut [u8]) -> Peeked {
    loop {
        return match recv(socket, &mut *into, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Peeked::Gone,
            Ok((_, length)) => Peeked::Data(length),
            Err(Errno::INTR) => continue,
            Err(error) if error == Errno::AGAIN || error == Errno::WOULDBLOCK => Peeked::Quiet,
            // Not a socket: nothing to peek at, and no ground to condemn it.
            Err(Errno::NOTSOCK) => Peeked::Quiet,
            Err(_) => Peeked::Gone,
        };
    }
}
