//! A pooled stream, [`Conn`]: a blocking socket that remembers whether it may be lent again.
//!
//! A plain `TcpStream` cannot be pooled safely. A caller whose read timed out hands it back as if nothing had happened; a moment
//! later the reply arrives and answers the next caller's request. So a `Conn` keeps marks of what happened on it ([`marks`]), and says
//! at its return, as a [`Stream`], whether it is fit to be lent again.
//!
//! What no mark can see is a caller who stops reading in the middle of their reply without any error. Those bytes are found by the look
//! before the next checkout if they have arrived by then. If they arrive later, nothing finds them: only a protocol's frames tell that
//! more is due.
#![forbid(unsafe_code)]

mod marks;
mod transfer;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use socket2::Socket;

use self::marks::Marks;
use super::duplex::{Duplex, SocketHalf};
use super::options::{Options, Timeouts, refuse_zero};
use crate::manager::{Outcome, Verdict};
use crate::watch::stream::Stream;

/// A stream from a pool: what [`TcpManager`](crate::TcpManager) and [`UnixManager`](crate::UnixManager) yield.
///
/// Reads, writes and blocks like a `TcpStream`. It also knows whether it is fit to be lent again, and the pool closes it when it comes
/// back and is not, whatever its user or its manager says. It is not after:
///
/// - any I/O error, except [`Interrupted`](io::ErrorKind::Interrupted);
/// - a timeout, which std's streams and this one report as [`WouldBlock`](io::ErrorKind::WouldBlock): the reply may still come,
///   and would answer the next user's request;
/// - the end of the stream: a read of no bytes into a buffer with room;
/// - a write that took less than it was given, unless the next write goes on exactly there with all the rest, as `write_all` does;
/// - [`mark_dirty`](Conn::mark_dirty);
/// - a use that **ends with a write**: the reply to it has not been read, and would be read by the next user. Any read clears this, and
///   so does lending it (a login may end with a write). Where no reply comes, say
///   [`one_way`](crate::TcpManager::one_way).
///
/// What this cannot know is where a reply ends. A user who reads the first half of one and returns `Ok` leaves the second to the next
/// user, unless it has arrived by the time that the pool looks, which is before each checkout. Frame the protocol: read replies whole,
/// or return an error.
///
/// The marks are set by `&mut Conn` alone, which is why `&Conn` does not read or write. I/O past it, on the descriptor that
/// [`as_fd`](Conn::as_fd) lends, is not seen; leave the socket in blocking mode.
///
/// **Read-ahead**: a `BufReader` put around `&mut Conn` may have read more than its user took, and drops it when it goes. Where the
/// peer may send more than one reply at a time, let one buffer live as long as the connection: wrap `Conn` in a type of your own,
/// and [`TcpManager`](crate::TcpManager) in a manager of your own.
pub struct Conn {
    socket: Socket,
    /// `None` for a Unix socket.
    ends: Option<Ends>,
    identity: u64,
    marks: Marks,
    /// Its manager's timeouts.
    own: Timeouts,
    /// Those of this use, once `retimed`.
    users: Timeouts,
    /// Its user set a timeout of their own, which must not outlast their use. Atomic, since it is restored through `&Conn`.
    retimed: AtomicBool,
}

/// The addresses of a TCP connection, kept since a socket that was reset does not tell its peer's any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) local: Option<SocketAddr>,
    /// The one that was dialed.
    pub(crate) peer: SocketAddr,
}

/// Each connection's own, of all that a process ever opens.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Conn {
    /// Of a socket that is connected, with the options of the manager that dialed it.
    pub(super) fn open(socket: Socket, ends: Option<Ends>, options: &Options) -> io::Result<Self> {
        options.timeouts.set(&socket)?;
        // Relaxed: only uniqueness matters. At a million connections a second it comes round after 580,000 years.
        let identity = NEXT.fetch_add(1, Ordering::Relaxed);
        let (own, marks) = (options.timeouts, Marks::new(options.one_way));
        Ok(Conn { socket, ends, identity, marks, own, users: own, retimed: AtomicBool::new(false) })
    }

    /// One end of a pair, for a twin.
    #[cfg(all(any(test, fuzzing), feature = "redis"))]
    pub(crate) fn of_pair(end: std::os::unix::net::UnixStream) -> io::Result<Self> {
        Conn::open(std::os::fd::OwnedFd::from(end).into(), None, &Options::default())
    }

    /// Whether it is dirty: closed when it comes back to its pool.
    ///
    /// For good, but for one case: after a [`write`](std::io::Write::write) that took less than it was given it is dirty until the
    /// rest is written.
    #[inline]
    pub fn is_dirty(&self) -> bool {
        self.marks.is_dirty()
    }

    /// Has it closed when it comes back: for a user who leaves an exchange half done, or got an answer that makes no sense.
    #[inline]
    pub fn mark_dirty(&mut self) {
        self.marks.soil();
    }

    /// The address that was dialed, also after the peer has gone; `None` for a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.ends.map(|ends| ends.peer)
    }

    /// The connection's own address and port, as the peer sees them unless there is a NAT between the two, also after the peer has gone;
    /// `None` for a Unix socket. For logs, and for finding the connection at the peer. No system call.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.ends.and_then(|ends| ends.local)
    }

    /// Bounds each read of this use; the manager's own timeout holds again once the connection is back in its pool.
    ///
    /// `None` waits for ever; less than 1 µs is refused with [`InvalidInput`](io::ErrorKind::InvalidInput). One system call, and
    /// two more when the connection comes back. A read that times out makes the connection dirty.
    ///
    /// It holds under signals: an interrupted read goes on for what is left of its time. To set it on the socket by other means
    /// bounds a read as well, but not under signals.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let write = self.timeouts().write;
        self.retime(Timeouts { read: timeout, write }, timeout, Socket::set_read_timeout)
    }

    /// Bounds each write of this use, as [`set_read_timeout`](Conn::set_read_timeout) does for reads.
    ///
    /// A write waits only while the socket's send buffer is full, that is, while the peer does not read. One that has had some of
    /// its bytes taken by then returns how many: a large `write_all` may take as many timeouts as it is writes.
    ///
    /// # Errors
    /// Less than 1 µs is refused with [`InvalidInput`](io::ErrorKind::InvalidInput); a socket that is gone.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let read = self.timeouts().read;
        self.retime(Timeouts { read, write: timeout }, timeout, Socket::set_write_timeout)
    }

    fn retime(
        &mut self,
        users: Timeouts,
        timeout: Option<Duration>,
        set: impl FnOnce(&Socket, Option<Duration>) -> io::Result<()>,
    ) -> io::Result<()> {
        refuse_zero(timeout)?;
        // Before the call, which may fail half way.
        *self.retimed.get_mut() = true;
        self.users = users;
        set(&self.socket, timeout)
    }

    /// `on_return` of both managers. What a wrapper that forwards only `watch` does not ask is asked there, as a [`Stream`].
    #[inline]
    pub(super) fn judge(&self, how: Outcome) -> Verdict {
        if how == Outcome::Done && self.is_fit() { Verdict::Keep } else { Verdict::Discard }
    }

    /// Those in force.
    #[inline]
    fn timeouts(&mut self) -> Timeouts {
        if *self.retimed.get_mut() { self.users } else { self.own }
    }
}

impl Stream for Conn {
    /// Neither dirty nor owed a reply.
    #[inline]
    fn is_fit(&self) -> bool {
        !self.marks.is_dirty() && !self.marks.is_owed()
    }

    /// A number that no other `Conn` of this process has or had.
    #[inline]
    fn identity(&self) -> Option<u64> {
        Some(self.identity)
    }

    /// Its manager's timeouts again, if its user has set others: two system calls then. What was written before is owed no reply.
    #[inline]
    fn restore(&self) -> io::Result<()> {
        // Relaxed, both: whoever has the connection to itself asks; atomic only so that this takes `&self`.
        if self.retimed.load(Ordering::Relaxed) {
            self.own.set(&self.socket)?;
            self.retimed.store(false, Ordering::Relaxed);
        }
        self.marks.lend();
        Ok(())
    }
}

/// Marks it dirty: what its halves do is not seen here.
impl Duplex for Conn {
    type Reader = SocketHalf;
    type Writer = SocketHalf;

    fn halves(&mut self) -> io::Result<(SocketHalf, SocketHalf)> {
        self.mark_dirty();
        SocketHalf::pair(self)
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
        if let Some(Ends { local, peer }) = self.ends {
            debug.field("local", &local).field("peer", &peer);
        }
        debug.field("dirty", &self.is_dirty()).field("owed", &self.marks.is_owed()).finish()
    }
}

#[cfg(test)]
mod tests;
