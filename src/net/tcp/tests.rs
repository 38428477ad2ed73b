//! [`TcpManager`] alone: what a dial does, without a pool.
#![forbid(unsafe_code)]

use super::*;
use crate::watch::duplicate::Cut;
use crate::watch::naming::{Files, Found};
use socket2::{Domain, SockRef, Type};
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Instant;

/// Longer than anything here takes; a test that needs it has failed.
pub(crate) const AMPLE: Duration = Duration::from_secs(20);

pub(crate) fn dial<M: Manager>(manager: &M, limit: Duration) -> Result<M::Connection, M::Error> {
    manager.connect(&Dial::new(Instant::now() + limit, 1, &Cut::default()))
}

fn dial_any(manager: &TcpManager, addresses: &[SocketAddr], limit: Duration) -> Result<Conn, ConnectError> {
    manager.connect_to_any(addresses.to_vec(), &Dial::new(Instant::now() + limit, 1, &Cut::default()))
}

/// Echoes on one connection until its end.
pub(crate) fn echo(accept: impl FnOnce() -> Socket + Send + 'static) {
    thread::spawn(move || {
        let socket = accept();
        io::copy(&mut &socket, &mut &socket)
    });
}

pub(crate) fn assert_echoes(conn: &mut Conn) {
    conn.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    conn.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
    assert!(!conn.is_dirty());
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port that refuses, for as long as the socket lives: bound, so that nobody else gets it, but not listening.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Connects until the listener's backlog takes no more; its clients keep it full.
pub(crate) fn fill(domain: Domain, address: &socket2::SockAddr) -> Vec<Socket> {
    let mut clients = Vec::new();
    loop {
        let client = Socket::new(domain, Type::STREAM, None).unwrap();
        match client.connect_timeout(address, Duration::from_millis(200)) {
            Ok(()) => clients.push(client),
            Err(_) => return clients,
        }
        assert!(clients.len() < 100, "the backlog never fills");
    }
}

#[test]
fn tcp_connects_and_echoes() {
    let (listener, address) = listen();
    echo(move || listener.accept().unwrap().0.into());
    let mut conn = dial(&TcpManager::new(address.to_string()), AMPLE).unwrap();
    assert_eq!(conn.peer(), Some(address));
    assert_echoes(&mut conn);
}

#[test]
fn a_name_is_resolved() {
    let (listener, address) = listen();
    let conn = dial(&TcpManager::new(format!("localhost:{}", address.port())), AMPLE).unwrap();
    assert_eq!(conn.peer(), Some(address));
    drop(listener);
}

#[test]
fn options_are_set() {
    let (_listener, address) = listen();
    let conn = dial(&TcpManager::new(address.to_string()), AMPLE).unwrap();
    let socket = SockRef::from(&conn);
    assert!(!socket.nonblocking().unwrap());
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
    assert_eq!(socket.read_timeout().unwrap(), None);
    assert_eq!(socket.write_timeout().unwrap(), None);

    let manager = TcpManager::new(address.to_string())
        .nodelay(false)
        .keepalive(None)
        .user_timeout(None)
        .read_timeout(Some(Duration::from_secs(2)))
        .write_timeout(Some(Duration::from_secs(3)));
    let conn = dial(&manager, AMPLE).unwrap();
    let socket = SockRef::from(&conn);
    assert!(!socket.tcp_nodelay().unwrap());
    assert!(!socket.keepalive().unwrap());
    assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    assert_eq!(socket.read_timeout().unwrap(), Some(Duration::from_secs(2)));
    assert_eq!(socket.write_timeout().unwrap(), Some(Duration::from_secs(3)));
}

#[test]
fn keepalive_is_asked_at_its_interval_and_given_up_after_its_retries() {
    let (_listener, address) = listen();
    let manager = TcpManager::new(address.to_string()).keepalive(Some(Duration::from_secs(30)));
    let conn = dial(&manager.keepalive_interval(Duration::from_secs(7)).keepalive_retries(5), AMPLE).unwrap();
    let socket = SockRef::from(&conn);
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(7));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
    // Without keep-alive they mean nothing, and are not looked at.
    let manager = TcpManager::new(address.to_string()).keepalive(None).keepalive_retries(0);
    dial(&manager, AMPLE).unwrap();
}

#[test]
fn it_knows_both_its_addresses_also_after_the_peer_has_gone() {
    let (listener, address) = listen();
    let mut conn = dial(&TcpManager::new(address.to_string()), AMPLE).unwrap();
    let (peer, theirs) = listener.accept().unwrap();
    assert_eq!((conn.local_addr(), conn.peer()), (Some(theirs), Some(address)));
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop((peer, listener));
    conn.read_exact(&mut [0]).unwrap_err();
    assert_eq!((conn.local_addr(), conn.peer()), (Some(theirs), Some(address)));
}

#[test]
fn a_refused_dial_names_the_address() {
    let (_port, address) = refusing();
    let error = dial(&TcpManager::new(address.to_string()), AMPLE).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(error.to_string(), format!("could not connect to {address}"));
    let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.raw_os_error(), Some(libc::ECONNREFUSED));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_refused_name_tells_the_last_address_and_how_many_more() {
    let (_port, address) = refusing();
    let manager = TcpManager::new("db.example:5432");
    let told = |others: usize| dial_any(&manager, &vec![address; others + 1], AMPLE).unwrap_err().to_string();
    assert_eq!(told(0), format!("could not connect to db.example:5432 at {address}"));
    assert_eq!(told(1), format!("could not connect to db.example:5432 at {address} (and 1 other address)"));
    assert_eq!(told(2), format!("could not connect to db.example:5432 at {address} (and 2 other addresses)"));
}

#[test]
fn a_refused_first_address_leads_to_the_second() {
    let (_port, refused) = refusing();
    let (listener, address) = listen();
    echo(move || listener.accept().unwrap().0.into());
    let mut conn = dial_any(&TcpManager::new("db.example:5432"), &[refused, address], AMPLE).unwrap();
    assert_eq!(conn.peer(), Some(address));
    assert_echoes(&mut conn);
}

/// An address that swallows what is sent to it: a listener with a full backlog, kept full.
struct Hole {
    address: SocketAddr,
    listener: Socket,
    _clients: Vec<Socket>,
}

fn hole() -> Hole {
    let (listener, address) = refusing();
    listener.listen(0).unwrap();
    let clients = fill(Domain::IPV4, &address.into());
    Hole { address, listener, _clients: clients }
}

#[test]
fn a_black_holed_first_address_leaves_time_for_the_second() {
    let hole = hole();
    let (_listener, address) = listen();
    let manager = TcpManager::new("db.example:5432");
    for limit in [Duration::from_secs(2), AMPLE] {
        let conn = dial_any(&manager, &[hole.address, address], limit).unwrap();
        assert_eq!(conn.peer(), Some(address));
    }
}

#[test]
fn a_dial_into_black_holes_ends_at_its_deadline() {
    let hole = hole();
    let manager = TcpManager::new("db.example:5432");
    let error = dial_any(&manager, &[hole.address; 2], Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let told = format!("could not connect to db.example:5432 at {} (and 1 other address)", hole.address);
    assert_eq!(error.to_string(), told);
}

/// Whether somebody is being connected to it and has no answer yet.
fn is_dialed(hole: &Hole) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to = format!(":{:04X}", hole.address.port());
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // Place, ours, theirs, state: 02 is SYN_SENT.
    rows.any(|row| row[2].ends_with(&to) && row[3] == "02")
}

#[test]
fn attempts_run_beside_each_other_and_those_that_lost_are_closed() {
    let (one, other, late) = (hole(), hole(), hole());
    let manager = TcpManager::new("db.example:5432");
    let pause = || thread::sleep(Duration::from_millis(1));
    let conn = thread::scope(|scope| {
        let dials = scope.spawn(|| dial_any(&manager, &[one.address, other.address, late.address], AMPLE));
        while ![&one, &other, &late].into_iter().all(is_dialed) {
            assert!(!dials.is_finished(), "one gave way to the next");
            pause();
        }
        // Answers the next time that it is asked, which the kernel does after a second.
        late.listener.set_nonblocking(true).unwrap();
        while !dials.is_finished() {
            while late.listener.accept().is_ok() {}
            pause();
        }
        dials.join().unwrap().unwrap()
    });
    assert_eq!(conn.peer(), Some(late.address));
    assert!(!is_dialed(&one) && !is_dialed(&other));
}

#[test]
fn the_one_that_answered_for_another_is_tried_first_from_then_on() {
    let hole = hole();
    let ((_listener, address), (_healthy, other)) = (listen(), listen());
    let manager = TcpManager::new("db.example:5432");
    dial_any(&manager, &[hole.address, address], AMPLE).unwrap();
    for found in [[other, address], [hole.address, address]] {
        assert_eq!(dial_any(&manager.clone(), &found, AMPLE).unwrap().peer(), Some(address));
    }
    // The name has moved.
    assert_eq!(dial_any(&manager, &[other], AMPLE).unwrap().peer(), Some(other));
}

#[test]
fn where_the_first_one_answers_the_resolvers_order_holds() {
    let ((_one, one), (_other, other)) = (listen(), listen());
    let manager = TcpManager::new("db.example:5432");
    for (found, first) in [([one, other], one), ([other, one], other), ([one, other], one)] {
        assert_eq!(dial_any(&manager, &found, AMPLE).unwrap().peer(), Some(first));
    }
}

#[test]
fn a_dial_without_time_does_not_wait() {
    let (_listener, address) = listen();
    let error = dial(&TcpManager::new(address.to_string()), Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_socket_that_met_itself_is_refused_and_frees_the_port() {
    let (socket, address) = refusing();
    socket.connect(&address.into()).unwrap();
    assert_eq!(local_unless_itself(&socket).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    drop(socket);
    TcpListener::bind(address).unwrap();
}

#[test]
fn an_address_without_port_is_named() {
    let error = dial(&TcpManager::new("localhost"), AMPLE).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "\"localhost\" is not HOST:PORT");
}

#[test]
fn what_the_kernel_would_misread_is_refused_by_name() {
    let tcp = || TcpManager::new("127.0.0.1:1");
    let zero = Some(Duration::ZERO);
    for (refused, name) in [
        (dial(&tcp().keepalive(zero), AMPLE), "keepalive"),
        (dial(&tcp().keepalive(Some(Duration::from_secs(32768))), AMPLE), "keepalive"),
        (dial(&tcp().keepalive_interval(Duration::from_millis(999)), AMPLE), "keepalive_interval"),
        (dial(&tcp().keepalive_interval(Duration::MAX), AMPLE), "keepalive_interval"),
        (dial(&tcp().keepalive_retries(0), AMPLE), "keepalive_retries"),
        (dial(&tcp().keepalive_retries(128), AMPLE), "keepalive_retries"),
        (dial(&tcp().user_timeout(zero), AMPLE), "user_timeout"),
        (dial(&tcp().user_timeout(Some(Duration::MAX)), AMPLE), "user_timeout"),
        (dial(&tcp().read_timeout(zero), AMPLE), "read_timeout"),
        (dial(&tcp().write_timeout(zero), AMPLE), "write_timeout"),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with(&format!("{name} cannot be ")), "{error}");
    }
}

#[test]
fn the_widest_settings_are_taken() {
    let (_listener, address) = listen();
    let manager = TcpManager::new(address.to_string())
        .keepalive(Some(Duration::from_secs(32767)))
        .keepalive_interval(Duration::from_secs(32767))
        .keepalive_retries(127)
        .user_timeout(Some(Duration::from_millis(i32::MAX as u64)))
        .read_timeout(Some(Duration::from_micros(1)))
        .write_timeout(Some(Duration::MAX));
    let conn = dial(&manager, AMPLE).unwrap();
    assert!(SockRef::from(&conn).read_timeout().unwrap().is_some());
}

#[test]
fn its_one_socket_is_watched_and_peeked_at_every_checkout() {
    let (_listener, address) = listen();
    let manager = TcpManager::new(address.to_string());
    let conn = dial(&manager, AMPLE).unwrap();
    let mut watched = Ok(Vec::new());
    manager.watch(&conn, &mut Watch::collect(&mut watched));
    let watched = watched.unwrap();
    assert_eq!(watched.len(), 1);
    let mut again = Watch::compare(&watched, Files::Compared);
    manager.watch(&conn, &mut again);
    assert_eq!(again.found(), Found::Same);
    assert_eq!(manager.probe_after(), Duration::ZERO);
}

#[test]
fn on_return_keeps_what_is_fit_after_a_use_that_ended_well() {
    let (_listener, address) = listen();
    let manager = TcpManager::new(address.to_string());
    let mut conn = dial(&manager, AMPLE).unwrap();
    assert_eq!(manager.on_return(&mut conn, Outcome::Done), Verdict::Keep);
    assert_eq!(manager.on_return(&mut conn, Outcome::Failed), Verdict::Discard);
    conn.write_all(b"a question").unwrap();
    assert_eq!(manager.on_return(&mut conn, Outcome::Done), Verdict::Discard);
}
