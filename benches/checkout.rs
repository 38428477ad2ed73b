//! What a checkout and a return cost when nothing else happens: one thread, four idle connections, a use that does nothing.
//!
//! Below it the two floors: a thread-local take and put (nobody else may ever have the connection) and two bare locked
//! read-modify-writes (anybody may, so both ways have to be agreed upon).

mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use support::connections::Nowhere;
use support::rivals::{self, Locked, Queued, Rival, ThreadLocal, TwoRmws};

const SIZE: usize = 4;

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, rival: &impl Rival<u64>) {
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            rival.with(|connection| {
                black_box(connection);
            });
        });
    });
}

fn checkout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checkout");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(50);
    bench(&mut group, "floor: thread-local", &ThreadLocal);
    bench(&mut group, "floor: two locked RMWs", &TwoRmws::new());
    bench(&mut group, "corepool", &rivals::corepool(Nowhere, SIZE));
    bench(&mut group, "opool", &rivals::opool(Nowhere, SIZE));
    bench(&mut group, "ArrayQueue", &Queued::new(&Nowhere, SIZE));
    bench(&mut group, "Mutex<Vec> + Condvar", &Locked::new(&Nowhere, SIZE));
    bench(&mut group, "r2d2 without test", &rivals::r2d2(Nowhere, SIZE, false));
    // Its test does nothing here: what the call costs beside the round trip that it stands for.
    bench(&mut group, "r2d2 with an empty test", &rivals::r2d2(Nowhere, SIZE, true));
    group.finish();
}

criterion_group!(benches, checkout);
criterion_main!(benches);
