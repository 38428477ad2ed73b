//! Where one RESP value ends: found without a look at what it means, so that the parser is given whole values only.
//!
//! The `redis` crate's parser keeps what it is given of a value that is not whole; a line must be able to give a connection up, and to say
//! how much is missing, at any byte. Iterative, with a bound on the depth that is the parser's own: a peer cannot make it recurse.
#![forbid(unsafe_code)]

use std::ops::Range;

/// What begins the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// One value, and its length.
    Whole(Kind, usize),
    /// A part of one; so many bytes more at least.
    More(usize),
    /// No RESP.
    Broken(&'static str),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string, and where its text is.
    Bulk(Range<usize>),
    /// It answers nobody.
    Push,
    Other,
}

/// Arrays in arrays: one less than the parser allows.
const DEPTH: usize = 99;

/// The longest line: a number, an error, a script's status. While one is on its way it is looked through again with each piece of it, so a
/// reply has not all of `max_reply` for it.
const LINE: usize = 1 << 20;

/// A length that is no attack: more does not fit the longest reply of any mux.
const LONGEST: u64 = 1 << 40;

impl Frame {
    pub(super) fn measure(bytes: &[u8]) -> Frame {
        // What is still to come of each array around the place, the innermost last.
        let mut open = [0_u64; DEPTH];
        let (mut depth, mut at) = (0, 0);
        let mut kind = Kind::Other;
        loop {
            let Some(&mark) = bytes.get(at) else { return Frame::More(missing(&open[..depth], SHORTEST)) };
            if !MARKS.contains(&mark) {
                return Frame::Broken("no RESP");
            }
            let Some(text) = line(&bytes[at + 1..]) else {
                let too_long = bytes.len() - at > LINE;
                if too_long {
                    return Frame::Broken("a line of more than 1 MiB");
                }
                // Its end, or the second half of that.
                let own = if bytes.len() > at + 1 && bytes.ends_with(b"\r") { 1 } else { 2 };
                return Frame::More(missing(&open[..depth], own));
            };
            let Some(text) = text.strip_suffix(b"\r") else { return Frame::Broken("half an end of a line") };
            let after = at + 1 + text.len() + 2;
            let mut items = 0;
            match mark {
                b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => at = after,
                b'$' | b'=' | b'!' => match number(text) {
                    Some(None) if mark == b'$' => at = after,
                    Some(Some(length)) => {
                        let end = after as u64 + length + 2;
                        if let Some(missing) = end.checked_sub(bytes.len() as u64).filter(|missing| *missing > 0) {
                            return Frame::More(self::missing(&open[..depth], missing));
                        }
                        let end = end as usize;
                        if &bytes[end - 2..end] != b"\r\n" {
                            return Frame::Broken("a string that does not end where it says");
                        }
                        if depth == 0 && mark == b'$' {
                            return Frame::Whole(Kind::Bulk(after..end - 2), end);
                        }
                        at = end;
                    }
                    _ => return Frame::Broken("a string of no length"),
                },
                b'*' | b'~' | b'>' | b'%' | b'|' => match number(text) {
                    Some(None) if mark == b'*' => at = after,
                    Some(Some(count)) => {
                        items = match mark {
                            b'%' => 2 * count,
                            // Its pairs, and the value that they belong to.
                            b'|' => 2 * count + 1,
                            _ => count,
                        };
                        if depth == 0 && mark == b'>' {
                            kind = Kind::Push;
                        }
                        at = after;
                    }
                    _ => return Frame::Broken("an array of no length"),
                },
                _ => return Frame::Broken("no RESP"),
            }
            if items > 0 {
                if depth == DEPTH {
                    return Frame::Broken("arrays too deep in arrays");
                }
                open[depth] = items;
                depth += 1;
                continue;
            }
            // A value is whole, and with it those arrays of which it was the last.
            loop {
                if depth == 0 {
                    return Frame::Whole(kind, at);
                }
                open[depth - 1] -= 1;
                if open[depth - 1] > 0 {
                    break;
                }
                depth -= 1;
            }
        }
    }
}

/// What a value begins with.
const MARKS: &[u8] = b"+-:_,#($=!*~>%|";

/// No value is shorter than a mark and a line's end.
const SHORTEST: u64 = 3;

/// How much is still to come at least, where `own` bytes are missing of the value that is on its way. Of each array around that, so many
/// values are; of each but the innermost, one of these is the next array.
///
/// No less than the same message's beginning said, with the bytes since: so a message that is too long is so however it is cut.
fn missing(open: &[u64], own: u64) -> usize {
    let sum = open.iter().fold(0_u64, |sum, items| sum.saturating_add(*items));
    let values = sum.saturating_sub(open.len() as u64);
    usize::try_from(values.saturating_mul(SHORTEST).saturating_add(own)).unwrap_or(usize::MAX)
}

/// The line that begins here, up to where it breaks.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().take(LINE + 1).position(|byte| *byte == b'\n').map(|end| &bytes[..end])
}

/// A length; `None` inside for −1, which is a null.
fn number(text: &[u8]) -> Option<Option<u64>> {
    if text == b"-1" {
        return Some(None);
    }
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()?;
    (number <= LONGEST).then_some(Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: [&str; 20] = [
        "+OK\r\n",
        "-ERR no\r\n",
        ":-7\r\n",
        "$-1\r\n",
        "$0\r\n\r\n",
        "$5\r\nh\r\nlo\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*2\r\n:1\r\n$1\r\na\r\n",
        "*2\r\n*1\r\n*0\r\n*2\r\n+a\r\n+b\r\n",
        "_\r\n",
        ",1.5\r\n",
        "#t\r\n",
        "(123456789012345678901234567890\r\n",
        "=7\r\ntxt:abc\r\n",
        "!5\r\nERR x\r\n",
        "%1\r\n+k\r\n:1\r\n",
        "~2\r\n:1\r\n:2\r\n",
        ">2\r\n+invalidate\r\n*1\r\n+k\r\n",
        "|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n",
    ];

    #[test]
    fn a_value_ends_where_the_parser_says() {
        for text in WHOLE {
            let bytes = text.as_bytes();
            let more = [bytes, b"+next\r\n"].concat();
            match Frame::measure(&more) {
                Frame::Whole(_, length) => assert_eq!(length, bytes.len(), "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
            redis::parse_redis_value(bytes).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            for end in 0..bytes.len() {
                match Frame::measure(&bytes[..end]) {
                    Frame::More(missing) => {
                        assert!((1..=bytes.len() - end).contains(&missing), "{text:?} at {end}: {missing}")
                    }
                    other => panic!("{text:?} at {end}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn nonsense_is_found_and_huge_lengths_take_no_memory() {
        for text in [
            "x",
            "\r\n",
            "\n",
            "*1\r\n\r\n",
            "+OK\n",
            ":\n",
            "$-2\r\n",
            "$1x\r\n",
            "*99999999999999999999\r\n",
            "$2\r\nabc\r\n",
            "%-1\r\n",
            ">-1\r\n",
            "$\r\n",
        ] {
            assert!(matches!(Frame::measure(text.as_bytes()), Frame::Broken(_)), "{text:?}");
        }
        assert!(matches!(Frame::measure(&b"*1\r\n".repeat(200)), Frame::Broken(_)));
        assert!(matches!(Frame::measure(&[b'+'; LINE + 2]), Frame::Broken(_)));
        assert_eq!(Frame::measure(b"$1000000000000\r\n"), Frame::More(1_000_000_000_002));
        assert_eq!(Frame::measure(b"*1000000000\r\n"), Frame::More(3_000_000_000));
    }
}
