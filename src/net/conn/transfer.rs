//! Reading and writing, and the marks of both.
#![forbid(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut, Read, Write};

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
        let result = self.socket.read(buf);
        self.marks.read(&result);
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
        self.marks.read(&result);
        result
    }
}

impl Write for Conn {
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // MSG_NOSIGNAL: in a program whose `main` is not Rust's, a closed peer would otherwise kill the process by SIGPIPE.
        let result = self.socket.send_with_flags(buf, libc::MSG_NOSIGNAL);
        self.marks.wrote(Piece::of(buf), &result, |taken| Piece::after(buf, taken));
        result
    }

    #[inline]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let taken = &bufs[..bufs.len().min(MAX_SLICES)];
        let result = self.socket.send_vectored_with_flags(taken, libc::MSG_NOSIGNAL);
        self.marks.wrote(Piece::of_all(bufs), &result, |taken| Piece::after_all(bufs, taken));
        result
    }

    /// Does nothing: what is written is with the kernel.
    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
