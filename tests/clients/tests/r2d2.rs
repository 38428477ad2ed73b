//! `R2d2Manager` with managers that others have written, in front of real servers, and with one that does as it is told.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use client_tests::proxy::{Fault, Proxy};
use client_tests::scenario::{Peer, assert_no_foreign, foreign_answers, killed_while_idle, patient};
use client_tests::server::{AMPLE, eventually};
use client_tests::servers::{Postgres, Redis};
use corepool::clients::fdhunt::{self, UserTimeout};
use corepool::clients::{R2d2Manager, Watched, WatchedR2d2Manager};
use corepool::{Opening, Pool, UseError};
use postgres::error::{Severity, SqlState};
use r2d2::{CustomizeConnection, HandleError, ManageConnection};
use redis::{Commands, RedisResult, cmd};

/// The `redis` crate's own manager.
fn redis_by(url: String, timeout: Option<Duration>) -> WatchedR2d2Manager<redis::Client> {
    R2d2Manager::new(redis::Client::open(url).unwrap())
        .harmless_errors(|error: &redis::RedisError| matches!(error.kind(), redis::ErrorKind::Server(_)))
        .find_socket(move |redis| {
            fdhunt::by_read_timeout(|timeout| redis.set_read_timeout(timeout), timeout).map_err(io::Error::other)
        })
}

fn ask(redis: &mut Watched<redis::Connection>, token: &str) -> RedisResult<String> {
    cmd("ECHO").arg(token).query(&mut **redis)
}

#[test]
fn idle_connections_that_the_server_killed_are_not_lent() {
    let Some(server) = Redis::start(&[]) else { return };
    let pool = patient(redis_by(server.url(), None), 10);
    let peer = Peer::Tcp(server.server.port());
    let (failed, uses) = killed_while_idle(&pool, 100, 10, &peer, || server.kill_all(), ask);
    assert_eq!((failed, uses), (0, 1000));
}

#[test]
fn no_answer_reaches_another_user() {
    let Some(server) = Redis::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let pool = patient(redis_by(format!("redis://{}", proxy.address()), Some(Duration::from_millis(15))), 4);
    // What is sent without `with` hearing of it cannot be known here: this client does not count what it is owed.
    let tally = foreign_answers(&pool, &proxy, 10_000, Duration::from_millis(40), ask, |_, _| {});
    assert_no_foreign(&tally, 10_000);
}

#[test]
fn an_unwatched_one_is_asked_at_its_checkout_if_that_is_wanted() {
    let Some(server) = Redis::start(&[]) else { return };
    let manager = R2d2Manager::new(redis::Client::open(server.url()).unwrap()).test_on_check_out(true);
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    for _ in 0..10 {
        pool.with(|redis| redis.set::<_, _, ()>("k", "v")).unwrap();
        server.kill_all();
        assert_eq!(pool.with(|redis| redis.get::<_, String>("k")).unwrap(), "v");
    }
}

/// As `r2d2_postgres` has it, but for the nonce.
struct PostgresManager {
    config: postgres::Config,
}

impl ManageConnection for PostgresManager {
    type Connection = postgres::Client;
    type Error = postgres::Error;

    fn connect(&self) -> Result<postgres::Client, postgres::Error> {
        self.config.connect(postgres::NoTls)
    }

    fn is_valid(&self, client: &mut postgres::Client) -> Result<(), postgres::Error> {
        client.simple_query("").map(drop)
    }

    fn has_broken(&self, client: &mut postgres::Client) -> bool {
        client.is_closed()
    }
}

fn is_harmless(error: &postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| error.parsed_severity() == Some(Severity::Error))
}

#[test]
fn a_duplicate_key_costs_no_connection_if_it_is_said_to_be_harmless() {
    let Some(server) = Postgres::start(&[]) else { return };
    server.admin().batch_execute("create table t (id bigint primary key); insert into t values (0)").unwrap();
    for harmless in [true, false] {
        let proxy = Proxy::new(server.server.port());
        let mut config = server.config_at("127.0.0.1", proxy.port());
        // One dial at a time: so one nonce is enough.
        let nonce = UserTimeout::new();
        config.tcp_user_timeout(nonce.value());
        let mut bridge = R2d2Manager::new(PostgresManager { config });
        if harmless {
            bridge = bridge.harmless_errors(is_harmless);
        }
        let pool = Pool::builder(bridge.find_socket(move |_| nonce.find(None))).max_size(1).build().unwrap();
        for use_ in 0..100 {
            let id: i64 = if use_ % 5 == 0 { 0 } else { 1000 * i64::from(harmless) + use_ };
            match pool.with(|client| client.execute("insert into t values ($1)", &[&id])) {
                Ok(_) => assert_ne!(id, 0),
                Err(UseError::Use(error)) => assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION)),
                Err(UseError::Get(error)) => panic!("{error}"),
            }
        }
        assert!(Watched::is_watched(&pool.get().unwrap()));
        assert_eq!(proxy.accepted() == 1, harmless, "{} dials", proxy.accepted());
    }
}

#[test]
fn what_comes_after_a_harmless_error_is_not_found_at_the_next_checkout() {
    let Some(server) = Postgres::start(&[]) else { return };
    server.admin().batch_execute("create table t (id bigint primary key); insert into t values (0)").unwrap();
    let proxy = Proxy::new(server.server.port());
    let mut config = server.config_at("127.0.0.1", proxy.port());
    let nonce = UserTimeout::new();
    config.tcp_user_timeout(nonce.value());
    let bridge = R2d2Manager::new(PostgresManager { config });
    let bridge = bridge.harmless_errors(is_harmless);
    let pool = Pool::builder(bridge.find_socket(move |_| nonce.find(None))).max_size(1).build().unwrap();
    proxy.set(Fault::Trickle);
    for _ in 0..3 {
        let inserted = pool.with(|client| client.execute("insert into t values (0)", &[]));
        assert!(matches!(inserted, Err(UseError::Use(_))), "{inserted:?}");
        // So that what was on its way has come.
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(proxy.accepted(), 1, "dials");
}

#[test]
fn a_restart_of_the_server_is_got_over() {
    let Some(mut server) = Redis::start(&[]) else { return };
    let pool = Pool::builder(redis_by(server.url(), None)).max_size(4).min_idle(2).build().unwrap();
    pool.with(|redis| ask(redis, "a")).unwrap();
    server.server.stop(rustix::process::Signal::TERM);
    eventually("the pool to notice", || pool.stats().open == 0);
    server.server.again();
    eventually("a use to succeed", || pool.with(|redis| ask(redis, "b")).is_ok());
    eventually("it to be whole", || pool.stats().idle >= 2);
}

#[test]
fn a_wrong_password_is_permanent_if_it_is_said_to_be() {
    let Some(server) = Redis::start(&["--requirepass", "secret"]) else { return };
    let url = format!("redis://:wrong@127.0.0.1:{}", server.server.port());
    let bridge = R2d2Manager::new(redis::Client::open(url).unwrap())
        .permanent_errors(|error| error.kind() == redis::ErrorKind::AuthenticationFailed);
    let begun = Instant::now();
    let refused = Pool::builder(bridge).max_size(1).opening(Opening::Wait(AMPLE)).build().unwrap_err();
    assert!(refused.source().unwrap().to_string().contains("uthentication"), "{refused:?}");
    assert!(begun.elapsed() < AMPLE / 2, "the build did not wait in vain");
}

/// A manager that does as it is told, and counts what it is asked.
#[derive(Debug, Clone, Default)]
struct Told(Arc<State>);

#[derive(Debug, Default)]
struct State {
    connects: AtomicUsize,
    valid_asked: AtomicUsize,
    broken_asked: AtomicUsize,
    is_invalid: AtomicBool,
    is_broken: AtomicBool,
    fails: AtomicBool,
    /// How many of the next connects hang, until told.
    hang: Mutex<usize>,
    released: Condvar,
    acquired: AtomicUsize,
    released_count: AtomicUsize,
    errors: Mutex<Vec<String>>,
}

impl ManageConnection for Told {
    type Connection = usize;
    type Error = io::Error;

    fn connect(&self) -> io::Result<usize> {
        let number = self.0.connects.fetch_add(1, Ordering::SeqCst);
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("told to fail"));
        }
        let mut hang = self.0.hang.lock().unwrap();
        if *hang > number {
            while *hang > 0 {
                hang = self.0.released.wait(hang).unwrap();
            }
        }
        Ok(number)
    }

    fn is_valid(&self, _: &mut usize) -> io::Result<()> {
        self.0.valid_asked.fetch_add(1, Ordering::SeqCst);
        if self.0.is_invalid.swap(false, Ordering::SeqCst) {
            Err(io::Error::other("told to be invalid"))
        } else {
            Ok(())
        }
    }

    fn has_broken(&self, _: &mut usize) -> bool {
        self.0.broken_asked.fetch_add(1, Ordering::SeqCst);
        self.0.is_broken.swap(false, Ordering::SeqCst)
    }
}

impl CustomizeConnection<usize, io::Error> for Told {
    fn on_acquire(&self, connection: &mut usize) -> io::Result<()> {
        self.0.acquired.fetch_add(1, Ordering::SeqCst);
        *connection += 1000;
        Ok(())
    }

    fn on_release(&self, _: usize) {
        self.0.released_count.fetch_add(1, Ordering::SeqCst);
    }
}

impl HandleError<io::Error> for Told {
    fn handle_error(&self, error: io::Error) {
        self.0.errors.lock().unwrap().push(error.to_string());
    }
}

#[test]
fn the_customizer_has_both_ends_of_a_life_and_the_handler_all_errors() {
    let told = Told::default();
    told.0.fails.store(true, Ordering::SeqCst);
    let bridge = R2d2Manager::new(told.clone())
        .connection_customizer(Box::new(told.clone()))
        .error_handler(Box::new(told.clone()))
        .test_on_check_out(true);
    let pool = Pool::builder(bridge).max_size(1).opening(Opening::Background).build().unwrap();
    eventually("an error to be handled", || !told.0.errors.lock().unwrap().is_empty());
    told.0.fails.store(false, Ordering::SeqCst);
    eventually("a connection", || pool.get().is_ok_and(|connection| *connection >= 1000));
    told.0.is_invalid.store(true, Ordering::SeqCst);
    eventually("another connection", || pool.get().is_ok());
    assert_eq!(told.0.errors.lock().unwrap().last().unwrap(), "told to be invalid");
    pool.close();
    eventually("all to be released", || {
        let [acquired, released] = [&told.0.acquired, &told.0.released_count].map(|count| count.load(Ordering::SeqCst));
        acquired == released && acquired == 2
    });
}

#[test]
fn is_valid_is_not_asked_at_each_checkout_and_has_broken_at_each_return() {
    let told = Told::default();
    let pool = Pool::builder(R2d2Manager::new(told.clone())).max_size(1).build().unwrap();
    for _ in 0..10 {
        assert_eq!(*pool.get().unwrap(), 0);
    }
    let asked = [&told.0.valid_asked, &told.0.broken_asked].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(asked, [0, 10]);
    told.0.is_broken.store(true, Ordering::SeqCst);
    drop(pool.get().unwrap());
    assert_eq!(*pool.get().unwrap(), 1, "another one, since that was broken");
}

#[test]
fn a_connection_that_rests_is_asked() {
    let told = Told::default();
    let builder = Pool::builder(R2d2Manager::new(told.clone())).max_size(1);
    let pool = builder.ping_interval(Some(Duration::from_millis(20))).build().unwrap();
    eventually("it to be asked", || told.0.valid_asked.load(Ordering::SeqCst) > 0);
    told.0.is_invalid.store(true, Ordering::SeqCst);
    // Left alone meanwhile: one that is used does not rest.
    eventually("it to be closed", || pool.stats().closed(corepool::CloseReason::PingFailed) > 0);
    told.0.is_invalid.store(false, Ordering::SeqCst);
    eventually("another one", || pool.get().is_ok_and(|connection| *connection >= 1));

    let told = Told::default();
    let builder = Pool::builder(R2d2Manager::new(told.clone())).max_size(1);
    let pool = builder.validate_after(Some(Duration::from_millis(20))).build().unwrap();
    told.0.is_invalid.store(true, Ordering::SeqCst);
    eventually("it to have rested, and another one to be lent", || {
        thread::sleep(Duration::from_millis(50));
        pool.get().is_ok_and(|connection| *connection >= 1)
    });
}

#[test]
fn connects_that_hang_are_left_alone_and_others_are_made() {
    let told = Told::default();
    *told.0.hang.lock().unwrap() = 2;
    let builder = Pool::builder(R2d2Manager::new(told.clone())).max_size(2).dial_timeout(Duration::from_millis(50));
    let pool = builder.opening(Opening::Background).build().unwrap();
    eventually("one that does not hang", || pool.get().is_ok_and(|connection| *connection >= 2));
    let mut hang = told.0.hang.lock().unwrap();
    *hang = 0;
    told.0.released.notify_all();
    drop(hang);
    eventually("all to have come back", || pool.at_rest().is_ok());
    assert!(pool.stats().open <= 2);
}

#[test]
fn a_use_that_failed_or_panicked_costs_its_connection() {
    let told = Told::default();
    let bridge = R2d2Manager::new(told.clone()).harmless_errors(|error: &String| error == "harmless");
    let pool = Pool::builder(bridge).max_size(1).build().unwrap();
    let fail = |with: &str| pool.with(|_| Err::<(), _>(with.to_owned())).unwrap_err();
    fail("harmless");
    assert_eq!(*pool.get().unwrap(), 0);
    fail("a timeout");
    assert_eq!(*pool.get().unwrap(), 1);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = pool.with(|_| -> Result<(), String> { std::panic::resume_unwind(Box::new("planned")) });
    }));
    assert!(panicked.is_err());
    assert_eq!(*pool.get().unwrap(), 2);
}
