//! Reading and writing, with timeouts that hold under signals.
//!
//! The kernel's own timeouts are per call: a signal ends a call that waits under one (also where its handler asks for restarts), the
//! caller makes the call again, as `read_exact` and `write_all` do, and the kernel begins to count anew. A profiler's signal every
//! 10 ms then outlasts any timeout. So a call that waits under a timeout keeps its deadline here: interrupted, it polls for what is left
//! of its time and goes on without blocking, and its caller sees no [`Interrupted`](io::ErrorKind::Interrupted). Without a timeout there
//! is no time to keep, and an interrupted call says so, as std's streams do.
#![forbid(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Socket;

use super::Conn;
use super::marks::Piece;

/// More slices than this in one call are an error to the kernel (`UIO_MAXIOV`), a short count to the caller.
pub(super) const MAX_SLICES: usize = 1024;

impl Read for Conn {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // The kernel would wait for bytes that have nowhere to go.
        if buf.is_empty() {
            return Ok(0);
        }
        let deadline = deadline(self.timeouts().read);
        let mut result = self.socket.read(buf);
        if let Some(deadline) = interrupted(&result, deadline) {
            result = resume_read(&self.socket, buf, deadline);
        }
        self.marks.read(&result);
        result
    }

    #[inline]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let slices = bufs.len().min(MAX_SLICES);
        let bufs = &mut bufs[..slices];
        let Some(first) = bufs.iter().position(|buf| !buf.is_empty()) else { return Ok(0) };
        let deadline = deadline(self.timeouts().read);
        let mut result = self.socket.read_vectored(bufs);
        if let Some(deadline) = interrupted(&result, deadline) {
            // A short count, which is always allowed.
            result = resume_read(&self.socket, &mut bufs[first], deadline);
        }
        self.marks.read(&result);
        result
    }
}

impl Write for Conn {
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let deadline = deadline(self.timeouts().write);
        // MSG_NOSIGNAL: in a program whose `main` is not Rust's, a closed peer would otherwise kill the process by SIGPIPE.
        let mut result = self.socket.send_with_flags(buf, libc::MSG_NOSIGNAL);
        if let Some(deadline) = interrupted(&result, deadline) {
            result = resume_write(&self.socket, buf, deadline);
        }
        self.marks.wrote(Piece::of(buf), &result, |taken| Piece::after(buf, taken));
        result
    }

    #[inline]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let deadline = deadline(self.timeouts().write);
        let taken = &bufs[..bufs.len().min(MAX_SLICES)];
        let mut result = self.socket.send_vectored_with_flags(taken, libc::MSG_NOSIGNAL);
        if let Some(deadline) = interrupted(&result, deadline) {
            // A short count, which is always allowed.
            let first = taken.iter().find(|buf| !buf.is_empty());
            result = resume_write(&self.socket, first.map_or(&[], |first| first), deadline);
        }
        self.marks.wrote(Piece::of_all(bufs), &result, |taken| Piece::after_all(bufs, taken));
        result
    }

    /// Does nothing: what is written is with the kernel.
    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// When a call that begins now has to end. Reads the clock, 24 ns, only under a timeout.
#[inline]
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// The deadline of a call that a signal has ended before it.
#[inline]
fn interrupted(result: &io::Result<usize>, deadline: Option<Instant>) -> Option<Instant> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => deadline,
        _ => None,
    }
}

#[cold]
fn resume_read(socket: &Socket, into: &mut [u8], deadline: Instant) -> io::Result<usize> {
    resume(socket, PollFlags::IN, deadline, || recv(socket, &mut *into, RecvFlags::DONTWAIT).map(|(_, length)| length))
}

#[cold]
fn resume_write(socket: &Socket, from: &[u8], deadline: Instant) -> io::Result<usize> {
    resume(socket, PollFlags::OUT, deadline, || send(socket, from, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
}

/// Goes on with an interrupted call, without blocking in it, until its deadline; past it, fails as the kernel does at a timeout.
fn resume(
    socket: &Socket,
    ready: PollFlags,
    deadline: Instant,
    mut call: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match call() {
            // EWOULDBLOCK is the same number.
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return Ok(done?),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Errno::AGAIN.into());
        }
        wait(socket, ready, left)?;
    }
}

/// Waits until the socket may be ready, or a signal comes, or this long.
fn wait(socket: &Socket, ready: PollFlags, limit: Duration) -> io::Result<()> {
    // A timeout too long for the kernel's type has no end that anybody would see.
    let limit = Timespec::try_from(limit).ok();
    match poll(&mut [PollFd::from_borrowed_fd(socket.as_fd(), ready)], limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
