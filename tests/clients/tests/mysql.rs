//! `MysqlManager` in front of a real MariaDB.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client_tests::proxy::{Fault, Proxy};
use client_tests::scenario::{Peer, assert_no_foreign, foreign_answers, killed_while_idle, patient};
use client_tests::server::{AMPLE, eventually};
use client_tests::servers::MariaDb;
use corepool::clients::{MysqlConnection, MysqlManager, MysqlReset};
use corepool::{CloseReason, Event, Manager, Opening, Pool, UseError};
use mysql::prelude::Queryable;
use mysql::{OptsBuilder, TxOpts};
use rustix::process::Signal;

fn ask(mysql: &mut MysqlConnection, token: &str) -> mysql::Result<String> {
    let answer = match fastrand::bool() {
        true => mysql.query_first(format!("select '{token}'"))?,
        false => mysql.exec_first("select ?", (token,))?,
    };
    Ok(answer.unwrap_or_default())
}

fn single(opts: OptsBuilder) -> Pool<MysqlManager> {
    Pool::builder(MysqlManager::new(opts)).max_size(1).build().unwrap()
}

#[test]
fn idle_connections_that_the_server_killed_are_not_lent() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let (tcp, unix) = (Peer::Tcp(server.server.port()), Peer::Unix(server.unix_path()));
    let by_unix = OptsBuilder::new().socket(Some(server.unix_path())).user(Some("root")).db_name(Some("test"));
    for (opts, peer, rounds) in [(server.opts(), tcp, 100), (by_unix, unix, 20)] {
        let pool = patient(MysqlManager::new(opts), 10);
        let (failed, uses) = killed_while_idle(&pool, rounds, 10, &peer, || server.kill_all(), ask);
        assert_eq!((failed, uses), (0, rounds * 10));
    }
}

#[test]
fn no_answer_reaches_another_user() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let soon = Some(Duration::from_millis(15));
    let opts = server.opts_at(proxy.port()).read_timeout(soon);
    // Its own defaults, and with nothing asked at a return.
    for reset in [MysqlReset::Rollback, MysqlReset::None] {
        let pool = patient(MysqlManager::new(opts.clone()).reset(reset), 4);
        let late = Duration::from_millis(40);
        let tally = foreign_answers(&pool, &proxy, 10_000, late, ask, |mysql, token| match fastrand::u32(..4) {
            0 => drop(mysql.query_drop("begin")),
            // Errors on the way are swallowed by the result's drop.
            1 => drop(mysql.query_iter(format!("select '{token}' from seq_1_to_2000"))),
            2 => drop(mysql.client().query_first::<String, _>(format!("select '{token}'"))),
            _ => drop(mysql.query_drop(format!("select '{token}', sleep(0.02)"))),
        });
        assert_no_foreign(&tally, 10_000);
    }
}

#[test]
fn a_duplicate_key_costs_no_connection() {
    let Some(server) = MariaDb::start(&[]) else { return };
    single(server.opts()).with(|mysql| mysql.query_drop("create table t (id bigint primary key)")).unwrap();
    let proxy = Proxy::new(server.server.port());
    let pool = Pool::builder(MysqlManager::new(server.opts_at(proxy.port()))).max_size(4).build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for number in 0..250 {
                    let id = if number % 5 == 0 { 0 } else { 1 + thread * 1000 + number };
                    match pool.with(|mysql| mysql.exec_drop("insert into t values (?)", (id,))) {
                        Ok(()) => {}
                        Err(UseError::Use(mysql::Error::MySqlError(error))) => assert_eq!((error.code, id), (1062, 0)),
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
        }
    });
    assert!(proxy.accepted() <= 4, "{} dials", proxy.accepted());
    let rows = single(server.opts()).with(|mysql| mysql.query_first::<u64, _>("select count(*) from t")).unwrap();
    assert_eq!(rows, Some(801));
}

#[test]
fn a_timeout_costs_the_connection_also_where_the_client_swallows_it() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let opts = server.opts_at(proxy.port()).read_timeout(Some(Duration::from_millis(60)));
    let pool = Pool::builder(MysqlManager::new(opts).reset(MysqlReset::None)).max_size(1).build().unwrap();
    let closes: [fn(&mut MysqlConnection); 4] = [
        |mysql| drop(mysql.query_first::<i32, _>("select 7 from (select sleep(0.2)) s").unwrap_err()),
        |mysql| drop(mysql.exec_first::<i32, _, _>("select sleep(?)", (0.2,)).unwrap_err()),
        // The first of its results is there in time, the second is not, which only the drop meets.
        |mysql| drop(mysql.query_iter("select 7; select sleep(0.2)").unwrap()),
        |mysql| drop(mysql.client().query_first::<i32, _>("select sleep(0.2)")),
    ];
    for (dials, close) in closes.into_iter().enumerate() {
        assert_eq!(proxy.accepted(), dials as u64 + 1);
        pool.with(|mysql| {
            close(mysql);
            Ok::<_, mysql::Error>(())
        })
        .unwrap();
        assert_eq!(pool.with(|mysql| mysql.query_first::<i32, _>("select 42")).unwrap(), Some(42));
    }
}

#[test]
fn what_a_user_leaves_in_a_session_is_not_the_next_users() {
    let Some(server) = MariaDb::start(&[]) else { return };
    single(server.opts()).with(|mysql| mysql.query_drop("create table t (id int) engine innodb")).unwrap();
    for (reset, rolled_back, fresh) in
        [(MysqlReset::None, false, false), (MysqlReset::Rollback, true, false), (MysqlReset::Connection, true, true)]
    {
        let pool = Pool::builder(MysqlManager::new(server.opts()).reset(reset)).max_size(1).build().unwrap();
        pool.with(|mysql| {
            mysql.query_drop("set @v = 7")?;
            mysql.query_drop("begin")?;
            mysql.query_drop("insert into t values (1)")
        })
        .unwrap();
        let seen = pool.with(|mysql| mysql.query_first::<(u64, Option<i32>), _>("select count(*), @v from t")).unwrap();
        assert_eq!(seen, Some((u64::from(!rolled_back), (!fresh).then_some(7))), "{reset:?}");
        assert_eq!(pool.stats().dials, 1);
    }
}

#[test]
fn a_transaction_is_committed_or_rolled_back() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let pool = Pool::builder(MysqlManager::new(server.opts()).reset(MysqlReset::None)).max_size(1).build().unwrap();
    pool.with(|mysql| mysql.query_drop("create table t (id int) engine innodb")).unwrap();
    let rows = || pool.with(|mysql| mysql.query_first::<u64, _>("select count(*) from t")).unwrap();
    for (commit, expected) in [(true, 1), (false, 1)] {
        pool.with(|mysql| {
            let mut transaction = mysql.start_transaction(TxOpts::default())?;
            transaction.exec_drop("insert into t values (?)", (1,))?;
            if commit { transaction.commit() } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(rows(), Some(expected));
    }
    assert_eq!(pool.stats().dials, 1);
}

#[test]
fn all_methods_of_the_clients_trait_work() {
    let Some(server) = MariaDb::start(&[]) else { return };
    single(server.opts())
        .with(|mysql| {
            assert_eq!(mysql.query::<i32, _>("select 1 union select 2")?, [1, 2]);
            assert_eq!(mysql.query_map("select 1 union select 2", |n: i32| n * 2)?, [2, 4]);
            assert_eq!(mysql.query_first::<i32, _>("select 1 union select 2")?, Some(1));
            assert_eq!(mysql.query_first::<i32, _>("select 1 where false")?, None);
            assert_eq!(mysql.exec::<i32, _, _>("select ? union select 2", (1,))?, [1, 2]);
            assert_eq!(mysql.exec_first::<i32, _, _>("select ? union select 2", (1,))?, Some(1));
            assert!(mysql.query_first_opt::<i32, _>("select 'x'")?.unwrap().is_err());
            let rows: Vec<i32> =
                mysql.query_iter("select 1 union select 2")?.map(|row| mysql::from_row(row.unwrap())).collect();
            assert_eq!(rows, [1, 2]);
            mysql.query_drop("create temporary table tt (id int)")?;
            mysql.exec_batch("insert into tt values (?)", (0..5).map(|n| (n,)))?;
            let statement = mysql.prep("select count(*) from tt where id < ?")?;
            assert_eq!(mysql.exec_first::<u64, _, _>(&statement, (3,))?, Some(3));
            mysql.close(statement)?;
            mysql.query_drop("insert into tt values (9)")?;
            assert_eq!(mysql.affected_rows(), 1);
            mysql.ping()
        })
        .unwrap();
}

#[test]
fn anything_that_waits_on_an_idle_connection_discards() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    let closings = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&closings);
    let builder = Pool::builder(MysqlManager::new(server.opts_at(proxy.port()))).max_size(1);
    let pool = builder.observer(move |event: &Event| {
        if let Event::Closed { why, .. } = event {
            told.lock().unwrap().push(*why);
        }
    });
    let pool = pool.build().unwrap();
    pool.with(|mysql| ask(mysql, "a")).unwrap();
    proxy.inject(b"\x07\0\0\0\xff\xbf\x0f#HY00");
    eventually("another connection", || {
        assert_eq!(pool.with(|mysql| ask(mysql, "b")).unwrap(), "b");
        proxy.accepted() == 2
    });
    eventually("its end to be told", || *closings.lock().unwrap() == [CloseReason::IdleData]);
}

#[test]
fn a_restart_of_the_server_is_got_over() {
    let Some(mut server) = MariaDb::start(&[]) else { return };
    let pool = Pool::builder(MysqlManager::new(server.opts())).max_size(4).min_idle(2).build().unwrap();
    pool.with(|mysql| ask(mysql, "a")).unwrap();
    server.server.stop(Signal::TERM);
    eventually("the pool to notice", || pool.stats().open == 0);
    server.server.again();
    eventually("a use to succeed", || pool.with(|mysql| ask(mysql, "b")).is_ok());
    eventually("it to be whole", || pool.stats().idle >= 2);
}

#[track_caller]
fn assert_permanent(opts: OptsBuilder, code: u16) {
    let begun = Instant::now();
    let builder = Pool::builder(MysqlManager::new(opts)).max_size(1).opening(Opening::Wait(AMPLE));
    let refused = builder.build().unwrap_err();
    let cause = refused.source().unwrap().downcast_ref::<mysql::Error>().unwrap();
    assert!(matches!(cause, mysql::Error::MySqlError(error) if error.code == code), "{cause:?}");
    assert!(begun.elapsed() < AMPLE / 2, "the build did not wait in vain");
}

#[test]
fn a_wrong_password_or_database_is_permanent() {
    let Some(server) = MariaDb::start(&[]) else { return };
    assert_permanent(server.opts().pass(Some("wrong")), 1045);
    assert_permanent(server.opts().user(Some("nobody")).pass(Some("x")), 1045);
    assert_permanent(server.opts().db_name(Some("nowhere")), 1049);
}

#[test]
fn a_frozen_login_ends_with_its_dial_and_its_timeouts_with_the_login() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let proxy = Proxy::new(server.server.port());
    proxy.set(Fault::BlackHole);
    let manager = MysqlManager::new(server.opts_at(proxy.port()));
    let builder = Pool::builder(manager).max_size(1).dial_timeout(Duration::from_millis(100));
    let pool = builder.opening(Opening::Background).build().unwrap();
    let may_hang = 4 * pool.settings().dials_at_once as u64;
    eventually("dials to fail", || pool.stats().dials_failed > may_hang + 2);
    proxy.set(Fault::None);
    eventually("a use to succeed", || pool.with(|mysql| ask(mysql, "a")).is_ok());
    pool.with(|mysql| mysql.query_drop("select sleep(0.3)")).unwrap();
}

/// Its errors and its type are those of the trait.
#[test]
fn it_is_a_manager() {
    fn takes<M: Manager<Error = mysql::Error>>(_: &M) {}
    takes(&MysqlManager::new(OptsBuilder::new()));
}
