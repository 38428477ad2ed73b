//! What every adapter is put through. A request carries a token that no other one has, and its answer must echo it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use corepool::{Manager, Pool, UseError};

use crate::proxy::{Cut, Fault, Proxy};
use crate::server::{AMPLE, eventually};

static TOKENS: AtomicU64 = AtomicU64::new(0);

/// A text that no other request of this process bears.
pub fn token() -> String {
    format!("token-{}", TOKENS.fetch_add(1, Ordering::Relaxed))
}

/// `round` after `round`: fills the pool, has the server end all of it while it lies idle, and uses as many connections at once. How many
/// uses failed, of how many.
///
/// `kill` returns when the server has closed them. It may take a moment until the kernel of this side has been told, which is what
/// "acknowledged" means: until then nobody can know.
pub fn killed_while_idle<M: Manager, E: fmt::Debug + 'static>(
    pool: &Pool<M>,
    rounds: usize,
    size: usize,
    server: &Peer,
    kill: impl Fn(),
    ask: impl Fn(&mut M::Connection, &str) -> Result<String, E> + Sync,
) -> (usize, usize) {
    let (mut failed, mut uses) = (0, 0);
    for _ in 0..rounds {
        hold_at_once(pool, size, &ask);
        eventually("all to be idle", || pool.stats().idle >= size);
        let before = server.connected();
        kill();
        eventually("the kernel to know", || before.is_disjoint(&server.connected()));
        let errors = hold_at_once(pool, size, &ask);
        errors.iter().for_each(|error| eprintln!("a killed connection was lent: {error}"));
        failed += errors.len();
        uses += size;
    }
    (failed, uses)
}

/// Where a server is connected to.
#[derive(Debug, Clone)]
pub enum Peer {
    Tcp(u16),
    Unix(String),
}

impl Peer {
    /// The client's ports of the connections to it, of a TCP one.
    pub fn ports(&self) -> Vec<u16> {
        let ports = self.connected().into_iter().filter_map(|name| name.rsplit(':').next().map(str::to_owned));
        ports.map(|port| u16::from_str_radix(&port, 16).unwrap()).collect()
    }

    /// What names each connection to it that has heard of no end.
    pub fn connected(&self) -> BTreeSet<String> {
        let (table, remote, place, state, name) = match self {
            // The client's end.
            Peer::Tcp(port) => ("/proc/net/tcp", format!(":{port:04X}"), 2, (3, "01"), 1),
            // The server's end, which bears its listener's name.
            Peer::Unix(path) => ("/proc/net/unix", path.clone(), 7, (5, "03"), 6),
        };
        let table = std::fs::read_to_string(table).unwrap();
        let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let to_it = lines.filter(|fields| fields.get(place).is_some_and(|name| name.ends_with(&remote)));
        let open = to_it.filter(|fields| fields[state.0] == state.1);
        open.map(|fields| fields[name].to_owned()).collect()
    }
}

/// So many threads have a connection at the same time, and use it. The errors.
fn hold_at_once<M: Manager, E: fmt::Debug + 'static>(
    pool: &Pool<M>,
    size: usize,
    ask: &(impl Fn(&mut M::Connection, &str) -> Result<String, E> + Sync),
) -> Vec<String> {
    let all_hold = Barrier::new(size);
    thread::scope(|scope| {
        let users: Vec<_> = (0..size)
            .map(|_| {
                scope.spawn(|| {
                    let token = token();
                    let leased = pool.with(|connection| {
                        all_hold.wait();
                        ask(connection, &token)
                    });
                    match leased {
                        Ok(answer) => (answer != token).then(|| format!("{token} was answered {answer}")),
                        Err(UseError::Use(error)) => Some(format!("{error:?}")),
                        Err(other) => {
                            // The others wait for all.
                            all_hold.wait();
                            Some(format!("no connection to be had: {other:?}"))
                        }
                    }
                })
            })
            .collect();
        users.into_iter().filter_map(|user| user.join().unwrap()).collect()
    })
}

/// How many uses ended in which way.
#[derive(Debug, Default)]
pub struct Tally {
    pub right: AtomicU64,
    pub failed: AtomicU64,
    pub abandoned: AtomicU64,
    /// Answers to somebody else's request.
    pub foreign: AtomicU64,
    /// What the failures said, and how many said so.
    pub errors: Mutex<BTreeMap<String, u64>>,
}

/// So many uses by eight threads, while replies come late, connections are cut, and users give up in the middle: by returning as if
/// all were well, by an error, or by a panic.
///
/// `abandon` begins an exchange and leaves it. The pool must be one of [`patient`]ly built.
pub fn foreign_answers<M: Manager, E: fmt::Debug + 'static>(
    pool: &Pool<M>,
    proxy: &Proxy,
    uses: u64,
    late_by: Duration,
    ask: impl Fn(&mut M::Connection, &str) -> Result<String, E> + Sync,
    abandon: impl Fn(&mut M::Connection, &str) + Sync,
) -> Tally {
    const THREADS: u64 = 8;
    let (tally, done) = (Tally::default(), AtomicBool::new(false));
    proxy.set(Fault::LateReplies { one_in: 50, by: late_by });
    thread::scope(|scope| {
        let saboteur = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(fastrand::u64(10..60)));
                let how = fastrand::choice([Cut::Fin, Cut::Rst, Cut::HalfClose]).unwrap();
                proxy.cut_one(fastrand::u64(..), how);
            }
        });
        let users: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| (0..uses / THREADS).for_each(|_| one_use(pool, &tally, &ask, &abandon))))
            .collect();
        let ended: Vec<_> = users.into_iter().map(|user| user.join()).collect();
        done.store(true, Ordering::Relaxed);
        saboteur.join().unwrap();
        ended.into_iter().for_each(|user| user.unwrap());
    });
    proxy.set(Fault::None);
    eprintln!("{tally:?}, {:?} dials", pool.stats().dials);
    tally
}

/// A pool whose callers wait, though what it opens is cut before it was ever used, which counts as a failed dial.
pub fn patient<M: Manager>(manager: M, size: usize) -> Pool<M> {
    let builder = Pool::builder(manager).max_size(size).wait_timeout(AMPLE).fail_fast_after(AMPLE);
    builder.backoff_max(Duration::from_millis(50)).build().unwrap()
}

fn one_use<M: Manager, E: fmt::Debug + 'static>(
    pool: &Pool<M>,
    tally: &Tally,
    ask: &impl Fn(&mut M::Connection, &str) -> Result<String, E>,
    abandon: &impl Fn(&mut M::Connection, &str),
) {
    let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let token = token();
    // Which of the four ways this use goes.
    let way = fastrand::u32(..60);
    let used = catch_unwind(AssertUnwindSafe(|| {
        pool.with(|connection| {
            if way < 3 {
                abandon(connection, &token);
                match way {
                    0 => return Ok(None),
                    1 => return Err(None),
                    _ => resume_unwind(Box::new(Planned)),
                }
            }
            ask(connection, &token).map(Some).map_err(Some)
        })
    }));
    match used {
        Ok(Ok(Some(answer))) if answer == token => add(&tally.right),
        Ok(Ok(Some(answer))) => {
            eprintln!("{token} was answered {answer}");
            add(&tally.foreign)
        }
        Ok(Ok(None)) | Ok(Err(UseError::Use(None))) => add(&tally.abandoned),
        Err(panicked) if panicked.is::<Planned>() => add(&tally.abandoned),
        Err(panicked) => resume_unwind(panicked),
        Ok(Err(error)) => {
            let said = match error {
                UseError::Get(error) => format!("{:?}", error.kind()),
                UseError::Use(error) => format!("{error:?}"),
            };
            *tally.errors.lock().unwrap().entry(said).or_default() += 1;
            add(&tally.failed)
        }
    };
}

/// What a user panics with on purpose; `resume_unwind` says nothing of it.
struct Planned;

/// Asserts on a tally: nothing foreign, and enough done for that to mean something.
#[track_caller]
pub fn assert_no_foreign(tally: &Tally, uses: u64) {
    let [right, abandoned, foreign] =
        [&tally.right, &tally.abandoned, &tally.foreign].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(foreign, 0, "{tally:?}");
    assert!(right > uses / 2, "hardly any use succeeded: {tally:?}");
    assert!(abandoned > uses / 100, "{tally:?}");
}
