//! More callers than connections: 16, 64 and 256 threads on four connections.

use std::io::{Read, Write};
use std::time::Duration;

use crate::effort::Effort;
use crate::support::connections::{Client, Endpoint, Nowhere, Tcp};
use crate::support::crowd::{self, P99, P999, PER_SECOND, Plan};
use crate::support::rivals::{self, Locked, Rival};
use crate::support::rounds::{Contender, Crew, Rounds, interleave};
use crate::support::servers::Server;
use crate::table::{Section, Target};

const CONNECTIONS: usize = 4;
const ROUNDS: usize = 5;
const COLUMNS: &[&str] = &["uses/s", "p50 µs", "p99 µs", "p99.9 µs", "longest µs"];

const COREPOOL: &str = "corepool";
const R2D2: &str = "r2d2 without test";
const SHIPPED: &str = "r2d2 as shipped";

fn crowd<'a, C>(
    name: &str,
    plan: Plan,
    pool: &'a impl Rival<C>,
    hold: impl Fn(&mut C) + Sync + Copy + 'a,
) -> Contender<'a> {
    Contender::with_figures(name, move || crowd::measure(pool, plan, hold).figures())
}

fn exchange<S: Read + Write>(client: &mut Client<S>) {
    client.exchange().expect("the server is up");
}

fn section(title: String, rounds: &Rounds) -> Section {
    let mut section = Section::new(title, COLUMNS);
    for name in rounds.names() {
        section.line(name, (0..COLUMNS.len()).map(|which| rounds.median(name, which)).collect());
    }
    section
}

/// The name of a figure: with 16 threads that of the issue, else with the threads behind it.
fn named(name: &str, threads: usize) -> String {
    if threads == 16 { name.to_owned() } else { format!("{name}_{threads}") }
}

/// No worse than r2d2's: rounds of the same pool differ by as much.
const NO_LESS: Target = Target::AtLeast(0.97);

/// What is asked for with 16 threads; with more, to be no worse than r2d2.
fn asked(threads: usize, target: Target) -> Target {
    match target {
        Target::AtMost(_) if threads > 16 => Target::AtMost(1.0),
        Target::AtLeast(_) if threads > 16 => NO_LESS,
        target => target,
    }
}

/// Nothing is done with a connection: what a crowd costs the pool itself.
pub(crate) fn without_io(effort: Effort, threads: usize) -> Section {
    let plan = Plan { threads, measured: effort.time(Duration::from_millis(250)), timed: 16 };
    let (corepool, locked) = (rivals::corepool(Nowhere, CONNECTIONS), Locked::new(&Nowhere, CONNECTIONS));
    let r2d2 = rivals::r2d2(Nowhere, CONNECTIONS, false);
    let contenders = vec![
        crowd(COREPOOL, plan, &corepool, |_| {}),
        crowd("Mutex<Vec> + Condvar", plan, &locked, |_| {}),
        crowd(R2D2, plan, &r2d2, |_| {}),
    ];
    let rounds = interleave(effort.rounds(ROUNDS), contenders);
    let mut section = section(format!("{threads} threads on {CONNECTIONS} connections, no I/O"), &rounds);
    let name = named("saturated_noop_thr_vs_r2d2", threads);
    let target = if threads > 16 { NO_LESS } else { Target::None };
    section.row(name, rounds.ratio(COREPOOL, R2D2, PER_SECOND), target, "throughput of the pool alone, beside r2d2's");
    section
}

/// A server that answers at once.
pub(crate) fn echo(effort: Effort, threads: usize) -> Section {
    let server = Server::echo();
    let tcp = Tcp(server.address);
    let plan = Plan { threads, measured: effort.time(Duration::from_millis(700)), timed: 1 };
    let corepool = rivals::corepool(tcp, CONNECTIONS);
    let (r2d2, shipped) = (rivals::r2d2(tcp, CONNECTIONS, false), rivals::r2d2(tcp, CONNECTIONS, true));
    let contenders = vec![
        crowd(COREPOOL, plan, &corepool, exchange),
        crowd(R2D2, plan, &r2d2, exchange),
        crowd(SHIPPED, plan, &shipped, exchange),
    ];
    let rounds = interleave(effort.rounds(ROUNDS), contenders);
    let mut section = section(format!("{threads} threads on {CONNECTIONS} connections, echo"), &rounds);
    let mut row = |name, to, figure, target, meaning: &str| {
        let value = rounds.ratio(COREPOOL, to, figure);
        section.row(named(name, threads), value, asked(threads, target), meaning);
    };
    row(
        "saturated_thr_vs_r2d2",
        R2D2,
        PER_SECOND,
        Target::AtLeast(1.0),
        "requests a second, beside r2d2 without its test",
    );
    row(
        "saturated_thr_vs_r2d2_default",
        SHIPPED,
        PER_SECOND,
        Target::AtLeast(1.8),
        "the same beside r2d2 as it ships, which asks the server before each use",
    );
    row(
        "saturated_echo_p999_vs_r2d2",
        R2D2,
        P999,
        Target::AtMost(1.0 / 3.0),
        "the wait of the unluckiest caller in a thousand, beside r2d2's",
    );
    row(
        "saturated_echo_p99_vs_r2d2",
        R2D2,
        P99,
        if threads > 16 { Target::AtMost(1.0) } else { Target::None },
        "the same of one in a hundred",
    );
    section
}

/// A server that takes 500 µs: the connections are the bottleneck, and the queue decides who waits.
pub(crate) fn slow(effort: Effort, threads: usize) -> Section {
    let server = Server::slow(Duration::from_micros(500));
    let tcp = Tcp(server.address);
    let plan = Plan { threads, measured: effort.time(Duration::from_millis(1_000)), timed: 1 };
    let (corepool, r2d2) = (rivals::corepool(tcp, CONNECTIONS), rivals::r2d2(tcp, CONNECTIONS, false));
    let contenders = vec![crowd(COREPOOL, plan, &corepool, exchange), crowd(R2D2, plan, &r2d2, exchange)];
    let rounds = interleave(effort.rounds(ROUNDS), contenders);
    let mut section =
        section(format!("{threads} threads on {CONNECTIONS} connections, a server that takes 500 µs"), &rounds);
    let mut row = |name, figure, target, meaning: &str| {
        section.row(named(name, threads), rounds.ratio(COREPOOL, R2D2, figure), asked(threads, target), meaning);
    };
    row(
        "saturated_p99_vs_r2d2",
        P99,
        Target::AtMost(0.25),
        "the wait of one caller in a hundred when the backend is the bottleneck",
    );
    row("saturated_p999_vs_r2d2", P999, Target::AtMost(0.2), "the same of one in a thousand");
    let target = if threads > 16 { NO_LESS } else { Target::None };
    row("saturated_slow_thr_vs_r2d2", PER_SECOND, target, "requests a second then");
    if threads == 16 {
        let dialed = |_| {
            let mut client = tcp.dial().expect("the server is up");
            move || exchange(&mut client)
        };
        let alone = Crew::free(1).time(effort.count(200) as u64, dialed) / 1e3;
        section.row(
            "slow_exchange_us",
            alone,
            Target::None,
            "how exact that server is: an exchange with nobody else about, µs",
        );
    }
    section
}
