//! What the process around a pool does: it forks, and its kernel reports things about sockets that are no hang-up.
#![cfg(not(corepool_unwatched))]

mod support;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Conn, Event, Lease, Pool, Reactors, TcpManager};
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
    peer.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
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

#[test]
fn a_reactor_whose_epoll_is_closed_rests_and_its_pool_goes_on_unwatched() {
    in_a_child("child_without_epoll");
}

#[test]
fn and_one_that_cannot_even_be_woken() {
    in_a_child("child_without_epoll_and_wakers");
}

/// Runs one of the tests below in a process of its own, whose descriptors it may close.
fn in_a_child(test: &str) {
    let me = std::env::current_exe().unwrap();
    let child = Command::new(me).args(["--exact", test, "--ignored", "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "closes what does not belong to it: runs in a child"]
fn child_without_epoll() {
    goes_on_without(&["anon_inode:[eventpoll]"]);
}

#[test]
#[ignore = "closes what does not belong to it: runs in a child"]
fn child_without_epoll_and_wakers() {
    goes_on_without(&["anon_inode:[eventpoll]", "anon_inode:[eventfd]"]);
}

fn goes_on_without(kinds: &[&str]) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = TcpManager::new(listener.local_addr().unwrap().to_string());
    let peers = Arc::new(Mutex::new(Vec::new()));
    let accepts = Arc::clone(&peers);
    thread::spawn(move || listener.incoming().for_each(|peer| accepts.lock().unwrap().push(peer.unwrap())));
    let (told, reactors) = (Arc::new(Mutex::new(Vec::new())), Reactors::new(1));
    let tells = Arc::clone(&told);
    // Nothing but the watch, or its loss, has them looked at within an hour.
    let builder = Pool::builder(manager).max_size(2).probe_after(Duration::from_secs(3_600)).reactors(reactors.clone());
    let builder = builder.hold_limit(Some(Duration::from_millis(100)));
    let pool = builder.observer(move |event: &Event| tells.lock().unwrap().push(event.clone())).build().unwrap();
    let has_told = |what: fn(&Event) -> bool| told.lock().unwrap().iter().any(what);
    close_all(kinds);
    // Their numbers are other files' by now, which nobody touches.
    let others: Vec<_> = (0..8).map(|_| UnixStream::pair().unwrap()).collect();

    // Found out by whoever has something for the reactor to do: a dial, a close.
    eventually("it is told", || {
        let leases = (pool.get().unwrap(), pool.get().unwrap());
        Lease::discard(leases.1);
        has_told(|event| matches!(event, Event::Deaf { reactors: 1 }))
    });
    assert_eq!(reactors.deaf(), 1);
    let leases = (pool.get().unwrap(), pool.get().unwrap());
    eventually("deadlines are kept", || has_told(|event| matches!(event, Event::HoldExceeded { .. })));
    drop(leases);
    comes_to_rest(&pool);

    let (begun, before) = (Instant::now(), reactors.wakeups());
    thread::sleep(Duration::from_secs(1));
    let wakeups = reactors.wakeups() - before;
    // One that spins has thousands, one that sweeps every 25 ms and looks at its deadlines every 100 ms has 50.
    assert!(u128::from(wakeups) < 20 + begun.elapsed().as_millis() / 5, "{wakeups} wake-ups");

    // Of the two that are open one was watched before, and one never.
    let opened = pool.stats().opened;
    eventually("all peers are there", || peers.lock().unwrap().len() as u64 == opened);
    peers.lock().unwrap().clear();
    let leases = (pool.get().unwrap(), pool.get().unwrap());
    assert_eq!((pool.stats().closed(CloseReason::PeerClosed), pool.stats().opened), (2, opened + 2));
    drop(leases);
    for ends in others.iter().flat_map(|(one, other)| [one, other]) {
        ends.set_nonblocking(true).unwrap();
        let mut end: &UnixStream = ends;
        assert_eq!(
            end.read(&mut [0; 8]).unwrap_err().kind(),
            std::io::ErrorKind::WouldBlock,
            "neither an end nor a word"
        );
    }
}

/// Closes this process's descriptors of these kinds, as `close_range` would.
fn close_all(kinds: &[&str]) {
    let mut closed = 0;
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        let Ok(link) = std::fs::read_link(&path) else { continue };
        if kinds.contains(&link.to_str().unwrap()) {
            let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            // SAFETY: no memory depends on it. Its owner finds out: that is the test.
            closed += usize::from(unsafe { libc::close(number) } == 0);
        }
    }
    assert!(closed > 0);
}
