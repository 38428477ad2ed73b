//! The examples of diesel's and r2d2_sqlite's own documentation, with this pool in the place of r2d2's: what is another line is marked.

#![allow(missing_docs, reason = "what the table macro writes")]
#![allow(clippy::all, reason = "other people's examples, as they are")]

use std::path::PathBuf;
use std::thread;

use corepool::Pool;
use corepool::clients::R2d2Manager;

/// A database's file, which goes when it is dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> File {
        File(std::env::temp_dir().join(format!("corepool-bridge-{}-{name}.db", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_example_of_r2d2_sqlite_runs() {
    use r2d2_sqlite::SqliteConnectionManager;
    use rusqlite::params;
    let file = File::new("r2d2_sqlite");

    let manager = SqliteConnectionManager::file(file.path());
    // Was: r2d2::Pool::new(manager).unwrap()
    let pool = Pool::builder(R2d2Manager::new(manager)).build().unwrap();
    pool.get().unwrap().execute("CREATE TABLE IF NOT EXISTS foo (bar INTEGER)", params![]).unwrap();

    (0..10)
        .map(|i| {
            let pool = pool.clone();
            thread::spawn(move || {
                let conn = pool.get().unwrap();
                conn.execute("INSERT INTO foo (bar) VALUES (?)", [&i]).unwrap();
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
        .map(thread::JoinHandle::join)
        .collect::<Result<(), _>>()
        .unwrap();

    let sum: i64 = pool.with(|conn| conn.query_row("SELECT sum(bar) FROM foo", params![], |row| row.get(0))).unwrap();
    assert_eq!(sum, 45);
}

/// Its own test of a database in memory, which all connections of a manager share.
#[test]
fn a_database_in_memory_is_shared_by_all_of_a_pool() {
    use r2d2_sqlite::SqliteConnectionManager;
    use rusqlite::params;
    let manager = SqliteConnectionManager::memory();
    // Was: r2d2::Pool::builder().max_size(10).build(manager).unwrap()
    let pool = Pool::builder(R2d2Manager::new(manager)).max_size(10).build().unwrap();
    pool.get().unwrap().execute("CREATE TABLE foo (bar INTEGER)", params![]).unwrap();
    let leases: Vec<_> = (0..10).map(|_| pool.get().unwrap()).collect();
    for (number, conn) in leases.iter().enumerate() {
        conn.execute("INSERT INTO foo (bar) VALUES (?)", [number]).unwrap();
    }
    let count: i64 = leases[9].query_row("SELECT count(*) FROM foo", params![], |row| row.get(0)).unwrap();
    assert_eq!(count, 10);
}

diesel::table! {
    users {
        id -> Integer,
        name -> Text,
    }
}

mod by_diesel {
    use super::*;
    use diesel::prelude::*;
    use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error as R2D2Error};
    use diesel::result::Error;

    type DbConnection = SqliteConnection;

    #[derive(Copy, Clone, Debug)]
    struct SetupUserTableCustomizer;

    impl CustomizeConnection<DbConnection, R2D2Error> for SetupUserTableCustomizer {
        fn on_acquire(&self, conn: &mut DbConnection) -> Result<(), R2D2Error> {
            let table = "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)";
            diesel::sql_query(table).execute(conn).map(drop).map_err(R2D2Error::QueryError)
        }
    }

    // Was: Pool<ConnectionManager<DbConnection>>
    fn get_connection_pool(url: &str) -> Pool<R2d2Manager<ConnectionManager<DbConnection>>> {
        let manager = ConnectionManager::<DbConnection>::new(url);
        // Was: Pool::builder(), and the manager given to build()
        let manager = R2d2Manager::new(manager)
            .test_on_check_out(true)
            .connection_customizer(Box::new(SetupUserTableCustomizer))
            .harmless_errors(|error: &Error| matches!(error, Error::DatabaseError(..)));
        Pool::builder(manager).max_size(1).build().expect("Could not build connection pool")
    }

    fn create_user(conn: &mut DbConnection, user_name: &str) -> Result<usize, Error> {
        use super::users::dsl::*;

        diesel::insert_into(users).values(name.eq(user_name)).execute(conn)
    }

    #[test]
    fn the_example_of_diesel_runs() {
        let file = File::new("diesel");
        let pool = get_connection_pool(file.path());
        let mut threads = vec![];
        let max_users_to_create = 8;

        for i in 0..max_users_to_create {
            let pool = pool.clone();
            threads.push(thread::spawn({
                move || {
                    let conn = &mut pool.get().unwrap();
                    let name = format!("Person {}", i);
                    create_user(conn, &name).unwrap();
                }
            }))
        }

        for handle in threads {
            handle.join().unwrap();
        }
        let count: i64 = pool.with(|conn| users::table.count().get_result(conn)).unwrap();
        assert_eq!(count, 8);
        assert_eq!(pool.stats().dials, 1);
    }

    #[test]
    fn a_duplicate_costs_no_connection_and_a_transaction_left_open_does() {
        let file = File::new("duplicates");
        let pool = get_connection_pool(file.path());
        for _ in 0..5 {
            let _ = pool.with(|conn| create_user(conn, "one"));
        }
        assert_eq!(pool.stats().dials, 1);
        pool.with(|conn| {
            use diesel::connection::{AnsiTransactionManager, TransactionManager};
            AnsiTransactionManager::begin_transaction(conn)?;
            create_user(conn, "two").map(drop)
        })
        .unwrap();
        let count: i64 = pool.with(|conn| users::table.count().get_result(conn)).unwrap();
        assert_eq!((count, pool.stats().dials), (1, 2), "it was rolled back with its connection");
    }
}
