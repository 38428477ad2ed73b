//! Where a frame of Redis's protocol ends (RESP2 and RESP3), in either direction.
//!
//! Why not the client's parser alone: it reads ahead into a buffer of its own, which nobody can look into. A reply that waits there is
//! the next user's. So the bytes stay here until a frame is whole, and the parser gets just that.
#![forbid(unsafe_code)]

use std::fmt;

/// How far a frame has been followed in a buffer that begins with it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scan {
    /// What is before this is known.
    at: usize,
    /// Values that are begun beyond the first one, and not ended.
    due: u64,
    begun: bool,
}

/// What no Redis says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what arrived is not Redis's protocol")
    }
}

impl std::error::Error for Malformed {}

/// A header is a type, a number and a line's end; but a simple string or an error is a header too, and its text is as long as it is.
const LONGEST_NUMBER: usize = 32;

impl Scan {
    /// The length of the frame with which `bytes` begins; `None` while its end is not there. `bytes` has grown since the last call, or
    /// this is the first one.
    pub(super) fn whole(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        if !self.begun {
            (self.begun, self.due) = (true, 1);
        }
        while self.due > 0 {
            let rest = &bytes[self.at.min(bytes.len())..];
            let Some(kind) = rest.first() else { return Ok(None) };
            let is_text = matches!(kind, b'+' | b'-' | b'(' | b',');
            let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
                return if !is_text && rest.len() > LONGEST_NUMBER { Err(Malformed) } else { Ok(None) };
            };
            // The same however it arrives; and a line's end has not even a type.
            if end == 0 || !is_text && end >= LONGEST_NUMBER {
                return Err(Malformed);
            }
            let (line, header) = (&rest[1..end], end + 2);
            let (length, values, ends) = match kind {
                b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => (header, 0, 1),
                b'$' | b'=' | b'!' => (header + count(line)?.map_or(0, |length| length + 2), 0, 1),
                b'*' | b'~' | b'>' => (header, count(line)?.unwrap_or(0), 1),
                b'%' => (header, pairs(line)?, 1),
                // Comes before the value that it is about.
                b'|' => (header, pairs(line)?, 0),
                _ => return Err(Malformed),
            };
            // A bulk string is skipped as a whole.
            if rest.len() < length {
                return Ok(None);
            }
            self.at += length;
            self.due = (self.due - ends).checked_add(values as u64).ok_or(Malformed)?;
        }
        Ok(Some(self.at))
    }
}

/// A length; `None` is Redis's -1, for what is not there.
fn count(line: &[u8]) -> Result<Option<usize>, Malformed> {
    if line == b"-1" {
        return Ok(None);
    }
    let digits = std::str::from_utf8(line).map_err(|_| Malformed)?;
    let number: u32 = if digits.starts_with('+') { Err(Malformed) } else { digits.parse().map_err(|_| Malformed) }?;
    Ok(Some(number as usize))
}

fn pairs(line: &[u8]) -> Result<usize, Malformed> {
    Ok(count(line)?.unwrap_or(0) * 2)
}

/// The first two words of each command in what a client sends, as far as it is made of arrays of bulk strings.
///
/// `Err` as the last item: the rest is something else.
pub(super) fn commands(mut packed: &[u8]) -> impl Iterator<Item = Result<[&[u8]; 2], Malformed>> {
    std::iter::from_fn(move || {
        if packed.is_empty() {
            return None;
        }
        let Ok(Some(length)) = Scan::default().whole(packed) else {
            packed = &[];
            return Some(Err(Malformed));
        };
        let (command, rest) = packed.split_at(length);
        packed = rest;
        let Some(words) = command.strip_prefix(b"*").and_then(after_line) else {
            packed = &[];
            return Some(Err(Malformed));
        };
        let (first, words) = word(words);
        Some(Ok([first, word(words).0]))
    })
}

/// A bulk string, and what follows it; empty if there is none. Its frame is whole.
fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\r');
    let length = parts.next().and_then(|header| count(header.strip_prefix(b"$")?).ok()?);
    match (length, after_line(bytes)) {
        (Some(length), Some(text)) if text.len() >= length + 2 => (&text[..length], &text[length + 2..]),
        _ => (&[], &[]),
    }
}

fn after_line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some(&bytes[end + 2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: [&[u8]; 20] = [
        b"+OK\r\n",
        b"-ERR no such thing\r\n",
        b":-7\r\n",
        b"_\r\n",
        b"#t\r\n",
        b",3.14\r\n",
        b"(3492890328409238509324850943850943825024385\r\n",
        b"$0\r\n\r\n",
        b"$-1\r\n",
        b"$4\r\na\r\nb\r\n",
        b"!21\r\nSYNTAX invalid syntax\r\n",
        b"=15\r\ntxt:Some string\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
        b"~2\r\n:1\r\n:2\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
        b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
        b"*1\r\n|1\r\n+a\r\n+b\r\n:1\r\n",
    ];

    #[test]
    fn a_frame_ends_where_it_ends_however_it_arrives() {
        for frame in FRAMES {
            let followed = [frame, b"+next\r\n"].concat();
            assert_eq!(
                Scan::default().whole(&followed),
                Ok(Some(frame.len())),
                "{:?}",
                frame.escape_ascii().to_string()
            );
            let mut scan = Scan::default();
            for length in 0..frame.len() {
                assert_eq!(scan.whole(&frame[..length]), Ok(None), "{length} of {}", frame.escape_ascii());
            }
            assert_eq!(scan.whole(frame), Ok(Some(frame.len())));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let others: [&[u8]; 9] = [
            b"HTTP/1.1 200 OK\r\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"*+1\r\n",
            b"\0\0\0\0\r\n",
            b"$99999999999\r\n",
            // Not even a type.
            b"\r\n",
            b"*1\r\n\r\n",
            &[b'$'; 64],
        ];
        for other in others {
            assert_eq!(Scan::default().whole(other), Err(Malformed), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn the_commands_of_a_pipeline_are_told_apart() {
        let packed = b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$7\r\n*\r\n$4\r\n\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n";
        let seen: Vec<_> = commands(packed).map(Result::unwrap).collect();
        assert_eq!(seen, [[&b"MULTI"[..], b""], [b"SET", b"k"], [b"SELECT", b"3"]]);
        assert_eq!(commands(b"PING\r\n").collect::<Vec<_>>(), [Err(Malformed)]);
        let cut: Vec<_> = commands(&packed[..30]).collect();
        assert_eq!(cut, [Ok([&b"MULTI"[..], b""]), Err(Malformed)]);
    }
}
