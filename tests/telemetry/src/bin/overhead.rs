//! What the features of telemetry cost a `with` that finds an idle connection: built once with each of them, and run by the script beside
//! it. `overhead` prints how many nanoseconds one takes; `overhead COUNT` only does that many, for valgrind to count instructions.

use std::hint::black_box;
use std::time::Instant;

use corepool::{GetError, Pool};
use telemetry_tests::Numbers;

const TURNS: u64 = 2_000_000;

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

fn main() {
    let pool = pool(Pool::builder(Numbers::default()).max_size(4));
    if let Some(turns) = std::env::args().nth(1) {
        return uses(&pool, turns.parse().expect("a count"));
    }
    uses(&pool, TURNS / 10);
    let begun = Instant::now();
    uses(&pool, TURNS);
    println!("{:.3}", begun.elapsed().as_nanos() as f64 / TURNS as f64);
}
