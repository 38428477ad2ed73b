//! PostgreSQL by `PostgresManager`, MariaDB by `MysqlManager`, and both by r2d2 as `r2d2_postgres` and `r2d2_mysql` ask.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client_tests::matrix::run::{Fault, Meets, run};
use client_tests::matrix::subject::{Ours, SIZE, Subject, TIMEOUT, theirs};
use client_tests::matrix::{outage, rounds};
use client_tests::servers::{MariaDb, Postgres};
use corepool::clients::{MysqlConnection, MysqlManager, PostgresConnection, PostgresManager};
use corepool::{CloseReason, Dial, Manager, Outcome, Verdict, Watch};
use mysql::prelude::Queryable;
use postgres::{Client, Config, NoTls};
use rustix::process::Signal;

use crate::{Make, alone, away, killing, matrix};

fn ask(client: &mut Client, token: &str) -> Result<String, postgres::Error> {
    client.query_one("select $1::text", &[&token]).map(|row| row.get(0))
}

fn ask_ours(client: &mut PostgresConnection, token: &str) -> Result<String, postgres::Error> {
    ask(client, token)
}

fn ours(config: &Config) -> Box<dyn Subject> {
    Ours::boxed(PostgresManager::new(config.clone()), ask_ours)
}

fn r2d2_by(config: impl Fn() -> Config + Send + Sync + 'static) -> Box<dyn Subject> {
    let connect = move || config().connect(NoTls);
    theirs(connect, |client: &mut Client| client.simple_query("").map(drop), |client| client.is_closed(), ask, SIZE)
}

fn r2d2(config: &Config) -> Box<dyn Subject> {
    let config = config.clone();
    r2d2_by(move || config.clone())
}

const KILL_OTHERS: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
                           where pid <> pg_backend_pid() and backend_type = 'client backend'";

#[test]
fn postgres() {
    let _alone = alone();
    let Some(server) = Postgres::start(&[]) else { return };
    server.admin().batch_execute("create role app login; create role short login").unwrap();
    server.admin().batch_execute("alter role short set idle_session_timeout = '700ms'").unwrap();
    let port = server.server.port();
    let [app, short] = ["app", "short"].map(|user| server.config().user(user).clone());
    let server = RefCell::new(server);
    let run_sql = |sql: &str| server.borrow().admin().batch_execute(sql).unwrap();
    let kill = || server.borrow().kill_all();
    let stop = || server.borrow_mut().server.stop(Signal::INT);
    let start = || {
        server.borrow_mut().server.again();
        drop(server.borrow().admin());
    };
    let crowd = || {
        run_sql("alter role app connection limit 0");
        run_sql(KILL_OTHERS);
    };
    let part = || run_sql("alter role app connection limit -1");
    let pools: [Make<'_>; 2] = [&|| ours(&app), &|| r2d2(&app)];
    let faults = [
        killing("killed while idle", "PostgreSQL", port, &kill),
        Fault { meets: Meets::Callers, ..killing("killed in use", "PostgreSQL", port, &kill) },
        away("restart", "PostgreSQL", port, &stop, &start),
        away("too many clients", "PostgreSQL", port, &crowd, &part),
    ];
    matrix(&pools, &faults);
    let pools: [Make<'_>; 2] = [&|| ours(&short), &|| r2d2(&short)];
    matrix(&pools, &[killing("the server's idle timeout", "PostgreSQL", port, &|| {})]);
}

#[test]
fn postgres_password_is_another() {
    let _alone = alone();
    let Some(server) = Postgres::start(&[]) else { return };
    let port = server.server.port();
    server.admin().batch_execute("create role secret login password 'old'").unwrap();
    let [old, new] = ["old", "new"].map(|password| server.config().user("secret").password(password).clone());
    let begin = || {
        server.admin().batch_execute("alter role secret password 'new'").unwrap();
        server.kill_all();
    };
    for _ in 0..rounds() {
        for is_r2d2 in [false, true] {
            let told: RefCell<Box<dyn Fn()>> = RefCell::new(Box::new(|| {}));
            let end = || told.borrow()();
            run(&away("the password is another", "PostgreSQL", port, &begin, &end), || {
                let new = new.clone();
                if is_r2d2 {
                    // It cannot be told, so its manager is.
                    let config = Arc::new(Mutex::new(old.clone()));
                    let asked = Arc::clone(&config);
                    *told.borrow_mut() = Box::new(move || config.lock().unwrap().clone_from(&new));
                    return r2d2_by(move || asked.lock().unwrap().clone());
                }
                let ours = Ours::built("corepool", PostgresManager::new(old.clone()), ask_ours, |builder| builder);
                let pool = ours.pool();
                *told.borrow_mut() =
                    Box::new(move || pool.replace_manager(PostgresManager::new(new.clone()), Duration::ZERO));
                Box::new(ours)
            });
            server.admin().batch_execute("alter role secret password 'old'").unwrap();
        }
    }
}

/// Lends only what is connected to a server that takes writes: asked at each checkout, since a primary may become a standby while its
/// connections stay.
struct Primary(PostgresManager);

const IS_READ_ONLY: &str = "select current_setting('transaction_read_only') = 'on'";

impl Manager for Primary {
    type Connection = PostgresConnection;
    type Error = postgres::Error;

    fn connect(&self, dial: &Dial<'_>) -> Result<PostgresConnection, postgres::Error> {
        self.0.connect(dial)
    }

    fn is_permanent(&self, error: &postgres::Error) -> bool {
        self.0.is_permanent(error)
    }

    fn watch(&self, client: &PostgresConnection, on: &mut Watch<'_>) {
        self.0.watch(client, on);
    }

    fn on_idle_data(&self, client: &mut PostgresConnection, peeked: &[u8]) -> Verdict {
        self.0.on_idle_data(client, peeked)
    }

    fn on_checkout(&self, client: &mut PostgresConnection) -> Result<Verdict, postgres::Error> {
        let read_only = client.query_one(IS_READ_ONLY, &[]).map(|row| row.get::<_, bool>(0));
        Ok(match read_only {
            Ok(false) => Verdict::Keep,
            Ok(true) => Verdict::discard("the server takes no writes"),
            Err(error) => Verdict::discard(error),
        })
    }

    fn on_error(&self, client: &mut PostgresConnection, error: &dyn std::any::Any) -> Verdict {
        self.0.on_error(client, error)
    }

    fn on_return(&self, client: &mut PostgresConnection, how: Outcome) -> Verdict {
        self.0.on_return(client, how)
    }

    fn close(&self, client: PostgresConnection, why: CloseReason) {
        self.0.close(client, why);
    }
}

/// Writes, so that a standby refuses.
fn write(client: &mut Client, token: &str) -> Result<String, postgres::Error> {
    client.query_one("insert into t values ($1) returning said", &[&token]).map(|row| row.get(0))
}

fn write_ours(client: &mut PostgresConnection, token: &str) -> Result<String, postgres::Error> {
    write(client, token)
}

fn is_primary(client: &mut Client) -> Result<(), std::io::Error> {
    match client.query_one(IS_READ_ONLY, &[]).map(|row| row.get(0)) {
        Ok(false) => Ok(()),
        Ok(true) => Err(std::io::Error::other("the server takes no writes")),
        Err(error) => Err(std::io::Error::other(error)),
    }
}

/// Makes a pool, again and again.
type Maker = Box<dyn Fn() -> Box<dyn Subject>>;

fn primaries(config: &Config) -> (Maker, Maker) {
    let mut config = config.clone();
    config.target_session_attrs(postgres::config::TargetSessionAttrs::ReadWrite);
    let theirs_config = config.clone();
    let ours = move || Ours::boxed(Primary(PostgresManager::new(config.clone())), write_ours);
    let r2d2 = move || {
        let config = theirs_config.clone();
        let connect = move || config.connect(NoTls).map_err(std::io::Error::other);
        theirs(connect, is_primary, |client| client.is_closed(), write, SIZE)
    };
    (Box::new(ours), Box::new(r2d2))
}

#[test]
fn postgres_takes_no_writes_for_a_while() {
    let _alone = alone();
    let Some(server) = Postgres::start(&[]) else { return };
    server.admin().batch_execute("create table t (said text)").unwrap();
    // One by one: two statements in one query are a transaction, in which `alter system` does not run.
    let read_only = |how: &str| {
        let mut admin = server.admin();
        admin.batch_execute(&format!("alter system set default_transaction_read_only = {how}")).unwrap();
        admin.batch_execute("select pg_reload_conf()").unwrap();
        client_tests::server::eventually("it to be known", || {
            server.admin().query_one(IS_READ_ONLY, &[]).unwrap().get::<_, bool>(0) == (how == "on")
        });
    };
    let (ours, r2d2) = primaries(&server.config());
    let pools: [Make<'_>; 2] = [&*ours, &*r2d2];
    let (demote, promote) = (|| read_only("on"), || read_only("off"));
    let fault = away("a primary that takes no writes", "PostgreSQL", server.server.port(), &demote, &promote);
    matrix(&pools, &[fault]);
}

#[test]
fn postgres_fails_over_to_a_promoted_standby() {
    let _alone = alone();
    let Some(mut primary) = Postgres::start(&["-c", "wal_level=replica", "-c", "hot_standby=on"]) else { return };
    primary.admin().batch_execute("create table t (said text)").unwrap();
    for which in [0, 1] {
        // A standby can be promoted once; the promoted one is the next one's primary.
        let standby = RefCell::new(primary.standby());
        let mut both = primary.config();
        both.host("127.0.0.1").port(standby.borrow().server.port());
        let (ours, r2d2) = primaries(&both);
        let pool = [ours, r2d2].into_iter().nth(which).unwrap();
        let old = RefCell::new(primary);
        let stop = || old.borrow_mut().server.stop(Signal::INT);
        let promote = || standby.borrow().promote();
        let port = old.borrow().server.port();
        pool().end();
        run(
            &Fault { lasts: Some(outage()), ..away("failover to a standby", "PostgreSQL", port, &stop, &promote) },
            pool,
        );
        primary = standby.into_inner();
    }
}

fn ask_mysql(conn: &mut impl Queryable, token: &str) -> mysql::Result<String> {
    Ok(conn.exec_first("select ?", (token,))?.unwrap_or_default())
}

fn ask_ours_mysql(conn: &mut MysqlConnection, token: &str) -> mysql::Result<String> {
    ask_mysql(conn, token)
}

fn ask_theirs_mysql(conn: &mut mysql::Conn, token: &str) -> mysql::Result<String> {
    ask_mysql(conn, token)
}

#[test]
fn mariadb() {
    let _alone = alone();
    let Some(server) = MariaDb::start(&[]) else { return };
    let run_sql = |server: &MariaDb, sql: &str| server.admin().query_drop(sql).unwrap();
    run_sql(&server, "create user app@'127.0.0.1'");
    run_sql(&server, "grant all on test.* to app@'127.0.0.1'");
    let port = server.server.port();
    let opts = server.opts().user(Some("app")).read_timeout(Some(TIMEOUT)).write_timeout(Some(TIMEOUT));
    let short = opts.clone().init(vec!["set wait_timeout = 1"]);
    let server = RefCell::new(server);
    let kill = || server.borrow().kill_all();
    let stop = || server.borrow_mut().server.stop(Signal::TERM);
    let start = || server.borrow_mut().server.again();
    let lock = || {
        run_sql(&server.borrow(), "alter user app@'127.0.0.1' account lock");
        server.borrow().kill_all();
    };
    let unlock = || run_sql(&server.borrow(), "alter user app@'127.0.0.1' account unlock");
    let made = |opts: &mysql::OptsBuilder| {
        let (ours, theirs_opts) = (opts.clone(), mysql::Opts::from(opts.clone()));
        let ours = move || Ours::boxed(MysqlManager::new(ours.clone()), ask_ours_mysql);
        let r2d2 = move || {
            let opts = theirs_opts.clone();
            let connect = move || mysql::Conn::new(opts.clone());
            let is_valid = |conn: &mut mysql::Conn| conn.ping();
            theirs(connect, is_valid, |conn| conn.ping().is_err(), ask_theirs_mysql, SIZE)
        };
        (ours, r2d2)
    };
    let (ours, r2d2) = made(&opts);
    let faults = [
        killing("killed while idle", "MariaDB", port, &kill),
        Fault { meets: Meets::Callers, ..killing("killed in use", "MariaDB", port, &kill) },
        away("restart", "MariaDB", port, &stop, &start),
        away("account locked", "MariaDB", port, &lock, &unlock),
    ];
    matrix(&[&ours, &r2d2], &faults);
    let (ours, r2d2) = made(&short);
    matrix(&[&ours, &r2d2], &[killing("the server's idle timeout", "MariaDB", port, &|| {})]);
}
