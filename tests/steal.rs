//! A caller whose own shard is empty takes from another, and asks for growth only when that becomes a habit.

mod support;

use corepool::{GetError, GetErrorKind, Pool};
use support::{Counting, Fake, comes_to_rest};

/// On a thread pinned to the first core, so that it has one home shard; where a sandbox forbids that, not at all.
fn at_home(f: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| if support::pin(0) { f() } else { eprintln!("not run: no thread may be pinned here") });
    });
}

/// Asked before the thread is pinned, since it sees no other then.
fn second_core() -> Option<core_affinity::CoreId> {
    core_affinity::get_core_ids().unwrap_or_default().get(1).copied()
}

#[test]
fn a_connection_idle_in_another_shard_is_found() {
    at_home(|| {
        let (manager, census) = Counting::new(Fake::default());
        let pool = Pool::builder(manager).max_size(8).min_open(8).shards(8).build().unwrap();
        comes_to_rest(&pool);
        assert!(pool.stats().shards.iter().all(|shard| shard.idle == 1), "one landed in each");

        let leases: Vec<_> = (0..8).map(|_| pool.get().unwrap()).collect();
        assert_eq!(pool.try_get().unwrap_err().kind(), GetErrorKind::Busy);
        let mut ids: Vec<_> = leases.iter().map(|lease| lease.id()).collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..8));
        let stats = pool.stats();
        assert_eq!((stats.stolen, stats.waited, stats.leases), (7, 0, 8), "one was at home");
        let thieves: Vec<_> = stats.shards.iter().filter(|shard| shard.stolen > 0).collect();
        assert!(thieves.len() == 1 && thieves[0].stolen == 7, "{:?}", stats.shards);

        // They stay where they were used last.
        drop(leases);
        let stats = pool.stats();
        assert_eq!(stats.shards.iter().filter(|shard| shard.idle > 0).count(), 1, "{:?}", stats.shards);
        let _leases: Vec<_> = (0..8).map(|_| pool.get().unwrap()).collect();
        assert_eq!((pool.stats().stolen, census.opened()), (7, 8));
    });
}

#[test]
fn a_caller_that_moves_steals_its_connection_back_once() {
    let Some(other) = second_core() else { return eprintln!("not run: there is no second core") };
    at_home(|| {
        let pool = Pool::builder(Fake::default()).max_size(1).min_open(1).shards(2).build().unwrap();
        comes_to_rest(&pool);
        drop(pool.get().unwrap());
        let before = pool.stats().stolen;
        let moves = |_: &mut _| {
            assert!(core_affinity::set_for_current(other));
            Ok::<_, GetError>(())
        };
        pool.with(moves).unwrap();
        // It went back to where it was taken, and is at home here from the first time that it is taken here.
        (0..10).for_each(|_| drop(pool.get().unwrap()));
        assert_eq!(pool.stats().stolen, before + 1);
        comes_to_rest(&pool);
    });
}

#[test]
fn a_lease_dropped_elsewhere_goes_back_to_its_takers_shard() {
    let Some(other) = second_core() else { return eprintln!("not run: there is no second core") };
    at_home(|| {
        let pool = Pool::builder(Fake::default()).max_size(1).min_open(1).shards(2).build().unwrap();
        comes_to_rest(&pool);
        drop(pool.get().unwrap());
        let before = pool.stats().stolen;
        for _ in 0..10 {
            let lease = pool.get().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    assert!(core_affinity::set_for_current(other));
                    drop(lease);
                });
            });
        }
        assert_eq!(pool.stats().stolen, before, "it was at home each time");
    });
}

#[test]
fn from_whatever_core() {
    let pool = Pool::builder(Fake::default()).max_size(1).shards(8).build().unwrap();
    for core in 0..64 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                support::pin(core);
                drop(pool.try_get().unwrap());
            });
        });
    }
    let stats = pool.stats();
    assert_eq!((stats.leases, stats.waited, stats.dials), (64, 0, 1));
    assert!(stats.stolen <= 64);
    comes_to_rest(&pool);
}

#[test]
fn the_eighth_steal_in_a_row_asks_for_one_dial() {
    at_home(|| {
        let fake = Fake::default();
        let script = fake.script.clone();
        let pool = Pool::builder(fake).max_size(40).min_open(20).shards(20).build().unwrap();
        comes_to_rest(&pool);
        script.hang();
        let mut leases = vec![pool.get().unwrap()];
        let mut steal = |number: u64| {
            leases.push(pool.get().unwrap());
            assert_eq!(pool.stats().stolen, number);
        };
        (1..8).for_each(&mut steal);
        assert_eq!(pool.stats().dials, 20);
        steal(8);
        assert_eq!(pool.stats().dials, 21);
        (9..=16).for_each(&mut steal);
        assert_eq!(pool.stats().dials, 21, "one is under way already");
        script.open();
    });
}

#[test]
fn a_take_at_home_ends_the_row() {
    at_home(|| {
        let pool = Pool::builder(Fake::default()).max_size(40).min_open(20).shards(20).build().unwrap();
        comes_to_rest(&pool);
        let mut leases = vec![pool.get().unwrap()];
        leases.extend((0..7).map(|_| pool.get().unwrap()));
        assert_eq!(pool.stats().stolen, 7);
        drop(leases.pop());
        leases.push(pool.get().unwrap());
        assert_eq!(pool.stats().stolen, 7, "that one was at home");
        leases.extend((0..7).map(|_| pool.get().unwrap()));
        assert_eq!((pool.stats().stolen, pool.stats().dials), (14, 20));
        leases.push(pool.get().unwrap());
        assert_eq!((pool.stats().stolen, pool.stats().dials), (15, 21));
    });
}

#[test]
fn at_full_size_stealing_asks_for_nothing() {
    at_home(|| {
        let pool = Pool::builder(Fake::default()).max_size(20).min_open(20).shards(20).build().unwrap();
        comes_to_rest(&pool);
        let _leases: Vec<_> = (0..20).map(|_| pool.get().unwrap()).collect();
        assert_eq!((pool.stats().stolen, pool.stats().dials), (19, 20));
    });
}
