//! What grows with the pool, and what does not: a checkout beside ever more idle connections and ever more shards, a refusal, a
//! hand-over through ever longer queues, and the announcement that the first waiter of an exhausted pool has to make. And, as rows before
//! these (`cargo bench --bench growth -- costs` prints them alone, and `costs refusals`, `sweeps`, `retirement` or `pools` one part of
//! them), what grows off the hot path.

#[path = "growth/costs.rs"]
mod costs;
#[path = "../src/lockfree/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the pool needs more of it, and its tests run elsewhere")]
mod lockfree;
mod support;
#[path = "../src/sync.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod sync;
#[path = "support/waiting.rs"]
mod waiting;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, measurement::WallTime};
use support::connections::Nowhere;
use support::rivals::{self, Rival};
use support::rounds;

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    group
}

fn idle_connections(criterion: &mut Criterion) {
    let mut group = group(criterion, "growth/checkout beside idle connections");
    for idle in [1, 10, 100, 1_000, 10_000] {
        let pool = rivals::corepool(Nowhere, idle);
        group.bench_function(BenchmarkId::from_parameter(idle), |bencher| {
            bencher.iter(|| Rival::with(&pool, |connection| *black_box(connection) += 1));
        });
    }
    group.finish();
}

fn shards(criterion: &mut Criterion) {
    for shards in [1, 2, 8, 64] {
        let mut group = group(criterion, &format!("growth/{shards} shards"));
        let pool = rivals::corepool_sharded(Nowhere, 64, shards);
        group.bench_function("checkout", |bencher| {
            bencher.iter(|| Rival::with(&pool, |connection| *black_box(connection) += 1));
        });
        // All out: whoever does not wait looks into every shard before it is refused.
        let leases: Vec<_> = (0..64).map(|_| pool.get().expect("the pool is full")).collect();
        group.bench_function("refusal", |bencher| bencher.iter(|| pool.try_get().is_err()));
        drop(leases);
        group.finish();
    }
}

fn waiters(criterion: &mut Criterion) {
    let mut group = group(criterion, "growth/hand-over beside waiters");
    for waiters in [1, 8, 64, 512] {
        let mut carousel = waiting::Carousel::new(waiters);
        group.bench_function(BenchmarkId::from_parameter(waiters), |bencher| bencher.iter(|| carousel.turn()));
    }
    group.finish();
}

fn announcement(criterion: &mut Criterion) {
    let mut group = group(criterion, "growth/announcement");
    for (shards, slots) in [(1, 63), (8, 128), (64, 1_024)] {
        group.bench_function(format!("{shards} shards of {slots} slots"), |bencher| {
            bencher.iter_custom(|times| {
                let times = usize::try_from(times).unwrap_or(usize::MAX);
                Duration::from_secs_f64(waiting::announce(shards, slots, times).iter().sum::<f64>() / 1e6)
            });
        });
    }
    println!("    each line was written by another core before, of {} cores\n", rounds::cores());
    group.finish();
}

criterion_group!(benches, idle_connections, shards, waiters, announcement);

fn main() {
    let asked = |argument: &str| std::env::args().any(|given| given == argument);
    costs::print(costs::Effort { quick: asked("--test") });
    if !asked("costs") {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
}
