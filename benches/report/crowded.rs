//! More callers than connections: 16, 64 and 256 threads on four connections.
//!
//! Throughputs are medians over the rounds. Percentiles are those of all rounds' waits together: the waits of one round beyond its p99.9
//! may be two.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::effort::Effort;
use crate::support::connections::{Client, Endpoint, Nowhere, Tcp};
use crate::support::crowd::{self, MAX, PER_SECOND, Plan};
use crate::support::hikari::HikariLike;
use crate::support::rivals::{self, Locked, Rival};
use crate::support::rounds::{Contender, Crew, Rounds, interleave};
use crate::support::servers::Server;
use crate::table::{Section, Target};

const CONNECTIONS: usize = 4;
const ROUNDS: usize = 7;
const COLUMNS: &[&str] = &["uses/s", "p50 µs", "p99 µs", "p99.9 µs", "longest µs"];

const COREPOOL: &str = "corepool";
const MUTEX: &str = "Mutex<Vec> + Condvar";
const SOONER: &str = "corepool, handoff_after 250 µs";
const UNLOOKED: &str = "corepool, probe_after a second";
const HIKARI: &str = "a bag like HikariCP's";
const R2D2: &str = "r2d2 without test";
const SHIPPED: &str = "r2d2 as shipped";

/// The waits of each round, by contender.
#[derive(Default)]
struct Waits(RefCell<BTreeMap<&'static str, Vec<Histogram<u64>>>>);

impl Waits {
    fn crowd<'a, C>(
        &'a self,
        name: &'static str,
        plan: Plan,
        pool: &'a impl Rival<C>,
        hold: impl Fn(&mut C) + Sync + Copy + 'a,
    ) -> Contender<'a> {
        Contender::with_figures(name, move || {
            let outcome = crowd::measure(pool, plan, hold);
            let figures = outcome.figures();
            self.0.borrow_mut().entry(name).or_default().push(outcome.waits);
            figures
        })
    }

    /// Those of the rounds that are kept.
    fn pool(self, rounds: &Rounds) -> Pooled {
        let pooled = self.0.into_inner().into_iter().map(|(name, waits)| {
            let mut all = Histogram::new(3).expect("three digits are allowed");
            rounds.kept(&[name]).into_iter().for_each(|round| all.add(&waits[round]).expect("both grow"));
            (name, all)
        });
        Pooled(pooled.collect())
    }
}

/// The waits of all rounds that are kept, by contender.
struct Pooled(BTreeMap<&'static str, Histogram<u64>>);

impl Pooled {
    /// Nanoseconds that so many waits in one were no longer than.
    fn at(&self, name: &str, quantile: f64) -> f64 {
        self.0[name].value_at_quantile(quantile) as f64
    }

    fn ratio(&self, name: &str, to: &str, quantile: f64) -> f64 {
        self.at(name, quantile) / self.at(to, quantile)
    }
}

fn exchange<S: Read + Write>(client: &mut Client<S>) {
    client.exchange().expect("the server is up");
}

/// Percentiles for the plots: that a wait was no longer than, in so many of a hundred thousand.
const CURVE: [f64; 16] =
    [0.01, 0.1, 0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.999_5, 0.999_9];

/// A server by what it does, and the threads that use it.
struct Case {
    server: &'static str,
    threads: usize,
}

impl Case {
    fn section(&self, rounds: &Rounds, waits: &Pooled) -> Section {
        let Case { server, threads } = self;
        let mut section = Section::new(format!("{threads} threads on {CONNECTIONS} connections, {server}"), COLUMNS);
        for name in rounds.names() {
            let mut figures = vec![rounds.median(name, PER_SECOND)];
            figures.extend([0.5, 0.99, 0.999, 1.0].map(|quantile| waits.at(name, quantile) / 1e3));
            section.point(format!("Uses a second: {server}"), name, *threads as f64, figures[0]);
            section.line(name, figures);
            for quantile in CURVE {
                let plot = format!("Waits in µs: {threads} threads, {server}");
                section.point(plot, name, quantile, waits.at(name, quantile) / 1e3);
            }
        }
        section.disturbed(rounds);
        section
    }
}

/// The name of a figure: with 16 threads that of the issue, else with the threads behind it.
fn named(name: &str, threads: usize) -> String {
    if threads == 16 { name.to_owned() } else { format!("{name}_{threads}") }
}

/// No worse than r2d2's: rounds of the same pool differ by as much.
const NO_LESS: Target = Target::AtLeast(0.97);

/// Nothing is done with a connection: what a crowd costs the pool itself.
pub(crate) fn without_io(effort: Effort, threads: usize) -> Section {
    let plan = Plan { threads, measured: effort.time(Duration::from_millis(250)), timed: 16 };
    let (corepool, locked) = (rivals::corepool(Nowhere, CONNECTIONS), Locked::new(&Nowhere, CONNECTIONS));
    let r2d2 = rivals::r2d2(Nowhere, CONNECTIONS, false);
    let waits = Waits::default();
    let contenders = vec![
        waits.crowd(COREPOOL, plan, &corepool, |_| {}),
        waits.crowd(MUTEX, plan, &locked, |_| {}),
        waits.crowd(R2D2, plan, &r2d2, |_| {}),
    ];
    let rounds = interleave(effort.rounds(ROUNDS), contenders);
    let waits = waits.pool(&rounds);
    let mut section = Case { server: "no I/O", threads }.section(&rounds, &waits);
    let mut row = |name, to, figure, target, meaning: &str| {
        section.row(named(name, threads), rounds.ratio(COREPOOL, to, figure), target, meaning);
    };
    let target = if threads > 16 { NO_LESS } else { Target::None };
    row("saturated_noop_thr_vs_r2d2", R2D2, PER_SECOND, target, "throughput of the pool alone, beside r2d2's");
    let target = Target::AtLeast(3.0);
    row("saturated_noop_thr_vs_mutex", MUTEX, PER_SECOND, target, "the same beside a lock and a condition variable");
    let target = Target::AtMost(1.0);
    row("saturated_noop_longest_vs_mutex", MUTEX, MAX, target, "the longest wait of a round, beside the same");
    section
}

/// A server that answers at once.
pub(crate) fn echo(effort: Effort, threads: usize) -> Section {
    let server = Server::echo();
    let tcp = Tcp(server.address);
    let plan = Plan { threads, measured: effort.time(Duration::from_millis(700)), timed: 1 };
    let corepool = rivals::corepool(tcp, CONNECTIONS);
    let sooner = rivals::settings(tcp, CONNECTIONS).handoff_after(Duration::from_micros(250));
    let sooner = sooner.build().expect("the server is up");
    let unlooked = rivals::settings(tcp, CONNECTIONS).probe_after(Duration::from_secs(1));
    let unlooked = unlooked.build().expect("the server is up");
    let (r2d2, shipped) = (rivals::r2d2(tcp, CONNECTIONS, false), rivals::r2d2(tcp, CONNECTIONS, true));
    let hikari = HikariLike::new(&tcp, CONNECTIONS);
    let waits = Waits::default();
    let contenders = vec![
        waits.crowd(COREPOOL, plan, &corepool, exchange),
        waits.crowd(SOONER, plan, &sooner, exchange),
        waits.crowd(UNLOOKED, plan, &unlooked, exchange),
        waits.crowd(HIKARI, plan, &hikari, exchange),
        waits.crowd(R2D2, plan, &r2d2, exchange),
        waits.crowd(SHIPPED, plan, &shipped, exchange),
    ];
    let rounds = interleave(effort.rounds(ROUNDS), contenders);
    let waits = waits.pool(&rounds);
    let mut section = Case { server: "echo", threads }.section(&rounds, &waits);
    let mut row = |name, value, target, meaning: &str| section.row(named(name, threads), value, target, meaning);
    row(
        "saturated_thr_vs_r2d2",
        rounds.ratio(COREPOOL, R2D2, PER_SECOND),
        Target::AtLeast(1.05),
        "requests a second, beside r2d2 without its test",
    );
    row(
        "saturated_thr_vs_r2d2_default",
        rounds.ratio(COREPOOL, SHIPPED, PER_SECOND),
        Target::AtLeast(1.8),
        "the same beside r2d2 as it ships, which asks the server before each use",
    );
    row(
        "saturated_echo_p999_vs_r2d2",
        waits.ratio(COREPOOL, R2D2, 0.999),
        Target::AtMost(0.3),
        "the wait of the unluckiest caller in a thousand, beside r2d2's",
    );
    let p99 = waits.ratio(COREPOOL, R2D2, 0.99);
    row("saturated_echo_p99_vs_r2d2", p99, Target::AtMost(0.35), "the same of one in a hundred");
    row(
        "saturated_echo_unlooked_thr_vs_r2d2",
        rounds.ratio(UNLOOKED, R2D2, PER_SECOND),
        Target::None,
        "requests a second without the look at the socket before each use, beside r2d2, which has none either",
    );
    row(
        "saturated_echo_sooner_thr_vs_r2d2",
        rounds.ratio(SOONER, R2D2, PER_SECOND),
        Target::None,
        "requests a second with `handoff_after` at 250 µs instead of 1 ms, beside r2d2's",
    );
    row(
        "saturated_echo_sooner_p999_vs_r2d2",
        waits.ratio(SOONER, R2D2, 0.999),
        Target::None,
        "and the wait of the unluckiest caller in a thousand then",
    );
    section
}

/// A server that takes 500 µs: the connections are the bottleneck, and the queue decides who waits.
pub(crate) fn slow(effort: Effort, threads: usize) -> Section {
    let server = Server::slow(Duration::from_micros(500));
    let tcp = Tcp(server.address);
    let plan = Plan { threads, measured: effort.time(Duration::from_millis(1_000)), timed: 1 };
    let (corepool, r2d2) = (rivals::corepool(tcp, CONNECTIONS), rivals::r2d2(tcp, CONNECTIONS, false));
    let waits = Waits::default();
    let contenders = vec![waits.crowd(COREPOOL, plan, &corepool, exchange), waits.crowd(R2D2, plan, &r2d2, exchange)];
    let rounds = interleave(effort.rounds(ROUNDS), contenders);
    let waits = waits.pool(&rounds);
    let mut section = Case { server: "a server that takes 500 µs", threads }.section(&rounds, &waits);
    let mut row = |name, value, target, meaning: &str| section.row(named(name, threads), value, target, meaning);
    let target = Target::AtMost(if threads > 16 { 1.0 } else { 0.25 });
    let meaning = "the wait of one caller in a hundred when the backend is the bottleneck";
    row("saturated_p99_vs_r2d2", waits.ratio(COREPOOL, R2D2, 0.99), target, meaning);
    let target = Target::AtMost(0.2);
    row("saturated_p999_vs_r2d2", waits.ratio(COREPOOL, R2D2, 0.999), target, "the same of one in a thousand");
    let target = if threads > 16 { NO_LESS } else { Target::None };
    let throughput = rounds.ratio(COREPOOL, R2D2, PER_SECOND);
    row("saturated_slow_thr_vs_r2d2", throughput, target, "requests a second then");
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
