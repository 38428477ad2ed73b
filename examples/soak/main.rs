//! A soak: all that can be done with pools, and all that peers can do to them, at random and for long; and whether that leaves anything
//! behind.
//!
//! ```text
//! cargo run --release --example soak -- --seconds 30
//! cargo run --release --example soak -- --minutes 30 --json --svg soak.svg
//! cargo run --release --example soak -- --help
//! ```
//!
//! Callers use one pool over sockets, one whose connections are nothing, and a map of pools that come and go ([`steps`]); peers in this
//! process play faults ([`peers`]). Each connection knows who has it, and each answer which question it belongs to ([`checked`]). In
//! between, all of it comes to rest, and the books are looked at: every permit, every connection, every caller's use. Then the process is
//! sampled ([`samples`]).
#![forbid(unsafe_code)]

mod checked;
#[allow(dead_code, reason = "its table has more columns")]
#[path = "../support/cli.rs"]
mod cli;
mod peers;
mod samples;
mod steps;

use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{Manager, Pool};
use lexopt::prelude::{Long, Short, ValueExt};
use serde_json::json;

use checked::{Ledger, ON_PURPOSE};
use cli::{Command, Failure, number, print, row};
use peers::Peer;
use samples::{Sample, Trend, svg, trends};
use steps::{FOR_EVER, House, KEYS, Tally};

const HELP: &str = "\
All that can be done with pools, and all that peers can do to them, at random; and whether that leaves anything behind.

Usage: soak [OPTIONS]

  --seconds N   length [30]
  --minutes N   the same in minutes
  --callers N   threads that use sockets [8]
  --bare N      threads that use connections which are nothing [3]
  --svg FILE    plots what the process took
  --json        print the result as one JSON object
  -h, --help    this text

Exit status: 0; 1 if anything was off: two owners at once, an answer to somebody else's question, a caller whom nobody
woke, a permit or a connection lost, books that do not balance, memory, descriptors or threads that grow; 2 for a wrong
argument.
";

#[derive(Debug)]
struct Args {
    length: Duration,
    callers: usize,
    bare: usize,
    svg: Option<String>,
    json: bool,
}

fn main() -> ExitCode {
    cli::run("soak", HELP, parse, go)
}

fn parse(mut parser: lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    let mut args = Args { length: Duration::from_secs(30), callers: 8, bare: 3, svg: None, json: false };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("seconds") => args.length = Duration::from_secs(number(&mut parser, "--seconds")? as u64),
            Long("minutes") => args.length = Duration::from_secs(60 * number(&mut parser, "--minutes")? as u64),
            Long("callers") => args.callers = number(&mut parser, "--callers")?,
            Long("bare") => args.bare = number(&mut parser, "--bare")?,
            Long("svg") => args.svg = Some(parser.value()?.string()?),
            Long("json") => args.json = true,
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Command::Run(args))
}

/// How long all may take to come to rest. Decides nothing while all is well.
const HOPELESS: Duration = Duration::from_secs(30);

/// Keeps panics on purpose off the screen.
fn hush() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        if !text.is_some_and(|text| text.contains(ON_PURPOSE)) {
            usual(info);
        }
    }));
}

fn go(args: &Args) -> Result<ExitCode, Failure> {
    hush();
    let begun = Instant::now();
    let ledger = Arc::<Ledger>::default();
    let peers = vec![Peer::start()?, Peer::start()?];
    let house = House::build(peers, Arc::clone(&ledger))?;
    let gust = (args.length / 30).clamp(Duration::from_millis(300), Duration::from_secs(5));
    let mut samples = Vec::new();
    while begun.elapsed() < args.length {
        set_calm(&house, false);
        blow(&house, args, gust.min(args.length.saturating_sub(begun.elapsed())), samples.len() % 8 != 0);
        set_calm(&house, true);
        rest(&house);
        samples.push(Sample::now(begun, descriptors(&house)));
        if ledger.faults().0 > 0 {
            break;
        }
    }
    let trends = trends(&samples);
    if let Some(file) = &args.svg {
        std::fs::write(file, svg(&samples))?;
    }
    let House { net, bare, map, net_tally, bare_tally, map_tally, peers, .. } = house;
    for report in [net.drain(HOPELESS), bare.drain(HOPELESS)] {
        if !report.is_complete() {
            ledger.fault(|| format!("a pool does not end: {report:?}"));
        }
    }
    drop((net, bare, map));
    eventually(&ledger, "every connection is dropped", || ledger.alive() == 0);
    let outcome = Outcome { length: begun.elapsed(), samples: samples.len(), trends: &trends, ledger: &ledger };
    outcome.tell(args, [&net_tally, &bare_tally, &map_tally], &peers)
}

fn set_calm(house: &House, calm: bool) {
    house.peers.iter().for_each(|peer| peer.set_calm(calm));
    house.ledger.set_calm(calm);
}

/// All threads at once, for so long. Gently: those that use nothing leave the machine to those that use sockets.
fn blow(house: &House, args: &Args, length: Duration, gently: bool) {
    let (calm, ends) = (&AtomicBool::new(false), Instant::now() + length);
    let threads = args.callers + args.bare + 1;
    let progress: &Vec<AtomicU64> = &(0..threads).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for (place, alive) in progress.iter().enumerate() {
            let turn = move || match place {
                0 => house.govern(),
                _ if place <= args.callers => house.step(),
                _ => house.bare_step(500, gently),
            };
            scope.spawn(move || {
                while !calm.load(Ordering::Relaxed) {
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(turn)) {
                        let text = payload.downcast_ref::<String>().cloned().unwrap_or_default();
                        if !text.contains(ON_PURPOSE) {
                            house.ledger.fault(|| format!("a panic: {text}"));
                        }
                    }
                    alive.fetch_add(1, Ordering::Relaxed);
                }
                alive.store(u64::MAX, Ordering::Relaxed);
            });
        }
        let look = || progress.iter().map(|alive| alive.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let (mut before, mut looked) = (look(), Instant::now());
        loop {
            thread::sleep(Duration::from_millis(10));
            calm.store(Instant::now() >= ends, Ordering::Relaxed);
            let now = look();
            if now.iter().all(|alive| *alive == u64::MAX) {
                return;
            }
            if looked.elapsed() > 2 * FOR_EVER {
                if now.iter().zip(&before).any(|(now, before)| now == before && *now != u64::MAX) {
                    // Its thread cannot be ended, so nothing else can be.
                    let at_rest = (house.net.at_rest(), house.bare.at_rest());
                    eprintln!(
                        "soak: a caller hangs: {now:?}, {at_rest:?}\n{}\n{}",
                        house.net.stats(),
                        house.bare.stats()
                    );
                    std::process::exit(1);
                }
                (before, looked) = (now, Instant::now());
            }
        }
    });
}

fn eventually(ledger: &Ledger, what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        if begun.elapsed() > HOPELESS {
            return ledger.fault(|| format!("not after {HOPELESS:?}: {what}"));
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until nothing is under way, and looks at the books.
fn rest(house: &House) {
    // Its pools end, and nothing of them is left.
    for key in 0..KEYS {
        house.map.remove(&key);
    }
    balance(&house.ledger, "the pool over sockets", &house.net, &house.net_tally);
    balance(&house.ledger, "the pool of nothing", &house.bare, &house.bare_tally);
    let (mut alive, mut open) = (0, 0);
    eventually(&house.ledger, "every connection that is not in a pool is dropped", || {
        let (net, bare) = (house.net.stats(), house.bare.stats());
        (alive, open) = (house.ledger.alive(), (net.open + bare.open) as u64);
        net.closing + bare.closing == 0 && alive == open
    });
    if alive != open {
        house.ledger.fault(|| format!("{alive} connections exist, {open} are in the pools"));
    }
    eventually(&house.ledger, "the peers see no connection that is none of the pool's", || {
        house.peers.iter().map(Peer::open).sum::<usize>() == house.net.stats().open
    });
}

fn balance<M: Manager>(ledger: &Ledger, name: &str, pool: &Pool<M>, tally: &Tally) {
    let mut said = Ok(());
    eventually(ledger, "the pool is at rest", || {
        said = pool.at_rest();
        said.is_ok()
    });
    let stats = pool.stats();
    let told = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let balances = said.is_ok()
        && (stats.leased, stats.waiting) == (0, 0)
        && stats.leases == told(&tally.leases)
        && stats.timed_out == told(&tally.timed_out)
        && stats.refused == told(&tally.refused)
        && stats.detached == told(&tally.detached)
        && stats.opened == stats.closed_in_all() + stats.detached + stats.open as u64;
    if !balances {
        ledger.fault(|| {
            let counted = [&tally.leases, &tally.timed_out, &tally.refused, &tally.detached].map(told);
            format!("{name} does not balance: {said:?}; leases, timed out, refused, detached: {counted:?}\n{stats}")
        });
    }
}

/// Descriptors of connections that are open just now: the user's, the pool's duplicate, and the peer's.
fn descriptors(house: &House) -> usize {
    3 * house.net.stats().open
}

/// What came of it.
struct Outcome<'a> {
    length: Duration,
    samples: usize,
    trends: &'a [Trend],
    ledger: &'a Ledger,
}

impl Outcome<'_> {
    fn tell(&self, args: &Args, tallies: [&Tally; 3], peers: &[Peer]) -> Result<ExitCode, Failure> {
        let told = |counter: fn(&Tally) -> &AtomicU64| tallies.map(|tally| counter(tally).load(Ordering::Relaxed));
        let sum = |counter| told(counter).iter().sum::<u64>();
        let [over_sockets, of_nothing, in_map] = told(|tally| &tally.leases);
        let exchanges = sum(|tally| &tally.exchanges);
        let faults_played = peers.iter().map(Peer::faults).sum::<u64>();
        let answered = peers.iter().map(Peer::frames).sum::<u64>();
        if answered < exchanges {
            self.ledger.fault(|| format!("{exchanges} answers were read, and {answered} given"));
        }
        let (faults, first) = self.ledger.faults();
        let grows: Vec<&str> = self.trends.iter().filter(|trend| !trend.flat).map(|trend| trend.name).collect();
        let held = faults == 0 && grows.is_empty();
        let counts = [
            ("leases over sockets", over_sockets + in_map),
            ("leases of nothing", of_nothing),
            ("exchanges", exchanges),
            ("failed exchanges", sum(|tally| &tally.failures)),
            ("timed out", sum(|tally| &tally.timed_out)),
            ("refused or down", sum(|tally| &tally.refused)),
            ("detached", sum(|tally| &tally.detached)),
            ("forgotten", sum(|tally| &tally.forgotten)),
            ("drains", sum(|tally| &tally.drains)),
            ("waits on a stalled machine", sum(|tally| &tally.stalled)),
            ("connections opened", self.ledger.born()),
            ("connections closed", self.ledger.closed()),
            ("faults of peers", faults_played),
        ];
        if args.json {
            let counts: serde_json::Map<_, _> =
                counts.iter().map(|(name, count)| (name.replace(' ', "_"), json!(count))).collect();
            let trends: serde_json::Map<_, _> =
                self.trends.iter().map(|trend| (trend.name.into(), trend_json(trend))).collect();
            let whole = json!({
                "seconds": self.length.as_secs_f64(), "samples": self.samples, "counts": counts, "trends": trends,
                "faults": faults, "first_faults": first, "grows": grows, "held": held,
            });
            print(&format!("{whole}\n"))?;
        } else {
            let mut table = String::new();
            counts.iter().for_each(|(name, count)| row(&mut table, name, count, ""));
            // The slope of a short run is that of its warm-up.
            let long = self.length >= Duration::from_secs(600);
            for Trend { name, first, last, most, slope_per_hour, flat, .. } in self.trends {
                let slope = if long { format!(", {slope_per_hour:+.1} an hour") } else { String::new() };
                let note = format!("from {first:.0}, {most:.0} at most{slope}");
                row(&mut table, name, format!("{last:.0}"), format!("{note}{}", if *flat { "" } else { ": it grows" }));
            }
            row(&mut table, "faults of the pool", faults, format!("after {:.0} s", self.length.as_secs_f64()));
            first.iter().for_each(|fault| table.push_str(&format!("  {fault}\n")));
            print(&table)?;
        }
        Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn trend_json(trend: &Trend) -> serde_json::Value {
    let Trend { first, last, most, slope_per_hour, middle, end, flat, .. } = trend;
    json!({
        "first": first, "last": last, "most": most, "slope_per_hour": slope_per_hour,
        "middle_third": middle, "last_third": end, "flat": flat,
    })
}
