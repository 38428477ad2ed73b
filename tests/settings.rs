//! A wrong setting is refused by `build`, by its name and with its limit, before anything was dialed.

mod support;

use std::error::Error;
use std::time::Duration;

use corepool::{BuildError, Builder, Opening, Pool};
use support::{Fake, comes_to_rest};

const MS: Duration = Duration::from_millis(1);

type Set = fn(Builder<Fake>) -> Builder<Fake>;

/// Builds a lazy pool with these settings.
fn build(set: Set) -> Result<Pool<Fake>, BuildError> {
    set(Pool::builder(Fake::default()).opening(Opening::Lazy)).build()
}

#[test]
fn each_names_itself_and_its_limit() {
    let wrong: [(Set, &str); 27] = [
        (|b| b.max_size(0), "max_size is 0, but must be 1 to "),
        (|b| b.max_size(9).capacity(8), "max_size is 9, but must be 1 to 8, the pool's capacity"),
        (|b| b.max_size(64_513), "max_size is 64513, but must be 1 to 64512, the pool's capacity"),
        (|b| b.capacity(0), "capacity is 0, but must be 1 to 64512"),
        (|b| b.capacity(64_513), "capacity is 64513, but must be 1 to 64512"),
        (|b| b.max_size(4).min_open(5), "min_open is 5, but must be at most max_size, which is 4"),
        (
            |b| b.min_open(usize::MAX).max_size(4),
            "min_open is 18446744073709551615, but must be at most max_size, which is 4",
        ),
        (|b| b.shards(0), "shards is 0, but must be 1 to 1024"),
        (|b| b.shards(1_025), "shards is 1025, but must be 1 to 1024"),
        (|b| b.dials_at_once(0), "dials_at_once is 0, but must be 1 to 64"),
        (|b| b.dials_at_once(65), "dials_at_once is 65, but must be 1 to 64"),
        (|b| b.dial_timeout(Duration::ZERO), "dial_timeout is 0ns, but must be 1ms or more"),
        (|b| b.dial_timeout(MS / 2), "dial_timeout is 500µs, but must be 1ms or more"),
        (|b| b.close_timeout(Duration::ZERO), "close_timeout is 0ns, but must be 1ms or more"),
        (|b| b.idle_timeout(Some(Duration::ZERO)), "idle_timeout is 0ns, but must be 10ms or more"),
        (|b| b.idle_timeout(Some(9 * MS)), "idle_timeout is 9ms, but must be 10ms or more"),
        (|b| b.max_lifetime(Some(19 * MS)), "max_lifetime is 19ms, but must be 20ms or more"),
        (|b| b.ping_interval(Some(MS)), "ping_interval is 1ms, but must be 10ms or more"),
        (|b| b.validate_after(Some(9 * MS)), "validate_after is 9ms, but must be 10ms or more"),
        (|b| b.suspect_after(Some(9 * MS)), "suspect_after is 9ms, but must be 10ms or more"),
        (|b| b.ping_timeout(Duration::ZERO), "ping_timeout is 0ns, but must be 1ms or more"),
        (|b| b.hold_limit(Some(MS)), "hold_limit is 1ms, but must be 10ms or more"),
        (|b| b.opening(Opening::Wait(Duration::ZERO)), "opening is 0ns, but must be 1ms or more"),
        (|b| b.opening(Opening::Once(Duration::ZERO)), "opening is 0ns, but must be 1ms or more"),
        // The first in the order of the settings speaks for all.
        (|b| b.dials_at_once(0).shards(0), "shards is 0, but must be 1 to 1024"),
        (|b| b.max_size(0).min_open(7), "max_size is 0, but must be 1 to "),
        (|b| b.max_size(0).shards(4), "max_size is 0, but must be 1 to "),
    ];
    for (set, text) in wrong {
        let error = build(set).unwrap_err();
        assert!(error.to_string().starts_with(text), "{error}, not {text}");
        assert!(error.source().is_none());
        let BuildError::Setting { name, given, limit } = &error else { panic!("{error:?}") };
        assert_eq!(format!("{name} is {given}, but {limit}"), error.to_string());
    }
}

#[test]
fn nothing_is_dialed_for_it() {
    let fake = Fake::default();
    let script = fake.script.clone();
    assert!(Pool::builder(fake).max_size(4).min_open(5).build().is_err());
    assert_eq!(script.dials(), 0);
}

#[test]
fn the_limits_themselves_are_allowed() {
    let right: [Set; 12] = [
        |b| b.max_size(1),
        |b| b.max_size(64_512),
        |b| b.max_size(1).capacity(64_512),
        |b| b.max_size(8).min_open(8),
        |b| b.max_size(8).min_open(0),
        |b| b.shards(1),
        |b| b.shards(1_024).max_size(1),
        |b| b.dials_at_once(64),
        |b| b.dial_timeout(MS).close_timeout(MS).ping_timeout(MS),
        |b| b.idle_timeout(Some(10 * MS)).max_lifetime(Some(20 * MS)).ping_interval(Some(10 * MS)),
        |b| b.idle_timeout(None).max_lifetime(None).ping_interval(None).hold_limit(None),
        |b| b.wait_timeout(Duration::ZERO).max_waiters(0).handoff_after(Duration::ZERO).fail_fast_after(Duration::ZERO),
    ];
    for set in right {
        let pool = build(set).unwrap();
        comes_to_rest(&pool);
    }
}

#[test]
fn for_ever_is_a_time_too() {
    let ever = Duration::MAX;
    let builder = Pool::builder(Fake::default()).wait_timeout(ever).handoff_after(ever).dial_timeout(ever);
    let builder = builder.fail_fast_after(ever).close_timeout(ever).probe_after(ever).ping_timeout(ever);
    let builder = builder.idle_timeout(Some(ever)).max_lifetime(Some(ever)).ping_interval(Some(ever));
    let pool = builder.hold_limit(Some(ever)).opening(Opening::Wait(ever)).max_size(2).min_open(2).build().unwrap();
    drop((pool.get().unwrap(), pool.get_timeout(ever).unwrap()));
    corepool::Lease::discard(pool.get().unwrap());
    drop((pool.get().unwrap(), pool.get().unwrap()));
    comes_to_rest(&pool);
}

#[test]
fn the_settings_in_force_are_those_that_were_set() {
    let builder = Pool::builder(Fake::default()).max_size(5).capacity(7).min_open(2).wait_timeout(7 * MS);
    let builder = builder.max_waiters(3).handoff_after(9 * MS).dial_timeout(11 * MS).dials_at_once(13);
    let builder = builder.fail_fast_after(15 * MS).close_timeout(17 * MS).probe_after(19 * MS);
    let builder = builder.idle_timeout(Some(21 * MS)).max_lifetime(Some(23 * MS)).ping_interval(Some(25 * MS));
    let builder = builder.ping_timeout(27 * MS).hold_limit(Some(29 * MS)).cut_held(true);
    let in_force = builder.opening(Opening::Lazy).build().unwrap().settings();
    assert_eq!((in_force.max_size, in_force.min_open, in_force.max_waiters, in_force.dials_at_once), (5, 2, 3, 13));
    assert_eq!((in_force.wait_timeout, in_force.handoff_after, in_force.dial_timeout), (7 * MS, 9 * MS, 11 * MS));
    assert_eq!((in_force.fail_fast_after, in_force.close_timeout), (15 * MS, 17 * MS));
    assert_eq!((in_force.probe_after, in_force.ping_timeout), (19 * MS, 27 * MS));
    assert_eq!((in_force.idle_timeout, in_force.max_lifetime), (Some(21 * MS), Some(23 * MS)));
    assert_eq!((in_force.ping_interval, in_force.hold_limit), (Some(25 * MS), Some(29 * MS)));
    assert!(in_force.cut_held);
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let in_force = build(|b| b).unwrap().settings();
    let shards = build(|b| b).unwrap().stats().shards.len();
    assert_eq!((in_force.max_size, in_force.min_open), ((2 * shards).max(8), 1));
    assert_eq!((in_force.wait_timeout, in_force.dial_timeout), (1_000 * MS, 3_000 * MS));
    assert_eq!((in_force.close_timeout, in_force.fail_fast_after), (1_000 * MS, 1_000 * MS));
    assert_eq!((in_force.idle_timeout, in_force.max_lifetime), (Some(600_000 * MS), Some(1_800_000 * MS)));
    assert_eq!((in_force.ping_interval, in_force.hold_limit, in_force.cut_held), (None, None, false));
    assert_eq!((in_force.handoff_after, in_force.dials_at_once), (MS, 4));
    assert_eq!(in_force.max_waiters, usize::MAX);
    assert_eq!((in_force.backoff_max, in_force.max_closing), (30_000 * MS, 4));
    assert_eq!(in_force.probe_after, Duration::ZERO, "the manager's");
    // A shard that cannot hold two connections is only somewhere to steal from.
    assert_eq!(build(|b| b.max_size(2)).unwrap().stats().shards.len(), 1);
}
