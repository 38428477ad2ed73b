//! The next user never meets what the last one left: a dirty connection, bytes that nobody asked for, a socket that is another one now.

mod support;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use corepool::{CloseReason, Conn, Dial, Manager, Opening, Pool, TcpManager, UnixManager, Verdict, Watch};
use support::{Census, Counted, Counting, HOPELESS, Hooked, Server, comes_to_rest, eventually, exchange, local_port};

const MS: Duration = Duration::from_millis(1);

fn single<M: Manager>(manager: M) -> (Pool<Counting<M>>, Arc<Census>) {
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(1).min_open(0).opening(Opening::Lazy).build().unwrap();
    (pool, census)
}

// ---- dirty ----------------------------------------------------------------------------------------------------------------

/// The use ends well, but leaves the connection dirty: it is closed, and the next user has another.
#[track_caller]
fn is_replaced_after(server: &Server, leave_dirty: impl FnOnce(&mut Conn)) {
    let (pool, census) = single(TcpManager::new(server.address()));
    let mut lease = pool.get().unwrap();
    lease.hold(leave_dirty);
    assert!(lease.is_dirty());
    drop(lease);
    assert_eq!((pool.stats().closed(CloseReason::Discarded), pool.stats().open), (1, 0));
    let lease = pool.get().unwrap();
    assert!(lease.id() == 1 && !lease.is_dirty());
    drop(lease);
    eventually("its close", || census.fate(0) == Some(CloseReason::Discarded));
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_swallowed_timeout_makes_it_dirty() {
    is_replaced_after(&Server::mute(), |conn| {
        conn.write_all(b"slow").unwrap();
        conn.set_read_timeout(Some(5 * MS)).unwrap();
        assert_eq!(conn.read(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn its_user_can_say_so() {
    is_replaced_after(&Server::echo(), |conn| {
        exchange(conn, b"hello").unwrap();
        conn.mark_dirty();
    });
}

#[test]
fn so_does_a_write_that_stopped_in_its_middle() {
    is_replaced_after(&Server::mute(), |conn| {
        conn.set_write_timeout(Some(5 * MS)).unwrap();
        let request = vec![7; 1 << 24];
        // More than any buffer takes: no error, but a short count.
        assert!(conn.write(&request).unwrap() < request.len());
    });
}

/// No error, no timeout: the reply is on its way, or will be.
#[test]
fn a_use_that_ends_with_a_write_is_the_last_of_its_connection() {
    let server = Server::echo();
    let (pool, census) = single(TcpManager::new(server.address()));
    for round in 0..20 {
        let asked = pool.with(|conn: &mut Counted<Conn>| conn.hold(|conn| conn.write_all(b"what is the time?")));
        asked.unwrap();
        assert_eq!((pool.stats().closed(CloseReason::Discarded), pool.stats().open), (round + 1, 0));
        let lease = pool.get().unwrap();
        assert_eq!(lease.id() as u64, round + 1);
        drop(lease);
    }
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn one_way_it_is_not() {
    let server = Server::mute();
    let (pool, census) = single(TcpManager::new(server.address()).one_way(true));
    for _ in 0..20 {
        pool.with(|conn: &mut Counted<Conn>| conn.hold(|conn| conn.write_all(b"it is noon"))).unwrap();
    }
    assert_eq!((census.opened(), pool.stats().idle), (1, 1));
    census.verify();
}

#[test]
fn a_users_timeouts_end_with_their_use() {
    let server = Server::echo();
    let own = Some(Duration::from_secs(7));
    let (pool, census) = single(TcpManager::new(server.address()).read_timeout(own));
    let timeouts = |lease: &Counted<Conn>| {
        let socket = socket2::SockRef::from(&**lease);
        (socket.read_timeout().unwrap(), socket.write_timeout().unwrap())
    };
    let mut lease = pool.get().unwrap();
    lease.set_read_timeout(Some(HOPELESS)).unwrap();
    lease.set_write_timeout(Some(HOPELESS)).unwrap();
    assert_eq!(timeouts(&lease), (Some(HOPELESS), Some(HOPELESS)));
    drop(lease);
    let lease = pool.get().unwrap();
    assert_eq!((lease.id(), timeouts(&lease)), (0, (own, None)));
    drop(lease);
    census.verify();
}

#[test]
fn a_unix_socket_is_no_different() {
    let path = std::env::temp_dir().join(format!("corepool-{}", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (pool, census) = single(UnixManager::new(&path));
    let mut lease = pool.get().unwrap();
    let mut peer = listener.accept().unwrap().0;
    std::fs::remove_file(&path).unwrap();
    lease.write_all(b"ping").unwrap();
    peer.read_exact(&mut [0; 4]).unwrap();
    peer.write_all(b"pong pong").unwrap();
    lease.read_exact(&mut [0; 4]).unwrap();
    drop(lease);
    assert_eq!(pool.stats().idle, 1);
    // The half that was not read is found.
    assert!(pool.try_get().is_err());
    eventually("its close", || census.fate(0) == Some(CloseReason::IdleData));
}

// ---- bytes that nobody asked for ------------------------------------------------------------------------------------------

/// The peer has said something, and it has arrived.
fn push<M: Manager<Connection: AsFd>>(pool: &Pool<Counting<M>>, server: &Server, bytes: &[u8]) {
    let lease = pool.get().unwrap();
    let (port, ours) = (local_port(&*lease), lease.as_fd().try_clone_to_owned().unwrap());
    drop(lease);
    server.push(port, bytes);
    eventually("it has arrived", || {
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        let mut peeked = [0; 64];
        rustix::net::recv(&ours, &mut peeked[..], flags).is_ok_and(|(_, length)| length == bytes.len())
    });
}

#[test]
fn what_was_said_to_nobody_is_not_heard_by_the_next_user() {
    let server = Server::echo();
    let (pool, census) = single(TcpManager::new(server.address()));
    push(&pool, &server, b"surprise");
    let mut lease = pool.get().unwrap();
    assert_eq!(lease.id(), 1);
    lease.hold(|conn| exchange(conn, b"hello")).unwrap();
    drop(lease);
    assert_eq!(pool.stats().closed(CloseReason::IdleData), 1);
    eventually("its close", || census.fate(0) == Some(CloseReason::IdleData) && census.alive() == 1);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn nor_is_a_reply_that_was_read_in_part() {
    let server = Server::echo();
    let (pool, census) = single(TcpManager::new(server.address()));
    let mut lease = pool.get().unwrap();
    lease.write_all(b"12345678").unwrap();
    // No error, so nothing is dirty, and the user believes that it went well.
    lease.read_exact(&mut [0; 4]).unwrap();
    assert!(!lease.is_dirty());
    drop(lease);
    let mut lease = pool.get().unwrap();
    lease.hold(|conn| exchange(conn, b"hello")).unwrap();
    assert_eq!((lease.id(), pool.stats().closed(CloseReason::IdleData)), (1, 1));
    drop(lease);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_manager_that_expects_it_keeps_the_connection_and_the_bytes() {
    let server = Server::echo();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let manager = Hooked::new(TcpManager::new(server.address())).on_idle_data(move |_, peeked| {
        hears.lock().unwrap().push(peeked.to_vec());
        Verdict::Keep
    });
    let (pool, census) = single(manager);
    push(&pool, &server, b"surprise");
    let mut lease = pool.get().unwrap();
    assert_eq!(*heard.lock().unwrap(), [b"surprise"]);
    let mut unread = [0; 8];
    lease.read_exact(&mut unread).unwrap();
    assert_eq!((lease.id(), &unread), (0, b"surprise"), "it was only looked at");
    lease.hold(|conn| exchange(conn, b"hello")).unwrap();
    drop(lease);

    // It may read what it keeps.
    drop(pool.get().unwrap());
    assert_eq!((heard.lock().unwrap().len(), census.opened(), pool.stats().closed_in_all()), (1, 1, 0));
    comes_to_rest(&pool);
}

#[test]
fn a_manager_may_read_what_it_keeps() {
    let server = Server::echo();
    let manager = Hooked::new(TcpManager::new(server.address())).on_idle_data(|conn: &mut Conn, peeked| {
        conn.read_exact(&mut vec![0; peeked.len()]).unwrap();
        Verdict::Keep
    });
    let (pool, census) = single(manager);
    for _ in 0..3 {
        push(&pool, &server, b"surprise");
        let mut lease = pool.get().unwrap();
        lease.hold(|conn| exchange(conn, b"hello")).unwrap();
        assert_eq!(lease.id(), 0);
    }
    census.verify();
}

/// A manager that frames its protocol knows that it has read the whole reply, and is spared the peek while the connection is warm.
#[cfg(not(corepool_unwatched))]
#[test]
fn it_is_looked_for_once_it_has_rested_for_probe_after() {
    let server = Server::echo();
    let (pool, census) = single(Hooked::new(TcpManager::new(server.address())).probe_after(20 * MS));
    push(&pool, &server, b"surprise");
    eventually("looked at", || {
        // A use makes it warm again.
        let begun = std::time::Instant::now();
        eventually("a rest", || begun.elapsed() > 60 * MS);
        pool.get().unwrap().id() == 1
    });
    assert_eq!(pool.stats().closed(CloseReason::IdleData), 1);
    census.verify();
}

#[cfg(not(corepool_unwatched))]
#[test]
fn it_is_not_looked_for_before() {
    let server = Server::echo();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let builder = Pool::builder(manager).max_size(1).probe_after(1_000 * HOPELESS).wait_timeout(20 * MS);
    let pool = builder.build().unwrap();
    push(&pool, &server, b"surprise");
    let begun = std::time::Instant::now();
    eventually("a rest", || begun.elapsed() > 200 * MS);
    let mut heard = [0; 8];
    let mut lease = pool.get().unwrap();
    assert_eq!((lease.id(), pool.stats().closed(CloseReason::IdleData)), (0, 0));
    lease.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"surprise");
    drop(lease);
    census.verify();
}

// ---- another socket -------------------------------------------------------------------------------------------------------

/// A client that reconnects by itself, as some do.
struct Restless {
    address: String,
    stream: TcpStream,
}

impl Restless {
    fn reconnect(&mut self) {
        // The new one first, so that it cannot be given the old one's number.
        self.stream = TcpStream::connect(&self.address).unwrap();
    }
}

struct RestlessManager(String);

impl Manager for RestlessManager {
    type Connection = Restless;
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<Restless> {
        Ok(Restless { address: self.0.clone(), stream: TcpStream::connect(&self.0)? })
    }

    fn watch(&self, client: &Restless, on: &mut Watch<'_>) {
        on.socket(&client.stream);
    }
}

#[test]
fn a_client_that_has_replaced_its_socket_does_not_come_back() {
    let server = Server::echo();
    let (pool, census) = single(RestlessManager(server.address()));
    let mut lease = pool.get().unwrap();
    let before = lease.stream.as_raw_fd();
    lease.reconnect();
    assert_ne!(lease.stream.as_raw_fd(), before);
    lease.hold(|client| exchange(&mut client.stream, b"works, but nobody watches it")).unwrap();
    drop(lease);
    assert_eq!((pool.stats().closed(CloseReason::SocketReplaced), pool.stats().open), (1, 0));
    eventually("its close", || census.fate(0) == Some(CloseReason::SocketReplaced));

    let lease = pool.get().unwrap();
    assert_eq!(lease.id(), 1);
    drop(lease);
    eventually("the server sees the ends of both", || server.open() == 1);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn one_that_names_more_or_fewer_sockets_than_before_does_not_come_back() {
    struct Fickle;
    impl Manager for Fickle {
        type Connection = Vec<std::os::unix::net::UnixStream>;
        type Error = io::Error;

        fn connect(&self, _dial: &Dial<'_>) -> io::Result<Self::Connection> {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            Ok(vec![ours, theirs])
        }

        fn watch(&self, sockets: &Self::Connection, on: &mut Watch<'_>) {
            sockets.iter().for_each(|socket| on.socket(socket));
        }
    }
    let (pool, census) = single(Fickle);
    drop(pool.get().unwrap());
    let mut lease = pool.get().unwrap();
    assert_eq!(lease.id(), 0);
    let extra = lease[0].try_clone().unwrap();
    lease.push(extra);
    drop(lease);
    let mut lease = pool.get().unwrap();
    assert_eq!(lease.id(), 1);
    std::mem::forget(lease.pop());
    drop(lease);
    assert_eq!((pool.get().unwrap().id(), pool.stats().closed(CloseReason::SocketReplaced)), (2, 2));
    census.verify();
}
