//! A TLS stream that knows whether it may be lent again: [`TlsConn`].
//!
//! Below TLS nothing can be told from what waits on a socket: a session ticket, which a server sends when it likes, is a record like
//! any other. So the marks of [`Conn`] are kept here for the plain text, and what waits on an idle stream is read: tickets and renewed
//! keys are the session's, and anything else is the end.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use rustls::ClientConnection;

use crate::net::conn::Conn;
use crate::watch::stream::Stream;

/// A TLS stream from a pool: what [`TlsManager`](crate::clients::TlsManager) yields.
///
/// Reads, writes and blocks like a [`Conn`], and is closed on the same terms when it comes back: after any error or timeout, after the end
/// (`close_notify` or without one), after [`mark_dirty`](TlsConn::mark_dirty), and after a use that ends with a write; also when plain
/// text was received that its user has not read.
pub struct TlsConn {
    // Boxed: a kilobyte, and it moves with each lease that is detached.
    session: Box<ClientConnection>,
    stream: Conn,
    /// Plain text that is decrypted, and was not read.
    plain: usize,
    dirty: bool,
    /// The last that was done was a write.
    owed: bool,
    one_way: bool,
}

impl TlsConn {
    pub(super) fn new(session: ClientConnection, stream: Conn, one_way: bool) -> Self {
        TlsConn { session: Box::new(session), stream, plain: 0, dirty: false, owed: false, one_way }
    }

    /// Blocks until both sides have keys.
    pub(super) fn shake_hands(&mut self) -> io::Result<()> {
        while self.session.is_handshaking() {
            self.send()?;
            if self.session.is_handshaking() {
                self.receive()?;
            }
        }
        self.send()
    }

    /// A login may end with a write.
    pub(super) fn logged_in(&mut self) -> io::Result<()> {
        self.owed = false;
        self.restore()?;
        if self.is_fit() { Ok(()) } else { Err(io::Error::other("the login has left the stream dirty")) }
    }

    /// Whether it is dirty: closed when it comes back to its pool.
    pub fn is_dirty(&self) -> bool {
        self.dirty || self.stream.is_dirty()
    }

    /// Has it closed when it comes back, as [`Conn::mark_dirty`] does.
    pub fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// The address that was dialed.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer()
    }

    /// The TLS session: its version, its peer's certificates, the protocol that was agreed on.
    pub fn session(&self) -> &ClientConnection {
        &self.session
    }

    /// Bounds each read of the socket in this use, as [`Conn::set_read_timeout`] does. A read of plain text may take several.
    ///
    /// # Errors
    /// Less than 1 µs is refused with [`InvalidInput`](io::ErrorKind::InvalidInput); a socket that is gone.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)
    }

    /// Bounds each write to the socket in this use, as [`Conn::set_write_timeout`] does.
    ///
    /// # Errors
    /// Less than 1 µs is refused with [`InvalidInput`](io::ErrorKind::InvalidInput); a socket that is gone.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_write_timeout(timeout)
    }

    /// Sends what the session has to send.
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for some records.
    fn receive(&mut self) -> io::Result<()> {
        loop {
            match self.session.read_tls(&mut self.stream) {
                // An end without `close_notify`, which the session's reader tells; here it is told at once.
                Ok(0) if self.session.is_handshaking() => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.understand()
    }

    fn understand(&mut self) -> io::Result<()> {
        match self.session.process_new_packets() {
            Ok(state) => {
                self.plain = state.plaintext_bytes_to_read();
                Ok(())
            }
            Err(error) => {
                // It has an alert to send, which says why. The error is told in any case.
                let _ = self.send();
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    /// Takes what waits on an idle stream, as long as it is the session's own. `false`: it is something else, or the end.
    pub(super) fn take_idle(&mut self) -> bool {
        loop {
            let mut now = Now(self.stream.as_fd());
            match self.session.read_tls(&mut now) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock && self.is_fit(),
            }
            let Ok(state) = self.session.process_new_packets() else { return false };
            self.plain = state.plaintext_bytes_to_read();
            if state.peer_has_closed() || self.plain > 0 || self.send().is_err() {
                return false;
            }
        }
    }

    /// Reads plain text that is there, without waiting: `WouldBlock` if none is. As ever, `Ok(0)` is the end.
    #[cfg(feature = "redis")]
    pub(crate) fn read_now(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(into) {
                Ok(length) => {
                    self.plain = self.plain.saturating_sub(length);
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let mut now = Now(self.stream.as_fd());
            if self.session.read_tls(&mut now)? == 0 {
                return Ok(0);
            }
            self.understand()?;
            self.send()?;
        }
    }

    /// Whether plain text was received that nobody has read.
    #[cfg(feature = "redis")]
    pub(crate) fn has_plain(&self) -> bool {
        self.plain > 0
    }

    /// Says goodbye, without waiting for an answer.
    pub(crate) fn say_goodbye(&mut self) {
        self.session.send_close_notify();
        // The peer may have gone.
        let _ = self.send();
    }

    fn soils<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| self.dirty |= error.kind() != io::ErrorKind::Interrupted)
    }
}

/// Reads what is there, without waiting, and without touching the socket's mode, which is its other descriptors' as well.
struct Now<'a>(BorrowedFd<'a>);

impl Read for Now<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0, into, RecvFlags::DONTWAIT)?.1)
    }
}

impl Read for TlsConn {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            match self.session.reader().read(into) {
                Ok(0) => {
                    self.dirty = true;
                    return Ok(0);
                }
                Ok(length) => {
                    self.plain = self.plain.saturating_sub(length);
                    self.owed = false;
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let received = self.send().and_then(|()| self.receive());
                    self.soils(received)?;
                }
                Err(error) => return self.soils(Err(error)),
            }
        }
    }
}

impl Write for TlsConn {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let written = self.session.writer().write(from).and_then(|length| self.send().map(|()| length));
        let length = self.soils(written)?;
        self.owed |= length > 0 && !self.one_way;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = self.send();
        self.soils(sent)
    }
}

impl AsFd for TlsConn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Stream for TlsConn {
    #[inline]
    fn is_fit(&self) -> bool {
        !self.dirty && !self.owed && self.plain == 0 && !self.session.wants_write() && self.stream.is_fit()
    }

    #[inline]
    fn identity(&self) -> Option<u64> {
        self.stream.identity()
    }

    #[inline]
    fn restore(&self) -> io::Result<()> {
        self.stream.restore()
    }
}

impl fmt::Debug for TlsConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConn")
            .field("stream", &self.stream)
            .field("version", &self.session.protocol_version())
            .field("plain", &self.plain)
            .field("dirty", &self.dirty)
            .field("owed", &self.owed)
            .finish_non_exhaustive()
    }
}
