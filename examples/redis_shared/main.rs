//! The talk's two roads to Redis side by side, and the silly one: a connection per command, a pool that lends connections, and a mux whose
//! callers share one connection a core.
//!
//! ```text
//! cargo run --release --features redis --example redis_shared
//! cargo run --release --features redis --example redis_shared -- --backend redis://127.0.0.1:6379 --callers 1,8,64
//! cargo run --release --features redis --example redis_shared -- --json
//! ```
//!
//! The same callers send one command after another, in rounds of each way, whose order changes: what else the machine does meanwhile hits
//! all of them. Each command carries a word that its answer must repeat, so an answer that belongs to another caller is noticed.
#![forbid(unsafe_code)]

mod ways;

#[allow(dead_code, reason = "its table has more columns")]
#[path = "../support/cli.rs"]
mod cli;
#[allow(dead_code, reason = "no outage is played here")]
#[path = "../support/resp_server.rs"]
mod resp_server;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lexopt::prelude::{Long, Short, ValueExt};

use cli::{Command, Failure, invalid, number, print};
use resp_server::RespServer;
use ways::{Backend, Tally, Way, Ways};

const HELP: &str = "\
Redis by a connection per command, by a pool, and by one shared connection a core, side by side.

Usage: redis_shared [OPTIONS]

  --backend URL      redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] instead of the server inside this process. It is sent
                     ECHO only, and opened and hung up on some thousand times a second
  --callers N,N,...  threads that send a command each at a time [1,8,32]
  --max-size N       connections of the pool [8]
  --rounds N         rounds of each way [3]
  --milliseconds N   length of a round [150]
  --json             one line of JSON instead of the table
  -h, --help         this text

Exit status: 0; 1 if a command failed or was answered wrongly; 2 for a wrong argument.
";

const LEGEND: &str = "
The time is from wanting an answer to having it. A pool's callers wait for a connection, one round trip after another on each; a mux's
callers share one a core: their requests leave together, and the answers go to whoever is next. Against the server inside this process,
which takes its part of the same cores, the ratios are smaller than against a real one.
";

#[derive(Debug)]
struct Args {
    backend: Option<Backend>,
    callers: Vec<usize>,
    max_size: usize,
    rounds: usize,
    round: Duration,
    json: bool,
}

fn main() -> ExitCode {
    cli::run("redis_shared", HELP, parse, go)
}

fn parse(mut parser: lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    let round = Duration::from_millis(150);
    let mut args = Args { backend: None, callers: vec![1, 8, 32], max_size: 8, rounds: 3, round, json: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("backend") => {
                // Neither error shows the URL: it may hold a password.
                let url = parser.value()?.into_string().map_err(|_| "invalid --backend: not UTF-8")?;
                let backend = Backend::from_url(&url);
                args.backend = Some(backend.map_err(|error| format!("invalid --backend: {error}"))?);
            }
            Long("callers") => {
                let text = parser.value()?.string()?;
                let numbers: Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
                let numbers = numbers.ok().filter(|numbers| !numbers.is_empty() && !numbers.contains(&0));
                args.callers =
                    numbers.ok_or_else(|| invalid("--callers", &text, "whole numbers from 1, with commas"))?;
            }
            Long("max-size") => args.max_size = number(&mut parser, "--max-size")?,
            Long("rounds") => args.rounds = number(&mut parser, "--rounds")?,
            Long("milliseconds") => {
                args.round = Duration::from_millis(number(&mut parser, "--milliseconds")? as u64);
            }
            Long("json") => args.json = true,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Run(args))
}

fn go(args: &Args) -> Result<ExitCode, Failure> {
    let (backend, embedded) = match &args.backend {
        Some(backend) => (backend.clone(), false),
        None => (Backend::at(RespServer::start()?.address()), true),
    };
    let ways = Ways::open(&backend, args.max_size)?;
    let mut measured = Vec::new();
    for callers in &args.callers {
        let mut tallies = Way::ALL.map(|_| Tally::new());
        for turn in 0..args.rounds {
            for place in 0..Way::ALL.len() {
                let which = (turn + place) % Way::ALL.len();
                tallies[which].add(round(&ways, Way::ALL[which], *callers, args.round));
            }
        }
        measured.push((*callers, tallies));
    }
    print(&if args.json { json(&backend, &measured) } else { table(&backend, embedded, args, &measured) })?;
    let tallies = || measured.iter().flat_map(|(_, tallies)| tallies);
    match tallies().find_map(|tally| tally.failure.clone()) {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => Err(failure.into()),
    }
}

/// All callers at once, one way, for the length of a round.
fn round(ways: &Ways, way: Way, callers: usize, length: Duration) -> Tally {
    let start = Barrier::new(callers + 1);
    let mut sum = Tally::new();
    thread::scope(|scope| {
        let call = || {
            start.wait();
            let end = Instant::now() + length;
            let mut tally = Tally::new();
            while Instant::now() < end && tally.failure.is_none() {
                ways.command(way, &mut tally);
            }
            tally
        };
        let threads: Vec<_> = (0..callers).map(|_| scope.spawn(call)).collect();
        start.wait();
        let begin = Instant::now();
        for thread in threads {
            sum.add(thread.join().expect("a caller does not panic"));
        }
        sum.length = begin.elapsed();
    });
    sum
}

fn per_second(tally: &Tally) -> f64 {
    tally.times.len() as f64 / tally.length.as_secs_f64()
}

/// Milliseconds, for each share.
fn times(times: &Histogram<u64>) -> [f64; 4] {
    [0.5, 0.99, 0.999, 1.0].map(|share| times.value_at_quantile(share) as f64 / 1e6)
}

fn table(backend: &Backend, embedded: bool, args: &Args, measured: &[(usize, [Tally; 3])]) -> String {
    let embedded = if embedded { " (embedded)" } else { "" };
    let milliseconds = args.round.as_millis();
    let mut out = format!("{} rounds of {milliseconds} ms each way, backend {backend}{embedded}\n", args.rounds);
    for (callers, tallies) in measured {
        // Writing to a String does not fail.
        let _ = write!(out, "\n{:<26}{:>11}{:>9}", format!("{callers} callers"), "commands/s", "x pool");
        let _ = writeln!(out, "{:>9}{:>9}{:>9}{:>9}", "ms: p50", "p99", "p99.9", "max");
        let pool = per_second(&tallies[Way::Pool as usize]);
        for (way, tally) in Way::ALL.iter().zip(tallies) {
            let name = if *way == Way::Pool { format!("a pool of {}", args.max_size) } else { way.name().to_owned() };
            let _ = write!(out, "{name:<26}{:>11.0}{:>9.2}", per_second(tally), per_second(tally) / pool);
            let [p50, p99, p999, max] = times(&tally.times);
            let _ = writeln!(out, "{p50:>9.3}{p99:>9.3}{p999:>9.3}{max:>9.3}");
        }
    }
    out + LEGEND
}

fn json(backend: &Backend, measured: &[(usize, [Tally; 3])]) -> String {
    let rows = measured.iter().flat_map(|(callers, tallies)| {
        let pool = per_second(&tallies[Way::Pool as usize]);
        Way::ALL.iter().zip(tallies).map(move |(way, tally)| {
            let [p50, p99, p999, max] = times(&tally.times);
            serde_json::json!({
                "callers": callers,
                "way": way.name(),
                "commands_per_second": per_second(tally),
                "times_the_pool": per_second(tally) / pool,
                "ms": { "p50": p50, "p99": p99, "p99.9": p999, "max": max },
            })
        })
    });
    let report = serde_json::json!({ "backend": backend.to_string(), "rows": rows.collect::<Vec<_>>() });
    format!("{report}\n")
}
