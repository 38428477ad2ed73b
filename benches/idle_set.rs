//! Why corepool's idle stack is made of crossbeam's padded words and not of crossbeam's epoch: the same take and give on each
//! structure that it could have been made of, by one thread and by two that share it.
//!
//! The stack is the real one: its files are compiled into this benchmark.

#[path = "../src/lockfree/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the pool needs more of it, and its tests run elsewhere")]
mod lockfree;
#[path = "support/stacks.rs"]
mod stacks;
mod support;
#[path = "../src/sync.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod sync;

use std::sync::Mutex;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use crossbeam::queue::{ArrayQueue, SegQueue};
use lockfree::idle::IdleStacks;
use stacks::{Epoch, IdleSet, Tagged};
use support::rounds::Crew;

/// Slots in the set: enough that two threads never find it empty.
const IDLE: usize = 8;

fn bench<S: IdleSet>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, threads: usize) {
    let set = stacks::filled::<S>(IDLE);
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|pairs| {
            let nanos = Crew::pinned(threads).time(pairs, |_| || stacks::pair(&set));
            Duration::from_nanos((nanos * pairs as f64) as u64)
        });
    });
}

fn idle_set(criterion: &mut Criterion) {
    for (threads, name) in [(1, "idle_set/one thread"), (2, "idle_set/two threads, shared")] {
        let mut group = criterion.benchmark_group(name);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(30);
        bench::<IdleStacks>(&mut group, "corepool", threads);
        bench::<Tagged>(&mut group, "tagged-index stack", threads);
        bench::<ArrayQueue<u32>>(&mut group, "ArrayQueue", threads);
        bench::<SegQueue<u32>>(&mut group, "SegQueue", threads);
        bench::<Epoch>(&mut group, "crossbeam-epoch stack", threads);
        bench::<Mutex<Vec<u32>>>(&mut group, "Mutex<Vec>", threads);
        group.finish();
    }
}

criterion_group!(benches, idle_set);
criterion_main!(benches);
