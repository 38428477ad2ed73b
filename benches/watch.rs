//! What it costs to watch every socket, and how soon a hang-up is known.
//!
//! A round trip with the watch and without it, on reactors of the pool's own, whose wake-ups are counted: a reply must cause none. Then
//! FINs: one at a time, from the peer's close to the connection's being out of the pool; and thousands at once.

mod support;

use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use support::connections::Tcp;
use support::rivals::Rival;
use support::servers::Server;
use support::watching;

const CLOSED_AT_ONCE: usize = 5_000;

fn round_trip(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, server: &Server, watched: bool) {
    let (pool, reactors) = watching::pool_with_own_reactors(Tcp(server.address), watched, Duration::ZERO);
    // The opening's own wake-ups are over.
    std::thread::sleep(Duration::from_millis(5));
    let (events, mut trips) = (reactors.events(), 0_u64);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            trips += 1;
            Rival::with(&pool, |client| client.exchange().expect("the server is up"));
        });
    });
    println!("    events of the watched socket in {trips} round trips: {}\n", reactors.events() - events);
}

fn watch(criterion: &mut Criterion) {
    let server = Server::echo();
    let mut group = criterion.benchmark_group("watch");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3)).sample_size(30);
    round_trip(&mut group, "round trip, not watched", &server, false);
    round_trip(&mut group, "round trip, watched", &server, true);

    group.bench_function("FIN to removal", |bencher| {
        bencher.iter_custom(|times| {
            let micros: f64 = watching::fin_to_removed(usize::try_from(times).unwrap_or(usize::MAX)).iter().sum();
            Duration::from_secs_f64(micros / 1e6)
        });
    });

    let connections = watching::connections_within_limit(CLOSED_AT_ONCE);
    group.measurement_time(Duration::from_secs(10)).sample_size(10);
    group.bench_function(format!("{connections} closed at once"), |bencher| {
        bencher.iter_custom(|times| {
            let millis: f64 = (0..times).map(|_| watching::mass_closure(connections)).sum();
            Duration::from_secs_f64(millis / 1e3)
        });
    });
    group.finish();
}

criterion_group!(benches, watch);
criterion_main!(benches);
