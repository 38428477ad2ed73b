//! Uses a second, where one in five is refused for a duplicate key: this pool and r2d2, with the same client, server and number of threads.
//!
//! ```text
//! cargo run --release -p client-tests --example side_by_side
//! ```
//!
//! Each pool runs three times, in turns. r2d2's managers ask as r2d2_postgres and r2d2_mysql do: a round trip at each checkout, and for
//! MySQL another at each return.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use client_tests::servers::{MariaDb, Postgres};
use corepool::clients::{MysqlManager, MysqlReset, PostgresManager, PostgresReset};
use mysql::prelude::Queryable;

const THREADS: u32 = 4;
const EACH: Duration = Duration::from_secs(3);
static DIALS: AtomicU64 = AtomicU64::new(0);
static IDS: AtomicU64 = AtomicU64::new(1);

struct PostgresR2d2(postgres::Config);

impl r2d2::ManageConnection for PostgresR2d2 {
    type Connection = postgres::Client;
    type Error = postgres::Error;

    fn connect(&self) -> Result<postgres::Client, postgres::Error> {
        DIALS.fetch_add(1, Ordering::Relaxed);
        self.0.connect(postgres::NoTls)
    }

    fn is_valid(&self, client: &mut postgres::Client) -> Result<(), postgres::Error> {
        client.simple_query("").map(drop)
    }

    fn has_broken(&self, client: &mut postgres::Client) -> bool {
        client.is_closed()
    }
}

struct MysqlR2d2(mysql::Opts);

impl r2d2::ManageConnection for MysqlR2d2 {
    type Connection = mysql::Conn;
    type Error = mysql::Error;

    fn connect(&self) -> mysql::Result<mysql::Conn> {
        DIALS.fetch_add(1, Ordering::Relaxed);
        mysql::Conn::new(self.0.clone())
    }

    fn is_valid(&self, conn: &mut mysql::Conn) -> mysql::Result<()> {
        conn.ping()
    }

    fn has_broken(&self, conn: &mut mysql::Conn) -> bool {
        conn.ping().is_err()
    }
}

fn id() -> u64 {
    let next = IDS.fetch_add(1, Ordering::Relaxed);
    if next.is_multiple_of(5) { 0 } else { next }
}

fn run(use_: impl Fn() + Sync) -> u64 {
    let (count, end) = (AtomicU64::new(0), Instant::now() + EACH);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while Instant::now() < end {
                    use_();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    (count.into_inner() as f64 / EACH.as_secs_f64()) as u64
}

fn main() {
    if let Some(server) = Postgres::start(&["-c", "synchronous_commit=off", "-c", "log_min_messages=fatal"]) {
        server
            .admin()
            .batch_execute("create unlogged table t (id bigint primary key); insert into t values (0)")
            .unwrap();
        let insert =
            |client: &mut postgres::Client| client.execute("insert into t values ($1)", &[&(id() as i64)]).map(drop);
        for _ in 0..3 {
            for reset in [PostgresReset::AfterErrors, PostgresReset::Rollback, PostgresReset::None] {
                let manager = PostgresManager::new(server.config()).reset(reset);
                let pool = corepool::Pool::builder(manager).max_size(THREADS as usize).build().unwrap();
                let rate = run(|| drop(pool.with(|client| insert(client))));
                println!("postgres  corepool, {reset:?}: {rate} uses/s, {} dials", pool.stats().dials);
            }
            DIALS.store(0, Ordering::Relaxed);
            let pool = r2d2::Pool::builder().max_size(THREADS).build(PostgresR2d2(server.config())).unwrap();
            let rate = run(|| drop(insert(&mut pool.get().unwrap())));
            println!("postgres  r2d2: {rate} uses/s, {} dials", DIALS.load(Ordering::Relaxed));
        }
    }
    if let Some(server) = MariaDb::start(&[]) {
        let mut admin = mysql::Conn::new(server.opts()).unwrap();
        admin.query_drop("create table t (id bigint primary key) engine=memory").unwrap();
        admin.query_drop("insert into t values (0)").unwrap();
        for _ in 0..3 {
            for reset in [MysqlReset::Rollback, MysqlReset::None] {
                let manager = MysqlManager::new(server.opts()).reset(reset);
                let pool = corepool::Pool::builder(manager).max_size(THREADS as usize).build().unwrap();
                let rate = run(|| drop(pool.with(|mysql| mysql.exec_drop("insert into t values (?)", (id(),)))));
                println!("mysql  corepool, {reset:?}: {rate} uses/s, {} dials", pool.stats().dials);
            }
            DIALS.store(0, Ordering::Relaxed);
            let manager = MysqlR2d2(server.opts().into());
            let pool = r2d2::Pool::builder().max_size(THREADS).build(manager).unwrap();
            let rate = run(|| drop(pool.get().unwrap().exec_drop("insert into t values (?)", (id(),))));
            println!("mysql  r2d2: {rate} uses/s, {} dials", DIALS.load(Ordering::Relaxed));
        }
    }
}
