//! Found beside others, among many, and not where it is not.
#![forbid(unsafe_code)]

use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

const OWN: Option<Duration> = Some(Duration::from_secs(7));

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

#[track_caller]
fn assert_is(found: Option<Found>, socket: impl AsFd) {
    assert_eq!(FileId::of(found.expect("found").as_fd()), FileId::of(socket.as_fd()));
}

/// Opens and closes sockets while `body` runs.
fn beside_a_busy_neighbour(body: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Relaxed, both: only to end.
            while !done.load(Ordering::Relaxed) {
                let pairs: Vec<_> = (0..8).map(|_| UnixStream::pair().unwrap()).collect();
                pairs[0].0.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
            }
        });
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        done.store(true, Ordering::Relaxed);
        unwound.unwrap();
    });
}

#[test]
fn a_socket_is_found_by_its_read_timeout_which_is_the_users_again() {
    let (tcp, _peer) = pair();
    let (unix, _peer) = UnixStream::pair().unwrap();
    assert_is(by_read_timeout(|timeout| tcp.set_read_timeout(timeout), OWN).unwrap(), &tcp);
    assert_is(by_read_timeout(|timeout| unix.set_read_timeout(timeout), None).unwrap(), &unix);
    assert_eq!((tcp.read_timeout().unwrap(), unix.read_timeout().unwrap()), (OWN, None));
}

#[test]
fn several_descriptors_of_one_socket_count_once() {
    let (tcp, _peer) = pair();
    let _others: Vec<_> = (0..3).map(|_| tcp.try_clone().unwrap()).collect();
    assert_is(by_read_timeout(|timeout| tcp.set_read_timeout(timeout), OWN).unwrap(), &tcp);
    let nonce = UserTimeout::new();
    SockRef::from(&tcp).set_tcp_user_timeout(Some(nonce.value())).unwrap();
    assert_is(nonce.find(OWN).unwrap(), &tcp);
    assert_eq!(SockRef::from(&tcp).tcp_user_timeout().unwrap(), OWN);
}

#[test]
fn a_search_takes_a_descriptor_for_each_that_is_there() {
    let (tcp, _peer) = pair();
    let nonce = UserTimeout::new();
    SockRef::from(&tcp).set_tcp_user_timeout(Some(nonce.value())).unwrap();
    // Without a free number below it, each duplicate has a greater one.
    let _below: Vec<_> = (0..64).map(|_| tcp.try_clone().unwrap()).collect();
    assert_eq!(nonce.search().len(), 65);
}

#[test]
fn of_two_sockets_with_one_value_none_is_taken() {
    let ((a, _b), nonce) = (pair(), UserTimeout::new());
    let (c, _d) = pair();
    for socket in [&a, &c] {
        SockRef::from(socket).set_tcp_user_timeout(Some(nonce.value())).unwrap();
    }
    assert!(nonce.find(OWN).unwrap().is_none());
    assert_eq!(SockRef::from(&a).tcp_user_timeout().unwrap(), Some(nonce.value()), "and none is changed");
    let both = by_read_timeout(|timeout| a.set_read_timeout(timeout).and_then(|()| c.set_read_timeout(timeout)), OWN);
    assert!(both.unwrap().is_none());
}

#[test]
fn a_client_that_sets_nothing_is_not_found_and_its_error_is_told() {
    assert!(by_read_timeout(|_| Ok::<_, ()>(()), OWN).unwrap().is_none());
    assert!(UserTimeout::new().find(OWN).unwrap().is_none());
    assert_eq!(by_read_timeout(|_| Err("no such setter"), OWN).unwrap_err(), "no such setter");
}

#[test]
fn the_right_socket_is_found_beside_a_busy_neighbour() {
    beside_a_busy_neighbour(|| {
        for _ in 0..100 {
            let (client, _peer) = pair();
            assert_is(by_read_timeout(|timeout| client.set_read_timeout(timeout), OWN).unwrap(), &client);
        }
    });
}

#[test]
fn a_socket_is_found_by_what_waits_on_it_which_stays_there() {
    let (mut client, mut peer) = UnixStream::pair().unwrap();
    let _others: Vec<_> = (0..20).map(|_| UnixStream::pair().unwrap()).collect();
    assert!(by_waiting_bytes(b"token", Duration::ZERO).is_none());
    peer.write_all(b"some and the token-1 then").unwrap();
    assert_is(by_waiting_bytes(b"token-1", Duration::from_secs(10)), &client);
    let mut all = [0; 25];
    client.read_exact(&mut all).unwrap();
    assert_eq!(&all, b"some and the token-1 then");
}

#[test]
fn what_is_found_outlives_the_clients_own_and_ends_it() {
    let (mut client, mut peer) = pair();
    let found = by_read_timeout(|timeout| client.set_read_timeout(timeout), None).unwrap().unwrap();
    let reader = thread::spawn(move || client.read(&mut [0; 1]));
    found.shut_down();
    assert_eq!(reader.join().unwrap().unwrap(), 0);
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    found.shut_down();
}

#[test]
fn a_dial_that_was_overdue_before_it_began_is_ended_and_not_held_up() {
    use crate::watch::duplicate::Cut;
    use socket2::SockRef;
    let cut = Cut::default();
    cut.cut();
    let dial = Dial::new(Instant::now(), 1, &cut);
    let nonce = UserTimeout::new();
    let guard = nonce.cut_at_deadline(&dial);
    // Only now does the client connect, and wait for a peer that says nothing.
    let (mut client, _peer) = pair();
    SockRef::from(&client).set_tcp_user_timeout(Some(nonce.value())).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "it was shut down");
    drop(guard);
}
