//! What is kept though nobody asks for it: `min_open`, used or not, and `min_idle`, beside what is used.

mod support;

use std::time::Duration;

use corepool::{CloseReason, Opening, Pool};
use support::{Counting, Fake, HOPELESS, comes_to_rest, eventually};

const MS: Duration = Duration::from_millis(1);

#[test]
fn min_idle_is_kept_beside_what_is_leased() {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(6).min_open(0).min_idle(2).shards(2).build().unwrap();
    eventually("two to begin with", || pool.stats().idle == 2);
    let mut leases = Vec::new();
    for leased in 1..=6 {
        leases.push(pool.get_timeout(HOPELESS).unwrap());
        // Within a second; and never more than max_size in all.
        let open = (leased + 2).min(6);
        eventually("the next are there", || pool.stats().open == open && pool.stats().idle == open - leased);
    }
    drop(leases);
    // What is more than enough goes by idle_timeout alone.
    comes_to_rest(&pool);
    assert_eq!((pool.stats().idle, pool.stats().opened), (6, 6));
    census.verify();
}

#[test]
fn min_open_counts_what_is_leased() {
    let pool = Pool::builder(Fake::default()).max_size(6).min_open(3).build().unwrap();
    eventually("three", || pool.stats().open == 3);
    let leases: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
    assert_eq!((pool.stats().open, pool.stats().opening), (3, 0));
    drop(leases);
    comes_to_rest(&pool);
    assert_eq!(pool.stats().dials, 3);
}

#[test]
fn idle_timeout_leaves_min_idle_idle_and_min_open_open() {
    for (min_open, min_idle, leased, open) in [(0, 2, 0, 2), (3, 1, 0, 3), (3, 1, 2, 3), (0, 2, 2, 4)] {
        let builder = Pool::builder(Fake::default()).max_size(6).min_open(min_open).min_idle(min_idle);
        let pool = builder.idle_timeout(Some(20 * MS)).build().unwrap();
        let mut leases: Vec<_> = (0..6).map(|_| pool.get_timeout(HOPELESS).unwrap()).collect();
        leases.truncate(leased);
        eventually("the rest is gone", || pool.stats().open == open);
        drop(leases);
        comes_to_rest(&pool);
        assert_eq!(pool.stats().closed(CloseReason::IdleTimeout), 6 - open as u64, "{min_open}, {min_idle}");
    }
}

#[test]
fn the_beginning_opens_the_greater_of_both() {
    for (min_open, min_idle, opened) in [(0, 0, 1), (3, 1, 3), (1, 3, 3)] {
        let builder = || Pool::builder(Fake::default()).max_size(6).min_open(min_open).min_idle(min_idle);
        let pool = builder().build().unwrap();
        assert!(pool.stats().open >= opened);
        comes_to_rest(&pool);
        assert_eq!(pool.stats().dials, opened as u64);
        let pool = builder().opening(Opening::Background).build().unwrap();
        pool.wait_ready(min_open.max(min_idle), HOPELESS).unwrap();
        let pool = builder().opening(Opening::Lazy).build().unwrap();
        comes_to_rest(&pool);
        assert_eq!(pool.stats().dials, 0);
    }
}

#[test]
fn more_than_max_size_is_refused_by_name() {
    let builder = || Pool::builder(Fake::default()).max_size(2);
    for (refused, name) in [(builder().min_open(3).build(), "min_open"), (builder().min_idle(3).build(), "min_idle")] {
        assert_eq!(refused.unwrap_err().to_string(), format!("{name} is 3, but must be at most max_size, which is 2"));
    }
}
