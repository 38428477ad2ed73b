//! What a line reads does not depend on where the network cuts it: any bytes in any cuts, beside the same bytes in one piece.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Debug;
use std::io::{self, Read};
use std::time::Duration;

use super::feed::Input;
use super::protocol::{Decoded, Protocol};
use crate::net::duplex::ReadHalf;

/// No message may be longer, here.
const MAX_REPLY: usize = 300;

/// The body of the fuzz target of this name: reads `bytes` as a list of cuts and what a peer says, and panics where the cuts make a
/// difference, or memory is not bounded.
pub fn mux_replies(bytes: &[u8]) {
    let [count, rest @ ..] = bytes else { return };
    let (cuts, said) = rest.split_at(usize::from(count % 16).min(rest.len()));
    compare(&Strings, cuts, said);
    #[cfg(feature = "redis")]
    compare(&super::resp::Resp::new(), cuts, said);
}

/// A number, a colon and so many bytes; a push, if they begin with `>`.
struct Strings;

impl Protocol for Strings {
    type Request = [u8];
    type Reply = Vec<u8>;

    fn encode(&self, request: &[u8], into: &mut Vec<u8>) -> Result<(), Box<dyn Error + Send + Sync>> {
        into.extend_from_slice(request);
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<Vec<u8>> {
        let mut length = 0_usize;
        for (place, byte) in bytes.iter().enumerate() {
            match byte {
                b'0'..=b'9' if place < 6 => length = 10 * length + usize::from(byte - b'0'),
                b':' if place > 0 => {
                    let end = place + 1 + length;
                    let Some(text) = bytes.get(place + 1..end) else { return Decoded::More(end - bytes.len()) };
                    let (text, push) = (text.to_vec(), text.first() == Some(&b'>'));
                    return if push { Decoded::Push(text, end) } else { Decoded::Reply(text, end) };
                }
                _ => return Decoded::Broken("no length".into()),
            }
        }
        Decoded::More(1)
    }
}

/// A peer that says this, as many bytes at a time as `cuts` say, again and again; then nothing more.
struct Peer {
    said: VecDeque<u8>,
    cuts: VecDeque<u8>,
}

impl ReadHalf for Peer {
    fn receive(&mut self, into: &mut [u8], _wait: Duration) -> io::Result<usize> {
        let cut = self.cuts.front().map_or(usize::MAX, |cut| 1 + usize::from(*cut));
        self.cuts.rotate_left(usize::from(!self.cuts.is_empty()));
        let length = cut.min(into.len()).min(self.said.len());
        if length == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.said.read_exact(&mut into[..length])?;
        Ok(length)
    }

    fn hang_up(&self) {}
}

/// Everything that is read, and whether the connection is broken in the end.
fn read<P: Protocol>(protocol: &P, cuts: &[u8], said: &[u8]) -> (Vec<P::Reply>, bool, bool) {
    let peer = Peer { said: said.iter().copied().collect(), cuts: cuts.iter().copied().collect() };
    let mut input = Input::new(peer);
    let mut replies = Vec::new();
    loop {
        match input.read(protocol, &mut replies, MAX_REPLY, Duration::ZERO) {
            Ok(0) => return (replies, false, input.is_waiting()),
            Ok(_) => assert!(input.room() <= 64 * 1024, "a buffer of {} bytes", input.room()),
            Err(_) => return (replies, true, false),
        }
    }
}

fn compare<P: Protocol>(protocol: &P, cuts: &[u8], said: &[u8])
where
    P::Reply: PartialEq + Debug,
{
    let (whole, broken, _) = read(protocol, &[], said);
    let (cut, cut_broken, waits) = read(protocol, cuts, said);
    assert_eq!(whole, cut, "of {:?} in cuts of {cuts:?}", String::from_utf8_lossy(said));
    // What is broken may not have been looked at yet, if more was to come before that is worth it.
    assert!(broken == cut_broken || broken && waits, "{:?} in cuts of {cuts:?}", String::from_utf8_lossy(said));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::kept;

    #[test]
    fn the_kept_corpus_is_read_the_same_in_any_cuts() {
        kept("mux_replies", 16).iter().for_each(|bytes| mux_replies(bytes));
    }

    #[test]
    fn all_small_cuts_of_some_replies_make_no_difference() {
        let said = b"3:abc0:5:>push10:012345678999:x1:y";
        for cut in 0..said.len() as u8 {
            for next in 0..4 {
                compare(&Strings, &[cut, next], said);
            }
        }
        let (replies, broken, waits) = read(&Strings, &[2], said);
        assert_eq!((replies.len(), broken, waits), (3, false, true));
    }

    #[test]
    fn a_message_longer_than_allowed_is_refused_however_it_comes() {
        let said = [b"301:".as_slice(), &[b'x'; 301]].concat();
        for cuts in [&[][..], &[0], &[200]] {
            assert!(read(&Strings, cuts, &said).1);
        }
        let said = [b"290:".as_slice(), &[b'x'; 290]].concat();
        assert_eq!(read(&Strings, &[7], &said).0.len(), 1);
    }
}
