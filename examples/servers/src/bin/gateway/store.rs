//! The way to the store: what a key and its value are in each kind of server, through a pool of its client.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use corepool::clients::{MysqlConnection, MysqlManager, PostgresConnection, PostgresManager, RedisManager};
use corepool::mux::MuxStats;
use corepool::{Builder, Event, GetError, GetErrorKind, Manager, Opening, Pool, Stats, UseError};
use mysql::prelude::Queryable;
use postgres::types::Type;
use redis::{Commands, RedisError, cmd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use server_examples::router::Router;

use crate::args::Args;
use crate::cli::{Failure, chain};
use crate::live::Live;

/// A backend that is absent at the start is reported after this long: a person is waiting. Longer than a dial may take, so that one that
/// hangs is named.
const OPENING: Duration = Duration::from_secs(4);

/// What the scheme of `--backend` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Redis,
    /// With TLS.
    Rediss,
    Cluster,
    Mysql,
    Postgres,
}

impl Mode {
    pub(crate) fn of(scheme: &str) -> Option<Mode> {
        match scheme {
            "redis" => Some(Mode::Redis),
            "rediss" => Some(Mode::Rediss),
            "redis-cluster" => Some(Mode::Cluster),
            "mysql" => Some(Mode::Mysql),
            "postgresql" | "postgres" => Some(Mode::Postgres),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        if self == Mode::Cluster { "pool a node" } else { "pool" }
    }
}

/// A client that trusts the certificates of this file, in PEM.
fn trusting(file: &Path) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    let unread = |error: &dyn Error| format!("--ca {}: {}", file.display(), chain(error));
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unread(&error))? {
        roots.add(certificate.map_err(|error| unread(&error))?).map_err(|error| unread(&error))?;
    }
    if roots.is_empty() {
        return Err(format!("--ca {}: no certificate in it", file.display()).into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Handles to it are cheap.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    Redis(Pool<RedisManager>),
    Cluster(Arc<Router>),
    Mysql(Pool<MysqlManager>),
    Postgres(Pool<PostgresManager>),
}

impl Store {
    /// Opens what `args` say; events of its pools go to `live`.
    pub(crate) fn open(args: &Args, live: &Arc<Live>) -> Result<Store, Failure> {
        let url = args.backend.as_str();
        Ok(match args.mode {
            Mode::Redis => Store::Redis(pool(RedisManager::new(url)?, args.max_size, live).build()?),
            Mode::Rediss => {
                let config = trusting(args.ca.as_deref().unwrap_or(Path::new("")))?;
                Store::Redis(pool(RedisManager::with_tls(url, config)?, args.max_size, live).build()?)
            }
            Mode::Mysql => {
                Store::Mysql(pool(MysqlManager::new(mysql::Opts::from_url(url)?), args.max_size, live).build()?)
            }
            Mode::Postgres => {
                let config: postgres::Config = url.parse()?;
                Store::Postgres(pool(PostgresManager::new(config), args.max_size, live).build()?)
            }
            Mode::Cluster => {
                let seed = url.trim_start_matches("redis-cluster://").trim_end_matches('/');
                let (max_size, live) = (args.max_size, Arc::clone(live));
                // Most nodes are opened by the first request to them.
                let build = move |manager| pool(manager, max_size, &live).opening(Opening::Lazy);
                Store::Cluster(Arc::new(Router::new(seed, build)?))
            }
        })
    }

    /// Makes the table, where there is one.
    pub(crate) fn prepare(&self) -> Result<(), StoreError> {
        const TABLE: &str = "create table if not exists corepool_gateway";
        match self {
            Store::Redis(_) | Store::Cluster(_) => {}
            Store::Mysql(pool) => {
                pool.with(|mysql| {
                    mysql.query_drop(format!("{TABLE} (k varchar(255) primary key, v longblob not null)"))
                })?;
            }
            Store::Postgres(pool) => {
                pool.with(|postgres| {
                    postgres.batch_execute(&format!("{TABLE} (k text primary key, v bytea not null)"))
                })?;
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(match self {
            Store::Redis(pool) => pool.with(|redis| redis.get(key))?,
            Store::Cluster(router) => router.query(key, cmd("GET").arg(key))?,
            Store::Mysql(pool) => {
                pool.with(|mysql| mysql.exec_first("select v from corepool_gateway where k = ?", (key,)))?
            }
            Store::Postgres(pool) => pool.with(|postgres| {
                // One round trip, and nothing is prepared by name: pgbouncer may send the next one elsewhere.
                let row =
                    postgres.query_typed_opt("select v from corepool_gateway where k = $1", &[(&key, Type::TEXT)]);
                row.map(|row| row.map(|row| row.get(0)))
            })?,
        })
    }

    pub(crate) fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        match self {
            Store::Redis(pool) => pool.with(|redis| redis.set::<_, _, ()>(key, value))?,
            Store::Cluster(router) => router.query(key, cmd("SET").arg(key).arg(value))?,
            Store::Mysql(pool) => pool.with(|mysql| put_mysql(mysql, key, value))?,
            Store::Postgres(pool) => pool.with(|postgres| put_postgres(postgres, key, value))?,
        }
        Ok(())
    }

    /// Sets all of them, with one connection where one server has them all.
    pub(crate) fn set_all(&self, items: &[(String, String)]) -> Result<(), StoreError> {
        let mut items = items.iter().map(|(key, value)| (key, value.as_bytes()));
        match self {
            Store::Redis(pool) => {
                pool.with(|redis| items.try_for_each(|(key, value)| redis.set::<_, _, ()>(key, value)))?;
            }
            Store::Cluster(_) => items.try_for_each(|(key, value)| self.set(key, value))?,
            Store::Mysql(pool) => {
                pool.with(|mysql| items.try_for_each(|(key, value)| put_mysql(mysql, key, value)))?;
            }
            Store::Postgres(pool) => {
                pool.with(|postgres| items.try_for_each(|(key, value)| put_postgres(postgres, key, value)))?;
            }
        }
        Ok(())
    }

    /// A table goes with its keys.
    pub(crate) fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        match self {
            Store::Redis(pool) => pool.with(|redis| redis.del::<_, ()>(keys))?,
            // Of one slot each.
            Store::Cluster(router) => keys.iter().try_for_each(|key| router.query::<()>(key, cmd("DEL").arg(key)))?,
            Store::Mysql(pool) => pool.with(|mysql| mysql.query_drop("drop table corepool_gateway"))?,
            Store::Postgres(pool) => pool.with(|postgres| postgres.batch_execute("drop table corepool_gateway"))?,
        }
        Ok(())
    }

    /// Has the server end every connection but the one that asks for it.
    pub(crate) fn cut(&self) -> Result<(), StoreError> {
        let kill = || {
            let mut kill = cmd("CLIENT");
            kill.arg(&["KILL", "TYPE", "normal"]);
            kill
        };
        match self {
            Store::Redis(pool) => pool.with(|redis| kill().exec(redis))?,
            Store::Cluster(router) => {
                router.nodes().iter().try_for_each(|node| router.query_node::<u64>(node, &kill()).map(drop))?;
            }
            Store::Mysql(pool) => pool.with(|mysql| {
                const OTHERS: &str = "select id from information_schema.processlist where id <> connection_id() and user <> 'system user'";
                let others: Vec<u64> = mysql.query(OTHERS)?;
                // One may have gone by itself.
                others.into_iter().for_each(|id| drop(mysql.query_drop(format!("kill {id}"))));
                Ok::<_, mysql::Error>(())
            })?,
            Store::Postgres(pool) => {
                const OTHERS: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
                                      where pid <> pg_backend_pid() and backend_type = 'client backend'";
                pool.with(|postgres| postgres.simple_query(OTHERS).map(drop))?;
            }
        }
        Ok(())
    }

    /// The pool in numbers, or those of all nodes together, without what is counted by reason.
    pub(crate) fn stats(&self) -> Stats {
        match self {
            Store::Redis(pool) => pool.stats(),
            Store::Mysql(pool) => pool.stats(),
            Store::Postgres(pool) => pool.stats(),
            Store::Cluster(router) => router.pools().iter().map(Pool::stats).fold(Stats::default(), add),
        }
    }

    /// None of them is a mux.
    pub(crate) fn mux_stats(&self) -> Option<MuxStats> {
        None
    }

    /// The most connections that it may have, and how many it keeps idle.
    pub(crate) fn limits(&self) -> (usize, usize) {
        fn of<M: Manager>(pool: &Pool<M>) -> (usize, usize) {
            (pool.settings().max_size, pool.settings().min_idle)
        }
        match self {
            Store::Redis(pool) => of(pool),
            Store::Mysql(pool) => of(pool),
            Store::Postgres(pool) => of(pool),
            Store::Cluster(router) => {
                router.pools().iter().map(of).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
            }
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Store::Redis(pool) => pool.close(),
            Store::Mysql(pool) => pool.close(),
            Store::Postgres(pool) => pool.close(),
            Store::Cluster(router) => router.pools().iter().for_each(Pool::close),
        }
    }
}

fn pool<M: Manager>(manager: M, max_size: usize, live: &Arc<Live>) -> Builder<M> {
    let told = Arc::clone(live);
    Pool::builder(manager)
        .max_size(max_size)
        .min_open(max_size.div_ceil(2))
        .opening(Opening::Wait(OPENING))
        .observer(move |event: &Event| told.event(event))
}

fn put_mysql(mysql: &mut MysqlConnection, key: &str, value: &[u8]) -> Result<(), mysql::Error> {
    mysql.exec_drop("replace into corepool_gateway (k, v) values (?, ?)", (key, value))
}

fn put_postgres(postgres: &mut PostgresConnection, key: &str, value: &[u8]) -> Result<(), postgres::Error> {
    const PUT: &str =
        "insert into corepool_gateway (k, v) values ($1, $2) on conflict (k) do update set v = excluded.v";
    postgres.execute_typed(PUT, &[(&key, Type::TEXT), (&value, Type::BYTEA)]).map(drop)
}

fn add(mut all: Stats, one: Stats) -> Stats {
    all.open += one.open;
    all.idle += one.idle;
    all.leased += one.leased;
    all.opening += one.opening;
    all.waiting += one.waiting;
    all.closing += one.closing;
    all.leases += one.leases;
    all.stolen += one.stolen;
    all.waited += one.waited;
    all.timed_out += one.timed_out;
    all.refused += one.refused;
    all.dials += one.dials;
    all.dials_failed += one.dials_failed;
    all.opened += one.opened;
    all
}

/// Why a request has no answer from the store.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// The pool has no connection.
    Pool(GetError),
    /// The use of one failed, in this way.
    Use(&'static str, Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// Whether the request has not reached the store.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, StoreError::Pool(_))
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            StoreError::Pool(error) => match error.kind() {
                GetErrorKind::TimedOut => "pool_timed_out",
                GetErrorKind::Down => "pool_down",
                GetErrorKind::Closed => "pool_closed",
                _ => "pool_refused",
            },
            StoreError::Use(kind, _) => kind,
        }
    }

    fn inner(&self) -> &(dyn Error + 'static) {
        match self {
            StoreError::Pool(error) => error,
            StoreError::Use(_, error) => &**error,
        }
    }
}

const TIMED_OUT: &str = "backend_timed_out";
const HUNG_UP: &str = "backend_hung_up";
const REFUSED: &str = "backend_refused";

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        let kind = match () {
            () if error.is_timeout() => TIMED_OUT,
            () if error.is_io_error() => HUNG_UP,
            () => REFUSED,
        };
        StoreError::Use(kind, error.into())
    }
}

impl From<mysql::Error> for StoreError {
    fn from(error: mysql::Error) -> Self {
        // Said of a connection as it is killed.
        const KILLED: [u16; 3] = [1_053, 1_317, 1_927];
        let kind = match &error {
            mysql::Error::MySqlError(said) if !KILLED.contains(&said.code) => REFUSED,
            _ => HUNG_UP,
        };
        StoreError::Use(kind, error.into())
    }
}

impl From<postgres::Error> for StoreError {
    fn from(error: postgres::Error) -> Self {
        // Class 57, the operator's intervention; class 08, the connection, which is pgbouncer's word for the same.
        let said = error.code().map(postgres::error::SqlState::code);
        let kind = match said {
            Some(code) if !code.starts_with("57") && !code.starts_with("08") => REFUSED,
            _ => HUNG_UP,
        };
        StoreError::Use(kind, error.into())
    }
}

impl<E: Into<StoreError>> From<UseError<E>> for StoreError {
    fn from(error: UseError<E>) -> Self {
        match error {
            UseError::Get(error) => StoreError::Pool(error),
            UseError::Use(error) => error.into(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.inner(), f)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner().source()
    }
}
