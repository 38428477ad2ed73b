//! `PostgresManager` in front of a real PostgreSQL.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client_tests::proxy::{Fault, Proxy};
use client_tests::scenario::{Peer, assert_no_foreign, foreign_answers, killed_while_idle, patient, token};
use client_tests::server::{AMPLE, eventually};
use client_tests::servers::Postgres;
use corepool::clients::{PostgresConnection, PostgresManager, PostgresReset};
use corepool::{CloseReason, Event, Manager, Opening, Pool, UseError};
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, Config};

fn ask(client: &mut Client, token: &str) -> Result<String, postgres::Error> {
    client.query_one("select $1::text", &[&token]).map(|row| row.get(0))
}

fn asking(client: &mut PostgresConnection, token: &str) -> Result<String, postgres::Error> {
    ask(client, token)
}

fn backend(client: &mut Client) -> i32 {
    client.query_one("select pg_backend_pid()", &[]).unwrap().get(0)
}

/// Why connections were closed.
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

    #[track_caller]
    fn assert_become(&self, all: &[CloseReason]) {
        eventually("its end to be told", || *self.0.lock().unwrap() == all);
    }
}

fn single(config: Config) -> Pool<PostgresManager> {
    Pool::builder(PostgresManager::new(config)).max_size(1).build().unwrap()
}

#[test]
fn it_is_watched_over_tcp_and_unix_sockets_and_its_user_timeout_is_the_users() {
    let Some(server) = Postgres::start(&[]) else { return };
    for (mut config, timeout) in [(server.config(), Some(9)), (server.config(), None), (server.unix_config(), None)] {
        if let Some(seconds) = timeout {
            config.tcp_user_timeout(Duration::from_secs(seconds));
        }
        let pool = single(config);
        let mut lease = pool.get().unwrap();
        assert!(PostgresConnection::is_watched(&lease));
        let pid = backend(&mut lease);
        drop(lease);
        // Ended by the watch, not at a checkout.
        server.kill_all();
        eventually("the watch to close it", || pool.stats().open == 0 || pool.stats().opened > 1);
        assert_ne!(backend(&mut pool.get().unwrap()), pid);
    }
}

#[test]
fn idle_connections_that_the_server_killed_are_not_lent() {
    let Some(server) = Postgres::start(&[]) else { return };
    let (tcp, unix) = (Peer::Tcp(server.server.port()), Peer::Unix(server.unix_path()));
    for (config, peer, rounds) in [(server.config(), tcp, 100), (server.unix_config(), unix, 10)] {
        let pool = patient(PostgresManager::new(config), 10);
        let (failed, uses) = killed_while_idle(&pool, rounds, 10, &peer, || server.kill_all(), asking);
        assert_eq!((failed, uses), (0, rounds * 10));
    }
}

#[test]
fn no_answer_reaches_another_user() {
    let Some(server) = Postgres::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let mut config = server.config_at("127.0.0.1", proxy.port());
    // Timeouts are the server's.
    config.options("-c statement_timeout=15");
    let pool = patient(PostgresManager::new(config).reset(PostgresReset::Rollback), 4);
    let tally = foreign_answers(
        &pool,
        &proxy,
        10_000,
        Duration::from_millis(40),
        |client, token| {
            let slow = if fastrand::u32(..30) == 0 { 0.03 } else { 0.0 };
            client.query_one("select $1::text from (select pg_sleep($2)) s", &[&token, &slow]).map(|row| row.get(0))
        },
        |client, token| {
            // Half a result, a transaction, or a portal that nobody asks any more.
            match fastrand::u32(..3) {
                0 => drop(client.batch_execute("begin")),
                _ => {
                    let rows = client.query_raw("select $1::text from generate_series(1, 5000)", [token]);
                    let _ = rows.and_then(|mut rows| rows.next());
                }
            }
        },
    );
    assert_no_foreign(&tally, 10_000);
}

#[test]
fn a_duplicate_key_costs_no_connection() {
    let Some(server) = Postgres::start(&[]) else { return };
    server.admin().batch_execute("create table t (id bigint primary key)").unwrap();
    let proxy = Proxy::new(server.server.port());
    let manager = PostgresManager::new(server.config_at("127.0.0.1", proxy.port()));
    let pool = Pool::builder(manager).max_size(4).build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_i64 {
            let pool = &pool;
            scope.spawn(move || {
                for number in 0..250_i64 {
                    let id = if number % 5 == 0 { 0 } else { 1 + thread * 1000 + number };
                    let used = pool.with(|client| client.execute("insert into t values ($1)", &[&id]));
                    match used {
                        Ok(inserted) => assert_eq!(inserted, 1),
                        Err(UseError::Use(error)) => {
                            assert_eq!((error.code(), id), (Some(&SqlState::UNIQUE_VIOLATION), 0));
                        }
                        Err(UseError::Get(error)) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert!(proxy.accepted() <= 4, "{} dials", proxy.accepted());
    let rows: i64 = server.admin().query_one("select count(*) from t", &[]).unwrap().get(0);
    assert_eq!(rows, 801);
}

#[test]
fn a_transaction_that_was_left_open_is_not_the_next_users() {
    let Some(server) = Postgres::start(&[]) else { return };
    server.admin().batch_execute("create table t (id int)").unwrap();
    // A row that a transaction has not committed is seen by that transaction alone, and a failed one answers nothing.
    let is_open = |client: &mut Client| client.query("select from t", &[]).map_or(true, |rows| !rows.is_empty());
    let cases = [
        (PostgresReset::AfterErrors, false, false, 1),
        (PostgresReset::Rollback, false, false, 1),
        (PostgresReset::DiscardAll, false, false, 1),
        (PostgresReset::Rollback, true, false, 2),
        (PostgresReset::None, false, true, 1),
    ];
    for left in ["begin; insert into t values (1)", "begin; insert into t values (1); select 1/0"] {
        for (reset, discard, stays, dials) in cases {
            let proxy = Proxy::new(server.server.port());
            let manager = PostgresManager::new(server.config_at("127.0.0.1", proxy.port())).reset(reset);
            let manager = manager.discard_open_transactions(discard);
            let pool = Pool::builder(manager).max_size(1).build().unwrap();
            let failed = pool.with(|client| client.batch_execute(left)).is_err();
            let stays = stays || (reset == PostgresReset::AfterErrors && !failed);
            // At once, not when the next user comes.
            let rolled_back = || {
                !server
                    .admin()
                    .query_one(
                        "select exists (select from pg_stat_activity where state like 'idle in transaction%')",
                        &[],
                    )
                    .unwrap()
                    .get::<_, bool>(0)
            };
            if !stays {
                eventually("its locks to be free", rolled_back);
            }
            let mut lease = pool.get().unwrap();
            assert_eq!(is_open(&mut lease), stays, "{reset:?} after {left}");
            drop(lease);
            assert_eq!(proxy.accepted(), dials, "{reset:?} after {left}");
        }
    }
    let rows: i64 = server.admin().query_one("select count(*) from t", &[]).unwrap().get(0);
    assert_eq!(rows, 0);
}

#[test]
fn to_discard_all_ends_what_outlasts_a_transaction_and_keeps_what_the_client_counts_on() {
    let Some(server) = Postgres::start(&[]) else { return };
    server.admin().batch_execute("create type mood as enum ('good'); create table m (mood mood)").unwrap();
    let manager = PostgresManager::new(server.config()).reset(PostgresReset::DiscardAll);
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let leave = "set work_mem = '77MB'; create temp table tt (id int); listen c; select pg_advisory_lock(7)";
    let statement = pool
        .with(|client| {
            client.batch_execute(leave)?;
            // For which the client prepares statements of its own, which ask for types.
            client.query("select mood from m", &[])?;
            client.prepare("select $1::int + 1")
        })
        .unwrap();
    pool.with(|client| {
        let left: (String, bool, i64, i64) = {
            let row = client.query_one(
                "select current_setting('work_mem'), to_regclass('pg_temp.tt') is not null,
                 (select count(*) from pg_listening_channels()), (select count(*) from pg_locks where locktype = 'advisory')",
                &[],
            )?;
            (row.get(0), row.get(1), row.get(2), row.get(3))
        };
        assert_ne!(left.0, "77MB");
        assert_eq!((left.1, left.2, left.3), (false, 0, 0));
        client.query("select array[mood] from m", &[])?;
        assert_eq!(client.query_one(&statement, &[&41])?.get::<_, i32>(0), 42);
        Ok::<_, postgres::Error>(())
    })
    .unwrap();
    assert_eq!(pool.stats().dials, 1);
}

#[test]
fn what_the_server_says_unasked_is_taken_and_its_farewell_discards() {
    let Some(server) = Postgres::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let closings = Closings::default();
    let manager = PostgresManager::new(server.config_at("127.0.0.1", proxy.port()));
    let pool = Pool::builder(manager).max_size(1).observer(closings.observer()).build().unwrap();
    pool.with(|client| client.batch_execute("listen c")).unwrap();
    let mut admin = server.admin();
    for _ in 0..20 {
        admin.batch_execute("notify c, 'something'").unwrap();
        let token = token();
        assert_eq!(pool.with(|client| asking(client, &token)).unwrap(), token);
        let left = pool.with(|client| Ok::<_, postgres::Error>(client.notifications().len())).unwrap();
        assert_eq!(left, 0, "what another user was told");
    }
    assert_eq!(proxy.accepted(), 1, "notifications cost nothing");
    // A notice and a parameter's new value.
    proxy.inject(b"N\0\0\0\x1eSWARNING\0C01000\0Mcareful\0\0S\0\0\0\x15TimeZone\0Etc/UTC\0");
    assert_eq!(pool.with(|client| asking(client, "a")).unwrap(), "a");
    assert_eq!(proxy.accepted(), 1, "{:?}", closings.0.lock().unwrap());
    // An error without its end, as of one session that was killed and whose FIN is late; and a reply that nobody asked for.
    for (said, told) in [(&b"E\0\0\0\x20SFATAL\0C57P01\0Mterminating\0\0"[..], 1), (b"Z\0\0\0\x05I", 2)] {
        proxy.inject(said);
        eventually("another connection", || {
            assert_eq!(pool.with(|client| asking(client, "b")).unwrap(), "b");
            proxy.accepted() == told + 1
        });
        closings.assert_become(&vec![CloseReason::IdleData; told as usize]);
    }
}

#[test]
fn a_result_that_was_not_read_to_its_end_costs_the_connection() {
    let Some(server) = Postgres::start(&[]) else { return };
    let closings = Closings::default();
    let manager = PostgresManager::new(server.config()).reset(PostgresReset::None);
    let pool = Pool::builder(manager).max_size(1).observer(closings.observer()).build().unwrap();
    let mut admin = server.admin();
    let sends = "select exists (select from pg_stat_activity where wait_event = 'ClientWrite')";
    pool.with(|client| {
        let mut rows = client.query_raw("select repeat('x', 1000) from generate_series(1, 100000)", None::<i32>)?;
        rows.next()?;
        // More than all buffers hold.
        eventually("the server to wait", || admin.query_one(sends, &[]).unwrap().get(0));
        Ok::<_, postgres::Error>(())
    })
    .unwrap();
    assert_eq!(pool.with(|client| asking(client, "a")).unwrap(), "a");
    closings.assert_become(&[CloseReason::Discarded]);
}

#[test]
fn an_error_that_ends_the_session_costs_the_connection_before_the_end_is_there() {
    let Some(server) = Postgres::start(&[]) else { return };
    // As servers before 9.6 say it; and in the server's language, with the word that is none's.
    let short = b"E\0\0\0\x20SFATAL\0C57P01\0Mterminating\0\0";
    let long = b"E\0\0\0\x28SFATALE\0VFATAL\0C57P01\0Mterminating\0\0";
    for (reset, said) in [
        (PostgresReset::None, &short[..]),
        (PostgresReset::None, long),
        (PostgresReset::AfterErrors, long),
        (PostgresReset::Rollback, long),
        (PostgresReset::DiscardAll, long),
    ] {
        let proxy = Proxy::new(server.server.port());
        let closings = Closings::default();
        let manager = PostgresManager::new(server.config_at("127.0.0.1", proxy.port())).reset(reset);
        let pool = Pool::builder(manager).max_size(1).observer(closings.observer()).build().unwrap();
        let mut admin = server.admin();
        let asks =
            "select exists (select from pg_stat_activity where query = 'select pg_sleep(5)' and state = 'active')";
        let ended = std::thread::scope(|scope| {
            let user = scope.spawn(|| pool.with(|client| client.batch_execute("select pg_sleep(5)")));
            eventually("the query to run", || admin.query_one(asks, &[]).unwrap().get(0));
            proxy.inject(said);
            user.join().unwrap()
        });
        let Err(UseError::Use(error)) = ended else { panic!("{ended:?}") };
        assert_eq!(error.code(), Some(&SqlState::ADMIN_SHUTDOWN));
        // The server itself has not ended it.
        closings.assert_become(&[CloseReason::Failed]);
        let _ = admin
            .execute("select pg_terminate_backend(pid) from pg_stat_activity where query = 'select pg_sleep(5)'", &[]);
    }
}

#[test]
fn a_restart_of_the_server_is_got_over() {
    let Some(mut server) = Postgres::start(&[]) else { return };
    let pool = Pool::builder(PostgresManager::new(server.config())).max_size(4).min_idle(2).build().unwrap();
    pool.with(|client| asking(client, "a")).unwrap();
    server.restart();
    eventually("a use to succeed", || pool.with(|client| asking(client, "b")).is_ok());
    eventually("it to be whole", || pool.stats().idle >= 2);
}

#[track_caller]
fn assert_permanent(config: &Config, code: SqlState) {
    let begun = Instant::now();
    let manager = PostgresManager::new(config.clone());
    let refused = Pool::builder(manager).max_size(1).opening(Opening::Wait(AMPLE)).build().unwrap_err();
    let cause = refused.source().unwrap().downcast_ref::<postgres::Error>().unwrap();
    assert_eq!(cause.code(), Some(&code));
    assert!(begun.elapsed() < AMPLE / 2, "the build did not wait in vain");
}

#[test]
fn a_wrong_password_or_database_is_permanent() {
    let Some(server) = Postgres::start(&[]) else { return };
    server.admin().batch_execute("create role secret login password 'right'").unwrap();
    let mut config = server.config();
    config.user("secret").password("right");
    asking(&mut single(config.clone()).get().unwrap(), "a").unwrap();
    assert_permanent(config.clone().password("wrong"), SqlState::INVALID_PASSWORD);
    assert_permanent(config.clone().dbname("nowhere"), SqlState::INVALID_CATALOG_NAME);
    assert_permanent(server.config().user("nobody"), SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
}

#[test]
fn a_frozen_login_ends_with_its_dial() {
    let Some(server) = Postgres::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    proxy.set(Fault::BlackHole);
    let manager = PostgresManager::new(server.config_at("127.0.0.1", proxy.port()));
    let builder = Pool::builder(manager).max_size(1).dial_timeout(Duration::from_millis(100));
    let pool = builder.opening(Opening::Background).build().unwrap();
    // More than may hang at a time: so none does.
    let may_hang = 4 * pool.settings().dials_at_once as u64;
    eventually("dials to fail", || pool.stats().dials_failed > may_hang + 2);
    proxy.set(Fault::None);
    eventually("a use to succeed", || pool.with(|client| asking(client, "a")).is_ok());
}

#[test]
fn a_frozen_server_does_not_hold_its_farewell_for_ever() {
    let Some(server) = Postgres::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let manager = PostgresManager::new(server.config_at("127.0.0.1", proxy.port()));
    let pool = Pool::builder(manager).max_size(1).close_timeout(Duration::from_millis(100)).build().unwrap();
    pool.with(|client| asking(client, "a")).unwrap();
    proxy.set(Fault::BlackHole);
    // Its client's drop waits for the server's end.
    pool.retire(Duration::ZERO);
    eventually("the farewell to be cut", || pool.stats().closing == 0);
}

#[test]
fn one_who_never_touched_it_asks_nothing() {
    let Some(server) = Postgres::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let manager = PostgresManager::new(server.config_at("127.0.0.1", proxy.port())).reset(PostgresReset::Rollback);
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    pool.with(|client| asking(client, "a")).unwrap();
    proxy.set(Fault::BlackHole);
    for _ in 0..10 {
        assert!(!pool.get().unwrap().is_closed());
    }
    proxy.set(Fault::None);
    assert_eq!(pool.with(|client| asking(client, "b")).unwrap(), "b");
}

/// Names the manager's trait, so that its TLS stays generic.
#[test]
fn any_connector_of_the_crate_is_taken() {
    fn takes<M: Manager>(_: &M) {}
    takes(&PostgresManager::with_tls(Config::new(), postgres::NoTls));
}
