//! Many blocking callers and one Redis: a connection for each, a pool, and a mux. A real `redis-server`; skipped where there is none.
//!
//! ```text
//! cargo bench --bench mux
//! CALLERS=32,64 ROUNDS=9 cargo bench --features redis --bench mux    # and with the `redis` crate's commands on top
//! ```
//!
//! Every caller asks for the same short value, again and again, and times the whole of it. The ways take turns in rounds of a third of a
//! second, so that what else the machine does hits all of them; the table has the medians of the rounds, and of each round's ratio to a
//! connection per thread. A lone caller's system calls are counted in `tests/mux_syscalls.rs`. The table of `corepool::when_which`, which
//! has an asynchronous rival too, is written by `benches/rivals`.
#[path = "mux/redis.rs"]
mod redis_server;
#[path = "mux/round.rs"]
mod round;
#[path = "support/rounds.rs"]
#[allow(dead_code, reason = "only the turns are taken")]
mod rounds;
#[path = "mux/ways.rs"]
mod ways;

use redis_server::RedisServer;
use round::{COLUMNS, TAIL, round};
use rounds::{Contender, interleave};
use ways::Ways;

fn main() {
    let Some(server) = RedisServer::start() else { return println!("skipped: needs redis-server") };
    let callers = std::env::var("CALLERS").unwrap_or_else(|_| "1,2,4,8,16,32,64,128,256".into());
    let rounds = std::env::var("ROUNDS").map_or(7, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let ways = Ways::open(&server);
    for callers in callers.split(',').map(|callers| callers.trim().parse().expect("CALLERS are numbers")) {
        table(&ways, callers, rounds);
    }
    println!("a pipeline of 100 to as many single calls, of one caller: {:.1} x", ways.pipeline_gain(rounds));
}

fn table(ways: &Ways, callers: usize, rounds: usize) {
    let names = Ways::NAMES;
    let contender = |name: &'static str| Contender::with_figures(name, move || round(callers, || ways.caller(name)));
    let (calls, figures) = ways.socket_calls(|| interleave(rounds, names.iter().map(|name| contender(name)).collect()));
    println!("{callers} callers, medians of {rounds} rounds");
    print!("  {:<26}", "");
    COLUMNS.iter().for_each(|column| print!("{column:>12}"));
    println!("{:>12}{:>12}", "x calls/s", "x p99.9");
    for name in names {
        print!("  {name:<26}");
        (0..COLUMNS.len()).for_each(|which| print!("{:>12.1}", figures.median(name, which)));
        println!("{:>12.2}{:>12.2}", figures.ratio(name, names[0], 0), figures.ratio(name, names[0], TAIL));
    }
    println!("  mux: {calls:.2} socket calls a reply");
}
