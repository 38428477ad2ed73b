//! A pool for each key: made once, on first use, however many ask; closed when nobody does; made anew, once, by whoever meets it closed.

mod support;

use std::cell::Cell;
use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{
    BuildError, Builder, GetError, GetErrorKind, Manager, Opening, Outcome, Pool, PoolMap, TcpManager, Verdict,
};
use support::{
    Census, Counting, Fake, HOPELESS, Hooked, ON_PURPOSE, Server, Watchdog, eventually, exchange, hush, is_on_purpose,
    panics,
};

const MS: Duration = Duration::from_millis(1);

/// What was made for each key, in order.
type Made = Arc<Mutex<HashMap<&'static str, Vec<Arc<Census>>>>>;

fn note(made: &Made, key: &'static str) -> Builder<Counting<Fake>> {
    let (manager, census) = Counting::new(Fake::default());
    made.lock().unwrap().entry(key).or_default().push(census);
    Pool::builder(manager).max_size(2).min_open(0).opening(Opening::Lazy)
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
    let error = map.with(&1, |_| Ok::<_, GetError>(())).unwrap_err().flatten();
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

/// Callers that wait for a build.
fn waiting<K, M: Manager>(map: &PoolMap<K, M>) -> usize {
    let text = format!("{map:?}");
    let (_, rest) = text.split_once("waiting_for_a_build: ").expect("it tells");
    rest[..rest.find(|letter: char| !letter.is_ascii_digit()).unwrap()].parse().unwrap()
}

/// What the build said by which this caller has no connection.
#[track_caller]
fn build_error(error: &GetError) -> BuildError {
    assert_eq!(error.kind(), GetErrorKind::Down, "{error}");
    error.source().unwrap().downcast_ref::<BuildError>().unwrap_or_else(|| panic!("{}", support::chain(error))).clone()
}

/// Asks in one of three ways.
fn ask(map: &PoolMap<&'static str, Fake>, key: &'static str, way: usize) -> Result<(), BuildError> {
    match way % 3 {
        0 => map.with(&key, |_| Ok::<_, GetError>(())).map_err(|error| build_error(&error.flatten())),
        1 => map.get(&key).map(drop).map_err(|error| build_error(&error)),
        _ => map.pool(&key).map(drop),
    }
}

#[test]
fn one_build_and_one_error_are_for_all_who_waited_for_it() {
    let (calls, door) = (Arc::new(AtomicUsize::new(0)), Arc::new(Door::default()));
    let (counts, shut) = (Arc::clone(&calls), Arc::clone(&door));
    let fake = Fake::default();
    fake.script.fail("nobody is at home");
    let script = fake.script.clone();
    let map = PoolMap::new(move |_: &&'static str| {
        counts.fetch_add(1, Ordering::SeqCst);
        shut.pass();
        Pool::builder(fake.clone()).max_size(1).opening(Opening::Wait(20 * MS))
    });
    thread::scope(|scope| {
        let map = &map;
        let callers: Vec<_> = (0..16).map(|way| scope.spawn(move || ask(map, "a", way).unwrap_err())).collect();
        eventually("all but the builder wait", || waiting(map) == 15);
        door.open();
        for caller in callers {
            let error = caller.join().unwrap();
            assert!(matches!(error, BuildError::Opening { open: 0, .. }), "{error}");
            assert!(support::chain(&error).ends_with(": nobody is at home"), "{}", support::chain(&error));
        }
    });
    assert_eq!((calls.load(Ordering::SeqCst), map.len(), waiting(&map)), (1, 0, 0));
    script.open();
    ask(&map, "a", 0).unwrap();
    assert_eq!((calls.load(Ordering::SeqCst), map.len()), (2, 1));
}

/// A map whose `make` asks for pools, which it must reach: the map, and the keys that were asked for in vain, in a circle.
#[derive(Default)]
struct Asking {
    map: Arc<OnceLock<PoolMap<&'static str, Counting<Fake>>>>,
    made: Made,
    circles: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
}

/// What a map's `make` reaches it by.
fn own<T>(map: &Weak<T>) -> Arc<T> {
    map.upgrade().expect("somebody asks it")
}

impl Asking {
    /// `questions` says which key's `make` asks for which other; `ready` is told the key before that.
    fn new(
        questions: &'static [(&'static str, &'static str)],
        ready: impl Fn(&Self, &str) + Send + Sync + 'static,
    ) -> Self {
        let asking = Asking::default();
        // Weak, or the map would hold itself for ever.
        let (map, made, circles) = (Arc::downgrade(&asking.map), Arc::clone(&asking.made), Arc::clone(&asking.circles));
        let make = move |key: &&'static str| {
            let this = Asking { map: own(&map), made: Arc::clone(&made), circles: Arc::clone(&circles) };
            let builder = note(&this.made, key);
            ready(&this, key);
            for (_, other) in questions.iter().filter(|(asks, _)| asks == key) {
                this.ask(key, other);
            }
            builder
        };
        asking.map.get_or_init(|| PoolMap::new(make));
        asking
    }

    fn ask(&self, asks: &'static str, other: &'static str) {
        let asked = self.map().with(&other, |_| Ok::<_, GetError>(())).map_err(corepool::UseError::flatten);
        if let Err(error) = asked {
            assert!(matches!(build_error(&error), BuildError::Circular), "{}", support::chain(&error));
            self.circles.lock().unwrap().push((asks, other));
        }
    }

    fn map(&self) -> &PoolMap<&'static str, Counting<Fake>> {
        self.map.get().expect("it is set before anybody asks")
    }

    fn circles(&self) -> Vec<(&'static str, &'static str)> {
        self.circles.lock().unwrap().clone()
    }
}

#[test]
fn a_maker_that_asks_for_its_own_key_is_told_so() {
    let asking = Asking::new(&[("a", "a")], |_, _| ());
    use_it(asking.map(), "a");
    assert_eq!((asking.circles(), times(&asking.made, "a"), asking.map().len()), (vec![("a", "a")], 1, 1));
    let error = BuildError::Circular.to_string();
    assert!(error.contains("of its own key"), "{error}");
}

#[test]
fn makers_that_ask_in_a_circle_on_one_thread_are_told_so() {
    let asking = Asking::new(&[("a", "b"), ("b", "c"), ("c", "a")], |_, _| ());
    use_it(asking.map(), "a");
    assert_eq!((asking.circles(), asking.map().len()), (vec![("c", "a")], 3));
    assert!(["a", "b", "c"].iter().all(|key| times(&asking.made, key) == 1));
}

#[test]
fn of_makers_that_ask_for_each_others_keys_on_threads_of_their_own_one_is_told_so() {
    const CIRCLE: [(&str, &str); 4] = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")];
    for size in 2..=4 {
        for _ in 0..20 {
            // Each of the others is being made by the time one asks.
            let meet = Barrier::new(size);
            let questions: &'static [_] = match size {
                2 => &[("a", "b"), ("b", "a")],
                3 => &[("a", "b"), ("b", "c"), ("c", "a")],
                _ => &CIRCLE,
            };
            let asking = Asking::new(questions, move |_, _| {
                meet.wait();
            });
            thread::scope(|scope| {
                questions.iter().for_each(|(key, _)| drop(scope.spawn(|| use_it(asking.map(), key))));
            });
            assert_eq!((asking.circles().len(), asking.map().len()), (1, size), "{:?}", asking.circles());
            assert!(questions.iter().all(|(key, _)| times(&asking.made, key) == 1));
        }
    }
}

#[test]
fn of_makers_that_ask_each_others_maps_one_is_told_so() {
    let meet = Arc::new(Barrier::new(2));
    let maps: Arc<[OnceLock<PoolMap<u32, Fake>>; 2]> = Arc::default();
    let circles = Arc::new(AtomicUsize::new(0));
    for (this, other) in [(0, 1), (1, 0)] {
        let (all, meet, circles) = (Arc::downgrade(&maps), Arc::clone(&meet), Arc::clone(&circles));
        maps[this].get_or_init(|| {
            PoolMap::new(move |key: &u32| {
                meet.wait();
                if let Err(error) = own(&all)[other].get().unwrap().get(key) {
                    assert!(matches!(build_error(&error), BuildError::Circular), "{error}");
                    circles.fetch_add(1, Ordering::SeqCst);
                }
                Pool::builder(Fake::default()).max_size(1)
            })
        });
    }
    thread::scope(|scope| {
        maps.iter().for_each(|map| drop(scope.spawn(|| map.get().unwrap().get(&7).map(drop).unwrap())));
    });
    assert_eq!(circles.load(Ordering::SeqCst), 1);
}

#[test]
fn who_has_been_told_waits_for_nobody_any_more() {
    for _ in 0..50 {
        let meet = Barrier::new(2);
        let asking = Asking::new(&[("a", "b")], move |this, key| {
            meet.wait();
            if key == "b" {
                eventually("the other waits for it", || waiting(this.map()) == 1);
            }
        });
        thread::scope(|scope| {
            scope.spawn(|| use_it(asking.map(), "a"));
            // The one that waited may not have run since, and what is asked next is for its own build: a wait, and no circle.
            asking.map().pool(&"b").unwrap();
            asking.ask("test", "a");
        });
        assert_eq!((asking.circles(), asking.map().len()), (vec![], 2));
    }
}

#[test]
fn makers_that_panic_at_a_circle_hang_nobody() {
    hush();
    for _ in 0..20 {
        let meet = Barrier::new(2);
        let first = AtomicUsize::new(0);
        let map: Arc<OnceLock<PoolMap<&'static str, Fake>>> = Arc::default();
        let this = Arc::downgrade(&map);
        map.get_or_init(move || {
            PoolMap::new(move |key: &&'static str| {
                if first.fetch_add(1, Ordering::SeqCst) < 2 {
                    meet.wait();
                    let other = if *key == "a" { "b" } else { "a" };
                    own(&this).get().unwrap().pool(&other).unwrap_or_else(|error| panic!("{ON_PURPOSE}: {error}"));
                }
                Pool::builder(Fake::default()).max_size(1)
            })
        });
        let map = map.get().unwrap();
        let ends = thread::scope(|scope| {
            let callers = ["a", "b"].map(|key| scope.spawn(move || catch_unwind(AssertUnwindSafe(|| map.pool(&key)))));
            callers.map(|caller| caller.join().unwrap())
        });
        // One panics at the circle, and the other because it was told of that panic.
        for end in ends {
            assert!(is_on_purpose(&*end.map(drop).unwrap_err()));
        }
        assert!(map.is_empty());
        assert!(map.get(&"a").is_ok() && map.get(&"b").is_ok());
    }
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
fn those_who_wait_for_a_maker_that_panics_are_told_so_and_the_next_asks_it_again() {
    hush();
    let (calls, door) = (Arc::new(AtomicUsize::new(0)), Arc::new(Door::default()));
    let (counts, shut) = (Arc::clone(&calls), Arc::clone(&door));
    let map = PoolMap::new(move |_: &&'static str| {
        let call = counts.fetch_add(1, Ordering::SeqCst);
        shut.pass();
        assert!(call > 0, "{ON_PURPOSE}: no such endpoint");
        Pool::builder(Fake::default()).max_size(1)
    });
    thread::scope(|scope| {
        let map = &map;
        let ask = move |way| catch_unwind(AssertUnwindSafe(|| ask(map, "a", way).unwrap_err()));
        let callers: Vec<_> = (0..16).map(|way| scope.spawn(move || ask(way))).collect();
        eventually("all but the builder wait", || waiting(map) == 15);
        door.open();
        let (told, panicked): (Vec<_>, Vec<_>) =
            callers.into_iter().map(|caller| caller.join().unwrap()).partition(Result::is_ok);
        assert_eq!(panicked.len(), 1);
        assert!(panicked.into_iter().all(|panic| is_on_purpose(&*panic.unwrap_err())));
        for error in told {
            let error = error.unwrap();
            assert!(matches!(&error, BuildError::Panicked(text) if text.ends_with("no such endpoint")), "{error}");
        }
    });
    assert_eq!((calls.load(Ordering::SeqCst), map.len()), (1, 0));
    ask(&map, "a", 0).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn a_use_that_panics_while_its_thread_unwinds_has_panicked() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let map = PoolMap::new(move |_: &u32| {
        let hears = Arc::clone(&hears);
        let fake = Hooked::new(Fake::default()).on_return(move |_, how| {
            hears.lock().unwrap().push(how);
            if how == Outcome::Done { Verdict::Keep } else { Verdict::Discard }
        });
        Pool::builder(fake).max_size(1)
    });

    struct LastWord<'m, M: Manager>(&'m PoolMap<u32, M>);
    impl<M: Manager> Drop for LastWord<'_, M> {
        fn drop(&mut self) {
            assert!(thread::panicking());
            self.0.with(&1, |_| Ok::<_, GetError>(())).unwrap();
            panics(|| self.0.with(&1, |_| -> Result<(), GetError> { panic!("{ON_PURPOSE}: another") }));
            let _ = self.0.with(&1, |_| Err::<(), _>(std::io::Error::other("of no importance")));
            self.0.with(&1, |_| Ok::<_, GetError>(())).unwrap();
        }
    }
    panics(|| {
        let _last_word = LastWord(&map);
        panic!("{ON_PURPOSE}");
    });
    assert_eq!(*heard.lock().unwrap(), [Outcome::Done, Outcome::Panicked, Outcome::Failed, Outcome::Done]);
}

#[test]
fn one_that_is_removed_while_it_is_made_serves_nobody_who_comes_later() {
    let (made, door, waits) = (Made::default(), Arc::new(Door::default()), Arc::new(AtomicBool::new(true)));
    let (notes, shut, first) = (Arc::clone(&made), Arc::clone(&door), waits);
    let map = PoolMap::new(move |key: &&'static str| {
        let builder = note(&notes, key);
        if first.swap(false, Ordering::SeqCst) {
            shut.pass();
        }
        builder
    });
    thread::scope(|scope| {
        let builder = scope.spawn(|| map.pool(&"a").unwrap());
        eventually("it is being made", || times(&made, "a") == 1);
        let user = scope.spawn(|| use_it(&map, "a"));
        eventually("somebody waits for it", || waiting(&map) == 1);
        assert!(map.remove(&"a"));
        assert!(map.is_empty() && !map.remove(&"a"));
        use_it(&map, "a");
        assert_eq!(times(&made, "a"), 2);
        door.open();
        assert_eq!(builder.join().unwrap().get().map(drop).unwrap_err().kind(), GetErrorKind::Closed);
        user.join().unwrap();
    });
    assert_eq!((map.len(), times(&made, "a")), (1, 2));
    let made = made.lock().unwrap();
    assert_eq!((made["a"][0].opened(), made["a"][1].opened()), (0, 1));
}

/// A key that uses its map whenever it is hashed, compared, cloned or dropped.
struct Nosy(u32);

static NOSED: OnceLock<PoolMap<Nosy, Fake>> = OnceLock::new();

/// As long as this is above zero it removes a pool too, which changes the table under whoever changes it.
static REMOVALS: AtomicUsize = AtomicUsize::new(50);

fn meddle() {
    thread_local! {
        static MEDDLES: Cell<bool> = const { Cell::new(false) };
    }
    let Some(map) = NOSED.get().filter(|_| !MEDDLES.replace(true)) else { return };
    map.with(&Nosy(0), |_| Ok::<_, GetError>(())).unwrap();
    let less = |left: usize| left.checked_sub(1);
    if REMOVALS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
        map.remove(&Nosy(0));
    }
    MEDDLES.set(false);
}

impl Hash for Nosy {
    fn hash<H: Hasher>(&self, into: &mut H) {
        meddle();
        self.0.hash(into);
    }
}

impl PartialEq for Nosy {
    fn eq(&self, other: &Nosy) -> bool {
        meddle();
        self.0 == other.0
    }
}

impl Eq for Nosy {}

impl Clone for Nosy {
    fn clone(&self) -> Nosy {
        meddle();
        Nosy(self.0)
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        meddle();
    }
}

#[test]
fn nothing_of_a_keys_runs_under_a_lock() {
    let make = |_: &Nosy| Pool::builder(Fake::default()).max_size(1).opening(Opening::Lazy);
    let map = NOSED.get_or_init(|| PoolMap::new(make));
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for turn in 0..20 {
                    let key = Nosy(1 + (thread + turn) % 3);
                    map.with(&key, |_| Ok::<_, GetError>(())).unwrap();
                    drop(map.get(&key).unwrap());
                    map.remove(&key);
                }
            });
        }
    });
    map.with(&Nosy(0), |_| Ok::<_, GetError>(())).unwrap();
    assert!((0..4).all(|key| map.get(&Nosy(key)).is_ok()));
}

#[test]
fn whatever_makers_do_nobody_hangs() {
    const THREADS: usize = 6;
    const KEYS: u32 = 5;
    hush();
    let map: Arc<OnceLock<PoolMap<u32, Counting<Fake>>>> = Arc::default();
    let (censuses, calm) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let (this, all, is_calm) = (Arc::downgrade(&map), Arc::clone(&censuses), Arc::clone(&calm));
    map.get_or_init(|| {
        PoolMap::new(move |_: &u32| {
            let (manager, census) = Counting::new(Fake::default());
            all.lock().unwrap().push(census);
            let wild = !is_calm.load(Ordering::SeqCst);
            if wild {
                let map = own(&this);
                let map = map.get().unwrap();
                for _ in 0..fastrand::u32(..3) {
                    match (map.get(&fastrand::u32(..KEYS)).map(drop), fastrand::u8(..4)) {
                        (Err(error), 0) => panic!("{ON_PURPOSE}: {error}"),
                        (_, 1) => drop(map.remove(&fastrand::u32(..KEYS))),
                        (..) => {}
                    }
                }
                assert!(fastrand::u8(..8) > 0, "{ON_PURPOSE}");
            }
            let max_size = if wild && fastrand::u8(..8) == 0 { 0 } else { 2 };
            Pool::builder(manager).max_size(max_size).min_open(0).opening(Opening::Lazy)
        })
    });
    let shown = Arc::clone(&map);
    let dog = Watchdog::new(THREADS, move || format!("{:?}", shown.get()));
    let map = map.get().unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let dog = &dog;
            scope.spawn(move || {
                for turn in 0..300 {
                    let key = fastrand::u32(..KEYS);
                    let end = catch_unwind(AssertUnwindSafe(|| match turn % 4 {
                        0 => drop(map.with(&key, |conn| conn.hold(|_| Ok::<_, GetError>(())))),
                        1 => drop(map.get(&key)),
                        2 => drop(map.remove(&key)),
                        _ => map.pool(&key).iter().for_each(Pool::close),
                    }));
                    assert!(end.is_ok() || is_on_purpose(&*end.unwrap_err()));
                    dog.alive(thread);
                }
            });
        }
    });
    drop(dog);
    calm.store(true, Ordering::SeqCst);
    assert!((0..KEYS).all(|key| map.get(&key).is_ok()));
    assert_eq!(waiting(map), 0);
    (0..KEYS).for_each(|key| assert!(map.remove(&key)));
    let censuses = censuses.lock().unwrap();
    eventually("all is closed", || censuses.iter().all(|census| census.alive() == 0));
    censuses.iter().for_each(|census| census.verify());
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

#[test]
fn one_that_somebody_waits_for_is_not_idle() {
    let (made, script) = (Arc::new(AtomicUsize::new(0)), Fake::default().script);
    script.hang();
    let (counts, hangs) = (Arc::clone(&made), Arc::clone(&script));
    let make = move |_: &&'static str| {
        counts.fetch_add(1, Ordering::SeqCst);
        let manager = Fake { script: Arc::clone(&hangs) };
        let builder = Pool::builder(manager).max_size(1).min_open(0).opening(Opening::Lazy);
        builder.wait_timeout(HOPELESS).dial_timeout(10 * HOPELESS)
    };
    let map = PoolMap::with_idle_limit(make, 20 * MS);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| map.get(&"a").map(drop));
        eventually("it waits", || script.under_way() == 1);
        // Idle for many times as long as it may be, if it were.
        thread::sleep(200 * MS);
        script.open();
        waiter.join().unwrap().unwrap();
    });
    assert_eq!(made.load(Ordering::SeqCst), 1);
}
