//! A keep-alive HTTP/1.1 client: a pool for each endpoint, and connections that the responses keep or end.
//!
//! ```text
//! cargo run --release --example http1                                  # two servers inside this process
//! cargo run --release --example http1 -- --url http://127.0.0.1:8080/
//! cargo run --release --example http1 -- --help
//! ```
//!
//! Some threads ask the embedded upstreams ([`upstream`]) for every kind of body ([`response`]) through one [`Client`]. Then all rest,
//! for longer than the upstreams keep an idle connection: the pools' watch sees each of them go, and no caller is told. At last
//! requests meet connections that are hung up on at that very moment: a GET is asked again, a POST is not.
#![forbid(unsafe_code)]

mod client;
mod response;
mod upstream;

#[path = "../support/cli.rs"]
mod cli;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Stats};
use lexopt::prelude::{Long, Short, ValueExt};

use cli::{Command, Failure, chain, invalid, number, print, row};
use client::{Client, Endpoint};
use upstream::{HANG_UP, IDLE_TIMEOUT, PATHS};

const HELP: &str = "\
A keep-alive HTTP/1.1 client on a map of pools, one for each endpoint.

Usage: http1 [OPTIONS]

  --url URL          http://HOST[:PORT][/PATH] is asked instead of two servers inside this process; only the first
                     part, the load, is played
  --threads N        threads that ask [4]
  --max-size N       connections to an endpoint at most [4]
  --milliseconds N   length of the load [1000]
  -h, --help         this text

Exit status: 0; 1 if a request failed that should not, if an answer was wrong, or if the watch missed a connection
that the upstream had closed; 2 for a wrong argument.
";

/// How long after their idle timeout connections may take to be gone. Decides nothing while all is well.
const HOPELESS: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Args {
    target: Option<(Endpoint, String)>,
    threads: usize,
    max_size: usize,
    length: Duration,
}

#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
    /// The first failure, in words.
    failure: Mutex<Option<String>>,
}

/// What became of the connections that were idle when the upstreams hung up.
#[derive(Debug)]
struct Rest {
    idle: usize,
    seen: u64,
    took: Duration,
}

fn main() -> ExitCode {
    cli::run("http1", HELP, parse, go)
}

fn parse(mut parser: lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    let mut args = Args { target: None, threads: 4, max_size: 4, length: Duration::from_secs(1) };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("url") => {
                let url = parser.value()?.string()?;
                let target = target(&url).ok_or_else(|| invalid("--url", &url, "http://HOST[:PORT][/PATH]"))?;
                args.target = Some(target);
            }
            Long("threads") => args.threads = number(&mut parser, "--threads")?,
            Long("max-size") => args.max_size = number(&mut parser, "--max-size")?,
            Long("milliseconds") => {
                args.length = Duration::from_millis(number(&mut parser, "--milliseconds")? as u64);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Run(args))
}

/// Endpoint and path of a URL. What it has of user, query or fragment is not looked into.
fn target(url: &str) -> Option<(Endpoint, String)> {
    let rest = url.strip_prefix("http://").filter(|rest| rest.bytes().all(|byte| byte.is_ascii_graphic()))?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(80), |port| port.parse().ok())?;
    (!host.is_empty()).then(|| (Endpoint { host: host.to_owned(), port }, path.to_owned()))
}

fn go(args: &Args) -> Result<ExitCode, Failure> {
    let endpoints = match &args.target {
        Some((endpoint, _)) => vec![endpoint.clone()],
        None => {
            let start = |_| upstream::start().map(|at| Endpoint { host: at.ip().to_string(), port: at.port() });
            (0..2).map(start).collect::<Result<_, _>>()?
        }
    };
    let client = Client::new(args.max_size);
    let tally = Tally::default();
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| load(args, &client, &endpoints, &tally));
        }
    });
    let length = begin.elapsed();
    let embedded = args.target.is_none();
    let rest = if embedded { Some(rest(&client, &endpoints, &tally)?) } else { None };
    let refused = if embedded { meet_hang_ups(&client, &endpoints, &tally) } else { 0 };

    let stats = endpoints.iter().map(|endpoint| Ok(client.pool(endpoint)?.stats()));
    let stats = stats.collect::<Result<Vec<Stats>, Failure>>()?;
    let kind = if embedded { "embedded" } else { "real" };
    let names: Vec<String> = endpoints.iter().map(Endpoint::to_string).collect();
    let title = format!("{} threads for {:.1} s, {kind}: {}", args.threads, length.as_secs_f64(), names.join(", "));
    print(&table(&title, length, &tally, &client, &stats, rest.as_ref(), refused))?;

    let whole = rest.is_none_or(|rest| rest.seen >= rest.idle as u64 && refused == endpoints.len());
    let well = tally.wrong.load(Relaxed) == 0 && tally.failed.load(Relaxed) == 0 && whole;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn load(args: &Args, client: &Client, endpoints: &[Endpoint], tally: &Tally) {
    let end = Instant::now() + args.length;
    while Instant::now() < end {
        let Some(endpoint) = fastrand::choice(endpoints) else { return };
        match &args.target {
            Some((_, path)) => tally.count(client.request("GET", endpoint, path).map(|_| true)),
            None => {
                let method = if fastrand::u8(..10) == 0 { "HEAD" } else { "GET" };
                ask(client, method, endpoint, fastrand::choice(PATHS).unwrap_or("/"), tally);
            }
        }
    }
}

/// Asks an embedded upstream, and compares the answer with what it should be.
fn ask(client: &Client, method: &str, endpoint: &Endpoint, path: &str, tally: &Tally) {
    let (status, body) = match path {
        "/empty" => (204, Vec::new()),
        "/not-modified" => (304, Vec::new()),
        _ if method == "HEAD" => (200, Vec::new()),
        _ => (200, upstream::body(path)),
    };
    let answer = client.request(method, endpoint, path);
    tally.count(answer.map(|answer| answer.status == status && answer.body == body));
}

/// Rests until the upstreams have hung up on all idle connections; then asks as if nothing had happened.
fn rest(client: &Client, endpoints: &[Endpoint], tally: &Tally) -> Result<Rest, Failure> {
    let pools = endpoints.iter().map(|endpoint| client.pool(endpoint)).collect::<Result<Vec<_>, _>>()?;
    let open = || pools.iter().map(|pool| pool.stats().open).sum::<usize>();
    let seen = || pools.iter().map(|pool| pool.stats().closed(CloseReason::PeerClosed)).sum::<u64>();
    for endpoint in endpoints {
        // By chance the last answers of the load may have ended every connection.
        ask(client, "GET", endpoint, "/length", tally);
    }
    let (begin, idle, before) = (Instant::now(), open(), seen());
    while open() > 0 && begin.elapsed() < IDLE_TIMEOUT + HOPELESS {
        thread::sleep(Duration::from_millis(1));
    }
    let rest = Rest { idle, seen: seen() - before, took: begin.elapsed() };
    for endpoint in endpoints {
        ask(client, "GET", endpoint, "/length", tally);
    }
    Ok(rest)
}

/// Requests that the upstream hangs up on instead of answering, the first time. Returns how many POSTs were told so.
fn meet_hang_ups(client: &Client, endpoints: &[Endpoint], tally: &Tally) -> usize {
    let mut refused = 0;
    for endpoint in endpoints {
        ask(client, "GET", endpoint, HANG_UP, tally);
        refused += usize::from(client.request("POST", endpoint, HANG_UP).is_err());
        ask(client, "GET", endpoint, HANG_UP, tally);
    }
    refused
}

impl Tally {
    fn count(&self, answer: Result<bool, Failure>) {
        match answer {
            Ok(right) => {
                self.answered.fetch_add(1, Relaxed);
                self.wrong.fetch_add(u64::from(!right), Relaxed);
            }
            Err(error) => {
                self.failed.fetch_add(1, Relaxed);
                let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                failure.get_or_insert_with(|| chain(&*error));
            }
        }
    }
}

fn table(
    title: &str,
    length: Duration,
    tally: &Tally,
    client: &Client,
    stats: &[Stats],
    rest: Option<&Rest>,
    refused: usize,
) -> String {
    let mut out = format!("{title}\n\n");
    let answered = tally.answered.load(Relaxed);
    let failure = tally.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    row(&mut out, "requests answered", answered, format!("{:.0}/s", answered as f64 / length.as_secs_f64()));
    row(&mut out, "  wrongly", tally.wrong.load(Relaxed), "");
    row(&mut out, "requests failed", tally.failed.load(Relaxed), failure.as_deref().unwrap_or_default());
    let reused = client.counts.reused.load(Relaxed);
    row(&mut out, "over a kept connection", reused, "");
    let noted =
        format!("hung up on as they were sent; the watch had noted {} already", client.counts.noted.load(Relaxed));
    row(&mut out, "asked again", client.counts.again.load(Relaxed), noted);
    if rest.is_some() {
        row(&mut out, "not asked again", refused, "hung up on in the same way, but POST");
    }
    row(&mut out, "connections opened", stats.iter().map(|stats| stats.opened).sum::<u64>(), "");
    for (why, note) in [
        (CloseReason::Discarded, "the response had said so"),
        (CloseReason::PeerClosed, "seen by the watch, first or alone"),
    ] {
        let closed: u64 = stats.iter().map(|stats| stats.closed(why)).sum();
        row(&mut out, &format!("  closed: {}", why.name()), closed, note);
    }
    if let Some(rest) = rest {
        row(&mut out, "idle after the load", rest.idle, "");
        let took = format!("seen by the watch within {:.0} ms, and no caller was told", rest.took.as_secs_f64() * 1e3);
        row(&mut out, "  hung up on by upstreams", rest.seen, took);
    }
    out
}
