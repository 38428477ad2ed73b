//! What [`Watch::socket`](crate::Watch::socket) takes: a descriptor, with what its owner knows of it and the pool cannot see.
//!
//! Why not a bare descriptor: a manager that names its socket and forwards nothing else would then lend a connection whose last user
//! gave up on a reply, since only the type that did the I/O knows. [`Watch`](crate::Watch) is asked at every return anyway, so what
//! the type knows is told there, and the call that everybody makes is the safe one.
#![forbid(unsafe_code)]

use std::io::{self, PipeReader, PipeWriter};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::rc::Rc;
use std::sync::Arc;

/// A stream that a pool watches: a descriptor, and whether it may be lent again, as far as its own type knows.
///
/// [`Conn`](crate::Conn) answers all three questions. The streams of the standard library answer none, and have the defaults: always
/// fit, no number, nothing to restore. So has any other descriptor, by its `as_fd()`. For a type of your own that reads and writes,
/// [`is_fit`](Stream::is_fit) is the place to say that an exchange is half done.
///
/// The methods are called from [`Watch::socket`](crate::Watch::socket): once on the background thread that dialed, at every return on
/// the returning thread, on the caller's at a checkout that looks at the socket, and after each ping that said `Ok`, on the ping's. They
/// must not block; a panic in one costs that connection.
///
/// ```
/// use corepool::{Conn, Stream};
/// use std::io;
/// use std::os::fd::{AsFd, BorrowedFd};
///
/// /// Counts the replies that it is owed.
/// struct Client {
///     conn: Conn,
///     owed: usize,
/// }
///
/// impl AsFd for Client {
///     fn as_fd(&self) -> BorrowedFd<'_> {
///         self.conn.as_fd()
///     }
/// }
///
/// impl Stream for Client {
///     fn is_fit(&self) -> bool {
///         self.owed == 0 && self.conn.is_fit()
///     }
///
///     fn identity(&self) -> Option<u64> {
///         self.conn.identity()
///     }
///
///     fn restore(&self) -> io::Result<()> {
///         self.conn.restore()
///     }
/// }
/// ```
pub trait Stream: AsFd {
    /// Whether nothing is half done on it. If not, it is discarded at its return, whatever
    /// [`on_return`](crate::Manager::on_return) says.
    ///
    /// The default is `true`. A load or two, no system call.
    fn is_fit(&self) -> bool {
        true
    }

    /// A number that no other stream has which this connection may put in its place; `None` if it has none.
    ///
    /// A client that closes its socket and dials again gets the lowest free descriptor number, which is the old one. So the pool
    /// compares this as well. Without it, it asks the kernel which socket this is (0.2 µs), but only at a checkout that looks at
    /// the socket and after a use that failed or panicked. No system call.
    fn identity(&self) -> Option<u64> {
        None
    }

    /// Undoes what a use, or the login in `connect`, has set on it, such as its timeouts. `Err` discards it.
    ///
    /// The default does nothing. No system call where nothing was set.
    fn restore(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Nothing is known of these but their descriptors.
macro_rules! bare {
    ($($stream:ty),* $(,)?) => {
        $(impl Stream for $stream {})*
    };
}

bare!(TcpStream, UnixStream, OwnedFd, BorrowedFd<'_>);
// No sockets, but they hang up as sockets do.
bare!(PipeReader, PipeWriter, ChildStdin, ChildStdout, ChildStderr);

macro_rules! forward {
    ($($pointer:ty),* $(,)?) => {
        $(impl<T: Stream + ?Sized> Stream for $pointer {
            #[inline]
            fn is_fit(&self) -> bool {
                (**self).is_fit()
            }

            #[inline]
            fn identity(&self) -> Option<u64> {
                (**self).identity()
            }

            #[inline]
            fn restore(&self) -> io::Result<()> {
                (**self).restore()
            }
        })*
    };
}

forward!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);
