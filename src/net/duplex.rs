//! One connection, both directions at once: a half that is read and a half that is written, each by another thread.
#![forbid(unsafe_code)]

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{SockRef, Socket};

/// A connection that can be read by one thread while another one writes: what a [`Mux`](crate::mux::Mux) needs.
///
/// [`Conn`](crate::Conn) and the standard library's streams are such. A type of your own around one of them passes the call on:
///
/// ```
/// use corepool::Conn;
/// use corepool::mux::{Duplex, SocketHalf};
/// use std::io;
///
/// struct Client {
///     conn: Conn,
///     server_version: u32,
/// }
///
/// impl Duplex for Client {
///     type Reader = SocketHalf;
///     type Writer = SocketHalf;
///
///     fn halves(&mut self) -> io::Result<(SocketHalf, SocketHalf)> {
///         self.conn.halves()
///     }
/// }
/// ```
///
/// # TLS
///
/// Is not provided, though no thread of its own would be needed for it: rustls's connection does no I/O, so the halves could share it in
/// a lock, receive and send outside of that, and hold it only while a record is opened or sealed. What stands against it is
/// [`was_sent`](crate::mux::CallError::was_sent). A mux repeats what was not sent, and it knows what was by the bytes that the socket took.
/// TLS takes a request, seals it, and may be left with a part of the record: whether the peer has got the beginning of it, or all of it
/// but the last byte, is then known of records, not of requests. Nor does the reader leave the writer alone: what a key update makes
/// it say goes out before the next request, by the half that writes. A type of your own that keeps these rules can be written against
/// the traits below: seal a record for each `send`, tell of its last byte only once all of the record is on its way, and leave what the
/// reader has to say to the next `send`. In front of a Redis with TLS, until then: a [`Pool`](crate::Pool), or a tunnel on the same host.
pub trait Duplex {
    /// The half that is read.
    type Reader: ReadHalf;
    /// The half that is written.
    type Writer: WriteHalf;

    /// Both halves. The connection itself is not used while they exist, and closed after.
    ///
    /// Runs on a caller's thread, once for a connection. Should not block. An `Err` or a panic costs the connection, and that caller is
    /// told ([`Down`](crate::mux::CallErrorKind::Down)); the next one has another opened.
    fn halves(&mut self) -> io::Result<(Self::Reader, Self::Writer)>;
}

/// What comes in.
pub trait ReadHalf: Send + 'static {
    /// Reads what is there, into `into`, which has room; waits for the first byte for up to `wait`. Zero: not at all.
    ///
    /// `Ok(0)` is the end of the stream. [`WouldBlock`](io::ErrorKind::WouldBlock), [`TimedOut`](io::ErrorKind::TimedOut) and
    /// [`Interrupted`](io::ErrorKind::Interrupted) say that nothing has come; after any other error the connection is given up.
    ///
    /// Runs on a caller's thread, one at a time.
    fn receive(&mut self, into: &mut [u8], wait: Duration) -> io::Result<usize>;

    /// Ends the connection, both ways, so that whoever blocks on the other half returns. Must not block.
    fn hang_up(&self);
}

/// What goes out.
pub trait WriteHalf: Send + 'static {
    /// Writes some of `bytes`; waits for room for up to `wait`. Zero: not at all. Errors as for [`ReadHalf::receive`].
    ///
    /// Runs on a caller's thread, one at a time.
    fn send(&mut self, bytes: &[u8], wait: Duration) -> io::Result<usize>;

    /// Ends the connection, both ways, so that whoever blocks on the other half returns. Must not block.
    fn hang_up(&self);
}

/// A half of a socket: one to read, one to write, which share a duplicate of its descriptor.
///
/// A receive that may wait for 50 ms or more is one system call and waits in it, for 50 ms; a shorter wait takes two.
#[derive(Debug)]
pub struct SocketHalf(Arc<Socket>);

/// The kernel's own timeout of a receive. The longest time for which nobody looks at the clock.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

impl SocketHalf {
    /// Both halves of a stream socket in blocking mode. Costs a descriptor, and sets the socket's read timeout.
    ///
    /// # Errors
    /// When no descriptor is left (`EMFILE`), or what is given is no socket.
    pub fn pair(socket: impl AsFd) -> io::Result<(SocketHalf, SocketHalf)> {
        let socket = Arc::new(Socket::from(socket.as_fd().try_clone_to_owned()?));
        SockRef::from(&*socket).set_read_timeout(Some(SLICE))?;
        Ok((SocketHalf(Arc::clone(&socket)), SocketHalf(socket)))
    }

    /// Waits until the socket may be ready, or this long.
    #[cold]
    fn wait(&self, ready: PollFlags, limit: Duration) -> io::Result<()> {
        // A timeout too long for the kernel's type has no end that anybody would see.
        let limit = Timespec::try_from(limit).ok();
        match poll(&mut [PollFd::from_borrowed_fd(self.0.as_fd(), ready)], limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn end(&self) {
        // Not connected any more: nobody blocks on it then.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

impl ReadHalf for SocketHalf {
    fn receive(&mut self, into: &mut [u8], wait: Duration) -> io::Result<usize> {
        if wait >= SLICE {
            return Ok(recv(&*self.0, into, RecvFlags::empty())?.1);
        }
        if !wait.is_zero() {
            self.wait(PollFlags::IN, wait)?;
        }
        Ok(recv(&*self.0, into, RecvFlags::DONTWAIT)?.1)
    }

    fn hang_up(&self) {
        self.end();
    }
}

impl WriteHalf for SocketHalf {
    fn send(&mut self, bytes: &[u8], wait: Duration) -> io::Result<usize> {
        // NOSIGNAL: in a program whose `main` is not Rust's, a closed peer would otherwise kill the process by SIGPIPE.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match send(&*self.0, bytes, flags) {
            // EWOULDBLOCK is the same number.
            Err(Errno::AGAIN) if !wait.is_zero() => {
                self.wait(PollFlags::OUT, wait)?;
                Ok(send(&*self.0, bytes, flags)?)
            }
            done => Ok(done?),
        }
    }

    fn hang_up(&self) {
        self.end();
    }
}

/// Streams that are nothing but their socket.
macro_rules! bare {
    ($($stream:ty),*) => {
        $(impl Duplex for $stream {
            type Reader = SocketHalf;
            type Writer = SocketHalf;

            fn halves(&mut self) -> io::Result<(SocketHalf, SocketHalf)> {
                SocketHalf::pair(self)
            }
        })*
    };
}

bare!(TcpStream, UnixStream);
