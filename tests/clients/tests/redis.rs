//! `RedisManager` and `RedisClientManager` in front of a real Redis.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use client_tests::identity::Identity;
use client_tests::proxy::{Fault, Proxy};
use client_tests::scenario::{Peer, assert_no_foreign, foreign_answers, killed_while_idle, patient};
use client_tests::server::{AMPLE, Scratch, eventually};
use client_tests::servers::Redis;
use corepool::clients::{RedisClientManager, RedisConnection, RedisManager, Watched};
use corepool::{CloseReason, Event, GetErrorKind, Manager, Opening, Pool};
use redis::{Client, Commands, ConnectionLike, RedisError, RedisResult, Value, cmd, pipe};
use rustix::net::{RecvFlags, recv};
use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConnection, StreamOwned};

fn ask(redis: &mut impl ConnectionLike, token: &str) -> RedisResult<String> {
    cmd("ECHO").arg(token).query(redis)
}

fn ask_stock(redis: &mut Watched<redis::Connection>, token: &str) -> RedisResult<String> {
    ask(&mut **redis, token)
}

/// Counts closings for each reason.
#[derive(Debug, Default, Clone)]
struct Closings(Arc<Mutex<Vec<CloseReason>>>);

impl Closings {
    fn observer(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let all = Arc::clone(&self.0);
        move |event| {
            if let Event::Closed { why, .. } = event {
                all.lock().unwrap().push(*why);
            }
        }
    }
}

#[test]
fn all_commands_of_the_crate_work_over_tcp_and_unix_sockets_and_both_protocols() {
    let Some(server) = Redis::start(&["--requirepass", "secret"]) else { return };
    let port = server.server.port();
    for url in [
        format!("redis://:secret@127.0.0.1:{port}/3"),
        format!("redis://default:secret@127.0.0.1:{port}/3?protocol=resp3"),
        format!("redis+unix://{}?db=3&pass=secret", server.unix_path()),
        format!("redis+unix://{}?db=3&pass=secret&protocol=resp3", server.unix_path()),
    ] {
        let pool = Pool::builder(RedisManager::new(url.as_str()).unwrap()).max_size(1).build().unwrap();
        pool.with(|redis| {
            assert_eq!(redis.get_db(), 3);
            let info: String = cmd("CLIENT").arg("INFO").query(redis)?;
            assert!(info.contains(" db=3 "), "{info}");
            let _: () = redis.set("k", "v")?;
            let _: () = redis.set("big", "x".repeat(1_000_000))?;
            assert_eq!(redis.get::<_, String>("big")?.len(), 1_000_000);
            let (k, n): (String, i64) = pipe().atomic().get("k").incr("n", 1).query(redis)?;
            assert_eq!((k.as_str(), n > 0), ("v", true));
            let many: Vec<String> = (0..2000).fold(&mut pipe(), |pipe, _| pipe.get("k")).query(redis)?;
            assert_eq!(many.len(), 2000);
            let script: i64 = redis::Script::new("return ARGV[1] + 1").arg(41).invoke(redis)?;
            assert_eq!(script, 42);
            let mut quiet = cmd("SET");
            quiet.arg("q").arg(1).set_no_response(true).exec(redis)?;
            assert_eq!(redis.get::<_, i64>("q")?, 1, "the reply that nobody waited for is skipped");
            assert!(redis.check_connection());
            RedisResult::Ok(())
        })
        .unwrap();
        pool.with(|redis| redis.get::<_, String>("k")).unwrap();
        assert_eq!(pool.stats().dials, 1, "{url}");
    }
}

#[test]
fn over_tls_all_is_as_without() {
    let identity = Identity::new();
    let Some(server) = Redis::start_tls(&identity.certificate_pem, &identity.key_pem, &["--requirepass", "secret"])
    else {
        return;
    };
    let port = server.server.port();
    let peer = Peer::Tcp(port);
    let kill = || {
        let _: i64 = cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query(&mut server.admin_as("secret")).unwrap();
    };
    for (version, protocol) in [(&TLS12, ""), (&TLS13, ""), (&TLS13, "?protocol=resp3")] {
        let url = format!("rediss://:secret@localhost:{port}/3{protocol}");
        let manager = || RedisManager::with_tls(&url, identity.client(version)).unwrap();
        let pool = Pool::builder(manager()).max_size(1).build().unwrap();
        pool.with(|redis| {
            redis.set::<_, _, ()>("big", "x".repeat(1_000_000))?;
            assert_eq!(redis.get::<_, String>("big")?.len(), 1_000_000);
            let many: Vec<String> = (0..2000).fold(&mut pipe(), |pipe, at| pipe.cmd("ECHO").arg(at)).query(redis)?;
            assert_eq!(many.last().map(String::as_str), Some("1999"));
            RedisResult::Ok(())
        })
        .unwrap();
        (0..100).for_each(|at| assert_eq!(pool.with(|redis| ask(redis, &at.to_string())).unwrap(), at.to_string()));
        assert_eq!((pool.stats().dials, pool.stats().closed_in_all()), (1, 0), "{url}");
        drop(pool);

        let pool = patient(manager(), 10);
        let (failed, uses) = killed_while_idle(&pool, 20, 10, &peer, kill, ask);
        assert_eq!((failed, uses), (0, 200), "{url}");
        let text = format!("{:?}", manager());
        assert!(!text.contains("secret"), "{text}");
    }
}

/// A server by TLS that answers `ECHO`, and says what it was given besides when it is told that the answer was heard.
fn echoes_and_says(identity: &Identity, besides: &'static [u8], was_heard: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (port, config, was_heard) = (listener.local_addr().unwrap().port(), identity.server(), Arc::clone(was_heard));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let was_heard = Arc::clone(&was_heard);
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = BufReader::new(StreamOwned::new(session, stream));
            thread::spawn(move || -> io::Result<()> {
                loop {
                    let mut line = || {
                        let mut line = String::new();
                        tls.read_line(&mut line).map(|_| line.trim_end().to_owned())
                    };
                    let words = line()?.trim_start_matches('*').parse().unwrap_or(0);
                    if words == 0 {
                        return Ok(());
                    }
                    let words: Vec<_> = (0..words).map(|_| line().and_then(|_| line())).collect::<Result<_, _>>()?;
                    let peer = tls.get_mut();
                    if words[0] != "ECHO" {
                        peer.write_all(b"+OK\r\n")?;
                        continue;
                    }
                    write!(peer, "${}\r\n{}\r\n", words[1].len(), words[1])?;
                    eventually("the answer to be heard", || was_heard.swap(false, Ordering::SeqCst));
                    peer.write_all(besides)?;
                }
            });
        }
    });
    port
}

#[test]
fn over_tls_what_waits_on_an_idle_connection_is_told_if_it_is_pushes_and_costs_it_otherwise() {
    const PUSH: &[u8] = b">2\r\n$7\r\nmessage\r\n$1\r\nx\r\n";
    let identity = Identity::new();
    for (besides, kept) in [(PUSH, true), (b"+late\r\n".as_slice(), false)] {
        for version in [&TLS12, &TLS13] {
            let was_heard = Arc::default();
            let port = echoes_and_says(&identity, besides, &was_heard);
            let heard = Arc::new(AtomicU64::new(0));
            let hears = Arc::clone(&heard);
            let url = format!("rediss://localhost:{port}?protocol=resp3");
            let manager = RedisManager::with_tls(&url, identity.client(version)).unwrap();
            let manager = manager.on_push(move |_| _ = hears.fetch_add(1, Ordering::Relaxed));
            let pool = Pool::builder(manager).max_size(1).build().unwrap();
            for used in 0..3 {
                pool.with(|redis| {
                    assert_eq!(ask(redis, "a")?, "a");
                    was_heard.store(true, Ordering::SeqCst);
                    let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
                    eventually("more to come", || recv(&*redis, &mut [0; 1], look).is_ok());
                    RedisResult::Ok(())
                })
                .unwrap();
                drop(pool.get().unwrap());
                let (dials, pushes) = if kept { (1, used + 1) } else { (used + 2, 0) };
                assert_eq!((pool.stats().dials, heard.load(Ordering::Relaxed)), (dials, pushes));
            }
        }
    }
}

#[test]
fn a_client_without_the_certificate_that_is_wanted_is_refused_for_good() {
    let (identity, folder) = (Identity::new(), Scratch::new(None));
    std::fs::write(folder.path().join("ca"), &identity.certificate_pem).unwrap();
    let extra = ["--tls-auth-clients", "yes", "--tls-ca-cert-file", &folder.join("ca")];
    let Some(server) = Redis::start_tls(&identity.certificate_pem, &identity.key_pem, &extra) else { return };
    for version in [&TLS12, &TLS13] {
        let url = format!("rediss://localhost:{}", server.server.port());
        let manager = RedisManager::with_tls(&url, identity.client(version)).unwrap();
        let refused = Pool::builder(manager.clone()).opening(Opening::Wait(AMPLE)).build().unwrap_err();
        let error: &RedisError = refused.source().unwrap().downcast_ref().unwrap();
        assert!(manager.is_permanent(error), "{error:?}");
    }
}

#[test]
fn a_wrong_url_of_tls_is_named_and_a_wrong_certificate_is_permanent() {
    let (identity, other) = (Identity::new(), Identity::new());
    for url in ["redis://localhost", "rediss://", "rediss://localhost#insecure", "localhost:6380"] {
        let error = RedisManager::with_tls(url, identity.client(&TLS13)).unwrap_err();
        assert_eq!(error.kind(), redis::ErrorKind::InvalidClientConfig, "{url}: {error}");
    }
    let Some(server) = Redis::start_tls(&identity.certificate_pem, &identity.key_pem, &[]) else { return };
    let url = format!("rediss://localhost:{}", server.server.port());
    let manager = RedisManager::with_tls(&url, other.client(&TLS13)).unwrap();
    let error = Pool::builder(manager).max_size(1).build().map(drop).unwrap_err();
    let text = format!("{error} {:?}", error.source().map(ToString::to_string));
    assert!(text.contains("certificate"), "{text}");
}

#[test]
fn idle_connections_that_the_server_killed_are_not_lent() {
    let Some(server) = Redis::start(&[]) else { return };
    let (tcp, socket) = (Peer::Tcp(server.server.port()), Peer::Unix(server.unix_path()));
    let (resp3, unix) = (format!("{}?protocol=resp3", server.url()), format!("redis+unix://{}", server.unix_path()));
    for (url, peer, rounds) in [(server.url(), &tcp, 100), (resp3, &tcp, 20), (unix.clone(), &socket, 20)] {
        let pool = patient(RedisManager::new(url).unwrap(), 10);
        let (failed, uses) = killed_while_idle(&pool, rounds, 10, peer, || server.kill_all(), ask);
        assert_eq!((failed, uses), (0, rounds * 10));
    }
    for (url, peer, rounds) in [(server.url(), &tcp, 100), (unix, &socket, 20)] {
        let pool = patient(RedisClientManager::new(Client::open(url).unwrap()), 10);
        let (failed, uses) = killed_while_idle(&pool, rounds, 10, peer, || server.kill_all(), ask_stock);
        assert_eq!((failed, uses), (0, rounds * 10));
    }
}

const LATE: Duration = Duration::from_millis(40);
const SOON: Option<Duration> = Some(Duration::from_millis(15));

#[test]
fn no_answer_reaches_another_user() {
    let Some(server) = Redis::start(&[]) else { return };
    for protocol in ["", "?protocol=resp3"] {
        let proxy = Proxy::new(server.server.port());
        let manager = RedisManager::new(format!("redis://{}{protocol}", proxy.address())).unwrap().read_timeout(SOON);
        let pool = patient(manager, 4);
        let tally = foreign_answers(&pool, &proxy, 10_000, LATE, ask, |redis, token| {
            let _ = redis.send_packed_command(&cmd("ECHO").arg(token).get_packed_command());
        });
        assert_no_foreign(&tally, 10_000);
    }
}

#[test]
fn no_answer_of_a_stock_connection_reaches_another_user() {
    let Some(server) = Redis::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let client = Client::open(format!("redis://{}", proxy.address())).unwrap();
    let pool = patient(RedisClientManager::new(client).read_timeout(SOON), 4);
    // It does not know of a reply that is due to what was sent by `send_packed_command`: who gives up there says so.
    let tally = foreign_answers(&pool, &proxy, 10_000, LATE, ask_stock, |_, _| {});
    assert_no_foreign(&tally, 10_000);
}

#[test]
fn an_error_that_the_server_reports_costs_no_connection() {
    let Some(server) = Redis::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let url = format!("redis://{}", proxy.address());
    let pool = Pool::builder(RedisManager::new(url.as_str()).unwrap()).max_size(4).build().unwrap();
    let stock = Pool::builder(RedisClientManager::new(Client::open(url).unwrap())).max_size(4).build().unwrap();
    pool.with(|redis| redis.set::<_, _, ()>("text", "no number")).unwrap();
    for use_ in 0..1000 {
        let key = if use_ % 5 == 0 { "text" } else { "number" };
        let increased = pool.with(|redis| redis.incr::<_, _, i64>(key, 1));
        assert_eq!(increased.is_err(), use_ % 5 == 0);
        let increased = stock.with(|redis| redis.incr::<_, _, i64>(key, 1));
        assert_eq!(increased.is_err(), use_ % 5 == 0);
    }
    assert!(proxy.accepted() <= 4, "{} dials", proxy.accepted());
}

#[test]
fn what_a_user_leaves_in_a_session_costs_the_connection() {
    let Some(server) = Redis::start(&[]) else { return };
    let closings = Closings::default();
    let manager = RedisManager::new(server.url()).unwrap();
    let pool = Pool::builder(manager).max_size(1).observer(closings.observer()).build().unwrap();
    let lefts: [&[&str]; 5] =
        [&["MULTI"], &["WATCH", "k"], &["SELECT", "5"], &["CLIENT", "REPLY", "ON"], &["SUBSCRIBE", "channel"]];
    for (dials, left) in lefts.into_iter().enumerate() {
        assert_eq!(pool.stats().dials, dials as u64 + 1 - u64::from(dials > 0 && pool.stats().open == 0));
        let mut command = cmd(left[0]);
        command.arg(&left[1..]);
        pool.with(|redis| redis.req_command(&command).map(drop)).unwrap();
        let clean: String = pool.with(|redis| cmd("CLIENT").arg("INFO").query(redis)).unwrap();
        assert!(clean.contains(" db=0 sub=0 ") && clean.contains(" multi=-1 "), "{clean}");
        eventually("the one that was left", || closings.0.lock().unwrap().len() == dials + 1);
    }
    assert!(closings.0.lock().unwrap().iter().all(|reason| *reason == CloseReason::Discarded));
}

fn say(redis: &mut RedisConnection, words: &str) -> RedisResult<Value> {
    let mut words = words.split(' ');
    let mut command = cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    command.query(redis)
}

/// What one user leaves is not there for the next one, and what has ended costs no connection.
#[track_caller]
fn assert_left(url: &str, left: &[&str], costs: bool) {
    let pool = Pool::builder(RedisManager::new(url).unwrap()).max_size(1).build().unwrap();
    pool.with(|redis| {
        left.iter().for_each(|words| drop(say(redis, words)));
        RedisResult::Ok(())
    })
    .unwrap();
    let (set, done) = pool
        .with(|redis| {
            let set = say(redis, "SET k 1")?;
            say(redis, "MULTI")?;
            say(redis, "PING")?;
            RedisResult::Ok((set, say(redis, "EXEC")))
        })
        .unwrap();
    assert_eq!(set, Value::Okay, "after {left:?}");
    // A watched key would have been changed.
    assert!(!matches!(done, Ok(Value::Nil)), "{done:?} after {left:?}");
    let scripted: i64 = pool.with(|redis| cmd("EVAL").arg("return 7").arg(0).query(redis)).unwrap();
    let name = pool.with(|redis| say(redis, "CLIENT GETNAME")).unwrap();
    assert_eq!((scripted, name), (7, Value::Nil), "after {left:?}");
    assert_eq!(pool.stats().dials, 1 + u64::from(costs), "after {left:?}");
}

#[test]
fn what_the_server_refused_to_end_costs_the_connection_and_what_it_ended_does_not() {
    let Some(server) = Redis::start(&[]) else { return };
    for (left, costs) in [
        (&["MULTI", "DISCARD extra"][..], true),
        (&["WATCH k", "EXEC"], true),
        (&["WATCH k", "DISCARD"], true),
        (&["WATCH k", "UNWATCH extra"], true),
        (&["WATCH k", "MULTI", "UNWATCH"], true),
        (&["SCRIPT DEBUG YES"], true),
        (&["SCRIPT DEBUG SYNC"], true),
        (&["CLIENT SETNAME somebody"], true),
        (&["MULTI", "EXEC extra"], false),
        (&["MULTI", "GET", "EXEC"], false),
        (&["WATCH k", "MULTI", "SET k 2", "EXEC"], false),
        (&["WATCH k", "SET k 2", "MULTI", "EXEC"], false),
        (&["WATCH k", "MULTI", "DISCARD"], false),
        (&["WATCH k", "MULTI", "UNWATCH", "DISCARD"], false),
        (&["WATCH k", "UNWATCH"], false),
    ] {
        for protocol in ["", "?protocol=resp3"] {
            assert_left(&format!("{}{protocol}", server.url()), left, costs);
        }
    }
}

#[test]
fn an_end_for_which_the_user_has_no_right_is_none() {
    let Some(server) = Redis::start(&[]) else { return };
    let mut admin = server.admin();
    let user = ["bob", "on", ">pw", "~*", "&*", "+@all", "-discard", "-unwatch"];
    cmd("ACL").arg("SETUSER").arg(&user).exec(&mut admin).unwrap();
    let url = format!("redis://bob:pw@127.0.0.1:{}", server.server.port());
    assert_left(&url, &["MULTI", "DISCARD"], true);
    assert_left(&url, &["WATCH k", "UNWATCH"], true);
    // A refused EXEC ends the transaction.
    cmd("ACL").arg("SETUSER").arg("bob").arg("-exec").exec(&mut admin).unwrap();
    let pool = Pool::builder(RedisManager::new(url).unwrap()).max_size(1).build().unwrap();
    pool.with(|redis| {
        say(redis, "MULTI")?;
        assert!(say(redis, "EXEC").is_err());
        RedisResult::Ok(())
    })
    .unwrap();
    assert_eq!(pool.with(|redis| say(redis, "SET k 1")).unwrap(), Value::Okay);
    assert_eq!(pool.stats().dials, 1);
}

#[test]
fn pushes_are_taken_and_what_is_none_discards() {
    let Some(server) = Redis::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let pushes = Arc::new(AtomicU64::new(0));
    let (counted, closings) = (Arc::clone(&pushes), Closings::default());
    let manager = RedisManager::new(format!("redis://{}?protocol=resp3", proxy.address())).unwrap();
    let manager = manager.on_push(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let pool = Pool::builder(manager).max_size(1).observer(closings.observer()).build().unwrap();
    let push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";
    for pushed in 1..=3 {
        pool.with(|redis| ask(redis, "a")).unwrap();
        proxy.inject(push);
        // Taken at the checkout, or before the reply.
        eventually("the push", || {
            pool.with(|redis| ask(redis, "a")).unwrap();
            pushes.load(Ordering::SeqCst) == pushed
        });
    }
    assert_eq!(proxy.accepted(), 1);
    proxy.inject(b"+unasked\r\n");
    eventually("another connection", || {
        assert_eq!(pool.with(|redis| ask(redis, "b")).unwrap(), "b");
        proxy.accepted() == 2
    });
    eventually("its end to be told", || *closings.0.lock().unwrap() == [CloseReason::IdleData]);
}

#[test]
fn a_restart_of_the_server_is_got_over() {
    let Some(mut server) = Redis::start(&[]) else { return };
    let pool = Pool::builder(RedisManager::new(server.url()).unwrap()).max_size(4).min_idle(2).build().unwrap();
    let stock = RedisClientManager::new(Client::open(server.url()).unwrap());
    let stock = Pool::builder(stock).max_size(4).min_idle(2).build().unwrap();
    pool.with(|redis| ask(redis, "a")).unwrap();
    stock.with(|redis| ask_stock(redis, "a")).unwrap();
    server.server.stop(Signal::TERM);
    eventually("the pools to notice", || pool.stats().open + stock.stats().open == 0);
    let down = pool.with_timeout(Duration::from_millis(50), |redis| ask(redis, "b")).unwrap_err();
    assert!(down.source().is_some(), "{down:?}");
    server.server.again();
    eventually("a use to succeed", || pool.with(|redis| ask(redis, "c")).is_ok());
    eventually("a use to succeed", || stock.with(|redis| ask_stock(redis, "c")).is_ok());
    eventually("both to be whole", || pool.stats().idle >= 2 && stock.stats().idle >= 2);
}

#[track_caller]
fn assert_permanent<M: Manager>(manager: M, says: &str) {
    let begun = Instant::now();
    let refused = Pool::builder(manager).max_size(1).opening(Opening::Wait(AMPLE)).build().unwrap_err();
    let cause = refused.source().unwrap().to_string();
    assert!(cause.contains(says), "{cause}");
    assert!(begun.elapsed() < AMPLE / 2, "the build did not wait in vain");
}

#[test]
fn a_wrong_password_or_database_is_permanent() {
    let Some(server) = Redis::start(&["--requirepass", "secret"]) else { return };
    let port = server.server.port();
    for (login, says) in [(":wrong@", "AUTH"), ("default:wrong@", "AUTH"), ("nobody:secret@", "AUTH"), ("", "NOAUTH")] {
        let url = format!("redis://{login}127.0.0.1:{port}");
        assert_permanent(RedisManager::new(url.as_str()).unwrap(), says);
        if !login.is_empty() {
            assert_permanent(RedisClientManager::new(Client::open(url.as_str()).unwrap()), "uthentication");
            assert_permanent(RedisManager::new(format!("{url}?protocol=resp3")).unwrap(), "HELLO");
        }
    }
    assert_permanent(RedisManager::new(format!("redis://:secret@127.0.0.1:{port}/99")).unwrap(), "SELECT");
}

#[test]
fn a_peer_that_hangs_up_in_the_login_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(drop));
    let says = |manager: RedisManager| {
        let refused = Pool::builder(manager).opening(Opening::Once(AMPLE)).build().unwrap_err();
        refused.source().unwrap().to_string()
    };
    let plain = RedisManager::new(format!("redis://{address}")).unwrap();
    assert_eq!(says(plain), format!("could not log in to {address}"));
    let tls = RedisManager::with_tls(&format!("rediss://{address}"), Identity::new().client(&TLS13)).unwrap();
    assert_eq!(says(tls), format!("the TLS handshake with {address} failed"));
}

#[test]
fn a_frozen_login_ends_with_its_dial() {
    let Some(server) = Redis::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let manager = RedisManager::new(format!("redis://{}", proxy.address())).unwrap();
    proxy.set(Fault::BlackHole);
    let builder = Pool::builder(manager).max_size(1).dial_timeout(Duration::from_millis(100));
    let pool = builder.opening(Opening::Background).build().unwrap();
    assert_eq!(kind(&pool), Some(GetErrorKind::TimedOut));
    eventually("no dial to hang", || pool.stats().dials_failed >= 2);
    proxy.set(Fault::None);
    eventually("a use to succeed", || pool.with(|redis| ask(redis, "a")).is_ok());
}

fn kind<M: Manager>(pool: &Pool<M>) -> Option<GetErrorKind> {
    pool.get_timeout(Duration::from_millis(200)).err().map(|error| error.kind())
}

#[test]
fn a_stock_connections_timeouts_end_with_their_use() {
    let Some(server) = Redis::start(&[]) else { return };
    let client = Client::open(server.url()).unwrap();
    let pool = Pool::builder(RedisClientManager::new(client).read_timeout(Some(AMPLE))).max_size(1).build().unwrap();
    pool.with(|redis| redis.set_read_timeout(Some(Duration::from_millis(1)))).unwrap();
    let blocked: Option<(String, String)> = pool.with(|redis| redis.blpop("nothing", 0.2)).unwrap();
    assert_eq!(blocked, None);
    assert_eq!(pool.stats().dials, 1);
}

#[test]
fn a_timeout_poisons_the_connection() {
    let Some(server) = Redis::start(&[]) else { return };
    let pool = Pool::builder(RedisManager::new(server.url()).unwrap()).max_size(1).build().unwrap();
    pool.with(|redis: &mut RedisConnection| {
        redis.set_read_timeout(Some(Duration::from_millis(10)))?;
        let late = redis.blpop::<_, Option<(String, String)>>("nothing", 0.1).unwrap_err();
        assert!(late.is_timeout(), "{late:?}");
        assert!(!redis.is_open());
        assert!(ask(redis, "a").is_err(), "nothing more is asked on it");
        RedisResult::Ok(())
    })
    .unwrap();
    assert_eq!(pool.with(|redis| ask(redis, "b")).unwrap(), "b");
    assert_eq!(pool.stats().dials, 2);
}
