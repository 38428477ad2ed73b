//! A pool that is built in a worker pinned to one core finds every core of the process all the same, and pins none but its reactors.
//! A binary of its own, with one test, since the cores are those that all threads of the process together may use.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;

use corepool::{Lease, Pool, Reactors, TcpManager};
use support::{Fake, Server, eventually, exchange};

/// The name of each thread of this process and the cores that it may use, as the kernel writes them.
fn threads() -> Vec<(String, String)> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let told = tasks.filter_map(|task| {
        // One that ends meanwhile is passed over.
        let name = fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned();
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().to_owned();
        Some((name, cores))
    });
    told.collect()
}

/// Of those whose name begins so.
fn named(prefix: &str) -> BTreeMap<String, String> {
    threads().into_iter().filter(|(name, _)| name.starts_with(prefix)).collect()
}

#[test]
fn a_pool_built_in_a_pinned_thread_finds_every_shard() {
    let cores = core_affinity::get_core_ids().unwrap();
    let whole = fs::read_to_string(format!("/proc/self/task/{}/status", std::process::id())).unwrap();
    let whole = whole.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned();
    // Less than the cores under a quota, which the standard library rounds down and the pool rounds up.
    let least = thread::available_parallelism().unwrap().get();

    let server = Server::echo();
    let mut pinned = false;
    let (pool, fake) = thread::scope(|scope| {
        let built = scope.spawn(|| {
            pinned = support::pin(0);
            // Everything that is ever spawned is spawned by this thread, or by a thread that was.
            let pool =
                Pool::builder(TcpManager::new(server.address())).max_size(4 * cores.len()).min_open(4 * cores.len());
            (pool.build().unwrap(), Pool::builder(Fake::default()).build().unwrap())
        });
        built.join().unwrap()
    });
    if !pinned {
        eprintln!("not pinned: a sandbox forbids it");
    }

    let shards = pool.stats().shards;
    assert!((least..=cores.len()).contains(&shards.len()), "{} shards, {least} to {}", shards.len(), cores.len());
    assert_eq!(shards.len(), fake.stats().shards.len());
    assert!(shards.iter().all(|shard| shard.idle > 0), "connections landed in each: {shards:?}");

    // One reactor for each, and each on a core of its own. A thread names and pins itself, once it runs.
    let names: Vec<_> = (0..shards.len()).map(|shard| format!("corepool-s{shard}")).collect();
    eventually("each shard has its reactor", || named("corepool-s").keys().eq(names.iter()));
    let one_each = cores.len() == shards.len();
    let ids: BTreeSet<_> = cores.iter().map(|core| core.id.to_string()).collect();
    eventually("each reactor is on a core of its own", || {
        let at_home: BTreeSet<_> = named("corepool-s").into_values().collect();
        let distinct = at_home.len() == shards.len() && (!one_each || at_home == ids);
        distinct || Reactors::shared().unpinned() > 0
    });

    // Nobody else is: neither the threads that dialed, nor those that close, whoever begins it.
    let leases: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            support::pin(cores.len() - 1);
            leases.into_iter().for_each(Lease::discard);
        });
    });
    eventually("closed and dialed", || pool.stats().closed_in_all() == 4 && pool.stats().opened >= 4);
    let background = || threads().into_iter().filter(|(name, _)| name == "corepool-bg").collect::<Vec<_>>();
    assert!(!background().is_empty());
    eventually("none is pinned", || background().iter().all(|(_, cores)| *cores == whole));

    // And all of it works from whatever core.
    for core in 0..cores.len() {
        thread::scope(|scope| {
            scope.spawn(|| {
                support::pin(core);
                (0..3).for_each(|_| pool.with(|conn| exchange(conn, b"hello")).unwrap());
            });
        });
    }
}
