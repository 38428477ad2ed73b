//! A map of pools: one build a key, whoever comes beside it, and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::builder::Builder;
use crate::error::BuildError;
use crate::explore::{bounded, two_threads};
use crate::house::map::PoolMap;
use crate::os::clock;
use crate::pool::Pool;
use crate::pool_rig::{Peer, World};
use crate::watch::reactors::Reactors;

type Pools = PoolMap<u32, Peer>;

/// A map, and how often its pools were made.
struct Map {
    pools: Pools,
    made: Arc<AtomicUsize>,
}

impl Map {
    /// The first `failures` builds fail.
    fn new(failures: usize) -> Arc<Map> {
        World::begin();
        let made = Arc::new(AtomicUsize::new(0));
        let (counts, world) = (Arc::clone(&made), Arc::new(World::default()));
        let pools = PoolMap::new(move |_: &u32| {
            let turn = counts.fetch_add(1, SeqCst);
            let failed = BuildError::Closed;
            Builder { manager: if turn < failures { Err(failed) } else { Ok(Peer::new(&world, turn)) } }
        });
        Arc::new(Map { pools, made })
    }
}

fn same(one: &Pool<Peer>, other: &Pool<Peer>) -> bool {
    Arc::ptr_eq(&one.engine, &other.engine)
}

/// Without it one key has two pools, of which one is nobody's; or who waits for a build is left asleep.
#[test]
fn two_callers_make_one_pool() {
    two_threads(|| {
        let map = Map::new(0);
        let other = Arc::clone(&map);
        let other = loom::thread::spawn(move || other.pools.pool(&1).unwrap());
        let pool = map.pools.pool(&1).unwrap();
        assert!(same(&pool, &other.join().unwrap()));
        assert_eq!((map.made.load(SeqCst), map.pools.len()), (1, 1));
    });
}

/// Without it the one's pool is lost when the other's comes into the table.
#[test]
fn two_keys_beside_each_other() {
    bounded(3, || {
        let map = Map::new(0);
        let other = Arc::clone(&map);
        let other = loom::thread::spawn(move || other.pools.pool(&2).unwrap());
        let one = map.pools.pool(&1).unwrap();
        let two = other.join().unwrap();
        assert!(!same(&one, &two));
        assert!(same(&one, &map.pools.pool(&1).unwrap()) && same(&two, &map.pools.pool(&2).unwrap()));
    });
}

/// Without it a pool that was removed while it was made stays open, in nobody's hands.
#[test]
fn a_removal_against_a_build() {
    let seen = bounded(3, || {
        let map = Map::new(0);
        let other = Arc::clone(&map);
        let other = loom::thread::spawn(move || other.pools.pool(&1).unwrap());
        let removed = map.pools.remove(&1);
        let pool = other.join().unwrap();
        assert_eq!(pool.engine.is_closed(), removed);
        let next = map.pools.pool(&1).unwrap();
        assert!(!next.engine.is_closed());
        assert_eq!(same(&pool, &next), !removed);
        removed
    });
    assert_eq!(seen, [false, true]);
}

/// Without it a caller is told that its pool is closed, which for one of a map means nothing; or both make it anew, and one of theirs is
/// lost.
#[test]
fn a_removal_against_a_use() {
    bounded(3, || {
        let map = Map::new(0);
        map.pools.pool(&1).unwrap();
        let other = Arc::clone(&map);
        let other = loom::thread::spawn(move || other.pools.get(&1).map(drop).map_err(|error| error.kind()));
        map.pools.remove(&1);
        other.join().unwrap().unwrap();
        assert!(map.made.load(SeqCst) <= 2);
    });
}

/// Without it a caller whose pool is found idle at that moment is told that it is closed, or uses one that nobody forgets.
#[test]
fn an_idle_pool_against_its_next_use() {
    let seen = bounded(3, || {
        World::begin();
        let made = Arc::new(AtomicUsize::new(0));
        let (counts, world) = (Arc::clone(&made), Arc::new(World::default()));
        let make = move |_: &u32| Builder { manager: Ok(Peer::new(&world, counts.fetch_add(1, SeqCst))) };
        let pools = Pools::with_idle_limit(make, Duration::from_secs(1));
        let reactor = Arc::clone(Reactors::shared().at(None).unwrap());
        reactor.keep_time();
        pools.get(&1).map(drop).unwrap();
        // It is seen to have been used; then it rests.
        for _ in 0..2 {
            clock::set(clock::now() + 500_000_000);
            reactor.tick();
        }
        clock::set(clock::now() + 500_000_000);
        let user = pools.clone();
        let user = loom::thread::spawn(move || user.get(&1).map(drop).map_err(|error| error.kind()));
        reactor.tick();
        user.join().unwrap().unwrap();
        made.load(SeqCst)
    });
    // The use came first, or the end.
    assert_eq!(seen, [1, 2]);
}

/// Without it somebody is told of a failure that is older than their call, or builds only because another has failed to.
#[test]
fn a_failed_build_against_another_caller() {
    let seen = bounded(3, || {
        let map = Map::new(1);
        let other = Arc::clone(&map);
        let other = loom::thread::spawn(move || other.pools.pool(&1).is_ok());
        let one = map.pools.pool(&1).is_ok();
        // A call after one that was told.
        let again = map.pools.pool(&1).is_ok();
        assert!(again, "told of a failure of before");
        let two = other.join().unwrap();
        assert!(!one || !two, "one build failed");
        (one, two, map.made.load(SeqCst))
    });
    // Together; one after the other, either way.
    assert_eq!(seen, [(false, false, 2), (false, true, 2), (true, false, 2)]);
}

/// Without it two builds wait for each other for ever.
#[test]
fn two_builds_that_want_each_other() {
    let seen = bounded(3, || {
        World::begin();
        let own: Arc<std::sync::OnceLock<Pools>> = Arc::default();
        let (asks, world) = (Arc::clone(&own), Arc::new(World::default()));
        let pools = PoolMap::new(move |key: &u32| {
            // The other of the two.
            let asked = asks.get().expect("it is there by then").pool(&(3 - key));
            Builder { manager: asked.map(|_| Peer::new(&world, 1)) }
        });
        let _ = own.set(pools.clone());
        let other = pools.clone();
        let other = loom::thread::spawn(move || other.pool(&2).map(drop));
        let mine = pools.pool(&1).map(drop);
        let theirs = other.join().unwrap();
        let circular = |said: &Result<(), BuildError>| matches!(said, Err(BuildError::Circular));
        // The map is in its own maker's hands: taken back, or it would outlive the model.
        drop(pools);
        let said = (circular(&mine), circular(&theirs));
        assert!(said.0 || said.1, "nobody was told: {mine:?}, {theirs:?}");
        said
    });
    assert!(!seen.is_empty());
}
