//! How soon a pool knows that its peers are gone, and what it costs it to know.

use std::time::{Duration, Instant};

use corepool::{CloseReason, Opening, Pool, Reactors};

use super::connections::{Endpoint, Framed, Tcp};
use super::rivals::{PATIENCE, settings};
use super::servers::Lot;

/// Connections in the pool whose peers hang up one at a time.
const SIZE: usize = 8;

/// From a peer's FIN on an idle connection to its being out of the pool, so many times, in µs.
///
/// Seen through `Pool::stats`, as its users see it; asking takes the time of a look at eight slots.
pub(crate) fn fin_to_removed(times: usize) -> Vec<f64> {
    let lot = Lot::open(SIZE + times);
    let pool = settings(Tcp(lot.address), SIZE).build().expect("the lot is open");
    let removed = |pool: &Pool<Framed<Tcp>>| pool.stats().closed(CloseReason::PeerClosed);
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        // The pool dials again for each that it lost. It must be whole, and its reactors asleep.
        while lot.parked() < SIZE || pool.stats().idle < SIZE {
            std::thread::sleep(Duration::from_micros(200));
        }
        // Each is used once: a connection that dies unused counts as a failed dial, and the next one would wait.
        let used: Vec<_> = (0..SIZE).map(|_| pool.get().expect("all are idle")).collect();
        drop(used);
        std::thread::sleep(Duration::from_millis(1));
        let before = removed(&pool);
        let begun = Instant::now();
        lot.close_one();
        while removed(&pool) == before {
            // Not a question after the other: each takes the lock that the removal needs.
            (0..100).for_each(|_| std::hint::spin_loop());
            std::thread::yield_now();
        }
        took.push(begun.elapsed().as_nanos() as f64 / 1e3);
    }
    took
}

/// From the first of so many FINs to the last connection's being out of the pool, in ms.
pub(crate) fn mass_closure(connections: usize) -> f64 {
    let lot = Lot::open(connections);
    let builder = Pool::builder(Framed { endpoint: Tcp(lot.address), watched: true });
    let builder = builder.max_size(connections).min_open(0).opening(Opening::Lazy).wait_timeout(PATIENCE);
    let pool = builder.build().expect("the settings are within their limits");
    let leases: Vec<_> = (0..connections).map(|_| pool.get().expect("the lot is open")).collect();
    drop(leases);
    while lot.parked() < connections || pool.stats().idle < connections {
        std::thread::sleep(Duration::from_millis(1));
    }
    let begun = Instant::now();
    lot.close_all();
    while pool.stats().open > 0 {
        std::thread::sleep(Duration::from_micros(500));
    }
    begun.elapsed().as_secs_f64() * 1e3
}

/// As many connections as the limit on descriptors allows, at most `wanted`: each takes one at the server, one at the client and the
/// pool's duplicate. Raises the soft limit to the hard one.
pub(crate) fn connections_within_limit(wanted: usize) -> usize {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    // Refused: then what there is has to do.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
    let current = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let descriptors = current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    wanted.min(descriptors.saturating_sub(200) / 3)
}

/// A pool of one connection, with its socket watched by a reactor of its own, or not watched, and this reactor. One that is watched is
/// looked at after so long a rest.
pub(crate) fn pool_with_own_reactors<E: Endpoint>(
    endpoint: E,
    watched: bool,
    probe_after: Duration,
) -> (Pool<Framed<E>>, Reactors) {
    let reactors = Reactors::new(1);
    let builder = Pool::builder(Framed { endpoint, watched }).max_size(1).min_open(1).probe_after(probe_after);
    let pool = builder.reactors(reactors.clone()).build().expect("every endpoint of a benchmark is up");
    (pool, reactors)
}
