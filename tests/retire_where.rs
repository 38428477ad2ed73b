//! Those that a predicate means leave the pool: at once where they lie idle, else when they come back; the others stay.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use corepool::{CloseReason, Opening, Pool};
use support::{Census, Counting, Fake, HOPELESS, Hooked, ON_PURPOSE, comes_to_rest, eventually, hush};

const MS: Duration = Duration::from_millis(1);

type Things = Counting<Fake>;

/// A pool of so many, all open.
fn pool(connections: usize) -> (Pool<Things>, Arc<Census>) {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(connections).min_open(connections).wait_timeout(HOPELESS).build();
    (pool.unwrap(), census)
}

/// The ids of those that closed because they were meant.
fn retired(census: &Census) -> Vec<usize> {
    (0..census.opened()).filter(|id| census.fate(*id) == Some(CloseReason::Retired)).collect()
}

#[test]
fn those_that_lie_idle_leave_before_it_returns_and_the_others_stay() {
    let (pool, census) = pool(6);
    pool.retire_where(|conn| conn.id() % 2 == 0);
    assert_eq!(pool.stats().closed(CloseReason::Retired), 3);
    eventually("three closes, and three new ones", || census.alive() == 6 && pool.stats().idle == 6);
    assert_eq!((retired(&census), census.opened()), (vec![0, 2, 4], 9));
    // Nobody had used them: that is no failure of theirs.
    assert_eq!((pool.stats().dials_failed, pool.stats().closed_in_all()), (0, 3));
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn what_is_leased_is_judged_when_it_comes_back() {
    let (pool, census) = pool(3);
    let mut leases: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    pool.retire_where(move |conn| {
        notes.lock().unwrap().push(conn.id());
        conn.id() == 1
    });
    assert!(asked.lock().unwrap().is_empty(), "a leased one is its holder's");
    leases.iter_mut().for_each(|lease| lease.hold(|_| {}));
    assert_eq!(pool.stats().closed_in_all(), 0);
    let order: Vec<_> = leases.iter().map(|lease| lease.id()).collect();
    leases.into_iter().for_each(drop);
    assert_eq!((pool.stats().closed(CloseReason::Retired), pool.stats().closed_in_all()), (1, 1));
    assert_eq!(*asked.lock().unwrap(), order, "each once, in the order of their return");
    eventually("another one", || pool.stats().idle == 3);
    // Those that were judged are not judged again.
    for _ in 0..10 {
        drop((pool.get().unwrap(), pool.get().unwrap(), pool.get().unwrap()));
    }
    assert_eq!(asked.lock().unwrap().len(), 3);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn none_is_lent_unjudged_while_it_runs() {
    let (pool, census) = pool(3);
    let (reached, goes_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    thread::scope(|scope| {
        let (reaches, may_go_on) = (Arc::clone(&reached), Arc::clone(&goes_on));
        let first = AtomicBool::new(true);
        let all = move |_: &support::Counted<support::Thing>| {
            // The thread that retires is stopped with the first connection in its hands.
            if first.swap(false, Ordering::SeqCst) {
                reaches.store(true, Ordering::SeqCst);
                eventually("it may go on", || may_go_on.load(Ordering::SeqCst));
            }
            true
        };
        let pool = &pool;
        scope.spawn(move || pool.retire_where(all));
        eventually("it has one", || reached.load(Ordering::SeqCst));
        let lease = pool.get().unwrap();
        assert!(lease.id() >= 3, "{} was there before", lease.id());
        drop(lease);
        goes_on.store(true, Ordering::SeqCst);
    });
    eventually("the three are gone", || retired(&census) == [0, 1, 2]);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn what_was_being_dialed_is_judged_once_it_is_open_and_what_is_dialed_later_is_not() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let (manager, census) = Counting::new(fake);
    let builder = Pool::builder(manager).max_size(2).min_open(2).opening(Opening::Background);
    let pool = builder.build().unwrap();
    eventually("it dials", || script.under_way() == 2);
    pool.retire_where(|_| true);
    script.open();
    eventually("both are replaced", || census.opened() == 4 && pool.stats().idle == 2);
    eventually("both are closed", || retired(&census).len() == 2);
    assert_eq!((pool.stats().dials_failed, pool.stats().closed_in_all()), (0, 2));
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn what_a_pause_has_put_aside_is_not_lent_unjudged() {
    let (pool, census) = pool(2);
    let leases = (pool.get().unwrap(), pool.get().unwrap());
    pool.pause();
    drop(leases);
    pool.retire_where(|conn| conn.id() < 2);
    assert_eq!(pool.stats().closed_in_all(), 0);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get().map(|lease| lease.id()));
        eventually("it waits", || pool.stats().waiting == 1);
        pool.resume();
        assert!(waiter.join().unwrap().unwrap() >= 2);
    });
    // Also the one that nobody asks for.
    eventually("both are gone", || retired(&census) == [0, 1]);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn what_is_out_for_a_ping_is_judged_when_it_is_back() {
    let (pinging, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (begins, may_answer) = (Arc::clone(&pinging), Arc::clone(&answers));
    let manager = Hooked::new(Fake::default()).ping(move |_| {
        begins.store(true, Ordering::SeqCst);
        eventually("it may answer", || may_answer.load(Ordering::SeqCst));
        Ok(())
    });
    let (manager, census) = Counting::new(manager);
    let builder = Pool::builder(manager).max_size(1).ping_interval(Some(10 * MS)).ping_timeout(HOPELESS);
    let pool = builder.build().unwrap();
    eventually("a ping", || pinging.load(Ordering::SeqCst));
    pool.retire_where(|conn| conn.id() == 0);
    assert_eq!(pool.stats().closed_in_all(), 0);
    pool.reconfigure(|settings| settings.ping_interval = None).unwrap();
    answers.store(true, Ordering::SeqCst);
    eventually("it is gone, though nobody asks for it", || retired(&census) == [0]);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_panic_in_it_retires_that_connection_alone() {
    hush();
    let (pool, census) = pool(3);
    pool.retire_where(|conn| {
        assert!(conn.id() != 1, "{ON_PURPOSE}");
        false
    });
    eventually("its close, and another one", || retired(&census) == [1] && pool.stats().idle == 3);
    assert_eq!(pool.stats().closed_in_all(), 1);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn it_is_kept_until_all_have_been_judged_and_no_longer() {
    let (pool, _census) = pool(2);
    let kept = Arc::new(());
    let (lease, other) = (pool.get().unwrap(), pool.get().unwrap());
    let held = Arc::clone(&kept);
    pool.retire_where(move |_| Arc::strong_count(&held) == 0);
    drop(other);
    assert_eq!(Arc::strong_count(&kept), 2);
    drop(lease);
    eventually("it is dropped", || Arc::strong_count(&kept) == 1);
    // Also when the last one leaves without having been judged.
    let (lease, held) = (pool.get().unwrap(), Arc::clone(&kept));
    pool.retire_where(move |_| Arc::strong_count(&held) == 0);
    corepool::Lease::discard(lease);
    eventually("it is dropped", || Arc::strong_count(&kept) == 1);
}

#[test]
fn predicates_that_wait_for_a_lease_are_bounded_and_what_the_oldest_would_judge_is_retired() {
    let (pool, census) = pool(1);
    let lease = pool.get().unwrap();
    let kept = Arc::new(AtomicUsize::new(0));
    for _ in 0..16 {
        let asks = Arc::clone(&kept);
        pool.retire_where(move |_| asks.fetch_add(1, Ordering::SeqCst) == usize::MAX);
    }
    assert_eq!(Arc::strong_count(&kept), 17);
    drop(lease);
    assert_eq!(
        (kept.load(Ordering::SeqCst), pool.stats().closed_in_all()),
        (16, 0),
        "all are asked, and none means it"
    );
    let lease = pool.get().unwrap();
    for _ in 0..40 {
        let asks = Arc::clone(&kept);
        pool.retire_where(move |_| asks.fetch_add(1, Ordering::SeqCst) == usize::MAX);
        assert!(Arc::strong_count(&kept) <= 17);
    }
    drop(lease);
    eventually("it is retired", || retired(&census) == [0]);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn under_load_all_that_it_means_leave_and_nothing_else_does() {
    let (pool, census) = pool(8);
    let stop = AtomicBool::new(false);
    let uses: Vec<_> = (0..4).map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        for uses in &uses {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    pool.get().unwrap().hold(|_| thread::yield_now());
                    uses.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 1..=30 {
            let before: Vec<_> = uses.iter().map(|uses| uses.load(Ordering::SeqCst)).collect();
            // All that were ever opened by then, but for every third.
            let opened = census.opened();
            pool.retire_where(move |conn| conn.id() < opened && conn.id() % 3 != 0);
            eventually("they are gone", || (0..opened).all(|id| id % 3 == 0 || census.fate(id).is_some()));
            // Whatever was leased has come back, so that this predicate is not given up for the seventeenth after it.
            let is_back = || uses.iter().zip(&before).all(|(uses, before)| uses.load(Ordering::SeqCst) > before + 1);
            eventually("what was leased is back", is_back);
            assert!(census.opened() >= opened, "round {round}");
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(retired(&census).iter().all(|id| id % 3 != 0));
    assert_eq!(pool.stats().closed_in_all(), pool.stats().closed(CloseReason::Retired));
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn what_is_being_dialed_that_the_oldest_would_judge_is_retired_too() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let (manager, census) = Counting::new(fake);
    let pool = Pool::builder(manager).max_size(1).opening(Opening::Background).build().unwrap();
    eventually("a dial", || script.under_way() == 1);
    let asked = Arc::new(AtomicUsize::new(0));
    for _ in 0..17 {
        let asks = Arc::clone(&asked);
        pool.retire_where(move |_| asks.fetch_add(1, Ordering::SeqCst) == usize::MAX);
    }
    script.open();
    eventually("it is retired, and another one stays", || retired(&census) == [0] && pool.stats().idle == 1);
    assert_eq!(census.opened(), 2);
    comes_to_rest(&pool);
    census.verify();
}
