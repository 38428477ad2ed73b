//! What a connection to Redis is spoken over: a stream as it is, or TLS.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, recv};

#[cfg(feature = "rustls")]
use crate::clients::tls::connection::TlsConn;
use crate::net::conn::Conn;
use crate::watch::stream::Stream;

#[derive(Debug)]
pub(super) enum Transport {
    Bare(Conn),
    #[cfg(feature = "rustls")]
    Tls(TlsConn),
}

/// The same of each kind.
macro_rules! each {
    ($transport:expr, $stream:ident => $done:expr) => {
        match $transport {
            Transport::Bare($stream) => $done,
            #[cfg(feature = "rustls")]
            Transport::Tls($stream) => $done,
        }
    };
}

impl Transport {
    pub(super) fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        each!(self, stream => stream.set_read_timeout(timeout))
    }

    pub(super) fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        each!(self, stream => stream.set_write_timeout(timeout))
    }

    /// Reads what is there, without waiting; not by the stream's own read, which would wait.
    pub(super) fn read_now(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Bare(stream) => Ok(recv(stream.as_fd(), into, RecvFlags::DONTWAIT)?.1),
            #[cfg(feature = "rustls")]
            Transport::Tls(stream) => stream.read_now(into),
        }
    }

    /// Whether more has been received than was read: with TLS, what is decrypted.
    pub(super) fn has_more(&self) -> bool {
        match self {
            Transport::Bare(_) => false,
            #[cfg(feature = "rustls")]
            Transport::Tls(stream) => stream.has_plain(),
        }
    }

    /// It is about to be closed. Does not wait.
    pub(super) fn say_goodbye(&mut self) {
        match self {
            Transport::Bare(_) => {}
            #[cfg(feature = "rustls")]
            Transport::Tls(stream) => stream.say_goodbye(),
        }
    }
}

impl Read for Transport {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        each!(self, stream => stream.read(into))
    }
}

impl Write for Transport {
    #[inline]
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        each!(self, stream => stream.write(from))
    }

    fn flush(&mut self) -> io::Result<()> {
        each!(self, stream => stream.flush())
    }
}

impl AsFd for Transport {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, stream => stream.as_fd())
    }
}

impl Stream for Transport {
    #[inline]
    fn is_fit(&self) -> bool {
        each!(self, stream => stream.is_fit())
    }

    #[inline]
    fn identity(&self) -> Option<u64> {
        each!(self, stream => stream.identity())
    }

    #[inline]
    fn restore(&self) -> io::Result<()> {
        each!(self, stream => stream.restore())
    }
}
