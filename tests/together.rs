//! Many pools on one reactor: they are looked at together, not one by one.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use corepool::{Pool, Reactors};
use support::Fake;

#[test]
fn a_reactor_wakes_up_as_rarely_for_many_pools_as_for_one() {
    const POOLS: u32 = 200;
    let reactors = Reactors::new(1);
    let made = || Pool::builder(Fake::default()).max_size(2).shards(1).reactors(reactors.clone()).build().unwrap();
    let pools: Vec<_> = (0..POOLS).map(|_| made()).collect();
    // Each is used once a second, at a time of its own. The first round does not count: what is new is dialed.
    let round = || {
        for pool in &pools {
            drop(pool.get_timeout(support::HOPELESS).unwrap());
            thread::sleep(Duration::from_secs(1) / POOLS);
        }
    };
    round();
    let (begun, before) = (Instant::now(), reactors.wakeups());
    (0..3).for_each(|_| round());
    let (lasted, wakeups) = (begun.elapsed(), reactors.wakeups() - before);
    // Eight times a second, and a slower machine has more of them to sleep through; one by one it would be two hundred times.
    let most = 20 + u64::try_from(lasted.as_millis()).unwrap() * 16 / 1_000;
    assert!(wakeups <= most, "{wakeups} wake-ups in {lasted:?}");
}
