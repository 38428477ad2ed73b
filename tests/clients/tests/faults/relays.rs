//! nginx, HAProxy, pgbouncer, memcached, and TLS.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use client_tests::identity::Identity;
use client_tests::matrix::run::{Fault, Meets};
use client_tests::matrix::subject::{Ask, Ours, SIZE, Subject, TIMEOUT, theirs};
use client_tests::relays::{Haproxy, Memcached, Nginx, Pgbouncer};
use client_tests::scenario::Peer;
use client_tests::server::eventually;
use client_tests::servers::{Postgres, Redis};
use corepool::clients::{PostgresConnection, PostgresManager, TlsConn};
use corepool::{CloseReason, Conn, Dial, Manager, Outcome, TcpManager, Verdict, Watch};
use postgres::{Client, Config, NoTls, SimpleQueryMessage};
use rustix::process::Signal;
use rustls::{ClientConnection, StreamOwned, version};

use crate::redis_server::{ours, r2d2, stock};
use crate::{Make, alone, away, killing, matrix};

/// HTTP/1.1 over a stream: knows whether the server has said that an answer is its last one.
struct Http<S> {
    stream: S,
    last: bool,
}

fn get<S: Read + Write>(http: &mut Http<S>, token: &str) -> io::Result<String> {
    write!(http.stream, "GET /{token} HTTP/1.1\r\nHost: test\r\n\r\n")?;
    let mut answer = BufReader::new(&mut http.stream);
    let (mut length, mut line) = (0, String::new());
    while line != "\r\n" {
        line.clear();
        if answer.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", number)) => length = number.parse().map_err(io::Error::other)?,
            Some(("connection", "close")) => http.last = true,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok(String::from_utf8_lossy(&body).trim_start_matches('/').to_owned())
}

struct HttpManager(TcpManager);

impl Manager for HttpManager {
    type Connection = Http<Conn>;
    type Error = <TcpManager as Manager>::Error;

    fn connect(&self, dial: &Dial<'_>) -> Result<Http<Conn>, Self::Error> {
        Ok(Http { stream: self.0.connect(dial)?, last: false })
    }

    fn watch(&self, http: &Http<Conn>, on: &mut Watch<'_>) {
        self.0.watch(&http.stream, on);
    }

    fn on_return(&self, http: &mut Http<Conn>, how: Outcome) -> Verdict {
        if http.last { Verdict::Discard } else { self.0.on_return(&mut http.stream, how) }
    }

    fn close(&self, http: Http<Conn>, why: CloseReason) {
        self.0.close(http.stream, why);
    }
}

fn tcp(port: u16) -> TcpManager {
    TcpManager::new(format!("127.0.0.1:{port}")).read_timeout(Some(TIMEOUT)).write_timeout(Some(TIMEOUT))
}

fn plain(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[test]
fn nginx() {
    let _alone = alone();
    let Some(server) = Nginx::start("keepalive_timeout 1s; keepalive_requests 50;") else { return };
    let port = server.server.port();
    let server = std::cell::RefCell::new(server);
    let connect = move || plain(port).map(|stream| Http { stream, last: false });
    // What a manager can ask of HTTP is a request.
    let is_valid = |http: &mut Http<TcpStream>| get(http, "alive").map(drop);
    let pools: [Make<'_>; 2] = [&|| Ours::boxed(HttpManager(tcp(port)), get::<Conn>), &|| {
        theirs(connect, is_valid, |http| http.last, get::<TcpStream>, SIZE)
    }];
    let wait = || thread::sleep(Duration::from_millis(500));
    let reload = || {
        let (peer, before) = (Peer::Tcp(port), Peer::Tcp(port).connected());
        server.borrow().server.tell(Signal::HUP);
        // Each connection of the old worker is told at its next answer.
        eventually("the old worker's connections to end", || before.is_disjoint(&peer.connected()));
    };
    let stop = || server.borrow_mut().server.stop(Signal::TERM);
    let start = || server.borrow_mut().server.again();
    let faults = [
        killing("the server's idle timeout", "nginx", port, &|| {}),
        Fault { meets: Meets::Callers, ..killing("50 requests a connection", "nginx", port, &wait) },
        Fault { meets: Meets::Callers, ..killing("reload", "nginx", port, &reload) },
        away("restart", "nginx", port, &stop, &start),
    ];
    matrix(&pools, &faults);
}

#[test]
fn haproxy() {
    let _alone = alone();
    let Some(server) = Redis::start(&[]) else { return };
    let Some(haproxy) = Haproxy::start(&[server.server.port()]) else { return };
    let (url, port) = (format!("redis://{}", haproxy.server.address()), haproxy.server.port());
    eventually("the server to be seen up", || haproxy.say("show servers state b").contains(" 2 0 1 "));
    let pools: [Make<'_>; 3] = [&|| ours(&url), &|| stock(&url), &|| {
        let url = url.clone();
        r2d2(move || url.clone(), SIZE)
    }];
    let down = || {
        haproxy.say("disable server b/s1");
        haproxy.say("shutdown sessions server b/s1");
    };
    let up = || drop(haproxy.say("enable server b/s1"));
    // It goes on accepting, and closes what it has accepted: each connection looks well for a moment.
    matrix(&pools, &[Fault { dead_are_known: false, ..away("its server is down", "HAProxy", port, &down, &up) }]);
}

/// Without a prepared statement, of which a pooler in transaction mode knows nothing.
fn ask_simply(client: &mut Client, token: &str) -> Result<String, postgres::Error> {
    let messages = client.simple_query(&format!("select '{token}'"))?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(rows.map(str::to_owned).collect())
}

fn ask_simply_ours(client: &mut PostgresConnection, token: &str) -> Result<String, postgres::Error> {
    ask_simply(client, token)
}

#[test]
fn pgbouncer() {
    let _alone = alone();
    let Some(server) = Postgres::start(&[]) else { return };
    let Some(pgbouncer) = Pgbouncer::start(server.server.port(), 1) else { return };
    let (config, port) = (server.config_at("127.0.0.1", pgbouncer.server.port()), pgbouncer.server.port());
    let pgbouncer = std::cell::RefCell::new(pgbouncer);
    let r2d2 = |config: &Config| {
        let config = config.clone();
        let is_valid = |client: &mut Client| client.simple_query("").map(drop);
        theirs(move || config.connect(NoTls), is_valid, |client| client.is_closed(), ask_simply, SIZE)
    };
    let pools: [Make<'_>; 2] =
        [&|| Ours::boxed(PostgresManager::new(config.clone()), ask_simply_ours), &|| r2d2(&config)];
    let stop = || pgbouncer.borrow_mut().server.stop(Signal::TERM);
    let start = || pgbouncer.borrow_mut().server.again();
    let faults = [
        killing("the server's idle timeout", "pgbouncer", port, &|| {}),
        away("restart", "pgbouncer", port, &stop, &start),
    ];
    matrix(&pools, &faults);
}

/// Stores a token under its own name, and asks for it.
fn store<S: Read + Write>(stream: &mut S, token: &str) -> io::Result<String> {
    write!(stream, "set {token} 0 9 {}\r\n{token}\r\nget {token}\r\n", token.len())?;
    let mut answer = BufReader::new(stream);
    let mut lines = [const { String::new() }; 4];
    for line in &mut lines {
        if answer.read_line(line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    match [0, 3].map(|line| lines[line].trim_end()) {
        ["STORED", "END"] => Ok(lines[2].trim_end().to_owned()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[test]
fn memcached() {
    let _alone = alone();
    let Some(server) = Memcached::start(&["-o", "idle_timeout=1"]) else { return };
    let port = server.server.port();
    let server = std::cell::RefCell::new(server);
    let is_valid = |stream: &mut TcpStream| store(stream, "alive").map(drop);
    let pools: [Make<'_>; 2] = [&|| Ours::boxed(tcp(port), store::<Conn>), &|| {
        theirs(move || plain(port), is_valid, |_| false, store::<TcpStream>, SIZE)
    }];
    let stop = || server.borrow_mut().server.stop(Signal::TERM);
    let start = || server.borrow_mut().server.again();
    let faults = [
        killing("the server's idle timeout", "memcached", port, &|| {}),
        away("restart", "memcached", port, &stop, &start),
    ];
    matrix(&pools, &faults);
}

/// Redis's `ECHO`, by hand.
fn echo<S: Read + Write>(stream: &mut S, token: &str) -> io::Result<String> {
    write!(stream, "*2\r\n$4\r\nECHO\r\n${}\r\n{token}\r\n", token.len())?;
    let mut answer = BufReader::with_capacity(64, stream);
    let mut lines = [const { String::new() }; 2];
    for line in &mut lines {
        if answer.read_line(line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(lines[1].trim_end().to_owned())
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

#[test]
fn tls() {
    let _alone = alone();
    let identity = Identity::new();
    for (version, protocol, name) in
        [(&version::TLS12, "TLSv1.2", "Redis, TLS 1.2"), (&version::TLS13, "TLSv1.3", "Redis, TLS 1.3")]
    {
        let started = Redis::start_tls(&identity.certificate_pem, &identity.key_pem, &["--tls-protocols", protocol]);
        let Some(server) = started else { return };
        let port = server.server.port();
        let server = std::cell::RefCell::new(server);
        let config = identity.client(version);
        let r2d2 = || {
            let config = config.clone();
            let connect = move || -> io::Result<Stream> {
                let name = "localhost".try_into().map_err(io::Error::other)?;
                let session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                Ok(StreamOwned::new(session, plain(port)?))
            };
            let is_valid = |stream: &mut Stream| echo(stream, "alive").map(drop);
            let ask: Ask<Stream, io::Error> = echo;
            theirs(connect, is_valid, |_| false, ask, SIZE)
        };
        let ours = || -> Box<dyn Subject> {
            let manager = identity.manager_over(tcp(port), version);
            Ours::boxed(manager, echo::<TlsConn>)
        };
        let kill = || server.borrow().kill_all();
        let stop = || server.borrow_mut().server.stop(Signal::TERM);
        let start = || server.borrow_mut().server.again();
        let faults = [killing("killed while idle", name, port, &kill), away("restart", name, port, &stop, &start)];
        matrix(&[&ours, &r2d2], &faults);
    }
}
