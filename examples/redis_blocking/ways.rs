//! The four ways, each a command with a connection of its own for as long as the command lasts.

use std::thread;
use std::time::{Duration, Instant};

use corepool::{GetErrorKind, Opening, Pool, UseError};
use hdrhistogram::Histogram;

use crate::cli::{Failure, chain};
use crate::resp::{RespConnection, RespManager};

/// How long a dial may take, and how long a caller waits in line. Far beyond what a round needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// A backend that is absent is reported after this long: a person is waiting.
const OPENING: Duration = Duration::from_secs(2);
/// What a refused caller does instead.
const SOMETHING_ELSE: Duration = Duration::from_micros(100);
/// Nanoseconds, to three digits, up to the minute; a longer wait counts as a minute.
const LONGEST: u64 = 60_000_000_000;

/// How a caller comes to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    PerCommand,
    Refused,
    InLine,
    Pool,
}

/// What the ways need to be kept between the rounds.
#[derive(Debug)]
pub(crate) struct Ways {
    manager: RespManager,
    one: Pool<RespManager>,
    many: Pool<RespManager>,
}

/// What the callers of one way saw.
#[derive(Debug)]
pub(crate) struct Tally {
    /// From wanting a connection to having one, or to the end of the round without; in nanoseconds.
    pub(crate) waits: Histogram<u64>,
    /// From wanting a connection to having the answer, in nanoseconds, one for each command.
    pub(crate) times: Histogram<u64>,
    /// Calls that were told that the connection is out.
    pub(crate) refused: u64,
    /// How long the rounds were, in all.
    pub(crate) length: Duration,
    /// The first failure.
    pub(crate) failure: Option<String>,
}

impl Way {
    pub(crate) const ALL: [Way; 4] = [Way::PerCommand, Way::Refused, Way::InLine, Way::Pool];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::PerCommand => "a connection per command",
            Way::Refused => "one, refused while out",
            Way::InLine => "one, in line",
            Way::Pool => "a pool",
        }
    }
}

impl Ways {
    /// Opens what is open before the first command: one connection, and as many as the pool has.
    pub(crate) fn open(manager: RespManager, max_size: usize) -> Result<Self, Failure> {
        let pool = |connections: usize| {
            Pool::builder(manager.clone())
                .max_size(connections)
                .min_open(connections)
                .wait_timeout(PATIENCE)
                .opening(Opening::Wait(OPENING))
                .build()
        };
        Ok(Ways { one: pool(1)?, many: pool(max_size)?, manager })
    }

    /// One command. A caller who is refused tries again until `end`.
    pub(crate) fn command(&self, way: Way, end: Instant, tally: &mut Tally) {
        let wanted = Instant::now();
        let done = match way {
            Way::PerCommand => self.per_command(wanted, tally),
            Way::Refused => self.or_refused(wanted, end, tally),
            Way::InLine => in_line(&self.one, wanted, tally),
            Way::Pool => in_line(&self.many, wanted, tally),
        };
        if let Err(error) = done {
            tally.failure = Some(format!("{}: {}", way.name(), chain(&*error)));
        }
    }

    /// "Silly": the connection costs more than the command.
    fn per_command(&self, wanted: Instant, tally: &mut Tally) -> Result<(), Failure> {
        let mut connection = self.manager.open(PATIENCE, |_| Ok(()))?;
        echo(&mut connection, wanted, tally)
    }

    /// The socket is checked out around each command; whoever comes meanwhile hears `{:error, :checked_out}`.
    fn or_refused(&self, wanted: Instant, end: Instant, tally: &mut Tally) -> Result<(), Failure> {
        loop {
            match self.one.try_get() {
                Ok(mut connection) => return echo(&mut connection, wanted, tally),
                Err(error) if error.kind() == GetErrorKind::Busy => tally.refused += 1,
                Err(error) => return Err(error.into()),
            }
            if Instant::now() >= end {
                record(&mut tally.waits, wanted);
                return Ok(());
            }
            thread::sleep(SOMETHING_ELSE);
        }
    }
}

/// Callers queue. With one connection or with many, it is the same call.
fn in_line(pool: &Pool<RespManager>, wanted: Instant, tally: &mut Tally) -> Result<(), Failure> {
    pool.with(|connection| echo(connection, wanted, tally)).map_err(UseError::flatten)
}

/// Asks for a word that nobody else asks for: an answer that belongs to another command is noticed.
fn echo(connection: &mut RespConnection, wanted: Instant, tally: &mut Tally) -> Result<(), Failure> {
    record(&mut tally.waits, wanted);
    let word = format!("{:032x}", fastrand::u128(..));
    let answer: String = redis::cmd("ECHO").arg(&word).query(connection)?;
    if answer != word {
        connection.distrust();
        return Err("the answer to another command".into());
    }
    record(&mut tally.times, wanted);
    Ok(())
}

fn record(into: &mut Histogram<u64>, since: Instant) {
    into.saturating_record(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
}

impl Tally {
    pub(crate) fn new() -> Self {
        let empty = Histogram::new_with_max(LONGEST, 3).expect("three digits up to a minute are within its limits");
        Tally { waits: empty.clone(), times: empty, refused: 0, length: Duration::ZERO, failure: None }
    }

    /// Adds another caller, or another round.
    pub(crate) fn add(&mut self, other: Tally) {
        self.waits += other.waits;
        self.times += other.times;
        self.refused += other.refused;
        self.length += other.length;
        self.failure = self.failure.take().or(other.failure);
    }
}
