//! Ways to share a Redis, from one caller to 256: the table of `corepool::when_which`. A real `redis-server`; skipped where there is none.
//!
//! ```text
//! cargo run --release -p mux-rivals               # prints it
//! cargo run --release -p mux-rivals -- --write    # and writes it into src/docs/when_which.rs
//! CALLERS=32,64 ROUNDS=9 cargo run --release -p mux-rivals
//! ```
//!
//! The ways are those of `benches/mux.rs`, and the `redis` crate's own multiplexed connection under tokio: once its callers are tasks, as
//! it is made for, and once they are threads that block, as those of all other ways. All take turns in rounds of a third of a second; the
//! table has medians of the rounds, and of each round's ratio.
#[path = "../../mux/redis.rs"]
mod redis_server;
#[path = "../../mux/round.rs"]
#[allow(dead_code, reason = "not all figures are shown")]
mod round;
#[path = "../../support/rounds.rs"]
#[allow(dead_code, reason = "only the turns are taken")]
mod rounds;
mod tasks;
#[path = "../../mux/ways.rs"]
mod ways;

use std::fmt::Write;
use std::fs;

use redis_server::RedisServer;
use round::{TAIL, round};
use rounds::{Contender, Rounds, interleave};
use tasks::Tasks;
use ways::Ways;

/// The page with the table, and what stands around it there.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../src/docs/when_which.rs");
const BEGIN: &str = "//! <!-- rivals -->\n";
const END: &str = "//! <!-- end of rivals -->\n";

/// The asynchronous ways, and the one that is compared with them: all read with the same parser.
const TASKS: &str = "tokio, tasks";
const THREADS: &str = "tokio, threads";
const OURS: &str = "mux, redis crate";

fn main() {
    let Some(server) = RedisServer::start() else { return println!("skipped: needs redis-server") };
    let callers = std::env::var("CALLERS").unwrap_or_else(|_| "1,2,4,8,16,32,64,128,256".into());
    let rounds = std::env::var("ROUNDS").map_or(5, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let (ways, tasks) = (Ways::open(&server), Tasks::open(server.address));
    let mut text = head(rounds);
    for callers in callers.split(',').map(|callers| callers.trim().parse().expect("CALLERS are numbers")) {
        let (calls, figures) = ways.socket_calls(|| measure(&ways, &tasks, callers, rounds));
        let row = row(callers, calls, &figures);
        eprint!("{row}");
        text += &row;
    }
    let gain = ways.pipeline_gain(rounds);
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "\nThe last column has the calls that a mux made of its sockets for each reply, sends and receives together; a connection of one's\n\
         own makes 2. A lone caller gets {gain:.0} times as many requests answered by a `pipeline` of 100 as by single calls."
    );
    print!("{text}");
    if std::env::args().any(|argument| argument == "--write") {
        write(&text);
    }
}

fn measure(ways: &Ways, tasks: &Tasks, callers: usize, rounds: usize) -> Rounds {
    let of = |name: &'static str| Contender::with_figures(name, move || round(callers, || ways.caller(name)));
    let mut contenders: Vec<_> = Ways::NAMES.iter().map(|name| of(name)).collect();
    contenders.push(Contender::with_figures(TASKS, || tasks.round(callers)));
    contenders.push(Contender::with_figures(THREADS, || round(callers, || tasks.blocking_caller())));
    interleave(rounds, contenders)
}

fn head(rounds: usize) -> String {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!(
        "{cores} cores, {model}, shared with `redis-server`; medians of {rounds} rounds. Measured by\n\
         `cargo run --release -p mux-rivals`, which `-- --write` puts here.\n\
         \n\
         | callers | own: calls/s | p99.9, µs | pool of 4 | of 8 | mux | its RESP | tasks | threads | p99.9: mux | tasks | threads | \
         mux to tasks | threads | socket calls |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
    )
}

fn row(callers: usize, calls: f64, figures: &Rounds) -> String {
    let base = Ways::NAMES[0];
    let mut row = format!("| {callers} | {:.0} | {:.0} |", figures.median(base, 0), figures.median(base, TAIL));
    let ratio = |name, to, which| format!(" {:.2} × |", figures.ratio(name, to, which));
    for name in Ways::NAMES[1..].iter().chain([&TASKS, &THREADS]) {
        row += &ratio(name, base, 0);
    }
    for name in ["mux", TASKS, THREADS] {
        row += &ratio(name, base, TAIL);
    }
    row + &ratio(OURS, TASKS, 0) + &ratio(OURS, THREADS, 0) + &format!(" {calls:.2} |\n")
}

/// Into the page, between the markers.
fn write(text: &str) {
    let page = fs::read_to_string(PAGE).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("the page has the first marker");
    let (_, after) = rest.split_once(END).expect("the page has the second marker");
    let comment: String = text.lines().map(|line| format!("//! {line}").trim_end().to_owned() + "\n").collect();
    fs::write(PAGE, format!("{before}{BEGIN}{comment}{END}{after}")).expect("the page can be written");
}
