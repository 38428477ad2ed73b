//! What the process around a pool does: it forks, and its kernel reports things about sockets that are no hang-up.
#![cfg(not(corepool_unwatched))]

mod support;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use corepool::{CloseReason, Conn, Pool, Reactors, TcpManager};
use support::{comes_to_rest, eventually};

/// A pool of one open connection, and the peer's end of it.
fn pool_and_peer() -> (Pool<TcpManager>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = TcpManager::new(listener.local_addr().unwrap().to_string());
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let peer = listener.accept().unwrap().0;
    (pool, peer)
}

#[test]
fn a_child_that_drops_a_pool_leaves_the_parents_alone() {
    let (pool, mut peer) = pool_and_peer();
    // SAFETY: the child does nothing but drop the pool, which neither locks nor allocates there, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(pool);
        // SAFETY: ends the process; has no preconditions.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: the pointer is valid for the call.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!((waited, status), (child, 0));
    // Its peer has heard nothing, and the parent's watch is still there.
    peer.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
    assert!(peer.read(&mut [0; 8]).is_err(), "neither an end nor a word");
    assert_eq!(pool.stats().open, 1);
    drop(peer);
    eventually("the hang-up is seen", || pool.stats().closed(CloseReason::PeerClosed) == 1);
}

#[test]
fn an_error_that_is_no_hang_up_closes_nothing() {
    let (pool, mut peer) = pool_and_peer();
    let events = Reactors::shared().events();
    let mut lease = pool.get().unwrap();
    if !send_without_copying(&lease) {
        println!("skipped: this kernel does not send without copying");
        return;
    }
    peer.read_exact(&mut [0; 4]).unwrap();
    eventually("the kernel reports that it is sent", || Reactors::shared().events() > events);
    // Read, so that the connection is owed nothing.
    std::io::Write::write_all(&mut peer, b"done").unwrap();
    lease.read_exact(&mut [0; 4]).unwrap();
    drop(lease);
    drop(pool.get().unwrap());
    assert_eq!((pool.stats().open, pool.stats().closed_in_all()), (1, 0));
    comes_to_rest(&pool);
}

/// Its completion is reported as an error of the socket. False: it cannot be done here.
fn send_without_copying(conn: &Conn) -> bool {
    use std::os::fd::AsFd;
    let fd = conn.as_fd().as_raw_fd();
    let (on, size) = (1_i32, std::mem::size_of::<i32>() as libc::socklen_t);
    // SAFETY: the pointer is to an integer of that size, valid for the call.
    let set = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ZEROCOPY, (&raw const on).cast(), size) };
    // SAFETY: the buffer is a constant of that length.
    set == 0 && unsafe { libc::send(fd, b"ping".as_ptr().cast(), 4, libc::MSG_ZEROCOPY) } == 4
}
