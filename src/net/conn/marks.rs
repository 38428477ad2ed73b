//! What a [`Conn`](crate::Conn) remembers of its I/O: whether it may be lent again.
//!
//! Three marks, each set where the I/O happens, so that nobody who swallows an error can lose it:
//!
//! - **dirty**: an error, a timeout, the end of the stream, or its user said so. Nothing clears it, since nothing tells when a late
//!   reply has gone by.
//! - **unfinished**: a write took less than it was given, so a request stands on the wire that has no end. The write that goes on exactly
//!   there clears it: it begins in memory where the short one stopped, and it is as long as what was left. That is what `write_all`
//!   and `BufWriter` do. Any other write makes dirty: what it wrote stands in the middle of the unfinished one. To compare the
//!   lengths alone would not be safe (a user who gave up may send another request, as long as the rest by chance); and to make every
//!   short write dirty, as would be simplest, would cost a connection for each large request that takes longer than one write
//!   timeout, though it arrives whole.
//! - **owed**: the last I/O was a write, so a reply is due that nobody has read. A read clears it, though it may not have been the last
//!   one of that reply: how many replies are due, and where one ends, only the protocol knows.
#![forbid(unsafe_code)]

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};

/// The marks of one connection.
#[derive(Debug, Default)]
pub(super) struct Marks {
    dirty: bool,
    /// What is left of a write that was short.
    unfinished: Option<Piece>,
    /// Atomic, since it is cleared through `&Conn`.
    owed: AtomicBool,
    /// No reply is due for what is written.
    one_way: bool,
}

/// Bytes that were given to a write: where they begin in memory, and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    begin: usize,
    length: usize,
}

impl Marks {
    pub(super) fn new(one_way: bool) -> Self {
        Marks { one_way, ..Marks::default() }
    }

    /// For reads into a buffer with room, so that no bytes mean the end of the stream.
    #[inline]
    pub(super) fn read(&mut self, result: &io::Result<usize>) {
        match result {
            Ok(0) => self.dirty = true,
            Ok(_) => *self.owed.get_mut() = false,
            Err(error) => self.failed(error),
        }
    }

    /// `given`: what the write was to take. `rest`: what is left of it after so many bytes.
    #[inline]
    pub(super) fn wrote(&mut self, given: Piece, result: &io::Result<usize>, rest: impl FnOnce(usize) -> Piece) {
        match result {
            Ok(taken) => {
                // Nothing was to be written, which disturbs nothing.
                if given.length == 0 {
                    return;
                }
                if self.unfinished.is_some() || *taken < given.length {
                    self.continued(given, *taken, rest);
                }
                if *taken > 0 {
                    *self.owed.get_mut() = !self.one_way;
                }
            }
            Err(error) => self.failed(error),
        }
    }

    #[cold]
    fn continued(&mut self, given: Piece, taken: usize, rest: impl FnOnce(usize) -> Piece) {
        if self.unfinished.is_some_and(|unfinished| unfinished != given) {
            self.dirty = true;
        }
        self.unfinished = (taken < given.length).then(|| rest(taken));
    }

    #[cold]
    fn failed(&mut self, error: &io::Error) {
        // An interrupted call has moved no byte and is simply made again.
        if error.kind() != io::ErrorKind::Interrupted {
            self.dirty = true;
        }
    }

    #[inline]
    pub(super) fn soil(&mut self) {
        self.dirty = true;
    }

    /// Dirty for good, or in the middle of a write.
    #[inline]
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty || self.unfinished.is_some()
    }

    #[inline]
    pub(super) fn is_owed(&self) -> bool {
        // Relaxed: whoever has the connection to itself asks; atomic only so that it can be cleared through a shared reference.
        self.owed.load(Ordering::Relaxed)
    }

    /// A new use begins.
    #[inline]
    pub(super) fn lend(&self) {
        // Relaxed: as above.
        self.owed.store(false, Ordering::Relaxed);
    }
}

impl Piece {
    #[inline]
    pub(super) fn of(bytes: &[u8]) -> Piece {
        Piece { begin: bytes.as_ptr().addr(), length: bytes.len() }
    }

    /// What is left of `bytes` after so many.
    pub(super) fn after(bytes: &[u8], taken: usize) -> Piece {
        Piece::of(&bytes[taken..])
    }

    #[inline]
    pub(super) fn of_all(slices: &[IoSlice<'_>]) -> Piece {
        let length = slices.iter().map(|slice| slice.len()).sum();
        let first = slices.iter().find(|slice| !slice.is_empty());
        Piece { begin: first.map_or(0, |first| first.as_ptr().addr()), length }
    }

    /// What is left of the slices after so many bytes.
    pub(super) fn after_all(slices: &[IoSlice<'_>], taken: usize) -> Piece {
        let mut skipped = 0;
        for (place, slice) in slices.iter().enumerate() {
            if skipped + slice.len() > taken {
                let begin = Piece::after(slice, taken - skipped).begin;
                let length = slices[place..].iter().map(|slice| slice.len()).sum::<usize>() + skipped - taken;
                return Piece { begin, length };
            }
            skipped += slice.len();
        }
        Piece { begin: 0, length: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(marks: &mut Marks, bytes: &[u8], taken: usize) {
        marks.wrote(Piece::of(bytes), &Ok(taken), |taken| Piece::after(bytes, taken));
    }

    fn write_slices(marks: &mut Marks, slices: &[IoSlice<'_>], taken: usize) {
        marks.wrote(Piece::of_all(slices), &Ok(taken), |taken| Piece::after_all(slices, taken));
    }

    #[test]
    fn a_short_write_is_dirty_until_its_rest_is_written() {
        let (mut marks, request) = (Marks::default(), *b"request");
        write(&mut marks, &request, 3);
        assert!(marks.is_dirty());
        write(&mut marks, &request[3..], 2);
        assert!(marks.is_dirty());
        write(&mut marks, &request[5..], 2);
        assert!(!marks.is_dirty());
    }

    #[test]
    fn a_short_write_with_another_after_it_is_dirty_for_good() {
        let request = *b"request";
        // As long as the rest, from elsewhere; the whole again; less than the rest.
        for other in [&b"rest"[..], &request, &request[3..5]] {
            let mut marks = Marks::default();
            write(&mut marks, &request, 3);
            write(&mut marks, other, other.len());
            write(&mut marks, &request[3..], 4);
            assert!(marks.is_dirty(), "{other:?}");
        }
    }

    #[test]
    fn a_read_does_not_finish_a_short_write() {
        let mut marks = Marks::default();
        write(&mut marks, b"request", 3);
        marks.read(&Ok(1));
        assert!(marks.is_dirty());
    }

    #[test]
    fn the_rest_of_several_slices_begins_in_one_of_them() {
        let (a, b) = (*b"abc", *b"defg");
        for taken in 1..7 {
            let mut marks = Marks::default();
            let mut slices = [IoSlice::new(&[]), IoSlice::new(&a), IoSlice::new(&[]), IoSlice::new(&b)];
            write_slices(&mut marks, &slices, taken);
            assert!(marks.is_dirty());
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, taken);
            write_slices(&mut marks, rest, 7 - taken);
            assert!(!marks.is_dirty(), "after {taken}");
        }
    }

    #[test]
    fn what_ends_with_a_write_is_owed_a_reply() {
        let mut marks = Marks::default();
        write(&mut marks, b"", 0);
        assert!(!marks.is_owed());
        write(&mut marks, b"a", 1);
        assert!(marks.is_owed());
        marks.read(&Ok(1));
        assert!(!marks.is_owed());
        write(&mut marks, b"b", 1);
        marks.lend();
        assert!(!marks.is_owed());
        assert!(!marks.is_dirty());
    }

    #[test]
    fn one_way_nothing_is_owed() {
        let mut marks = Marks::new(true);
        write(&mut marks, b"a", 1);
        assert!(!marks.is_owed());
        write(&mut marks, b"request", 3);
        assert!(marks.is_dirty(), "but what was begun is to be finished");
    }

    #[test]
    fn an_interrupted_call_leaves_it_clean() {
        let mut marks = Marks::default();
        marks.read(&Err(io::ErrorKind::Interrupted.into()));
        marks.wrote(Piece::of(b"a"), &Err(io::ErrorKind::Interrupted.into()), |_| Piece::of(b""));
        assert!(!marks.is_dirty() && !marks.is_owed());
        marks.read(&Err(io::ErrorKind::WouldBlock.into()));
        assert!(marks.is_dirty());
    }
}
