//! A pooled stream, [`Conn`]: a blocking socket that remembers whether it may be lent again.
//!
//! A plain `TcpStream` cannot be pooled safely. A caller whose read timed out hands it back as if nothing had happened; a moment
//! later the reply arrives and answers the next caller's request. So a `Conn` keeps a mark: *clean* from the start, *dirty* for
//! good after the first I/O error, timeout or end of stream. It is set where the error happens, not where it is handled, so that
//! a caller who swallows the error cannot lose it, and nothing clears it, since nothing tells when the late reply has gone by.
//!
//! What the mark cannot see is a caller who stops reading in the middle of their reply without any error. Those bytes are found by
//! the peek at checkout, which the managers of `Conn` ask for at each one.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use socket2::Socket;

use super::options::{Options, Timeouts, refuse_zero};
use crate::manager::{Outcome, Verdict};

/// A stream from a pool: what [`TcpManager`](crate::TcpManager) and [`UnixManager`](crate::UnixManager) yield.
///
/// Reads, writes and blocks like a `TcpStream`. It also keeps a **dirty mark**: once set it stays, and the pool closes the
/// connection when it comes back, whatever its user says. What sets it:
///
/// - any I/O error, except [`Interrupted`](io::ErrorKind::Interrupted);
/// - a timeout, which std's streams and this one report as [`WouldBlock`](io::ErrorKind::WouldBlock): the reply may still come,
///   and would answer the next user's request;
/// - the end of the stream: a read of no bytes into a buffer with room;
/// - [`mark_dirty`](Conn::mark_dirty).
///
/// The mark is set by `&mut Conn` alone, which is why `&Conn` does not read or write. I/O past it, on the descriptor that
/// [`as_fd`](Conn::as_fd) lends, is not seen; leave the socket in blocking mode.
///
/// **Read-ahead**: a `BufReader` put around `&mut Conn` may have read more than its user took, and drops it when it goes. Where the
/// peer may send more than one reply at a time, let one buffer live as long as the connection: wrap `Conn` in a type of your own,
/// and [`TcpManager`](crate::TcpManager) in a manager of your own.
pub struct Conn {
    socket: Socket,
    /// The address that was dialled, kept since a reset socket does not tell it any more; `None` for a Unix socket.
    peer: Option<SocketAddr>,
    dirty: bool,
    /// Its user set a timeout of their own, which must not outlast their use.
    retimed: bool,
}

/// More slices than this in one call are an error to the kernel (`UIO_MAXIOV`), a short count to the caller.
const MAX_SLICES: usize = 1024;

impl Read for Conn {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // The kernel would wait for bytes that have nowhere to go.
        if buf.is_empty() {
            return Ok(0);
        }
        let result = self.socket.read(buf);
        self.mark_read(&result);
        result
    }

    #[inline]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let slices = bufs.len().min(MAX_SLICES);
        let bufs = &mut bufs[..slices];
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Ok(0);
        }
        let result = self.socket.read_vectored(bufs);
        self.mark_read(&result);
        result
    }
}

impl Write for Conn {
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // MSG_NOSIGNAL: in a program whose `main` is not Rust's, a closed peer would otherwise kill the process by SIGPIPE.
        let result = self.socket.send_with_flags(buf, libc::MSG_NOSIGNAL);
        self.mark_write(&result);
        result
    }

    #[inline]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(MAX_SLICES)];
        let result = self.socket.send_vectored_with_flags(bufs, libc::MSG_NOSIGNAL);
        self.mark_write(&result);
        result
    }

    /// Does nothing: what is written is with the kernel.
    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Conn {
    /// What a dial does last, with a socket that is connected.
    pub(crate) fn open(socket: Socket, peer: Option<SocketAddr>, options: &Options) -> io::Result<Self> {
        options.timeouts.set(&socket)?;
        Ok(Conn::new(socket, peer))
    }

    fn new(socket: Socket, peer: Option<SocketAddr>) -> Self {
        Conn { socket, peer, dirty: false, retimed: false }
    }

    /// Whether this connection will be closed when it comes back to its pool.
    #[inline]
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Has it closed when it comes back: for a user who leaves an exchange half done, or got an answer that makes no sense.
    #[inline]
    pub fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// The address that was dialled, also after the peer has gone; `None` for a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Bounds each read of this use; the manager's own timeout holds again once the connection is back in its pool.
    ///
    /// `None` waits for ever; less than 1 µs is refused with [`InvalidInput`](io::ErrorKind::InvalidInput). One system call, and
    /// two more when the connection comes back. A read that times out makes the connection dirty.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        refuse_zero(timeout)?;
        self.retimed = true;
        self.socket.set_read_timeout(timeout)
    }

    /// Bounds each write of this use, as [`set_read_timeout`](Conn::set_read_timeout) does for reads.
    ///
    /// A write waits only while the socket's send buffer is full, that is, while the peer does not read.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        refuse_zero(timeout)?;
        self.retimed = true;
        self.socket.set_write_timeout(timeout)
    }

    /// `on_return` of both managers. No system call, unless the user set a timeout.
    #[inline]
    pub(crate) fn judge(&mut self, how: Outcome, timeouts: Timeouts) -> Verdict {
        if self.dirty || how != Outcome::Done || (self.retimed && self.restore(timeouts).is_err()) {
            return Verdict::Discard;
        }
        Verdict::Keep
    }

    #[cold]
    fn restore(&mut self, timeouts: Timeouts) -> io::Result<()> {
        timeouts.set(&self.socket)?;
        self.retimed = false;
        Ok(())
    }

    /// For reads into a buffer with room, so that no bytes mean the end of the stream.
    #[inline]
    fn mark_read(&mut self, result: &io::Result<usize>) {
        match result {
            Ok(0) => self.dirty = true,
            Ok(_) => {}
            Err(error) => self.mark_error(error),
        }
    }

    #[inline]
    fn mark_write(&mut self, result: &io::Result<usize>) {
        if let Err(error) = result {
            self.mark_error(error);
        }
    }

    #[cold]
    fn mark_error(&mut self, error: &io::Error) {
        // An interrupted call has moved no byte and is simply made again.
        if error.kind() != io::ErrorKind::Interrupted {
            self.dirty = true;
        }
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// For a connection that left its pool for good: `TcpStream::from(OwnedFd::from(conn))`. Its timeouts and options stay.
impl From<Conn> for OwnedFd {
    fn from(conn: Conn) -> OwnedFd {
        conn.socket.into()
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Conn");
        debug.field("fd", &self.socket.as_raw_fd());
        if let Some(peer) = &self.peer {
            debug.field("peer", peer);
        }
        debug.field("dirty", &self.dirty).finish()
    }
}

#[cfg(test)]
mod tests;
