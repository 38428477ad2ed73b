//! A pool of child processes, as in NimblePool's own example, whose ports answer a line with a line.
//!
//! ```text
//! cargo run --release --example port                 # cat: every line comes back
//! cargo run --release --example port -- --program bc # arithmetic
//! cargo run --release --example port -- --help
//! ```
//!
//! Some threads share fewer children ([`child`]). Half way one of the children is killed, whether somebody uses it or not: the pool
//! sees it die, reaps it and starts another, and no caller is told, since a line that met the dying child is asked once
//! more. At the end no child of this process may be left, alive or as a zombie.
#![forbid(unsafe_code)]

mod child;

#[path = "../support/cli.rs"]
mod cli;

use std::fs;
use std::io;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Event, Lease, Opening, Pool};
use lexopt::prelude::{Long, Short, ValueExt};
use rustix::process::{Pid, WaitOptions, wait};

use child::{Children, has_ended, kill};
use cli::{Command, Failure, chain, number, print, row};

const HELP: &str = "\
A pool of child processes that answer a line with a line, one of which is killed half way.

Usage: port [OPTIONS]

  --program NAME     what the children run [cat]. bc is asked for sums; anything else must answer each line with
                     the same line, and flush it
  --children N       children at most; all are started at once [3]
  --threads N        threads that ask them [4]
  --lines N          lines that each thread asks [1000]
  -h, --help         this text

Exit status: 0; 1 if a line was answered wrongly or not at all, if the killed child was not replaced, or if a child
is left at the end; 2 for a wrong argument.
";

/// A program that does not start is reported after this long.
const OPENING: Duration = Duration::from_millis(500);
/// How long it may take until a killed child is replaced and reaped, and until the pool has ended. Decides nothing while all is well.
const HOPELESS: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Args {
    program: String,
    children: usize,
    threads: usize,
    lines: usize,
}

/// What the threads count, and who was killed when.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    wrong: AtomicU64,
    failed: AtomicU64,
    /// Asked once more, since their child ended before it answered.
    again: AtomicU64,
    /// The first failure, in words.
    failure: Mutex<Option<String>>,
    killed: Mutex<Option<(Pid, Instant)>>,
}

/// After the kill: when the pool saw it, when another child was there, when the killed one was reaped.
#[derive(Debug, Default)]
struct Replacement {
    seen: Option<Duration>,
    why: Option<CloseReason>,
    replaced: Option<Duration>,
    reaped: Option<Duration>,
}

fn main() -> ExitCode {
    cli::run("port", HELP, parse, go)
}

fn parse(mut parser: lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    let mut args = Args { program: "cat".into(), children: 3, threads: 4, lines: 1000 };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("program") => args.program = parser.value()?.string()?,
            Long("children") => args.children = number(&mut parser, "--children")?,
            Long("threads") => args.threads = number(&mut parser, "--threads")?,
            Long("lines") => args.lines = number(&mut parser, "--lines")?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Run(args))
}

fn go(args: &Args) -> Result<ExitCode, Failure> {
    let (teller, events) = mpsc::channel();
    let pool = Pool::builder(Children::of(&args.program))
        .max_size(args.children)
        .min_open(args.children)
        .opening(Opening::Wait(OPENING))
        .observer(move |event: &Event| {
            // Nobody listens any more at the end.
            let _ = teller.send((Instant::now(), event.clone()));
        })
        .build()?;
    let tally = Tally::default();
    let wakeups = reactor_wakeups()?;
    let begin = Instant::now();
    thread::scope(|scope| {
        for thread in 0..args.threads {
            let (pool, tally) = (&pool, &tally);
            scope.spawn(move || ask_all(args, thread, pool, tally));
        }
    });
    let length = begin.elapsed();
    let wakeups = reactor_wakeups()? - wakeups;
    let killed = *lock(&tally.killed);
    let replacement = killed.map(|(_, at)| replacement(&events, at));
    let stats = pool.stats();
    let drained = pool.drain(HOPELESS);
    let left = children_left()?;

    let rate = |count: u64| format!("{:.0}/s", count as f64 / length.as_secs_f64());
    let milliseconds = |after: Option<Duration>| match after {
        Some(after) => format!("{:.2} ms", after.as_secs_f64() * 1e3),
        None => "never".into(),
    };
    let (answered, wrong, failed) =
        (tally.answered.load(Relaxed), tally.wrong.load(Relaxed), tally.failed.load(Relaxed));
    let mut table = format!("{} threads ask {} children that run {}\n\n", args.threads, args.children, args.program);
    row(&mut table, "lines answered", answered, rate(answered));
    row(&mut table, "  wrongly", wrong, "");
    row(&mut table, "lines not answered", failed, lock(&tally.failure).as_deref().unwrap_or_default());
    row(&mut table, "lines asked again", tally.again.load(Relaxed), "their child was killed under them");
    row(&mut table, "lines that waited", stats.waited, "for a child to come free");
    row(&mut table, "wake-ups of the watch", wakeups, "an answer wakes none");
    row(&mut table, "children started", stats.opened, "");
    if let (Some((pid, _)), Some(replacement)) = (killed, &replacement) {
        row(&mut table, "child killed", pid, replacement.why.map_or("not seen", CloseReason::name));
        row(&mut table, "  seen after", milliseconds(replacement.seen), "");
        row(&mut table, "  replaced after", milliseconds(replacement.replaced), "");
        row(&mut table, "  reaped after", milliseconds(replacement.reaped), "");
    }
    row(&mut table, "children left at the end", if left { "some" } else { "none" }, "alive or as zombies");
    print(&table)?;

    let whole = replacement.is_some_and(|seen| seen.replaced.is_some() && seen.reaped.is_some());
    let well = wrong == 0 && failed == 0 && whole && drained.is_complete() && !left;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask_all(args: &Args, thread: usize, pool: &Pool<Children>, tally: &Tally) {
    let half = (args.threads * args.lines).div_ceil(2) as u64;
    for turn in 0..args.lines {
        let (question, expected) = exercise(&args.program, thread, turn);
        match ask(pool, &question, &expected, tally) {
            Ok(right) => {
                tally.wrong.fetch_add(u64::from(!right), Relaxed);
                if tally.answered.fetch_add(1, Relaxed) + 1 == half {
                    kill_one(pool, tally);
                }
            }
            Err(error) => {
                tally.failed.fetch_add(1, Relaxed);
                lock(&tally.failure).get_or_insert_with(|| chain(&*error));
            }
        }
    }
}

/// What to ask, and what the answer should be.
fn exercise(program: &str, thread: usize, turn: usize) -> (String, String) {
    if program.rsplit('/').next() == Some("bc") {
        let (a, b) = (fastrand::u32(..), fastrand::u32(..));
        return (format!("{a} * {b} + {turn}"), (u128::from(a) * u128::from(b) + turn as u128).to_string());
    }
    let line = format!("thread {thread}, line {turn}, {:016x}", fastrand::u64(..));
    (line.clone(), line)
}

/// A line is as good asked twice. So if a child ends before it has answered, another is asked; once, for one child was killed.
/// False: the answer is another's.
fn ask(pool: &Pool<Children>, question: &str, expected: &str, tally: &Tally) -> Result<bool, Failure> {
    let mut worker = pool.get()?;
    let mut answer = worker.ask(question);
    // The child's end may be read from its output before the watch has noted it.
    if answer.as_ref().is_err_and(|error| Lease::stale(&worker) || has_ended(error)) {
        drop(worker);
        tally.again.fetch_add(1, Relaxed);
        worker = pool.get()?;
        answer = worker.ask(question);
    }
    let right = answer? == expected;
    if !right {
        // The child and we are out of step: the answer to this line is still to come.
        Lease::discard(worker);
    }
    Ok(right)
}

/// Kills the child that would be used next. The lease ends first, so that the others go on with it as if nothing were to happen.
fn kill_one(pool: &Pool<Children>, tally: &Tally) {
    let victim = pool.get().map_err(io::Error::from).and_then(|worker| Ok((worker.pid(), worker.handle()?)));
    let killed = victim.and_then(|(pid, handle)| {
        let at = Instant::now();
        kill(&handle)?;
        Ok((pid, at))
    });
    match killed {
        Ok(killed) => *lock(&tally.killed) = Some(killed),
        Err(error) => {
            lock(&tally.failure).get_or_insert_with(|| format!("nobody was killed: {}", chain(&error)));
        }
    }
}

/// Waits until the pool has told the whole story of the child that was killed.
fn replacement(events: &Receiver<(Instant, Event)>, killed: Instant) -> Replacement {
    let mut replacement = Replacement::default();
    let hopeless = Instant::now() + HOPELESS;
    while replacement.replaced.is_none() || replacement.reaped.is_none() {
        let left = hopeless.saturating_duration_since(Instant::now());
        let Ok((at, event)) = events.recv_timeout(left) else { break };
        let Some(after) = at.checked_duration_since(killed) else { continue };
        match event {
            Event::Discarded { why, .. } => {
                (replacement.seen, replacement.why) = (Some(after), Some(why));
            }
            Event::Closed { .. } => replacement.reaped = Some(after),
            Event::Opened { .. } => replacement.replaced = Some(after),
            _ => {}
        }
    }
    replacement
}

/// Whether this process has children, alive or waiting to be reaped: there is somebody to wait for then.
fn children_left() -> io::Result<bool> {
    match wait(WaitOptions::NOHANG) {
        Err(rustix::io::Errno::CHILD) => Ok(false),
        Ok(_) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// How often the pool's reactors have gone to sleep again so far, in all.
fn reactor_wakeups() -> io::Result<u64> {
    let mut wakeups = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        // A thread may end while it is looked at.
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
        if read("comm").starts_with("corepool-shard") {
            let status = read("status");
            let counted = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            wakeups += counted.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(wakeups)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
