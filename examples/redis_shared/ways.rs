//! The three ways, each a command at a time; and the backend that all of them speak to.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use corepool::mux::{Mux, resp::Resp};
use corepool::{Opening, Pool, TcpManager, UseError};
use hdrhistogram::Histogram;
use redis::{ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisResult};

use crate::cli::{Failure, chain};

/// How long a dial may take, a caller waits in line, and an answer may take. Far beyond what a round needs.
const PATIENCE: Duration = Duration::from_secs(5);
/// A backend that is absent is reported after this long: a person is waiting.
const OPENING: Duration = Duration::from_secs(2);
/// Nanoseconds, to three digits, up to the minute; a longer time counts as a minute.
const LONGEST: u64 = 60_000_000_000;

/// How a caller comes to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    PerCommand,
    Pool,
    Mux,
}

impl Way {
    pub(crate) const ALL: [Way; 3] = [Way::PerCommand, Way::Pool, Way::Mux];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::PerCommand => "a connection per command",
            Way::Pool => "a pool",
            Way::Mux => "a mux, one a core",
        }
    }
}

/// Where Redis is, and how to log in there.
#[derive(Clone)]
pub(crate) struct Backend {
    address: String,
    /// What is said first, packed, and how often `+OK` answers it.
    login: (Vec<u8>, usize),
}

impl Backend {
    /// One that wants no login.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Backend { address: address.to_string(), login: (Vec::new(), 0) }
    }

    /// From `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`.
    pub(crate) fn from_url(url: &str) -> RedisResult<Self> {
        let info = url.into_connection_info()?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err((ErrorKind::InvalidClientConfig, "only redis://HOST:PORT is supported").into());
        };
        let settings = info.redis_settings();
        let mut login = (Vec::new(), 0);
        if let Some(password) = settings.password() {
            let mut auth = redis::cmd("AUTH");
            settings.username().into_iter().chain([password]).for_each(|word| {
                auth.arg(word);
            });
            login = (auth.get_packed_command(), 1);
        }
        if settings.db() != 0 {
            login.0.extend(redis::cmd("SELECT").arg(settings.db()).get_packed_command());
            login.1 += 1;
        }
        Ok(Backend { address: format!("{host}:{port}"), login })
    }

    fn manager(&self) -> TcpManager {
        let login = self.clone();
        let manager = TcpManager::new(self.address.clone()).read_timeout(Some(PATIENCE));
        manager.with_login(move |conn, _| login.log_in(conn))
    }

    fn log_in(&self, stream: &mut (impl Read + Write)) -> io::Result<()> {
        let (said, answers) = &self.login;
        if *answers > 0 {
            stream.write_all(said)?;
        }
        for _ in 0..*answers {
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            if &answer != b"+OK\r\n" {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the server refuses the login"));
            }
        }
        Ok(())
    }

    /// "Silly": the connection costs more than the command.
    fn per_command(&self, word: &str) -> Result<String, Failure> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        self.log_in(&mut stream)?;
        echo(&mut stream, word)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The login holds the password.
        f.debug_struct("Backend").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What the ways need to be kept between the rounds.
#[derive(Debug)]
pub(crate) struct Ways {
    backend: Backend,
    pool: Pool<TcpManager>,
    mux: Mux<TcpManager, Resp>,
}

/// What the callers of one way saw.
#[derive(Debug)]
pub(crate) struct Tally {
    /// From wanting an answer to having it, in nanoseconds, one for each command.
    pub(crate) times: Histogram<u64>,
    /// How long the rounds were, in all.
    pub(crate) length: Duration,
    /// The first failure.
    pub(crate) failure: Option<String>,
}

impl Ways {
    pub(crate) fn open(backend: &Backend, max_size: usize) -> Result<Self, Failure> {
        let builder = || Pool::builder(backend.manager()).wait_timeout(PATIENCE).opening(Opening::Wait(OPENING));
        Ok(Ways {
            backend: backend.clone(),
            pool: builder().max_size(max_size).min_open(max_size).build()?,
            mux: Mux::builder(builder(), Resp::new()).call_timeout(PATIENCE).build()?,
        })
    }

    /// One command.
    pub(crate) fn command(&self, way: Way, tally: &mut Tally) {
        let word = format!("{:032x}", fastrand::u128(..));
        let wanted = Instant::now();
        let answered = match way {
            Way::PerCommand => self.backend.per_command(&word),
            Way::Pool => self.pool.with(|conn| echo(conn, &word)).map_err(UseError::flatten),
            Way::Mux => redis::cmd("ECHO").arg(&word).query(&mut &self.mux).map_err(Failure::from),
        };
        let answered = answered.and_then(|answer| if answer == word { Ok(()) } else { Err("another's answer".into()) });
        match answered {
            Ok(()) => {
                let nanoseconds = u64::try_from(wanted.elapsed().as_nanos()).unwrap_or(u64::MAX);
                tally.times.saturating_record(nanoseconds);
            }
            Err(error) => tally.failure = Some(format!("{}: {}", way.name(), chain(&*error))),
        }
    }
}

fn echo(conn: &mut (impl Read + Write), word: &str) -> Result<String, Failure> {
    conn.write_all(&redis::cmd("ECHO").arg(word).get_packed_command())?;
    // Its length is known, since it must be the word: `$32`, the word, and two ends of lines.
    let mut answer = [0; 5 + 32 + 2];
    conn.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[5..37]).into_owned())
}

impl Tally {
    pub(crate) fn new() -> Self {
        let times = Histogram::new_with_max(LONGEST, 3).expect("three digits up to a minute are within its limits");
        Tally { times, length: Duration::ZERO, failure: None }
    }

    /// Adds another caller, or another round.
    pub(crate) fn add(&mut self, other: Tally) {
        self.times += other.times;
        self.length += other.length;
        self.failure = self.failure.take().or(other.failure);
    }
}
