//! Many blocking callers and one Redis: a connection for each, a pool, and a mux. A real `redis-server`; skipped where there is none.
//!
//! ```text
//! cargo bench --bench mux
//! CALLERS=32,64 ROUNDS=9 cargo bench --features redis --bench mux    # and with the `redis` crate's commands on top
//! ```
//!
//! Every caller asks for the same short value, again and again, and times the whole of it. The ways take turns in rounds of a third of a
//! second, so that what else the machine does hits all of them; the table has the medians of the rounds, and of each round's ratio to a
//! connection per thread. A lone caller's system calls are counted in `tests/mux_syscalls.rs`.
#[path = "mux/redis.rs"]
mod redis_server;
#[path = "support/rounds.rs"]
#[allow(dead_code, reason = "only the turns are taken")]
mod rounds;
#[path = "mux/ways.rs"]
mod ways;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use redis_server::RedisServer;
use rounds::{Contender, interleave};
use ways::Ways;

/// One round of one way.
const ROUND: Duration = Duration::from_millis(333);
/// Figures of a round, by place.
const COLUMNS: [&str; 5] = ["calls/s", "p50 us", "p99 us", "p99.9 us", "max us"];

fn main() {
    let Some(server) = RedisServer::start() else { return println!("skipped: needs redis-server") };
    let callers = std::env::var("CALLERS").unwrap_or_else(|_| "1,2,4,8,16,32,64,128,256".into());
    let rounds = std::env::var("ROUNDS").map_or(7, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let ways = Ways::open(&server);
    for callers in callers.split(',').map(|callers| callers.trim().parse().expect("CALLERS are numbers")) {
        table(&ways, callers, rounds);
    }
    println!("{}", ways.mux_stats());
}

fn table(ways: &Ways, callers: usize, rounds: usize) {
    let contender = |name: &'static str| Contender::with_figures(name, move || round(ways, name, callers));
    let names = ways.names();
    let figures = interleave(rounds, names.iter().map(|name| contender(name)).collect());
    println!("{callers} callers, medians of {rounds} rounds");
    print!("  {:<26}", "");
    COLUMNS.iter().for_each(|column| print!("{column:>12}"));
    println!("{:>12}{:>12}", "x calls/s", "x p99.9");
    for name in &names {
        print!("  {name:<26}");
        (0..COLUMNS.len()).for_each(|which| print!("{:>12.1}", figures.median(name, which)));
        println!("{:>12.2}{:>12.2}", figures.ratio(name, names[0], 0), figures.ratio(name, names[0], 3));
    }
}

/// All callers at once, one way.
fn round(ways: &Ways, name: &str, callers: usize) -> Vec<f64> {
    let (over, start) = (AtomicBool::new(false), Barrier::new(callers + 1));
    let mut all = Histogram::<u64>::new(3).expect("three digits are allowed");
    let mut took = Duration::ZERO;
    let caller = || {
        let mut times = Histogram::<u64>::new(3).expect("three digits are allowed");
        let mut call = ways.caller(name);
        call();
        start.wait();
        // Relaxed: nothing hangs on it but the end.
        while !over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            call();
            let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            times.record(nanos).expect("the histogram grows");
        }
        times
    };
    thread::scope(|scope| {
        let small = || thread::Builder::new().stack_size(256 << 10);
        let threads: Vec<_> = (0..callers).map(|_| small().spawn_scoped(scope, caller)).collect();
        start.wait();
        let begun = Instant::now();
        thread::sleep(ROUND);
        over.store(true, Ordering::Relaxed);
        took = begun.elapsed();
        for thread in threads {
            let times = thread.expect("the machine has room for the callers").join().expect("no caller panics");
            all.add(times).expect("both grow");
        }
    });
    let micros = |share| all.value_at_quantile(share) as f64 / 1e3;
    vec![all.len() as f64 / took.as_secs_f64(), micros(0.5), micros(0.99), micros(0.999), all.max() as f64 / 1e3]
}
