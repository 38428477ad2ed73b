//! A pool in numbers: each counts what its name says, they agree with each other, and they print as a table.

mod support;

use std::collections::HashMap;
use std::io;
use std::thread;
use std::time::Duration;

use corepool::{CloseReason, Dial, GetErrorKind, Lease, Manager, Opening, Pool, Stats};
use support::{Counting, Fake, FakeError, HOPELESS, Hooked, comes_to_rest, eventually};

const MS: Duration = Duration::from_millis(1);

/// The rows of the table, by their names.
fn table(stats: &Stats) -> HashMap<String, String> {
    let row = |line: &str| {
        let (name, value) = line.trim().rsplit_once("  ").expect("a name and a value");
        (name.trim().to_owned(), value.trim().to_owned())
    };
    stats.to_string().lines().map(row).collect()
}

#[test]
fn states_and_counters_say_what_happened() {
    let fake = Fake::default();
    let script = fake.script.clone();
    let manager = Hooked::new(fake).on_wait(|waiting| if waiting < 2 { Ok(()) } else { Err(FakeError("enough")) });
    let pool = Pool::builder(manager).max_size(4).min_open(2).build().unwrap();
    comes_to_rest(&pool);
    let leases: Vec<_> = (0..3).map(|_| pool.get_timeout(HOPELESS).unwrap()).collect();
    script.hang();
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..2).map(|_| scope.spawn(|| pool.get_timeout(HOPELESS).map(drop))).collect();
        eventually("two wait, and one dial is under way", || {
            let stats = pool.stats();
            (stats.waiting, stats.opening) == (2, 1)
        });
        assert_eq!(pool.get_timeout(HOPELESS).unwrap_err().kind(), GetErrorKind::Refused);
        let stats = pool.stats();
        assert_eq!((stats.open, stats.idle, stats.leased), (3, 0, 3), "\n{stats}");
        script.open();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap().unwrap());
    });
    drop(leases);
    let fourth: Vec<_> = (0..4).map(|_| pool.get_timeout(HOPELESS).unwrap()).collect();
    assert_eq!(pool.get_timeout(MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    drop(fourth);
    let _own = Lease::detach(pool.get().unwrap());
    Lease::discard(pool.get().unwrap());
    comes_to_rest(&pool);
    let stats = pool.stats();
    assert_eq!((stats.open, stats.idle, stats.leased, stats.opening, stats.waiting), (2, 2, 0, 0, 0), "\n{stats}");
    assert_eq!((stats.leases, stats.refused, stats.timed_out, stats.detached), (3 + 2 + 4 + 2, 1, 1, 1), "\n{stats}");
    assert_eq!((stats.dials, stats.dials_failed, stats.opened), (4, 0, 4), "\n{stats}");
    assert_eq!((stats.closed_in_all(), stats.closed(CloseReason::Condemned)), (1, 1), "\n{stats}");
    assert!(stats.waited >= 3, "two, and the one in vain\n{stats}");
}

#[test]
fn failures_of_dials_are_counted() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.fail("down");
    let pool = Pool::builder(fake).max_size(1).opening(Opening::Background).build().unwrap();
    eventually("three failures", || pool.stats().dials_failed >= 3);
    let stats = pool.stats();
    assert_eq!((stats.opened, stats.open), (0, 0));
    assert!(stats.dials >= stats.dials_failed, "\n{stats}");
    eventually("each is made", || script.dials() as u64 >= stats.dials);
}

#[test]
fn waits_are_of_those_who_waited_and_were_served() {
    let pool = Pool::builder(Fake::default()).max_size(1).build().unwrap();
    for _ in 0..100 {
        drop(pool.get().unwrap());
    }
    let waits = pool.stats().waits;
    assert_eq!((waits.count(), waits.percentile(0.5), waits.percentile(1.0)), (0, Duration::ZERO, Duration::ZERO));
    assert_eq!((waits.sum(), waits.mean()), (Duration::ZERO, Duration::ZERO));
    let lease = pool.get().unwrap();
    assert_eq!(pool.get_timeout(MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| pool.get_timeout(HOPELESS).map(drop).unwrap());
        }
        eventually("they wait", || pool.stats().waiting == 4);
        // For at least so long.
        thread::sleep(20 * MS);
        drop(lease);
    });
    let waits = pool.stats().waits;
    assert_eq!(waits.count(), 4);
    let [low, middle, high] = [0.0, 0.5, 1.0].map(|share| waits.percentile(share));
    assert!(20 * MS <= low && low <= middle && middle <= high && high < HOPELESS, "{low:?} {middle:?} {high:?}");
    assert!([low, middle, high].iter().all(|wait| wait.as_micros().is_power_of_two()));
    // The slowest, of all that are rounded up, took more than half of its power of two.
    assert!(waits.sum() >= 80 * MS && waits.sum() > high / 2 && waits.sum() <= 4 * high, "{:?}, {high:?}", waits.sum());
    assert_eq!(waits.mean(), waits.sum() / 4);
    // Shares outside of what makes sense are taken as the nearest that does.
    assert_eq!((waits.percentile(-1.0), waits.percentile(7.0)), (low, high));
}

#[test]
fn one_use_in_1024_is_timed_from_its_lease_to_its_return() {
    let pool = Pool::builder(Fake::default()).max_size(1).build().unwrap();
    let uses = |uses: usize| {
        for _ in 0..uses {
            pool.with(|_| Ok::<_, FakeError>(())).unwrap();
        }
        pool.stats().holds
    };
    assert_eq!((uses(1_023).count(), pool.stats().holds.sum()), (0, Duration::ZERO));
    let lease = pool.get().unwrap();
    thread::sleep(20 * MS);
    assert_eq!(pool.stats().holds.count(), 0, "it goes on");
    drop(lease);
    let holds = pool.stats().holds;
    assert_eq!(holds.count(), 1);
    assert!(holds.sum() >= 20 * MS && holds.mean() == holds.sum() && holds.percentile(1.0) >= holds.sum());
    // A use that fails is one, too: of the same slot, whichever connection is in it.
    assert_eq!(uses(1_023).count(), 1);
    pool.with(|_| {
        thread::sleep(10 * MS);
        Err::<(), _>(FakeError("in vain"))
    })
    .unwrap_err();
    let both = pool.stats().holds;
    assert!(both.count() == 2 && both.sum() >= holds.sum() + 10 * MS, "{both:?}");
    assert_eq!(uses(1_024).count(), 3);
}

#[test]
fn the_fewest_idle_are_the_same_for_all_who_look() {
    let pool = Pool::builder(Fake::default()).max_size(4).min_open(4).build().unwrap();
    comes_to_rest(&pool);
    let leases: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    // Somebody finds none, and that is remembered after all have come back.
    assert_eq!(pool.get_timeout(MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    drop(leases);
    for scraper in ["one", "another", "one again"] {
        let stats = pool.stats();
        assert_eq!((stats.idle, stats.idle_low), (4, 0), "{scraper}");
        // Nor does it change by being printed.
        assert!(format!("{pool:?}").contains("idle_low: 0"));
    }
}

#[test]
fn what_is_idle_now_is_of_late() {
    let pool = Pool::builder(Fake::default()).max_size(4).min_open(4).build().unwrap();
    comes_to_rest(&pool);
    let lease = pool.get().unwrap();
    assert!(pool.stats().idle_low <= 3);
    drop(lease);
}

#[test]
fn a_sweep_sees_the_fewest_too() {
    // One connection, so that no sweep sees fewer while the others are being opened.
    let pool = Pool::builder(Fake::default()).max_size(1).probe_after(10 * MS).build().unwrap();
    comes_to_rest(&pool);
    eventually("a sweep in the middle of it", || {
        let lease = pool.get().unwrap();
        thread::sleep(30 * MS);
        drop(lease);
        let stats = pool.stats();
        (stats.idle, stats.idle_low) == (1, 0)
    });
}

#[test]
fn shards_add_up() {
    let pool = Pool::builder(Fake::default()).max_size(8).min_open(8).shards(8).build().unwrap();
    for _ in 0..50 {
        // More than one shard has: some are from others.
        drop((0..8).map(|_| pool.get_timeout(HOPELESS).unwrap()).collect::<Vec<_>>());
    }
    let stats = pool.stats();
    assert_eq!(stats.shards.len(), 8);
    assert_eq!(stats.shards.iter().map(|shard| shard.idle).sum::<usize>(), stats.idle);
    assert_eq!(stats.shards.iter().map(|shard| shard.stolen).sum::<u64>(), stats.stolen);
    assert!(stats.stolen > 0, "\n{stats}");
    assert_eq!(pool.stats().stolen, stats.stolen, "it does not change by being read");
}

#[test]
fn they_print_as_a_table() {
    let (manager, _census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(3).min_open(2).shards(2).build().unwrap();
    comes_to_rest(&pool);
    let lease = pool.get().unwrap();
    Lease::discard(pool.get().unwrap());
    comes_to_rest_but_for(&pool, 1);
    let stats = pool.stats();
    let rows = table(&stats);
    for (name, value) in [
        ("open", stats.open as u64),
        ("idle", stats.idle as u64),
        ("leased", 1),
        ("opening", 0),
        ("waiting", 0),
        ("fewest idle", stats.idle_low as u64),
        ("leases", 2),
        ("waited", stats.waited),
        ("timed out", 0),
        ("refused", 0),
        ("hooks overran", 0),
        ("holds exceeded", 0),
        ("dials", 3),
        ("failed", 0),
        ("opened", 3),
        ("closed", 1),
        ("condemned", 1),
    ] {
        assert_eq!(rows.get(name), Some(&value.to_string()), "{name}\n{stats}");
    }
    // Only what there is.
    assert!(!rows.contains_key("expired") && !rows.contains_key("detached"), "\n{stats}");
    assert_eq!(stats.to_string().lines().filter(|line| line.starts_with("shard ")).count(), 2, "\n{stats}");
    assert!(stats.to_string().lines().all(|line| line.len() < 80), "\n{stats}");
    drop(Lease::detach(lease));
    assert_eq!(table(&pool.stats()).get("detached"), Some(&"1".to_owned()));
    assert!(format!("{pool:?}").contains("detached: 1"));
}

/// Nothing is dialing or waiting any more; so many leases are out.
fn comes_to_rest_but_for(pool: &Pool<Counting<Fake>>, leased: usize) {
    eventually("it is quiet", || {
        let stats = pool.stats();
        (stats.opening, stats.waiting, stats.leased, stats.open) == (0, 0, leased, 2)
    });
}

#[test]
fn one_shard_needs_no_rows_of_its_own() {
    let pool = Pool::builder(Fake::default()).max_size(1).shards(1).build().unwrap();
    let stats = pool.stats();
    assert_eq!(stats.shards.len(), 1);
    assert!(!stats.to_string().contains("shard"), "\n{stats}");
}

/// Knows what nobody else should.
#[derive(Debug)]
struct Sworn(&'static str);

impl Manager for Sworn {
    type Connection = u32;
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<u32> {
        Ok(self.0.len() as u32)
    }
}

#[test]
fn nothing_prints_what_the_manager_knows() {
    let builder = Pool::builder(Sworn("hunter2")).max_size(1);
    let mut text = format!("{builder:?}");
    let pool = builder.build().unwrap();
    let lease = pool.get().unwrap();
    text += &format!("{pool:?} {lease:?} {:?} {}", pool.settings(), pool.get_timeout(MS).unwrap_err());
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.contains("max_size") && text.contains("connection: 7"), "{text}");
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    let mut names: Vec<_> = CloseReason::ALL.iter().map(|why| why.name()).collect();
    assert!(names.iter().all(|name| name.chars().all(|char| char.is_ascii_lowercase() || char == '_')));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CloseReason::ALL.len());
}

#[test]
fn what_a_pause_has_put_aside_was_not_missed() {
    let pool = Pool::builder(Fake::default()).max_size(2).min_open(2).probe_after(10 * MS).build().unwrap();
    comes_to_rest(&pool);
    pool.pause();
    assert_eq!(pool.get_timeout(MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    // A few sweeps.
    pool.reconfigure(|settings| settings.probe_after = 9 * MS).unwrap();
    thread::sleep(50 * MS);
    pool.resume();
    comes_to_rest(&pool);
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.idle_low), (2, 2));
}
