//! A pool for each key: made once, on first use, however many ask; closed when nobody does; made anew, once, by whoever meets it closed.

mod support;

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{BuildError, Builder, GetError, GetErrorKind, Opening, Pool, PoolMap, TcpManager};
use support::{Census, Counting, Fake, HOPELESS, ON_PURPOSE, Server, eventually, exchange, panics};

const MS: Duration = Duration::from_millis(1);

/// What was made for each key, in order.
type Made = Arc<Mutex<HashMap<&'static str, Vec<Arc<Census>>>>>;

fn note(made: &Made, key: &'static str) -> Builder<Counting<Fake>> {
    let (manager, census) = Counting::new(Fake::default());
    made.lock().unwrap().entry(key).or_default().push(census);
    Pool::builder(manager).max_size(2).min_idle(0).opening(Opening::Lazy)
}

fn map() -> (PoolMap<&'static str, Counting<Fake>>, Made) {
    let made = Made::default();
    let notes = Arc::clone(&made);
    (PoolMap::new(move |key: &&'static str| note(&notes, key)), made)
}

fn map_with_idle_limit(idle: Duration) -> (PoolMap<&'static str, Counting<Fake>>, Made) {
    let made = Made::default();
    let notes = Arc::clone(&made);
    (PoolMap::with_idle_limit(move |key: &&'static str| note(&notes, key), idle), made)
}

/// How many pools were made for the key.
fn times(made: &Made, key: &str) -> usize {
    made.lock().unwrap().get(key).map_or(0, Vec::len)
}

fn use_it(map: &PoolMap<&'static str, Counting<Fake>>, key: &'static str) {
    let used = map.with(&key, |conn| {
        conn.hold(|_| ());
        Ok::<_, GetError>(())
    });
    used.unwrap();
}

#[test]
fn each_is_made_once_however_many_ask() {
    for _ in 0..30 {
        let (map, made) = map();
        let meet = Barrier::new(16);
        thread::scope(|scope| {
            for thread in 0..16 {
                let (map, meet) = (&map, &meet);
                scope.spawn(move || {
                    meet.wait();
                    for turn in 0..8 {
                        use_it(map, ["a", "b", "c", "d"][(thread + turn) % 4]);
                    }
                });
            }
        });
        assert_eq!(map.len(), 4);
        assert!(["a", "b", "c", "d"].iter().all(|key| times(&made, key) == 1));
    }
}

#[derive(Default)]
struct Door(Mutex<bool>, Condvar);

impl Door {
    fn pass(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

#[test]
fn a_slow_one_keeps_nobody_else_waiting() {
    let (made, door) = (Made::default(), Arc::new(Door::default()));
    let (notes, shut) = (Arc::clone(&made), Arc::clone(&door));
    let map = PoolMap::new(move |key: &&'static str| {
        let builder = note(&notes, key);
        if *key == "slow" {
            shut.pass();
        }
        builder
    });
    use_it(&map, "known");
    thread::scope(|scope| {
        let slow: Vec<_> = (0..4).map(|_| scope.spawn(|| use_it(&map, "slow"))).collect();
        eventually("it is being made", || times(&made, "slow") == 1);
        use_it(&map, "known");
        use_it(&map, "new");
        door.open();
        slow.into_iter().for_each(|caller| caller.join().unwrap());
    });
    assert_eq!((map.len(), times(&made, "slow"), times(&made, "known")), (3, 1, 1));
}

#[test]
fn one_that_nobody_uses_is_closed_and_made_anew() {
    let (map, made) = map_with_idle_limit(50 * MS);
    for round in 1..=3 {
        let begun = Instant::now();
        use_it(&map, "a");
        let handle = map.pool(&"a").unwrap();
        eventually("it is forgotten", || map.is_empty());
        assert!(begun.elapsed() >= 50 * MS);
        eventually("it is closed", || handle.get().is_err_and(|error| error.kind() == GetErrorKind::Closed));
        let census = Arc::clone(&made.lock().unwrap()["a"][round - 1]);
        eventually("its connections are closed", || census.alive() == 0);
        census.verify();
        assert_eq!(times(&made, "a"), round);
    }
}

#[test]
fn one_that_is_used_or_leased_or_waited_for_stays() {
    let (map, made) = map_with_idle_limit(400 * MS);
    let leased = map.get(&"leased").unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 1_000 * MS {
        use_it(&map, "used");
        thread::sleep(5 * MS);
    }
    assert_eq!((map.len(), times(&made, "used"), times(&made, "leased")), (2, 1, 1));
    drop(leased);
    use_it(&map, "leased");
    assert_eq!(times(&made, "leased"), 1);
}

#[test]
fn whoever_meets_one_just_closed_makes_it_anew_and_only_once() {
    let (map, made) = map();
    for round in 1..=30 {
        use_it(&map, "a");
        assert_eq!(times(&made, "a"), round);
        let meet = Barrier::new(9);
        thread::scope(|scope| {
            for thread in 0..8 {
                let (map, meet) = (&map, &meet);
                scope.spawn(move || {
                    meet.wait();
                    match thread % 2 {
                        0 => use_it(map, "a"),
                        _ => drop(map.get(&"a").unwrap()),
                    }
                });
            }
            let pool = map.pool(&"a").unwrap();
            meet.wait();
            pool.close();
        });
        use_it(&map, "a");
        assert_eq!((map.len(), times(&made, "a")), (1, round + 1));
    }
    assert!(made.lock().unwrap()["a"].iter().all(|census| census.opened() > 0));
}

#[test]
fn no_use_fails_for_a_pool_that_goes_idle_under_it() {
    let (map, made) = map_with_idle_limit(10 * MS);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while begun.elapsed() < 1_000 * MS {
                    use_it(&map, "a");
                    // About as long as it takes to be forgotten.
                    thread::sleep(fastrand::u32(5..25) * MS);
                }
            });
        }
    });
    eventually("it is forgotten", || map.is_empty());
    let made = made.lock().unwrap();
    eventually("all its connections are closed", || made["a"].iter().all(|census| census.alive() == 0));
    made["a"].iter().for_each(|census| census.verify());
}

#[test]
fn one_that_cannot_be_built_is_down_and_tried_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&calls);
    let map = PoolMap::new(move |_: &u32| {
        let wrong = counts.fetch_add(1, Ordering::SeqCst) < 2;
        Pool::builder(Fake::default()).max_size(if wrong { 0 } else { 1 })
    });
    let error = map.with(&1, |_| Ok::<_, GetError>(())).unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Down);
    let cause = error.source().unwrap().downcast_ref::<BuildError>();
    assert!(matches!(cause, Some(BuildError::Setting { name: "max_size", .. })), "{cause:?}");
    assert!(map.is_empty());
    assert!(matches!(map.pool(&1), Err(BuildError::Setting { name: "max_size", .. })));
    map.with(&1, |_| Ok::<_, GetError>(())).unwrap();
    assert_eq!((map.len(), calls.load(Ordering::SeqCst)), (1, 3));
}

#[test]
fn one_whose_endpoint_is_down_says_why() {
    let fake = Fake::default();
    fake.script.fail("nobody is at home");
    let script = fake.script.clone();
    let map = PoolMap::new(move |_: &u32| Pool::builder(fake.clone()).max_size(1).opening(Opening::Wait(300 * MS)));
    let error = map.get(&1).unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Down);
    assert!(support::chain(&error).ends_with(": nobody is at home"), "{}", support::chain(&error));
    script.open();
    assert!(map.get(&1).is_ok());
}

#[test]
fn a_maker_that_panics_is_asked_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&calls);
    let map = PoolMap::new(move |_: &u32| {
        assert!(counts.fetch_add(1, Ordering::SeqCst) > 0, "{ON_PURPOSE}");
        Pool::builder(Fake::default()).max_size(1)
    });
    panics(|| map.get(&1).map(drop));
    map.with(&1, |_| Ok::<_, GetError>(())).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn remove_closes_it_and_the_next_use_makes_it_anew() {
    let (map, made) = map();
    assert!(!map.remove(&"a"));
    let lease = map.get(&"a").unwrap();
    use_it(&map, "b");
    assert!(map.remove(&"a"));
    assert!(!map.remove(&"a"));
    assert_eq!(map.len(), 1);
    use_it(&map, "a");
    assert_eq!((times(&made, "a"), times(&made, "b")), (2, 1));
    let census = Arc::clone(&made.lock().unwrap()["a"][0]);
    assert_eq!(census.alive(), 1, "what is leased is its holder's");
    drop(lease);
    eventually("it is closed", || census.alive() == 0);
}

#[test]
fn a_borrowed_key_finds_it_and_makes_it() {
    let map = PoolMap::new(|_: &String| Pool::builder(Fake::default()).max_size(2).opening(Opening::Lazy));
    map.with("a", |_| Ok::<_, GetError>(())).unwrap();
    drop(map.get("b").unwrap());
    map.with(&"a".to_owned(), |_| Ok::<_, GetError>(())).unwrap();
    assert_eq!((map.len(), map.pool("a").unwrap().stats().leases), (2, 2));
    assert!(map.remove("a") && !map.remove("a"));
}

#[test]
fn the_last_handle_closes_all() {
    let (map, made) = map_with_idle_limit(HOPELESS);
    let other = map.clone();
    ["a", "b", "c"].into_iter().for_each(|key| use_it(&map, key));
    drop(map);
    assert_eq!(other.len(), 3);
    drop(other);
    let made = made.lock().unwrap();
    eventually("all are closed", || made.values().flatten().all(|census| census.alive() == 0));
}

#[test]
fn many_pools_share_few_threads() {
    let servers: Vec<_> = (0..40).map(|_| Server::echo()).collect();
    let map = PoolMap::new(|address: &String| Pool::builder(TcpManager::new(address.clone())).max_size(4));
    for server in &servers {
        map.with(&server.address(), |conn| exchange(conn, b"hello")).unwrap();
    }
    let names = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
    };
    let reactors = names().filter(|name| name.starts_with("corepool-s")).count();
    assert!(reactors <= thread::available_parallelism().unwrap().get(), "{reactors} reactors");
    assert_eq!(map.len(), 40);
}
