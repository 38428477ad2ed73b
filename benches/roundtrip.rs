//! What a pool adds to a real round trip: an echo over loopback, with as many connections as threads, beside a connection of each
//! thread's own.

mod support;

use std::sync::Mutex;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use support::connections::{Client, Endpoint, Tcp, Unix};
use support::rivals::{self, Rival};
use support::rounds::Crew;
use support::servers::Server;

const THREADS: [usize; 2] = [1, 4];

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn bench<F: FnMut()>(group: &mut Group<'_>, name: &str, threads: usize, prepare: impl Fn(usize) -> F + Sync) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|trips| {
            let nanos = Crew::pinned(threads).time(trips, &prepare);
            Duration::from_nanos((nanos * trips as f64) as u64)
        });
    });
}

fn bench_pool<S: std::io::Read + std::io::Write>(
    group: &mut Group<'_>,
    name: &str,
    threads: usize,
    pool: &impl Rival<Client<S>>,
) {
    bench(group, name, threads, |_| || pool.with(|client| client.exchange().expect("the server is up")));
}

fn roundtrip<S, E>(criterion: &mut Criterion, over: &str, endpoint: E)
where
    S: std::io::Read + std::io::Write + Send + 'static,
    E: Endpoint<Connection = Client<S>>,
{
    for threads in THREADS {
        let mut group = criterion.benchmark_group(format!("roundtrip/{over}, {threads} threads and connections"));
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
        let own: Vec<_> = (0..threads).map(|_| Mutex::new(endpoint.dial().expect("the server is up"))).collect();
        bench(&mut group, "own connection", threads, |thread| {
            let mut client = own[thread].lock().expect("no exchange panics");
            move || client.exchange().expect("the server is up")
        });
        bench_pool(&mut group, "corepool", threads, &rivals::corepool(endpoint.clone(), threads));
        bench_pool(&mut group, "r2d2 without test", threads, &rivals::r2d2(endpoint.clone(), threads, false));
        bench_pool(&mut group, "r2d2", threads, &rivals::r2d2(endpoint.clone(), threads, true));
        group.finish();
    }
}

fn roundtrips(criterion: &mut Criterion) {
    let server = Server::echo();
    roundtrip(criterion, "TCP", Tcp(server.address));
    roundtrip(criterion, "Unix", Unix(server.path.clone()));
}

criterion_group!(benches, roundtrips);
criterion_main!(benches);
