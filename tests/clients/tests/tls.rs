//! `TlsManager` in front of a real Redis that speaks TLS by OpenSSL, and of a rustls server that does as it is told.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use client_tests::identity::Identity;
use client_tests::proxy::{Fault, Proxy};
use client_tests::scenario::{Peer, assert_no_foreign, foreign_answers, killed_while_idle, patient};
use client_tests::server::{AMPLE, eventually};
use client_tests::servers::Redis;
use corepool::clients::{TlsConn, TlsManager};
use corepool::{CloseReason, Event, Manager, Opening, Pool, TcpManager};
use rustix::net::{RecvFlags, recv};
use rustix::process::Signal;
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion, version};

const VERSIONS: [(&SupportedProtocolVersion, &str); 2] = [(&version::TLS12, "TLSv1.2"), (&version::TLS13, "TLSv1.3")];

/// Redis's `ECHO`, by hand.
fn ask(conn: &mut TlsConn, token: &str) -> io::Result<String> {
    write!(conn, "*2\r\n$4\r\nECHO\r\n${}\r\n{token}\r\n", token.len())?;
    let mut answer = BufReader::with_capacity(64, conn);
    let mut lines = [String::new(), String::new()];
    for line in &mut lines {
        if answer.read_line(line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(lines[1].trim_end().to_owned())
}

#[test]
fn idle_streams_that_the_server_killed_are_not_lent() {
    let identity = Identity::new();
    for (version, name) in VERSIONS {
        let started = Redis::start_tls(&identity.certificate_pem, &identity.key_pem, &["--tls-protocols", name]);
        let Some(server) = started else { return };
        let pool = patient(identity.manager(server.server.port(), version), 10);
        let peer = Peer::Tcp(server.server.port());
        let (failed, uses) = killed_while_idle(&pool, 50, 10, &peer, || server.kill_all(), ask);
        assert_eq!((failed, uses), (0, 500));
    }
}

#[test]
fn no_answer_reaches_another_user() {
    let identity = Identity::new();
    let Some(server) = Redis::start_tls(&identity.certificate_pem, &identity.key_pem, &[]) else { return };
    for (version, _) in VERSIONS {
        let proxy = Proxy::new(server.server.port());
        let tcp = TcpManager::new(proxy.address()).read_timeout(Some(Duration::from_millis(15)));
        let pool = patient(identity.manager_over(tcp, version), 4);
        let tally = foreign_answers(&pool, &proxy, 5_000, Duration::from_millis(40), ask, |conn, token| {
            let _ = write!(conn, "*2\r\n$4\r\nECHO\r\n${}\r\n{token}\r\n", token.len());
        });
        assert_no_foreign(&tally, 5_000);
    }
}

#[test]
fn a_restart_of_the_server_is_got_over() {
    let identity = Identity::new();
    let Some(mut server) = Redis::start_tls(&identity.certificate_pem, &identity.key_pem, &[]) else { return };
    let manager = identity.manager(server.server.port(), &version::TLS13);
    let pool = Pool::builder(manager).max_size(4).min_idle(2).build().unwrap();
    pool.with(|conn| ask(conn, "a")).unwrap();
    server.server.stop(Signal::TERM);
    eventually("the pool to notice", || pool.stats().open == 0);
    server.server.again();
    eventually("a use to succeed", || pool.with(|conn| ask(conn, "b")).is_ok());
    eventually("it to be whole", || pool.stats().idle >= 2);
}

/// A server of lines: it answers each with itself, and does something beside if the line says so.
struct Told {
    port: u16,
}

impl Told {
    fn start(identity: &Identity) -> Told {
        Told::with(identity.server())
    }

    fn with(config: Arc<ServerConfig>) -> Told {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                thread::spawn(move || Told::serve(stream, config));
            }
        });
        Told { port }
    }

    fn serve(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
        let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        loop {
            let mut line = String::new();
            if BufReader::with_capacity(64, &mut tls).read_line(&mut line)? == 0 {
                return Ok(());
            }
            tls.write_all(line.as_bytes())?;
            // After the answer, so that it waits on an idle stream.
            thread::sleep(Duration::from_millis(20));
            match line.trim_end() {
                "keys" => tls.conn.refresh_traffic_keys().unwrap(),
                "bye" => tls.conn.send_close_notify(),
                "more" => tls.write_all(b"unasked\n")?,
                _ => {}
            }
            tls.conn.complete_io(&mut tls.sock)?;
        }
    }
}

fn line(conn: &mut TlsConn, line: &str) -> io::Result<String> {
    writeln!(conn, "{line}")?;
    let mut answer = String::new();
    BufReader::with_capacity(64, conn).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}

/// Says a line after whose answer something comes, and gives the stream back when that waits.
fn with_more(pool: &Pool<TlsManager>, said: &str) {
    let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    pool.with(|conn| {
        assert_eq!(line(conn, said)?, said);
        eventually("more to come", || recv(&*conn, &mut [0; 1], look).is_ok());
        io::Result::Ok(())
    })
    .unwrap();
}

#[test]
fn tickets_and_keys_are_taken_and_a_close_notify_or_plain_text_discards() {
    let identity = Identity::new();
    let server = Told::start(&identity);
    for (version, _) in VERSIONS {
        let proxy = Proxy::new(server.port);
        let closings = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&closings);
        let builder = Pool::builder(identity.manager(proxy.port(), version)).max_size(1);
        let pool = builder.observer(move |event: &Event| {
            if let Event::Closed { why, .. } = event {
                told.lock().unwrap().push(*why);
            }
        });
        let pool = pool.build().unwrap();
        // The first finds the tickets of the handshake, if not the dial.
        for said in ["a", "keys", "b", "keys", "c"] {
            match said {
                "keys" if *version == version::TLS13 => with_more(&pool, said),
                "keys" => {}
                _ => assert_eq!(pool.with(|conn| line(conn, said)).unwrap(), said),
            }
        }
        assert_eq!(proxy.accepted(), 1);
        for (dials, said) in [(2, "bye"), (3, "more")] {
            with_more(&pool, said);
            assert_eq!(pool.with(|conn| line(conn, "d")).unwrap(), "d");
            assert_eq!(proxy.accepted(), dials);
        }
        eventually("their ends to be told", || *closings.lock().unwrap() == [CloseReason::IdleData; 2]);
    }
}

#[test]
fn what_was_received_and_not_read_costs_the_stream() {
    let identity = Identity::new();
    let server = Told::start(&identity);
    let pool = Pool::builder(identity.manager(server.port, &version::TLS13)).max_size(1).build().unwrap();
    // Half of an answer, which came in one record; no answer at all.
    for (dials, read) in [(1, 2), (2, 0)] {
        assert_eq!(pool.stats().dials, dials);
        let used = pool.with(|conn| {
            writeln!(conn, "answer")?;
            let mut answer = vec![0; read];
            conn.read_exact(&mut answer)
        });
        used.unwrap();
        assert_eq!(pool.with(|conn| line(conn, "b")).unwrap(), "b");
    }
}

#[test]
fn a_login_is_spoken_under_tls_and_may_end_with_a_write() {
    let identity = Identity::new();
    let server = Told::start(&identity);
    let manager = identity.manager(server.port, &version::TLS13);
    let manager = manager.with_login(|conn, _| {
        assert_eq!(line(conn, "login")?, "login");
        io::Result::Ok(())
    });
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    assert_eq!(pool.with(|conn| line(conn, "a")).unwrap(), "a");
    let refusing = identity.manager(server.port, &version::TLS13).with_login(|_, _| Err("no"));
    let refused = Pool::builder(refusing).opening(Opening::Wait(Duration::from_millis(100))).build().unwrap_err();
    let error = refused.source().unwrap();
    assert_eq!(error.to_string(), format!("could not log in to 127.0.0.1:{}", server.port));
    assert_eq!(error.source().unwrap().to_string(), "no");
}

#[test]
fn a_certificate_that_is_refused_is_permanent() {
    let (identity, other) = (Identity::new(), Identity::new());
    let server = Told::start(&identity);
    let begun = Instant::now();
    let manager = other.manager(server.port, &version::TLS13);
    let refused = Pool::builder(manager).opening(Opening::Wait(AMPLE)).build().unwrap_err();
    assert!(refused.source().unwrap().to_string().contains("certificate"), "{refused:?}");
    assert!(begun.elapsed() < AMPLE / 2, "the build did not wait in vain");
}

#[test]
fn a_client_that_is_refused_is_refused_for_good() {
    let identity = Identity::new();
    let server = Told::with(identity.strict_server());
    for (version, _) in VERSIONS {
        // In TLS 1.3 the client has shaken hands before it hears of it.
        let manager = identity.manager(server.port, version).with_login(|conn, _| line(conn, "a").map(drop));
        let pool = Pool::builder(manager.clone()).opening(Opening::Wait(AMPLE));
        let refused = pool.build().unwrap_err();
        let error: &io::Error = refused.source().unwrap().downcast_ref().unwrap();
        assert!(manager.is_permanent(error), "{error:?}");
    }
}

#[test]
fn a_frozen_handshake_ends_with_its_dial() {
    let identity = Identity::new();
    let proxy = Proxy::new(Told::start(&identity).port);
    proxy.set(Fault::BlackHole);
    let builder = Pool::builder(identity.manager(proxy.port(), &version::TLS13)).max_size(1);
    let builder = builder.dial_timeout(Duration::from_millis(100)).opening(Opening::Background);
    let pool = builder.build().unwrap();
    let may_hang = 4 * pool.settings().dials_at_once as u64;
    eventually("dials to fail", || pool.stats().dials_failed > may_hang + 2);
    proxy.set(Fault::None);
    eventually("a use to succeed", || pool.with(|conn| line(conn, "a")).is_ok());
}
