//! What a checkout costs a thread when more threads come: each with a connection and a shard of its own, then all
//! sharing twice as many connections as there are threads.
//!
//! A pool that scales costs each thread the same however many there are. What the machine itself loses (its clock, its caches) shows
//! in the two bare locked read-modify-writes, on a line of each thread's own.

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use support::connections::Nowhere;
use support::rivals::{self, Locked, Queued, Rival, TwoRmws};
use support::rounds::{Crew, cores};

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, threads: usize, rival: impl Fn(usize) + Sync) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|uses| {
            let nanos = Crew::pinned(threads).time(uses, |thread| {
                let rival = &rival;
                move || rival(thread)
            });
            Duration::from_nanos((nanos * uses as f64) as u64)
        });
    });
}

fn using(rival: &impl Rival<u64>) {
    rival.with(|connection| {
        black_box(connection);
    });
}

fn scaling(criterion: &mut Criterion) {
    for threads in 1..=cores() {
        let mut group = criterion.benchmark_group(format!("scaling/{threads} threads, own connections"));
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
        let own: Vec<_> = (0..threads).map(|_| TwoRmws::new()).collect();
        bench(&mut group, "floor: two locked RMWs", threads, |thread| using(&own[thread]));
        let pool = rivals::corepool_sharded(Nowhere, threads, threads);
        bench(&mut group, "corepool", threads, |_| using(&pool));
        let pool = Queued::new(&Nowhere, threads);
        bench(&mut group, "ArrayQueue", threads, |_| using(&pool));
        let pool = Locked::new(&Nowhere, threads);
        bench(&mut group, "Mutex<Vec> + Condvar", threads, |_| using(&pool));
        let pool = rivals::r2d2(Nowhere, threads, false);
        bench(&mut group, "r2d2 without test", threads, |_| using(&pool));
        group.finish();
    }
    for threads in 2..=cores().max(2) {
        let shared = 2 * threads;
        let mut group = criterion.benchmark_group(format!("scaling/{threads} threads share {shared} connections"));
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
        let pool = rivals::corepool(Nowhere, shared);
        bench(&mut group, "corepool", threads, |_| using(&pool));
        let pool = rivals::opool(Nowhere, shared);
        bench(&mut group, "opool", threads, |_| using(&pool));
        let pool = Queued::new(&Nowhere, shared);
        bench(&mut group, "ArrayQueue", threads, |_| using(&pool));
        let pool = Locked::new(&Nowhere, shared);
        bench(&mut group, "Mutex<Vec> + Condvar", threads, |_| using(&pool));
        let pool = rivals::r2d2(Nowhere, shared, false);
        bench(&mut group, "r2d2 without test", threads, |_| using(&pool));
        group.finish();
    }
}

criterion_group!(benches, scaling);
criterion_main!(benches);
