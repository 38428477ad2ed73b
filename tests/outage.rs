//! While the endpoint is down the pool knocks at a measured pace, and no caller, waiting or not, makes it a hammer.

mod support;

use std::time::Duration;

use corepool::{Opening, Pool};
use support::Fake;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_failed_dial_is_followed_by_a_pause() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.fail("down");
    let builder = Pool::builder(fake).max_size(4).min_idle(0).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(100_000 * MS).build().unwrap();
    let _ = pool.get_timeout(1_000 * MS);
    let attempts = script.attempts();
    let gaps: Vec<_> = attempts.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| *gap >= 24 * MS), "pauses between dials: {gaps:?}");
}

#[test]
fn a_waiter_cuts_every_pause() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.fail("down");
    let builder = Pool::builder(fake).max_size(4).min_idle(0).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(100_000 * MS).build().unwrap();
    let _ = pool.get_timeout(3_000 * MS);
    let attempts = script.attempts();
    let longest = attempts.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
    assert!(longest < 400 * MS, "a pause of {longest:?} with somebody waiting");
}

#[test]
fn an_overdue_dial_counts_until_its_thread_is_back() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let builder = Pool::builder(fake).max_size(8).dials_at_once(1).dial_timeout(50 * MS).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(100_000 * MS).build().unwrap();
    let _ = pool.get_timeout(500 * MS);
    script.open();
    assert_eq!(script.most_at_once(), 1);
}
