//! What the features of telemetry cost a `with` that finds an idle connection: built once with each of them, and run by the script beside
//! it. `overhead` prints how many nanoseconds one takes, in the best of many rounds; `overhead COUNT` only does that many, for valgrind to
//! count instructions; `overhead stats` prints how many microseconds a snapshot of a pool with 10,000 idle connections takes.

use std::hint::black_box;
use std::time::Instant;

use corepool::{GetError, Pool};
use telemetry_tests::{Numbers, until};

/// So few that one round in many has a core to itself, whatever else the machine does.
const TURNS: u64 = 10_000;
const ROUNDS: usize = 200;

#[cfg(feature = "metrics")]
fn pool(builder: corepool::Builder<Numbers>) -> Pool<Numbers> {
    corepool::telemetry::install("orders", builder).expect("it opens")
}

#[cfg(all(feature = "tracing", not(feature = "metrics")))]
fn pool(builder: corepool::Builder<Numbers>) -> Pool<Numbers> {
    builder.observer(corepool::telemetry::Traced::new("orders")).build().expect("it opens")
}

#[cfg(not(any(feature = "tracing", feature = "metrics")))]
fn pool(builder: corepool::Builder<Numbers>) -> Pool<Numbers> {
    builder.build().expect("it opens")
}

#[inline(never)]
fn uses(pool: &Pool<Numbers>, turns: u64) {
    for _ in 0..turns {
        pool.with(|number| Ok::<_, GetError>(*black_box(number))).expect("there is one");
    }
}

/// The median of many.
fn snapshot() -> f64 {
    const CONNECTIONS: usize = 10_000;
    let pool = pool(Pool::builder(Numbers::default()).max_size(CONNECTIONS).min_open(CONNECTIONS));
    until("all are open", || pool.stats().idle == CONNECTIONS);
    let mut times: Vec<f64> = (0..201)
        .map(|_| {
            let begun = Instant::now();
            black_box(pool.stats());
            begun.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("stats") {
        return println!("{:.0}", snapshot());
    }
    let pool = pool(Pool::builder(Numbers::default()).max_size(4));
    if let Some(turns) = argument {
        return uses(&pool, turns.parse().expect("a count"));
    }
    let rounds = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        uses(&pool, TURNS);
        begun.elapsed().as_nanos() as f64 / TURNS as f64
    });
    println!("{:.3}", rounds.fold(f64::INFINITY, f64::min));
}
