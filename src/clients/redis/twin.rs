//! What a peer says, beside simpler readings of it: the ends of frames, in any cuts, and what waits on an idle connection.
#![forbid(unsafe_code)]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use redis::{Value, parse_redis_value};

use super::connection::RedisConnection;
use super::frames::{Malformed, Scan, commands};
use super::session::Session;
use super::transport::Transport;
use crate::net::conn::Conn;
use crate::watch::stream::Stream;

/// The body of the fuzz target of this name: reads `bytes` as a list of cuts and what is said, and panics where the cuts, or another
/// reading of the same protocol, make a difference.
pub fn resp(bytes: &[u8]) {
    let [count, rest @ ..] = bytes else { return };
    let (cuts, said) = rest.split_at(usize::from(count % 16).min(rest.len()));
    let whole = frames(&[], said);
    assert_eq!(whole, frames(cuts, said), "{} in cuts of {cuts:?}", said.escape_ascii());
    let mut at = 0;
    for length in whole.0 {
        let frame = &said[at..at + length];
        at += length;
        // The client's parser decides in the end whether it is one; but it must not find one that ends before.
        for shorter in 1..length.min(64) {
            assert!(parse_redis_value(&frame[..shorter]).is_err(), "{shorter} of {}", frame.escape_ascii());
        }
        assert!(parse_redis_value(&frame[..length - 1]).is_err(), "all but one of {}", frame.escape_ascii());
    }
    let sent = Session::default().sends(said);
    assert_eq!(sent, commands(said).count() as u64);
}

/// The lengths of all frames, and whether what follows is malformed, if it arrives in these cuts.
fn frames(cuts: &[u8], said: &[u8]) -> (Vec<usize>, bool) {
    let (mut lengths, mut begin, mut arrived, mut scan) = (Vec::new(), 0, 0, Scan::default());
    let mut cuts = cuts.iter().cycle();
    loop {
        match scan.whole(&said[begin..arrived]) {
            Ok(Some(length)) => {
                lengths.push(length);
                (begin, scan) = (begin + length, Scan::default());
            }
            Ok(None) if arrived == said.len() => return (lengths, false),
            Ok(None) => arrived = cuts.next().map_or(said.len(), |cut| said.len().min(arrived + 1 + usize::from(*cut))),
            Err(Malformed) => return (lengths, true),
        }
    }
}

/// The body of the fuzz target of this name: `bytes` wait on an idle connection. It may be lent again if they are pushes, of which the
/// last one need not be whole, and then its user is told of each that is.
pub fn peek(bytes: &[u8]) {
    let [resp3, said @ ..] = bytes else { return };
    let resp3 = resp3 % 2 == 1;
    let (ours, mut peers) = UnixStream::pair().expect("two descriptors");
    peers.write_all(&said[..said.len().min(4_096)]).expect("a buffer of that size");
    let said = &said[..said.len().min(4_096)];
    let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
    let hears = Arc::clone(&heard);
    let on_push = Arc::new(move |push: Value| hears.lock().expect("no panic").push(push));
    let stream = Transport::Bare(Conn::of_pair(ours).expect("its options are set"));
    let mut connection = RedisConnection::new(stream, resp3, 0, Some(on_push));
    let lent = connection.take_idle();
    assert!(!lent || connection.is_fit());
    let (pushes, rest_is_push) = pushes(said);
    if !resp3 {
        assert_eq!(lent, said.is_empty(), "{}", said.escape_ascii());
        assert!(heard.lock().expect("no panic").is_empty());
    } else if lent {
        assert!(rest_is_push, "lent with {}", said.escape_ascii());
        assert_eq!(*heard.lock().expect("no panic"), pushes);
    } else if rest_is_push && said.first() == Some(&b'>') {
        // Refused although it looks like pushes: then one of them is none for the scan or the parser.
        let (lengths, malformed) = frames(&[], said);
        let mut parsed = lengths.iter().scan(0, |at, length| {
            *at += length;
            Some(parse_redis_value(&said[*at - length..*at]).is_ok())
        });
        assert!(malformed || !parsed.all(|one| one), "refused with {}", said.escape_ascii());
    }
}

/// The pushes with which `said` begins, and whether nothing else follows them but a part of another.
fn pushes(said: &[u8]) -> (Vec<Value>, bool) {
    let (mut pushes, mut rest) = (Vec::new(), said);
    while rest.first() == Some(&b'>') {
        // The shortest beginning that the client's parser takes for a whole value.
        let Some((length, push)) =
            (1..=rest.len()).find_map(|length| Some((length, parse_redis_value(&rest[..length]).ok()?)))
        else {
            return (pushes, true);
        };
        pushes.push(push);
        rest = &rest[length..];
    }
    (pushes, rest.is_empty())
}

#[cfg(test)]
mod tests {
    use redis::ConnectionLike;

    use super::*;
    use crate::kept::kept;

    #[test]
    fn the_kept_corpus_of_frames_is_read_the_same_in_any_cuts() {
        kept("resp", 16).iter().for_each(|bytes| resp(bytes));
    }

    #[test]
    fn the_kept_corpus_of_what_waits_idly_is_judged_rightly() {
        kept("peek", 16).iter().for_each(|bytes| peek(bytes));
    }

    #[test]
    fn an_answer_that_the_clients_parser_refuses_is_the_last() {
        let (ours, mut peers) = UnixStream::pair().unwrap();
        let stream = Transport::Bare(Conn::of_pair(ours).unwrap());
        let mut connection = RedisConnection::new(stream, false, 0, None);
        // Whole as far as frames go; the second one is in order.
        peers.write_all(b":seven\r\n:7\r\n").unwrap();
        connection.send_packed_command(b"*1\r\n$4\r\nPING\r\n").unwrap();
        assert!(connection.recv_response().is_err() && !connection.is_open());
        assert!(connection.send_packed_command(b"*1\r\n$4\r\nPING\r\n").is_err());
    }
}
