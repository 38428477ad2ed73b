//! Connections grow old and lie idle for no longer than they may, and it takes nobody's asking.

mod support;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Lease, Opening, Pool, Reactors};
use support::{Census, Counting, Fake, comes_to_rest, eventually};

const MS: Duration = Duration::from_millis(1);

fn pool(
    set: impl FnOnce(corepool::Builder<Counting<Fake>>) -> corepool::Builder<Counting<Fake>>,
) -> (Pool<Counting<Fake>>, Arc<Census>) {
    let (manager, census) = Counting::new(Fake::default());
    let builder = Pool::builder(manager).max_size(4).min_open(0).opening(Opening::Lazy);
    (set(builder).build().unwrap(), census)
}

/// Opens four, and gives them back.
fn fill(pool: &Pool<Counting<Fake>>) {
    let _leases: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
}

// ---- max_lifetime ---------------------------------------------------------------------------------------------------------

#[test]
fn an_idle_one_leaves_at_the_end_of_its_life() {
    let begun = Instant::now();
    let (pool, census) = pool(|b| b.max_lifetime(Some(200 * MS)));
    fill(&pool);
    eventually("all expired", || pool.stats().closed(CloseReason::Expired) == 4);
    // Less a tenth at most.
    assert!(begun.elapsed() >= 180 * MS, "expired after {:?}", begun.elapsed());
    eventually("all closed", || census.closed(CloseReason::Expired) == 4 && census.alive() == 0);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_leased_one_leaves_when_it_is_given_back() {
    let begun = Instant::now();
    let (pool, census) = pool(|b| b.max_lifetime(Some(50 * MS)));
    let lease = pool.get().unwrap();
    eventually("its life is over", || begun.elapsed() > 200 * MS);
    assert_eq!((pool.stats().open, pool.stats().closed_in_all(), lease.id()), (1, 0, 0));
    drop(lease);
    eventually("expired", || pool.stats().closed(CloseReason::Expired) == 1 && pool.stats().open == 0);
    assert_eq!(pool.get().unwrap().id(), 1);
    eventually("closed", || census.fate(0) == Some(CloseReason::Expired));
    census.verify();
}

#[test]
fn use_does_not_prolong_it() {
    let (pool, census) = pool(|b| b.max_lifetime(Some(100 * MS)));
    let begun = Instant::now();
    eventually("another one", || pool.get().unwrap().id() > 0);
    assert!(begun.elapsed() >= 90 * MS, "expired after {:?}", begun.elapsed());
    eventually("closed", || census.fate(0) == Some(CloseReason::Expired));
    census.verify();
}

#[test]
fn where_min_open_is_kept_it_is_replaced() {
    let (pool, census) = pool(|b| b.max_lifetime(Some(50 * MS)).min_open(2).opening(Opening::Background));
    eventually("some generations", || census.closed(CloseReason::Expired) >= 6);
    assert!(pool.stats().open + pool.stats().opening <= 4);
    eventually("two of them", || pool.stats().idle == 2);
    census.verify();
}

// ---- idle_timeout ---------------------------------------------------------------------------------------------------------

#[test]
fn those_that_lie_idle_leave_but_for_min_open() {
    let (pool, census) = pool(|b| b.idle_timeout(Some(60 * MS)).min_open(2));
    fill(&pool);
    eventually("two left", || pool.stats().closed(CloseReason::IdleTimeout) == 2);
    eventually("closed", || census.closed(CloseReason::IdleTimeout) == 2 && census.alive() == 2);
    // The rest stays for as long as it likes, and is as good as ever.
    let begun = Instant::now();
    eventually("time goes by", || begun.elapsed() > 200 * MS);
    let stats = pool.stats();
    assert_eq!((stats.open, stats.idle, stats.opened, stats.closed_in_all()), (2, 2, 4, 2), "\n{stats}");
    let _leases = (pool.try_get().unwrap(), pool.try_get().unwrap());
    census.verify();
}

#[test]
fn one_that_is_used_stays() {
    let (pool, census) = pool(|b| b.idle_timeout(Some(600 * MS)).shards(1));
    fill(&pool);
    // Last in, first out: one is enough for this, and the others leave.
    eventually("the others left", || {
        drop(pool.get().unwrap());
        pool.stats().closed(CloseReason::IdleTimeout) == 3
    });
    assert_eq!((pool.stats().open, census.opened()), (1, 4));
    // It has been used all the time, but from now on it lies idle.
    eventually("this one, too", || pool.stats().closed(CloseReason::IdleTimeout) == 4);
    assert_eq!(pool.stats().open, 0);
    census.verify();
}

#[test]
fn a_leased_one_is_not_idle() {
    let (pool, census) = pool(|b| b.idle_timeout(Some(20 * MS)));
    let leases: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    let begun = Instant::now();
    eventually("time goes by", || begun.elapsed() > 150 * MS);
    assert_eq!(pool.stats().open, 4);
    drop(leases);
    eventually("all left", || census.closed(CloseReason::IdleTimeout) == 4);
}

/// Its uses before the first sweep that meets it are uses, too.
#[test]
fn the_time_of_a_young_one_counts_from_its_last_use() {
    let (pool, _census) = pool(|b| b.max_size(2).idle_timeout(Some(400 * MS)));
    let begun = Instant::now();
    while begun.elapsed() < 170 * MS {
        drop(pool.get().unwrap());
        thread::sleep(MS);
    }
    let last = Instant::now();
    drop(pool.get().unwrap());
    eventually("closed", || pool.stats().open == 0);
    assert!(last.elapsed() >= 400 * MS, "closed after {:?}", last.elapsed());
}

/// A connection may land between a reactor's look at the clock and its look at the births: it is younger than that tick, not older
/// than everything.
#[test]
fn one_that_is_younger_than_the_sweeps_clock_is_young() {
    let builder = Pool::builder(Fake::default()).max_size(4).min_open(0).idle_timeout(Some(10 * MS));
    let pool = builder.opening(Opening::Lazy).reactors(Reactors::new(1)).build().unwrap();
    let ends = Instant::now() + 1_500 * MS;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while Instant::now() < ends {
                    Lease::discard(pool.get().unwrap())
                }
            });
        }
    });
    // The reactor lives, and closes what has lain idle for 10 ms.
    drop(pool.get().unwrap());
    eventually("closed", || pool.stats().open == 0);
    comes_to_rest(&pool);
}
