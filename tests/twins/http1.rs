//! What an HTTP/1 peer answers, in any cuts, beside the same in one piece.

use std::io::{self, Read};

use super::response::Incoming;

/// A peer that says this, as many bytes at a time as the cuts say, again and again; then it hangs up.
struct Peer<'b> {
    said: &'b [u8],
    cuts: std::iter::Cycle<std::slice::Iter<'b, u8>>,
}

impl Read for Peer<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let cut = self.cuts.next().map_or(usize::MAX, |cut| 1 + usize::from(*cut));
        let length = cut.min(into.len()).min(self.said.len());
        let (now, later) = self.said.split_at(length);
        into[..length].copy_from_slice(now);
        self.said = later;
        Ok(length)
    }
}

/// The answer to a request of this method, and whether the connection may serve on; or that it was none.
type Answer = Option<(u16, Vec<u8>, bool)>;

fn read(method: &str, cuts: &[u8], said: &[u8]) -> Answer {
    let mut incoming = Incoming::new(Peer { said, cuts: cuts.iter().cycle() });
    incoming.response(method).ok().map(|response| (response.status, response.body, response.reusable))
}

/// The body of the fuzz target of this name: reads `bytes` as a method, a list of cuts and what a peer answers, and panics where the cuts
/// make a difference.
pub(crate) fn http1(bytes: &[u8]) {
    let [first, rest @ ..] = bytes else { return };
    let method = ["GET", "HEAD", "POST"][usize::from(first / 16) % 3];
    let (cuts, said) = rest.split_at(usize::from(first % 16).min(rest.len()));
    let (whole, cut) = (read(method, &[], said), read(method, cuts, said));
    let show = || format!("{method}: {} in cuts of {cuts:?}", said.escape_ascii());
    match (whole, cut) {
        (None, None) => {}
        (Some((status, body, reusable)), Some((cut_status, cut_body, cut_reusable))) => {
            assert_eq!((status, body), (cut_status, cut_body), "{}", show());
            // What has not arrived by the end of the answer cannot be held against it: the look before the next use finds that.
            assert!(!reusable || cut_reusable, "{}", show());
        }
        (whole, cut) => panic!("{whole:?} in one piece, and {cut:?}: {}", show()),
    }
}
