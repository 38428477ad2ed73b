//! Bytes that have arrived and nobody has taken yet.
#![forbid(unsafe_code)]

use std::io;

/// A buffer that is filled at one end and emptied at the other. It keeps its memory, up to a chunk.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    bytes: Vec<u8>,
    begin: usize,
    end: usize,
}

/// As much as is read at once.
const CHUNK: usize = 16 * 1024;

impl Ahead {
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.begin..self.end]
    }

    /// These have been taken.
    pub(super) fn take(&mut self, length: usize) {
        self.begin += length;
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
            // After a large reply.
            if self.bytes.len() > 4 * CHUNK {
                self.bytes = Vec::new();
            }
        }
    }

    /// Has `read` put more behind what is there.
    pub(super) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        if self.begin > 0 {
            self.bytes.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        if self.bytes.len() < self.end + CHUNK {
            // Doubled, so that a large reply is not copied once a chunk.
            self.bytes.resize((self.end + CHUNK).max(self.bytes.len() * 2), 0);
        }
        let length = read(&mut self.bytes[self.end..])?;
        self.end += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_taken_in_order() {
        let mut ahead = Ahead::default();
        let (mut next, mut expected) = (0_u8, 0_u8);
        for round in 0..2000_usize {
            let filled = ahead.fill(|into| {
                let length = (round * 37 % 100).min(into.len());
                into[..length].iter_mut().for_each(|byte| {
                    *byte = next;
                    next = next.wrapping_add(1);
                });
                Ok(length)
            });
            assert_eq!(filled.unwrap(), round * 37 % 100);
            let length = ahead.bytes().len() * 2 / 3;
            for byte in &ahead.bytes()[..length] {
                assert_eq!(*byte, expected);
                expected = expected.wrapping_add(1);
            }
            ahead.take(length);
        }
        ahead.take(ahead.bytes().len());
        assert!(ahead.bytes().is_empty());
        assert!(ahead.fill(|_| Err(io::ErrorKind::TimedOut.into())).is_err());
        assert!(ahead.bytes().is_empty());
    }
}
