//! [`Conn`] alone, over a pair of sockets.
#![forbid(unsafe_code)]

use super::*;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

fn pair() -> (Conn, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Conn::new(OwnedFd::from(ours).into(), None), theirs)
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
    assert_eq!(conn.judge(Outcome::Done, Timeouts::default()), Verdict::Keep);
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
    assert_eq!(conn.judge(Outcome::Done, Timeouts::default()), Verdict::Discard);
}

#[test]
fn a_write_timeout_makes_it_dirty() {
    let (mut conn, _peer) = pair();
    conn.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
    let block = [0; 1 << 16];
    let error = loop {
        assert!(!conn.is_dirty(), "a short write is no error");
        if let Err(error) = conn.write(&block) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(conn.is_dirty());
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
fn an_interrupted_call_leaves_it_clean() {
    let (mut conn, _peer) = pair();
    conn.mark_read(&Err(io::ErrorKind::Interrupted.into()));
    conn.mark_write(&Err(io::ErrorKind::Interrupted.into()));
    assert!(!conn.is_dirty());
}

#[test]
fn only_a_clean_use_that_ended_well_is_kept() {
    let (mut conn, _peer) = pair();
    for (how, verdict) in
        [(Outcome::Done, Verdict::Keep), (Outcome::Failed, Verdict::Discard), (Outcome::Panicked, Verdict::Discard)]
    {
        assert_eq!(conn.judge(how, Timeouts::default()), verdict, "{how:?}");
    }
    conn.mark_dirty();
    assert_eq!(conn.judge(Outcome::Done, Timeouts::default()), Verdict::Discard);
}

#[test]
fn slices_beyond_the_kernels_limit_are_a_short_count() {
    let (mut conn, mut peer) = pair();
    let written = conn.write_vectored(&[IoSlice::new(b"x"); MAX_SLICES + 1]).unwrap();
    assert_eq!(written, MAX_SLICES);
    peer.write_all(&[b'y'; MAX_SLICES + 1]).unwrap();
    let mut bytes = [0; MAX_SLICES + 1];
    let mut bufs: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
    assert_eq!(conn.read_vectored(&mut bufs).unwrap(), MAX_SLICES);
    assert!(!conn.is_dirty());
}

#[test]
fn a_users_timeouts_end_with_their_use() {
    let (mut conn, _peer) = pair();
    let own = Timeouts { read: Some(Duration::from_secs(7)), write: None };
    own.set(&conn.socket).unwrap();
    conn.set_read_timeout(None).unwrap();
    conn.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    assert_eq!(conn.judge(Outcome::Done, own), Verdict::Keep);
    assert_eq!(conn.socket.read_timeout().unwrap(), own.read);
    assert_eq!(conn.socket.write_timeout().unwrap(), own.write);
}

#[test]
fn a_zero_timeout_is_refused_and_changes_nothing() {
    let (mut conn, _peer) = pair();
    for timeout in [Duration::ZERO, Duration::from_nanos(999)] {
        assert_eq!(conn.set_read_timeout(Some(timeout)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(conn.set_write_timeout(Some(timeout)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert!(!conn.is_dirty() && !conn.retimed);
}

#[test]
fn it_leaves_the_pool_as_a_plain_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stream = TcpStream::connect(address).unwrap();
    let conn = Conn::new(OwnedFd::from(stream).into(), Some(address));
    assert_eq!(conn.peer(), Some(address));
    assert_eq!(TcpStream::from(OwnedFd::from(conn)).peer_addr().unwrap(), address);
}
