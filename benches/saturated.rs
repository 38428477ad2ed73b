//! More callers than connections: 16, 64 and 256 threads on four connections, without I/O, with an echo, and with a server that takes
//! 500 µs.
//!
//! Criterion measures the throughput; the waits, from asking to having, follow each figure as percentiles.

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use support::connections::{Client, Nowhere, Tcp};
use support::crowd::{self, Plan};
use support::rivals::{self, Locked, Rival};
use support::servers::Server;

const CONNECTIONS: usize = 4;
const THREADS: [usize; 3] = [16, 64, 256];

/// Of a round.
const MEASURED: Duration = Duration::from_millis(100);

fn bench<C>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    plan: Plan,
    pool: &impl Rival<C>,
    hold: impl Fn(&mut C) + Sync,
) {
    let mut waits = hdrhistogram::Histogram::<u64>::new(3).expect("three digits are allowed");
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|uses| {
            let outcome = crowd::measure(pool, plan, &hold);
            waits.add(&outcome.waits).expect("both grow");
            Duration::from_secs_f64(uses as f64 / outcome.per_second)
        });
    });
    // Filtered out, or in a test run: nothing to say.
    if !waits.is_empty() {
        let micros = |quantile| waits.value_at_quantile(quantile) as f64 / 1e3;
        let (p50, p99, p999) = (micros(0.5), micros(0.99), micros(0.999));
        let longest = waits.max() as f64 / 1e3;
        println!("    waits: p50 {p50:.1} µs, p99 {p99:.1} µs, p99.9 {p999:.1} µs, longest {longest:.1} µs\n");
    }
}

fn exchange<S: Read + Write>(client: &mut Client<S>) {
    client.exchange().expect("the server is up");
}

fn saturated(criterion: &mut Criterion) {
    let (echo, slow) = (Server::echo(), Server::slow(Duration::from_micros(500)));
    for threads in THREADS {
        let plan = Plan { threads, measured: MEASURED, timed: 1 };
        let mut group = criterion.benchmark_group(format!("saturated/{threads} threads"));
        group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1)).sample_size(10);
        group.throughput(Throughput::Elements(1));

        let sparse = Plan { timed: 16, ..plan };
        bench(&mut group, "no I/O/corepool", sparse, &rivals::corepool(Nowhere, CONNECTIONS), |_| {});
        bench(&mut group, "no I/O/Mutex<Vec> + Condvar", sparse, &Locked::new(&Nowhere, CONNECTIONS), |_| {});
        bench(&mut group, "no I/O/r2d2 without test", sparse, &rivals::r2d2(Nowhere, CONNECTIONS, false), |_| {});

        let tcp = Tcp(echo.address);
        bench(&mut group, "echo/corepool", plan, &rivals::corepool(tcp, CONNECTIONS), exchange);
        bench(&mut group, "echo/Mutex<Vec> + Condvar", plan, &Locked::new(&tcp, CONNECTIONS), exchange);
        bench(&mut group, "echo/r2d2 without test", plan, &rivals::r2d2(tcp, CONNECTIONS, false), exchange);
        bench(&mut group, "echo/r2d2", plan, &rivals::r2d2(tcp, CONNECTIONS, true), exchange);

        let tcp = Tcp(slow.address);
        bench(&mut group, "500 µs/corepool", plan, &rivals::corepool(tcp, CONNECTIONS), exchange);
        bench(&mut group, "500 µs/r2d2 without test", plan, &rivals::r2d2(tcp, CONNECTIONS, false), exchange);
        group.finish();
    }
}

criterion_group!(benches, saturated);
criterion_main!(benches);
