//! [`Conn`] alone, over a pair of sockets.
#![forbid(unsafe_code)]

use super::transfer::MAX_SLICES;
use super::*;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

fn pair() -> (Conn, UnixStream) {
    pair_with(&Options::default())
}

fn pair_with(options: &Options) -> (Conn, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Conn::open(OwnedFd::from(ours).into(), None, options).unwrap(), theirs)
}

#[test]
fn an_exchange_that_ended_well_leaves_it_clean() {
    let (mut conn, mut peer) = pair();
    conn.write_all(b"ping").unwrap();
    conn.flush().unwrap();
    peer.read_exact(&mut [0; 4]).unwrap();
    peer.write_all(b"pong").unwrap();
    let mut reply = [0; 4];
    conn.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"pong");
    assert!(!conn.is_dirty());
    assert_eq!(conn.judge(Outcome::Done), Verdict::Keep);
}

#[test]
fn a_read_timeout_makes_it_dirty_for_good() {
    let (mut conn, mut peer) = pair();
    conn.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let error = conn.read(&mut [0; 4]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(conn.is_dirty());
    // The late reply does not wash it clean.
    peer.write_all(b"late").unwrap();
    conn.set_read_timeout(None).unwrap();
    conn.read_exact(&mut [0; 4]).unwrap();
    assert!(conn.is_dirty());
    assert_eq!(conn.judge(Outcome::Done), Verdict::Discard);
}

#[test]
fn a_write_timeout_makes_it_dirty() {
    let (mut conn, _peer) = pair();
    conn.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
    let error = conn.write_all(&[0; 1 << 22]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(conn.is_dirty());
}

/// A write whose time has run out says how much it took, which is no error.
#[test]
fn a_short_write_makes_it_dirty_until_its_rest_is_written() {
    let (mut conn, mut peer) = pair();
    conn.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
    let request = vec![7; 1 << 22];
    let taken = conn.write(&request).unwrap();
    assert!(taken < request.len() && conn.is_dirty() && !conn.is_fit());
    conn.set_write_timeout(None).unwrap();
    let length = request.len();
    let reads = std::thread::spawn(move || {
        peer.read_exact(&mut vec![0; length]).unwrap();
        peer.write_all(b"thanks").unwrap();
        peer
    });
    conn.write_all(&request[taken..]).unwrap();
    assert!(!conn.is_dirty(), "it is whole");
    conn.read_exact(&mut [0; 6]).unwrap();
    assert!(conn.is_fit());
    drop(reads.join().unwrap());
}

#[test]
fn a_short_write_that_is_followed_by_another_request_makes_it_dirty_for_good() {
    let (mut conn, mut peer) = pair();
    conn.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
    let request = vec![7; 1 << 22];
    let taken = conn.write(&request).unwrap();
    assert!(taken < request.len());
    peer.read_exact(&mut vec![0; taken]).unwrap();
    let other = vec![8; request.len() - taken];
    conn.set_write_timeout(None).unwrap();
    let reads = std::thread::spawn(move || peer.read_exact(&mut [0; 1]).map(|()| peer));
    let _ = conn.write(&other[..1]).unwrap();
    drop(reads.join().unwrap().unwrap());
    assert!(conn.is_dirty());
}

#[test]
fn a_use_that_ends_with_a_write_leaves_it_unfit_until_it_is_lent_anew() {
    let (mut conn, _peer) = pair();
    conn.write_all(b"ping").unwrap();
    assert!(!conn.is_fit() && !conn.is_dirty());
    assert_eq!(conn.judge(Outcome::Done), Verdict::Discard);
    conn.restore().unwrap();
    assert!(conn.is_fit());
}

#[test]
fn one_way_a_use_may_end_with_a_write() {
    let (mut conn, _peer) = pair_with(&Options { one_way: true, ..Options::default() });
    conn.write_all(b"news").unwrap();
    assert!(conn.is_fit());
    assert_eq!(conn.write_vectored(&[IoSlice::new(b"more"), IoSlice::new(b"news")]).unwrap(), 8);
    assert_eq!(conn.judge(Outcome::Done), Verdict::Keep);
}

#[test]
fn no_two_have_the_same_identity() {
    let ((one, _), (other, _)) = (pair(), pair());
    assert!(one.identity().is_some() && one.identity() != other.identity());
}

#[test]
fn it_may_go_to_another_thread_and_be_looked_at_from_several() {
    fn may<T: Send + Sync>() {}
    may::<Conn>();
}

#[test]
fn the_end_of_the_stream_makes_it_dirty() {
    let (mut conn, peer) = pair();
    drop(peer);
    assert_eq!(conn.read(&mut []).unwrap(), 0);
    assert_eq!(conn.read_vectored(&mut [IoSliceMut::new(&mut [])]).unwrap(), 0);
    assert!(!conn.is_dirty(), "no room is not the end");
    assert_eq!(conn.read(&mut [0; 4]).unwrap(), 0);
    assert!(conn.is_dirty());

    let (mut conn, peer) = pair();
    drop(peer);
    assert_eq!(conn.read_vectored(&mut [IoSliceMut::new(&mut [0; 4])]).unwrap(), 0);
    assert!(conn.is_dirty());
}

#[test]
fn a_closed_peer_is_an_error_and_makes_it_dirty() {
    let (mut conn, peer) = pair();
    drop(peer);
    assert_eq!(conn.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert!(conn.is_dirty());

    let (mut conn, peer) = pair();
    drop(peer);
    assert_eq!(conn.write_vectored(&[IoSlice::new(b"x")]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert!(conn.is_dirty());
}

#[test]
fn only_a_clean_use_that_ended_well_is_kept() {
    let (mut conn, _peer) = pair();
    for (how, verdict) in
        [(Outcome::Done, Verdict::Keep), (Outcome::Failed, Verdict::Discard), (Outcome::Panicked, Verdict::Discard)]
    {
        assert_eq!(conn.judge(how), verdict, "{how:?}");
    }
    conn.mark_dirty();
    assert_eq!(conn.judge(Outcome::Done), Verdict::Discard);
}

#[test]
fn slices_beyond_the_kernels_limit_are_a_short_count() {
    let (mut conn, mut peer) = pair();
    let (text, slices) = ([b'x'; MAX_SLICES + 1], MAX_SLICES + 1);
    let mut rest: Vec<_> = text.chunks(1).map(IoSlice::new).collect();
    let written = conn.write_vectored(&rest).unwrap();
    assert_eq!((written, conn.is_dirty()), (MAX_SLICES, true));
    let mut rest = &mut rest[..];
    IoSlice::advance_slices(&mut rest, written);
    assert_eq!((conn.write_vectored(rest).unwrap(), conn.is_dirty()), (slices - written, false));
    peer.write_all(&[b'y'; MAX_SLICES + 1]).unwrap();
    let mut bytes = [0; MAX_SLICES + 1];
    let mut bufs: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
    assert_eq!(conn.read_vectored(&mut bufs).unwrap(), MAX_SLICES);
}

#[test]
fn a_users_timeouts_end_with_their_use() {
    let own = Timeouts { read: Some(Duration::from_secs(7)), write: None };
    let (mut conn, _peer) = pair_with(&Options { timeouts: own, ..Options::default() });
    conn.set_read_timeout(None).unwrap();
    conn.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    assert_eq!((conn.timeouts().read, conn.timeouts().write), (None, Some(Duration::from_secs(3))));
    conn.restore().unwrap();
    assert_eq!(conn.socket.read_timeout().unwrap(), own.read);
    assert_eq!(conn.socket.write_timeout().unwrap(), own.write);
    assert_eq!((conn.timeouts().read, conn.timeouts().write), (own.read, own.write));
}

#[test]
fn a_zero_timeout_is_refused_and_changes_nothing() {
    let (mut conn, _peer) = pair();
    for timeout in [Duration::ZERO, Duration::from_nanos(999)] {
        assert_eq!(conn.set_read_timeout(Some(timeout)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(conn.set_write_timeout(Some(timeout)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert!(!conn.is_dirty() && !*conn.retimed.get_mut());
}

#[test]
fn it_leaves_the_pool_as_a_plain_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stream = TcpStream::connect(address).unwrap();
    let ends = Ends { local: stream.local_addr().ok(), peer: address };
    let conn = Conn::open(OwnedFd::from(stream).into(), Some(ends), &Options::default()).unwrap();
    assert_eq!(conn.peer(), Some(address));
    assert_eq!(TcpStream::from(OwnedFd::from(conn)).peer_addr().unwrap(), address);
}

#[test]
fn one_whose_halves_were_taken_is_not_lent_again() {
    let (mut conn, _peer) = pair();
    let halves = conn.halves().unwrap();
    drop(halves);
    assert!(conn.is_dirty());
    assert_eq!(conn.judge(Outcome::Done), Verdict::Discard);
}
