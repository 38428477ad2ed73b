//! Four blocking ways to talk to Redis, side by side: the road that the talk "Concurrent and Resilient Connections to Outside the
//! BEAM" takes from a connection per command to a pool.
//!
//! ```text
//! cargo run --release --example redis_blocking
//! cargo run --release --example redis_blocking -- --backend redis://127.0.0.1:6379
//! cargo run --release --example redis_blocking -- --help
//! ```
//!
//! The same callers send one command after another, in rounds of each way ([`ways`]), whose order changes: what else the machine does
//! meanwhile hits all of them. Only one way runs at a time. The talk's other road, one connection that many callers use at once, is no
//! pool's business.
#![forbid(unsafe_code)]

mod ways;

#[allow(dead_code, reason = "its table has more columns")]
#[path = "../support/cli.rs"]
mod cli;
#[path = "../support/resp.rs"]
mod resp;
#[allow(dead_code, reason = "no outage is played here")]
#[path = "../support/resp_server.rs"]
mod resp_server;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lexopt::prelude::{Long, Short};

use cli::{Command, Failure, number, print};
use resp::RespManager;
use resp_server::RespServer;
use ways::{Tally, Way, Ways};

const HELP: &str = "\
Four blocking ways to talk to Redis, side by side: a connection per command; one connection, with callers refused while
it is out; one connection, with callers in line; a pool.

Usage: redis_blocking [OPTIONS]

  --backend URL      redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] instead of the server inside this process. It is sent
                     ECHO only, and opened and hung up on some thousand times a second
  --callers N        threads that send a command each at a time [16]
  --max-size N       connections of the pool [8]
  --rounds N         rounds of each way [3]
  --milliseconds N   length of a round [150]
  -h, --help         this text

Exit status: 0; 1 if a command failed or was answered wrongly; 2 for a wrong argument.
";

const LEGEND: &str = "
The wait is from wanting a connection to having one, or to the end of the round; in all, to having the answer.
  a connection per command  every caller dials, asks, hangs up, and the server does as much. The dial is the short part of it:
                            the kernel answers that before the server knows of the caller
  one, refused while out    try_get: a caller is told at once that the connection is checked out, does something else
                            for 0.1 ms, and asks again. Nobody stands in line, so nobody's turn comes: see the maximum
  one, in line              with: callers wait. A newcomer may be faster than the first in line, until that one has waited
                            for 1 ms: its turn is next. One round trip after another, and nobody starves
  a pool                    with: the same, and as many round trips at a time as there are connections
";

#[derive(Debug)]
struct Args {
    backend: Option<RespManager>,
    callers: usize,
    max_size: usize,
    rounds: usize,
    round: Duration,
}

fn main() -> ExitCode {
    cli::run("redis_blocking", HELP, parse, go)
}

fn parse(mut parser: lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    let round = Duration::from_millis(150);
    let mut args = Args { backend: None, callers: 16, max_size: 8, rounds: 3, round };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("backend") => {
                // Neither error shows the URL: it may hold a password.
                let url = parser.value()?.into_string().map_err(|_| "invalid --backend: not UTF-8")?;
                let manager = RespManager::from_url(&url);
                args.backend = Some(manager.map_err(|error| format!("invalid --backend: {error}"))?);
            }
            Long("callers") => args.callers = number(&mut parser, "--callers")?,
            Long("max-size") => args.max_size = number(&mut parser, "--max-size")?,
            Long("rounds") => args.rounds = number(&mut parser, "--rounds")?,
            Long("milliseconds") => {
                args.round = Duration::from_millis(number(&mut parser, "--milliseconds")? as u64);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Run(args))
}

fn go(args: &Args) -> Result<ExitCode, Failure> {
    let (manager, embedded) = match &args.backend {
        Some(manager) => (manager.clone(), ""),
        None => (RespManager::new(RespServer::start()?.address()), " (embedded)"),
    };
    let title = format!(
        "{} callers, {} rounds of {} ms each way, backend {manager}{embedded}",
        args.callers,
        args.rounds,
        args.round.as_millis(),
    );
    let ways = Ways::open(manager, args.max_size)?;
    let mut tallies = Way::ALL.map(|_| Tally::new());
    for turn in 0..args.rounds {
        for place in 0..Way::ALL.len() {
            let which = (turn + place) % Way::ALL.len();
            tallies[which].add(round(&ways, Way::ALL[which], args));
        }
    }
    print(&table(&title, args, &tallies))?;
    let failed = tallies.iter().find_map(|tally| tally.failure.clone());
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => Err(failure.into()),
    }
}

/// All callers at once, one way, for the length of a round.
fn round(ways: &Ways, way: Way, args: &Args) -> Tally {
    let start = Barrier::new(args.callers + 1);
    let mut sum = Tally::new();
    thread::scope(|scope| {
        let call = || {
            start.wait();
            let end = Instant::now() + args.round;
            let mut tally = Tally::new();
            while Instant::now() < end && tally.failure.is_none() {
                ways.command(way, end, &mut tally);
            }
            tally
        };
        let callers: Vec<_> = (0..args.callers).map(|_| scope.spawn(call)).collect();
        start.wait();
        let begin = Instant::now();
        for caller in callers {
            sum.add(caller.join().expect("a caller does not panic"));
        }
        sum.length = begin.elapsed();
    });
    sum
}

fn table(title: &str, args: &Args, tallies: &[Tally]) -> String {
    let mut out = format!("{title}\n\n");
    // Writing to a String does not fail.
    let _ = write!(out, "{:<26}{:>11}{:>11}", "", "commands/s", "refused/s");
    let _ = write!(out, "{:>14}{:>9}{:>9}{:>9}", "wait ms: p50", "p99", "p99.9", "max");
    let _ = writeln!(out, "{:>15}{:>9}", "in all ms: p50", "p99");
    for (way, tally) in Way::ALL.iter().zip(tallies) {
        let rate = |count: u64| count as f64 / tally.length.as_secs_f64();
        let name = if *way == Way::Pool { format!("a pool of {}", args.max_size) } else { way.name().to_owned() };
        let _ = write!(out, "{name:<26}{:>11.0}{:>11.0}", rate(tally.times.len()), rate(tally.refused));
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| milliseconds(&tally.waits, share));
        let _ = write!(out, "{p50:>14.3}{p99:>9.3}{p999:>9.3}{max:>9.3}");
        let [p50, p99] = [0.5, 0.99].map(|share| milliseconds(&tally.times, share));
        let _ = writeln!(out, "{p50:>15.3}{p99:>9.3}");
    }
    out + LEGEND
}

fn milliseconds(nanoseconds: &Histogram<u64>, share: f64) -> f64 {
    nanoseconds.value_at_quantile(share) as f64 / 1e6
}
