//! A process whose pools have nothing left to age sleeps. A binary of its own, with one test, since it counts every reactor's wake-ups.

mod support;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use corepool::{Pool, Reactors, TcpManager};
use support::{Fake, HOPELESS, Server, exchange};

/// How often the reactors' threads have gone to sleep, as the kernel counts it, and as they do.
fn naps() -> (u64, u64) {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let reactors = tasks
        .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("corepool-s")));
    let switches = reactors.map(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    });
    (switches.sum(), Reactors::shared().wakeups())
}

/// Waits for a whole second without a wake-up.
#[track_caller]
fn falls_silent() {
    let begun = Instant::now();
    loop {
        let before = naps();
        thread::sleep(Duration::from_secs(1));
        if naps() == before {
            return;
        }
        assert!(begun.elapsed() < HOPELESS, "{:?} more wake-ups in the last second", naps().1 - before.1);
    }
}

#[test]
fn with_nothing_left_to_age_nothing_wakes() {
    let server = Server::echo();
    let pool = Pool::builder(TcpManager::new(server.address())).max_size(8).min_open(2).shards(2).build().unwrap();
    let unwatched = Pool::builder(Fake::default()).max_size(8).min_open(2).build().unwrap();
    let leases: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    drop(leases);
    // Six are idle, and each will have aged; the next thing to happen is their end, in minutes.
    falls_silent();
    // A use begins it anew, and it ends anew; also while one is held for long.
    pool.with(|conn| exchange(conn, b"hello")).unwrap();
    let _held = unwatched.get().unwrap();
    falls_silent();
    assert_eq!(pool.stats().closed_in_all() + unwatched.stats().closed_in_all(), 0);
}
