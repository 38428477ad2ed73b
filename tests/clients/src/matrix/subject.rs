//! What is put through the matrix: a pool of this crate or of r2d2, of the same size, with the same patience, and asked the same.

use std::error::Error;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corepool::{Builder, Manager, Opening, Pool};

use super::kind::Kind;
use crate::scenario::token;
use crate::server::AMPLE;

/// Connections, all of which are kept open: r2d2's default, and a setting of ours.
pub const SIZE: usize = 8;
/// How long a caller waits for a connection.
pub const WAIT: Duration = Duration::from_secs(1);
/// How long a caller waits for an answer, with clients that can be told so.
pub const TIMEOUT: Duration = Duration::from_millis(300);

/// How a use went.
#[derive(Debug)]
pub struct Use {
    pub began: Instant,
    /// When it had a connection.
    pub had: Option<Instant>,
    pub ended: Instant,
    /// What it was told, if it got no answer.
    pub error: Option<String>,
}

/// What a use that read another one's answer is said to have been told.
pub const FOREIGN: &str = "another one's answer";

/// A pool in the matrix.
pub trait Subject: Sync {
    fn name(&self) -> &str;
    /// How many connections it keeps.
    fn size(&self) -> usize;
    /// Takes a connection, has a token echoed, gives it back.
    fn use_one(&self) -> Use;
    /// Takes all connections, one by one, and has a token echoed on each.
    fn use_all(&self) -> Result<(), String>;
    /// How many dials there were.
    fn dials(&self) -> u64;
    /// Whether what it does is asserted, or only recorded.
    fn is_ours(&self) -> bool;
    /// Ends it in good order.
    fn end(self: Box<Self>);
}

/// What asks on a connection. The answer should be the token.
pub type Ask<C, E> = fn(&mut C, &str) -> Result<String, E>;

fn judge<E: Kind>(answer: Result<String, E>, token: &str) -> Option<String> {
    match answer {
        Ok(answer) => (answer != token).then(|| FOREIGN.to_owned()),
        Err(error) => Some(error.kind()),
    }
}

/// A pool of this crate, for the matrix.
pub struct Ours<M: Manager, E> {
    name: &'static str,
    pool: Pool<M>,
    ask: Ask<M::Connection, E>,
}

impl<M: Manager, E: Kind + 'static> Ours<M, E> {
    /// With the settings that the matrix wants, and those that `change` does.
    pub fn built(
        name: &'static str,
        manager: M,
        ask: Ask<M::Connection, E>,
        change: impl FnOnce(Builder<M>) -> Builder<M>,
    ) -> Ours<M, E> {
        let builder = Pool::builder(manager).max_size(SIZE).min_open(SIZE).wait_timeout(WAIT);
        let pool = change(builder.opening(Opening::Wait(AMPLE))).build().unwrap();
        Ours { name, pool, ask }
    }

    pub fn boxed(manager: M, ask: Ask<M::Connection, E>) -> Box<dyn Subject> {
        Box::new(Ours::built("corepool", manager, ask, |builder| builder))
    }

    /// For what this pool can be told while it runs.
    pub fn pool(&self) -> Pool<M> {
        self.pool.clone()
    }
}

impl<M: Manager, E: Kind + 'static> Subject for Ours<M, E> {
    fn name(&self) -> &str {
        self.name
    }

    fn size(&self) -> usize {
        self.pool.settings().max_size
    }

    fn use_one(&self) -> Use {
        let (began, mut had, token) = (Instant::now(), None, token());
        let used = self.pool.with(|connection| {
            had = Some(Instant::now());
            match (self.ask)(connection, &token) {
                Ok(answer) => Ok(judge(Ok::<_, E>(answer), &token)),
                Err(error) => Err(error),
            }
        });
        let error = match used {
            Ok(error) => error,
            Err(corepool::UseError::Get(error)) => Some(Kind::kind(&error)),
            Err(corepool::UseError::Use(error)) => Some(error.kind()),
        };
        Use { began, had, ended: Instant::now(), error }
    }

    fn use_all(&self) -> Result<(), String> {
        let mut leases = Vec::new();
        for _ in 0..self.size() {
            let mut lease = self.pool.get().map_err(|error| Kind::kind(&error))?;
            let token = token();
            if let Some(error) = judge((self.ask)(&mut lease, &token), &token) {
                corepool::Lease::discard(lease);
                return Err(error);
            }
            leases.push(lease);
        }
        Ok(())
    }

    fn dials(&self) -> u64 {
        self.pool.stats().dials
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn end(self: Box<Self>) {
        let report = self.pool.drain(AMPLE);
        assert!(report.is_complete(), "{report:?}");
    }
}

/// A pool of r2d2's, for the matrix.
pub struct Theirs<C: Send + 'static, F: Error + Send + 'static, E> {
    pool: r2d2::Pool<By<C, F>>,
    dials: Arc<AtomicU64>,
    ask: Ask<C, E>,
}

/// An r2d2 manager of functions, that counts its dials.
pub struct By<C, F> {
    dials: Arc<AtomicU64>,
    connect: Box<dyn Fn() -> Result<C, F> + Send + Sync>,
    is_valid: fn(&mut C) -> Result<(), F>,
    has_broken: fn(&mut C) -> bool,
    connection: PhantomData<fn() -> C>,
}

impl<C: Send + 'static, F: Error + Send + 'static> r2d2::ManageConnection for By<C, F> {
    type Connection = C;
    type Error = F;

    fn connect(&self) -> Result<C, F> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        (self.connect)()
    }

    fn is_valid(&self, connection: &mut C) -> Result<(), F> {
        (self.is_valid)(connection)
    }

    fn has_broken(&self, connection: &mut C) -> bool {
        (self.has_broken)(connection)
    }
}

/// What r2d2 says of errors is for nobody here.
#[derive(Debug)]
struct Quiet;

impl<F> r2d2::HandleError<F> for Quiet {
    fn handle_error(&self, _: F) {}
}

/// r2d2's pool with its defaults, but for the patience: it asks by `is_valid` at each checkout.
pub fn theirs<C, F, E>(
    connect: impl Fn() -> Result<C, F> + Send + Sync + 'static,
    is_valid: fn(&mut C) -> Result<(), F>,
    has_broken: fn(&mut C) -> bool,
    ask: Ask<C, E>,
    size: usize,
) -> Box<dyn Subject>
where
    C: Send + 'static,
    F: Error + Send + 'static,
    E: Kind + 'static,
{
    let dials = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&dials);
    let manager = By { dials: counted, connect: Box::new(connect), is_valid, has_broken, connection: PhantomData };
    let builder = r2d2::Pool::builder().max_size(size as u32).connection_timeout(WAIT).error_handler(Box::new(Quiet));
    Box::new(Theirs { pool: builder.build_unchecked(manager), dials, ask })
}

impl<C, F, E> Subject for Theirs<C, F, E>
where
    C: Send + 'static,
    F: Error + Send + 'static,
    E: Kind + 'static,
{
    fn name(&self) -> &str {
        "r2d2"
    }

    fn size(&self) -> usize {
        self.pool.max_size() as usize
    }

    fn use_one(&self) -> Use {
        let (began, mut had, token) = (Instant::now(), None, token());
        let error = match self.pool.get() {
            Ok(mut connection) => {
                had = Some(Instant::now());
                judge((self.ask)(&mut connection, &token), &token)
            }
            Err(error) => Some(error.kind()),
        };
        Use { began, had, ended: Instant::now(), error }
    }

    fn use_all(&self) -> Result<(), String> {
        let mut leases = Vec::new();
        for _ in 0..self.size() {
            let mut connection = self.pool.get().map_err(|error| error.kind())?;
            let token = token();
            if let Some(error) = judge((self.ask)(&mut connection, &token), &token) {
                return Err(error);
            }
            leases.push(connection);
        }
        Ok(())
    }

    fn dials(&self) -> u64 {
        self.dials.load(Ordering::SeqCst)
    }

    fn is_ours(&self) -> bool {
        false
    }

    fn end(self: Box<Self>) {}
}
