//! A pool in the terminal, from the page that it serves for Prometheus.
//!
//! ```text
//! cargo run --release --example gateway -- --seconds 60     # prints where it is to be watched: http://127.0.0.1:PORT
//! cargo run --release --example top -- http://127.0.0.1:PORT/metrics
//! ```
//!
//! The page is fetched again each second ([`scrape`]); what counts up is shown a second, since the time before ([`view`]). It knows the
//! names that the gateway's `/metrics` uses, which are OpenTelemetry's where these have any, and with or without `_total` those of a
//! server that has the feature `metrics`. What other series such a page has is passed over.
//!
//! So it looked two seconds after the gateway's outage (the second command, with `--once`):
//!
//! ```text
//! gateway  8 of 8 open
//!   █████████████████████████████████████████████████████▒▒▒▒▒▒▒
//!   █ 7 used  ▒ 1 idle  ░ 0 opening  0 closing
//!   0 callers wait
//!
//!   uses                         39686 /s  █
//!     had to wait               4194.8 /s         33317 in all
//!     timed out                    0.0 /s             0 in all
//!     refused                      0.0 /s             0 in all
//!   dials                          0.0 /s            23 in all
//!     failed                       0.0 /s             7 in all
//!   stolen by shard 0           1459.5 /s         17284 in all
//!   stolen by shard 1           1164.8 /s         13354 in all
//!   closed: peer closed            0.0 /s             8 in all
//! ```
#![forbid(unsafe_code)]

mod scrape;
mod view;

#[path = "../support/cli.rs"]
#[allow(dead_code, reason = "it has no result to print")]
mod cli;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use console::Term;
use lexopt::prelude::{Long, Short, Value, ValueExt};

use cli::{Command, Failure};
use scrape::{Scrape, Target};
use view::View;

const HELP: &str = "\
Shows the pools of a process in the terminal, from its page for Prometheus.

Usage: top [OPTIONS] URL

  URL                http://HOST:PORT/PATH, such as the gateway's /metrics
  --interval MS      how often the page is fetched, in milliseconds [1000]
  --once             show one frame, after one interval, and end
  -h, --help         this text

Exit status: 0; 1 if the page could not be had or read; 2 for a wrong argument.
";

#[derive(Debug)]
struct Args {
    target: Target,
    interval: Duration,
    once: bool,
}

fn main() -> ExitCode {
    cli::run("top", HELP, parse, run)
}

fn parse(mut parser: lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    let (mut target, mut interval, mut once) = (None, Duration::from_secs(1), false);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("interval") => interval = Duration::from_millis(cli::number(&mut parser, "--interval")? as u64),
            Long("once") => once = true,
            Value(url) => target = Some(Target::parse(&url.string()?)?),
            other => return Err(other.unexpected()),
        }
    }
    let target = target.ok_or("which page? an URL like http://127.0.0.1:8080/metrics")?;
    Ok(Command::Run(Args { target, interval, once }))
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let terminal = Term::stdout();
    let mut view = View::new();
    let mut before = (Instant::now(), Scrape::of(&args.target)?);
    loop {
        thread::sleep(args.interval);
        let now = (Instant::now(), Scrape::of(&args.target)?);
        let frame = view.frame(&before.1, &now.1, now.0 - before.0);
        before = now;
        if args.once {
            cli::print(&frame)?;
            return Ok(ExitCode::SUCCESS);
        }
        terminal.clear_screen()?;
        terminal.write_str(&frame)?;
    }
}
