//! Recipes. Each is a program that the tests compile and run; what is hidden there is the peer that it talks to.
//!
//! - [A line protocol with a login](#a-line-protocol-with-a-login)
//! - [A server that ends in good order](#a-server-that-ends-in-good-order)
//! - [A retry that is safe](#a-retry-that-is-safe)
//! - [TLS](#tls)
//! - [A line for Prometheus](#a-line-for-prometheus)
//! - [New credentials while the pool runs](#new-credentials-while-the-pool-runs)
//! - [Failover: only the primary will do](#failover-only-the-primary-will-do)
//! - [Bulkheads: two pools for two kinds of work](#bulkheads-two-pools-for-two-kinds-of-work)
//! - [Testing a manager of your own](#testing-a-manager-of-your-own)
//!
//! # A line protocol with a login
//!
//! Wrap [`Conn`] in a type that reads whole lines. Its buffer lives as long as the connection, so nothing that was read ahead is lost, and
//! `on_return` discards a connection whose buffer holds more than was asked for. The login is part of `connect`; the pool ends it when
//! its time is up, since `TcpManager` has named the socket to the dial.
//!
//! ```
//! use std::io::{self, BufRead, BufReader, Write};
//! use std::time::Duration;
//! use corepool::{Conn, ConnectError, Dial, Manager, Outcome, Pool, TcpManager, Verdict, Watch};
//!
//! struct Lines(BufReader<Conn>);
//!
//! impl Lines {
//!     fn ask(&mut self, request: &str) -> io::Result<String> {
//!         self.0.get_mut().write_all(format!("{request}\n").as_bytes())?;
//!         let mut reply = String::new();
//!         self.0.read_line(&mut reply)?;
//!         // The end of the stream in the middle of a reply is no reply.
//!         reply.strip_suffix('\n').map(str::to_owned).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
//!     }
//! }
//!
//! struct LineManager {
//!     tcp: TcpManager,
//!     password: String,
//! }
//!
//! impl Manager for LineManager {
//!     type Connection = Lines;
//!     type Error = io::Error;
//!
//!     fn connect(&self, dial: &Dial<'_>) -> io::Result<Lines> {
//!         let mut lines = Lines(BufReader::new(self.tcp.connect(dial)?));
//!         match lines.ask(&format!("AUTH {}", self.password))?.as_str() {
//!             "OK" => Ok(lines),
//!             refused => Err(io::Error::new(io::ErrorKind::PermissionDenied, refused)),
//!         }
//!     }
//!
//!     fn is_permanent(&self, error: &io::Error) -> bool {
//!         error.kind() == io::ErrorKind::PermissionDenied
//!     }
//!
//!     fn watch(&self, lines: &Lines, on: &mut Watch<'_>) {
//!         on.socket(lines.0.get_ref());
//!     }
//!
//!     fn on_return(&self, lines: &mut Lines, how: Outcome) -> Verdict {
//!         if how == Outcome::Done && lines.0.buffer().is_empty() { Verdict::Keep } else { Verdict::Discard }
//!     }
//! }
//!
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let address = listener.local_addr()?.to_string();
//! # std::thread::spawn(move || {
//! #     for peer in listener.incoming().flatten() {
//! #         std::thread::spawn(move || -> io::Result<()> {
//! #             let mut lines = BufReader::new(peer);
//! #             let mut line = String::new();
//! #             while lines.read_line(&mut line)? > 0 {
//! #                 let reply = match line.trim_end() { "AUTH sesame" => "OK\n".into(), auth if auth.starts_with("AUTH") => "wrong password\n".into(), other => format!("{other}\n") };
//! #                 lines.get_mut().write_all(reply.as_bytes())?;
//! #                 line.clear();
//! #             }
//! #             Ok(())
//! #         });
//! #     }
//! # });
//! let tcp = TcpManager::new(&address).read_timeout(Some(Duration::from_secs(2)));
//! let pool = Pool::builder(LineManager { tcp: tcp.clone(), password: "sesame".into() }).max_size(8).build()?;
//! let answer = pool.with(|lines| lines.ask("hello"))?;
//! assert_eq!(answer, "hello");
//!
//! // A wrong password fails the build at once, and says why.
//! let refused = Pool::builder(LineManager { tcp, password: "guess".into() }).build().unwrap_err();
//! let cause = std::error::Error::source(&refused).expect("a cause").to_string();
//! assert_eq!(cause, "wrong password");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # A server that ends in good order
//!
//! Stop what brings work in, let the workers finish, then drain the pool. The other way round, workers that still have requests are told
//! that the pool is closed.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::sync::mpsc;
//! use std::time::Duration;
//! use corepool::{Pool, TcpManager};
//!
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let address = listener.local_addr()?.to_string();
//! # std::thread::spawn(move || {
//! #     for mut peer in listener.incoming().flatten() {
//! #         std::thread::spawn(move || {
//! #             let mut byte = [0];
//! #             while peer.read_exact(&mut byte).is_ok() && peer.write_all(&byte).is_ok() {}
//! #         });
//! #     }
//! # });
//! let pool = Pool::builder(TcpManager::new(address)).max_size(4).build()?;
//! let (requests, work) = crossbeam::channel::bounded::<u8>(64);
//! let workers: Vec<_> = (0..8)
//!     .map(|_| {
//!         let (pool, work) = (pool.clone(), work.clone());
//!         std::thread::spawn(move || {
//!             // Ends when the channel is closed and empty.
//!             for request in work {
//!                 let answered = pool.with(|conn| -> std::io::Result<u8> {
//!                     let mut answer = [0];
//!                     conn.write_all(&[request])?;
//!                     conn.read_exact(&mut answer)?;
//!                     Ok(answer[0])
//!                 });
//!                 if let Err(error) = answered {
//!                     eprintln!("request {request}: {error}");
//!                 }
//!             }
//!         })
//!     })
//!     .collect();
//! for request in 0..100 {
//!     requests.send(request)?;
//! }
//!
//! // 1. No new work.
//! drop(requests);
//! // 2. What was accepted is finished.
//! workers.into_iter().for_each(|worker| worker.join().expect("a worker does not panic"));
//! // 3. Farewells; whatever is stuck after 2 s is cut, and 1 s later reported.
//! let report = pool.drain_then_cut(Duration::from_secs(2), Duration::from_secs(1));
//! assert!(report.is_complete(), "{report:?}");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # A retry that is safe
//!
//! The pool never repeats a use: it cannot know whether the first one was carried out. You may, in two cases. The request may be
//! carried out twice (a read, a write of a fixed value); or it was never sent. The first case needs a bound, and a new connection: the
//! failed one is closed already.
//!
//! ```
//! use std::io::{self, Read, Write};
//! use corepool::{Manager, Pool, UseError};
//! # use corepool::TcpManager;
//!
//! /// For requests that may run twice. One retry: more would double the load on an endpoint that is in trouble.
//! fn with_retry<M: Manager, T>(
//!     pool: &Pool<M>,
//!     mut request: impl FnMut(&mut M::Connection) -> io::Result<T>,
//! ) -> Result<T, UseError<io::Error>> {
//!     match pool.with(&mut request) {
//!         // The connection broke. An error of the pool itself (no connection, in time) is not retried: the wait was its retry.
//!         Err(UseError::Use(error)) if is_broken(&error) => pool.with(request),
//!         other => other,
//!     }
//! }
//!
//! fn is_broken(error: &io::Error) -> bool {
//!     use io::ErrorKind::*;
//!     matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
//! }
//!
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let address = listener.local_addr()?.to_string();
//! # std::thread::spawn(move || -> io::Result<()> {
//! #     for turn in 0.. {
//! #         let mut peer = listener.accept()?.0;
//! #         let mut byte = [0];
//! #         peer.read_exact(&mut byte)?;
//! #         if turn > 0 { peer.write_all(&byte)?; }
//! #     }
//! #     Ok(())
//! # });
//! // This peer hangs up on its first request.
//! let pool = Pool::builder(TcpManager::new(address)).max_size(2).build()?;
//! let answer = with_retry(&pool, |conn| {
//!     let mut answer = [0];
//!     conn.write_all(b"x")?;
//!     conn.read_exact(&mut answer)?;
//!     Ok(answer)
//! })?;
//! assert_eq!(&answer, b"x");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # TLS
//!
//! Feature `rustls`. The handshake is part of the dial, and has its deadline. Session tickets and new keys that a server sends to an idle
//! stream are taken; its `close_notify` ends the stream. The crypto provider comes with your own dependency on `rustls`: its feature
//! `ring`, say.
//!
#![doc = "```rust,ignore (run by the tests that have a provider)"]
#![doc = include_str!("tls.txt")]
#![doc = "```"]
//!
//! # A line for Prometheus
//!
//! [`Pool::stats`] is a snapshot; its counters only grow, so a scraper makes rates of them. All of it at once, for any exporter: feature
//! `metrics`, [`telemetry::install`](crate::telemetry::install).
//!
//! ```
//! use std::fmt::Write;
//! use corepool::{CloseReason, Stats};
//!
//! fn prometheus(pool: &str, stats: &Stats) -> String {
//!     let mut page = String::new();
//!     let gauges = [("idle", stats.idle), ("used", stats.leased), ("opening", stats.opening), ("closing", stats.closing)];
//!     page.push_str("# TYPE db_client_connection_count gauge\n");
//!     for (state, count) in gauges {
//!         let _ = writeln!(page, "db_client_connection_count{{pool=\"{pool}\",state=\"{state}\"}} {count}");
//!     }
//!     page.push_str("# TYPE db_client_connection_timeouts_total counter\n");
//!     let _ = writeln!(page, "db_client_connection_timeouts_total{{pool=\"{pool}\"}} {}", stats.timed_out);
//!     page.push_str("# TYPE db_client_connection_closed_total counter\n");
//!     for why in CloseReason::ALL {
//!         let (name, count) = (why.name(), stats.closed(why));
//!         let _ = writeln!(page, "db_client_connection_closed_total{{pool=\"{pool}\",reason=\"{name}\"}} {count}");
//!     }
//!     page
//! }
//!
//! # use corepool::*;
//! # struct Numbers;
//! # impl Manager for Numbers {
//! #     type Connection = u32;
//! #     type Error = std::io::Error;
//! #     fn connect(&self, _: &Dial<'_>) -> std::io::Result<u32> { Ok(7) }
//! # }
//! let pool = Pool::builder(Numbers).max_size(4).build()?;
//! let page = prometheus("orders", &pool.stats());
//! assert!(page.contains("db_client_connection_count{pool=\"orders\",state=\"idle\"} 1"));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # New credentials while the pool runs
//!
//! [`Pool::replace_manager`] opens everything from now on with the new manager, and retires what the old one has opened: leased connections
//! when they come back, idle ones spread over the time that you give, so that the endpoint is not dialed all at once.
//!
//! ```
//! use std::time::Duration;
//! # use corepool::*;
//! # struct Login { password: &'static str }
//! # impl Manager for Login {
//! #     type Connection = &'static str;
//! #     type Error = std::io::Error;
//! #     fn connect(&self, _: &Dial<'_>) -> std::io::Result<&'static str> { Ok(self.password) }
//! # }
//!
//! let pool = Pool::builder(Login { password: "spring" }).max_size(4).build()?;
//! assert_eq!(pool.with(|opened_with| Ok::<_, GetError>(*opened_with))?, "spring");
//!
//! pool.replace_manager(Login { password: "summer" }, Duration::ZERO);
//! assert_eq!(pool.with(|opened_with| Ok::<_, GetError>(*opened_with))?, "summer");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! A manager that asks for a short-lived token in `connect` needs none of this: `connect` runs anew for each connection. Let
//! [`max_lifetime`](Builder::max_lifetime) be shorter than the token's life.
//!
//! # Failover: only the primary will do
//!
//! A name that moves to another server leaves old connections where they were. Ask for the role in `connect`, and the pool goes on
//! dialing until a primary answers; ask again in `on_checkout` where a server may be demoted without closing its connections.
//!
//! ```
//! use std::io;
//! use std::sync::atomic::{AtomicUsize, Ordering};
//! use corepool::{Dial, Manager, Pool, Verdict};
//!
//! # static PRIMARY: AtomicUsize = AtomicUsize::new(1);
//! # static TURN: AtomicUsize = AtomicUsize::new(0);
//! # struct Session { server: usize }
//! # impl Session {
//! #     fn open() -> io::Result<Session> { Ok(Session { server: TURN.fetch_add(1, Ordering::Relaxed) % 2 }) }
//! #     fn is_primary(&self) -> io::Result<bool> { Ok(self.server == PRIMARY.load(Ordering::Relaxed)) }
//! # }
//! struct Primary;
//!
//! impl Manager for Primary {
//!     type Connection = Session;
//!     type Error = io::Error;
//!
//!     fn connect(&self, _dial: &Dial<'_>) -> io::Result<Session> {
//!         let session = Session::open()?;
//!         if session.is_primary()? { Ok(session) } else { Err(io::Error::other("a read-only replica")) }
//!     }
//!
//!     // A round trip before each use: the price of never writing to a replica.
//!     fn on_checkout(&self, session: &mut Session) -> io::Result<Verdict> {
//!         Ok(match session.is_primary() {
//!             Ok(true) => Verdict::Keep,
//!             Ok(false) => Verdict::discard("demoted to a replica"),
//!             Err(error) => Verdict::discard(error),
//!         })
//!     }
//! }
//!
//! let pool = Pool::builder(Primary).max_size(2).build()?;
//! assert_eq!(pool.with(|session| Ok::<_, io::Error>(session.server))?, 1);
//! # PRIMARY.store(0, Ordering::Relaxed);
//! // The roles have been exchanged: what is idle is discarded, and the caller gets a connection to the new primary.
//! assert_eq!(pool.with(|session| Ok::<_, io::Error>(session.server))?, 0);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Bulkheads: two pools for two kinds of work
//!
//! Reports that hold a connection for seconds must not keep logins waiting. Give each kind of work a pool of its own to the same endpoint;
//! pools share their threads, so a second one costs little. Let the slow kind refuse early: its callers can wait outside.
//!
//! ```
//! use std::time::Duration;
//! use corepool::{GetErrorKind, Pool};
//! # use corepool::{Dial, Manager};
//! # #[derive(Clone)]
//! # struct Database;
//! # impl Manager for Database {
//! #     type Connection = u32;
//! #     type Error = std::io::Error;
//! #     fn connect(&self, _: &Dial<'_>) -> std::io::Result<u32> { Ok(7) }
//! # }
//!
//! let logins = Pool::builder(Database).max_size(12).wait_timeout(Duration::from_millis(200)).build()?;
//! let reports = Pool::builder(Database).max_size(2).min_open(2).max_waiters(0).build()?;
//!
//! let (first, second) = (reports.get()?, reports.get()?);
//! // Two reports run, a third is refused at once, and logins notice nothing.
//! assert_eq!(reports.get().unwrap_err().kind(), GetErrorKind::Refused);
//! assert!(logins.get().is_ok());
//! # drop((first, second));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Testing a manager of your own
//!
//! The manager is a trait: in tests of the code above the pool put a scripted one in its place, whose connections are plain values. To
//! test the manager itself, give it a peer on a free loopback port, let the peer do what you fear, and look at [`Pool::stats`].
//!
//! ```
//! use std::io::{self, Read, Write};
//! use std::net::TcpListener;
//! use std::time::{Duration, Instant};
//! use corepool::{CloseReason, Pool, TcpManager};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let manager = TcpManager::new(listener.local_addr()?.to_string()).read_timeout(Some(Duration::from_secs(10)));
//! let pool = Pool::builder(manager).max_size(1).build()?;
//! let (first, _) = listener.accept()?;
//!
//! // The peer hangs up on an idle connection: the watch takes it out of the pool, without any use failing.
//! drop(first);
//! let deadline = Instant::now() + Duration::from_secs(10);
//! while pool.stats().closed(CloseReason::PeerClosed) == 0 {
//!     assert!(Instant::now() < deadline, "still there");
//!     std::thread::sleep(Duration::from_millis(1));
//! }
//!
//! // The next one is opened by itself, being one of `min_open`. Its peer answers with half a reply and hangs up: the use fails,
//! // and the connection does not come back.
//! let (mut second, _) = listener.accept()?;
//! let peer = std::thread::spawn(move || -> io::Result<()> {
//!     second.read_exact(&mut [0; 4])?;
//!     second.write_all(b"ha")
//! });
//! let read = pool.with(|conn| -> io::Result<[u8; 4]> {
//!     let mut reply = [0; 4];
//!     conn.write_all(b"say?")?;
//!     conn.read_exact(&mut reply)?;
//!     Ok(reply)
//! });
//! assert!(read.is_err());
//! peer.join().expect("the peer does not panic")?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(doc)]
use crate::{Builder, Conn, Pool};
