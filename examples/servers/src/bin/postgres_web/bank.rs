//! Accounts in a database, and what is done to them: each in one transaction, on a connection that the pool lends for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corepool::clients::{PostgresManager, R2d2Manager};
use corepool::{Opening, Pool, Stats};
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{OptionalExtension, TransactionBehavior};

use crate::cli::Failure;

/// How many accounts there are, and what is in each to begin with.
pub(crate) const ACCOUNTS: i64 = 100;
const EACH: i64 = 1_000;

/// A database that is absent at the start is reported after this long.
const OPENING: Duration = Duration::from_secs(2);
/// A caller waits so long for a connection: longer than SQLite's writers wait for each other.
const PATIENCE: Duration = Duration::from_secs(30);

const TABLE: &str = "drop table if exists corepool_accounts; \
                     create table corepool_accounts (id bigint primary key, balance bigint not null check (balance >= 0));";

/// Handles to it are cheap.
#[derive(Debug, Clone)]
pub(crate) enum Bank {
    Postgres(Pool<PostgresManager>),
    Sqlite(
        Pool<R2d2Manager<SqliteConnectionManager>>,
        #[expect(dead_code, reason = "its drop is what it is for")] Arc<Folder>,
    ),
}

/// What has come of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    Moved,
    /// There is not enough in the account.
    Refused,
    /// Its handler gave up between the two accounts.
    HalfDone,
}

/// Where SQLite keeps its files; it goes with the bank.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Bank {
    /// The PostgreSQL at this URL; none: SQLite in a new file.
    pub(crate) fn open(url: Option<&str>, max_size: usize) -> Result<Bank, Failure> {
        let Some(url) = url else {
            let folder = std::env::temp_dir().join(format!("corepool-bank-{}", std::process::id()));
            std::fs::create_dir_all(&folder)?;
            let file = folder.join("accounts.db");
            let folder = Arc::new(Folder(folder));
            // One writes at a time, and the others wait for it; readers wait for nobody.
            let settings = "pragma busy_timeout = 20000; pragma journal_mode = wal; pragma synchronous = normal;";
            let manager = SqliteConnectionManager::file(file).with_init(move |sqlite| sqlite.execute_batch(settings));
            let pool = Pool::builder(R2d2Manager::new(manager)).max_size(max_size).wait_timeout(PATIENCE);
            return Ok(Bank::Sqlite(pool.opening(Opening::Wait(OPENING)).build()?, folder));
        };
        let pool = Pool::builder(PostgresManager::new(url.parse()?)).max_size(max_size).wait_timeout(PATIENCE);
        Ok(Bank::Postgres(pool.opening(Opening::Wait(OPENING)).build()?))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Bank::Postgres(_) => "PostgreSQL",
            Bank::Sqlite(..) => "SQLite (embedded)",
        }
    }

    /// Makes the accounts anew.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {EACH})")).collect();
        let all = format!("{TABLE} insert into corepool_accounts (id, balance) values {};", rows.join(", "));
        match self {
            Bank::Postgres(pool) => pool.with(|postgres| postgres.batch_execute(&all))?,
            Bank::Sqlite(pool, _) => pool.with(|sqlite| sqlite.execute_batch(&all))?,
        }
        Ok(())
    }

    /// Moves money, in one transaction: both accounts change, or none does. With `half`, its handler gives up in between.
    pub(crate) fn transfer(&self, from: i64, to: i64, amount: i64, half: bool) -> Result<Transfer, Failure> {
        const TAKE: &str = "update corepool_accounts set balance = balance - $2 where id = $1 and balance >= $2";
        const GIVE: &str = "update corepool_accounts set balance = balance + $2 where id = $1";
        Ok(match self {
            Bank::Postgres(pool) => pool.with(|postgres| {
                // Ends when it is dropped: what was not committed is rolled back, on whatever way out.
                let mut transaction = postgres.transaction()?;
                // Both rows in one order, so that two transfers between the same accounts do not wait for each other in a circle.
                const LOCK: &str = "select id from corepool_accounts where id = $1 or id = $2 order by id for update";
                transaction.query(LOCK, &[&from, &to])?;
                if transaction.execute(TAKE, &[&from, &amount])? == 0 {
                    return Ok(Transfer::Refused);
                }
                if half {
                    return Ok(Transfer::HalfDone);
                }
                transaction.execute(GIVE, &[&to, &amount])?;
                transaction.commit()?;
                Ok::<_, postgres::Error>(Transfer::Moved)
            })?,
            Bank::Sqlite(pool, _) => pool.with(|sqlite| {
                // The writer's place from its beginning: one that only reads first may have to give up when it comes to write.
                let transaction = sqlite.transaction_with_behavior(TransactionBehavior::Immediate)?;
                if transaction.execute(&numbered(TAKE), [from, amount])? == 0 {
                    return Ok(Transfer::Refused);
                }
                if half {
                    return Ok(Transfer::HalfDone);
                }
                transaction.execute(&numbered(GIVE), [to, amount])?;
                transaction.commit()?;
                Ok::<_, rusqlite::Error>(Transfer::Moved)
            })?,
        })
    }

    /// What is in an account, if there is one of this number.
    pub(crate) fn balance(&self, id: i64) -> Result<Option<i64>, Failure> {
        const BALANCE: &str = "select balance from corepool_accounts where id = $1";
        Ok(match self {
            Bank::Postgres(pool) => pool.with(|postgres| postgres.query_opt(BALANCE, &[&id]))?.map(|row| row.get(0)),
            Bank::Sqlite(pool, _) => {
                pool.with(|sqlite| sqlite.query_row(&numbered(BALANCE), [id], |row| row.get(0)).optional())?
            }
        })
    }

    /// What is in all of them.
    pub(crate) fn total(&self) -> Result<i64, Failure> {
        const TOTAL: &str = "select cast(sum(balance) as bigint) from corepool_accounts";
        Ok(match self {
            Bank::Postgres(pool) => pool.with(|postgres| postgres.query_one(TOTAL, &[]))?.get(0),
            Bank::Sqlite(pool, _) => pool.with(|sqlite| sqlite.query_row(TOTAL, [], |row| row.get(0)))?,
        })
    }

    pub(crate) fn stats(&self) -> Stats {
        match self {
            Bank::Postgres(pool) => pool.stats(),
            Bank::Sqlite(pool, _) => pool.stats(),
        }
    }

    /// Drops the table, and closes the pool.
    pub(crate) fn clean_up(&self) -> Result<(), Failure> {
        const DROP: &str = "drop table corepool_accounts";
        match self {
            Bank::Postgres(pool) => {
                pool.with(|postgres| postgres.batch_execute(DROP))?;
                pool.close();
            }
            Bank::Sqlite(pool, _) => {
                pool.with(|sqlite| sqlite.execute_batch(DROP))?;
                pool.close();
            }
        }
        Ok(())
    }
}

/// Parameters as SQLite numbers them: to it `$2` is a name, whose number is that of its first appearance.
fn numbered(statement: &str) -> String {
    statement.replace('$', "?")
}
