//! One that lay idle for long fails on its next use: others that lie so are pinged before they are lent, or leave where there is no ping.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Lease, Manager, Outcome, Pool, Verdict};
use support::{Census, Counting, Fake, FakeError, HOPELESS, Hooked, comes_to_rest, eventually};

const MS: Duration = Duration::from_millis(1);

/// What counts as a long rest here.
const LONG: Duration = Duration::from_millis(20);

/// So long that all have certainly been seen to rest, unless the machine is busy.
const REST: Duration = Duration::from_millis(80);

/// What the network has forgotten: the first so many things that were opened.
#[derive(Default)]
struct Network {
    forgotten: AtomicUsize,
    pinged: Mutex<BTreeSet<u64>>,
}

/// A pool of four, of which all have been used.
fn pool<M: Manager>(manager: M) -> (Pool<Counting<M>>, Arc<Census>) {
    let (manager, census) = Counting::new(manager);
    let builder = Pool::builder(manager).max_size(4).min_open(4).wait_timeout(HOPELESS).suspect_after(Some(LONG));
    let pool = builder.build().unwrap();
    use_all(&pool);
    (pool, census)
}

fn use_all<M: Manager>(pool: &Pool<Counting<M>>) {
    let leases: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    drop(leases);
}

/// Uses one after a rest, and fails, until that has the pool do something about the others.
#[track_caller]
fn fail_after_a_rest<M: Manager>(pool: &Pool<Counting<M>>, mut seen: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < HOPELESS, "not after {HOPELESS:?}");
        thread::sleep(REST);
        pool.with(|_| Err::<(), _>(FakeError("connection reset"))).unwrap_err();
        // Somebody has to want the others, before anything is done about them.
        use_all(pool);
    }
}

#[test]
fn without_a_ping_all_that_lay_idle_as_long_leave() {
    let (pool, census) = pool(Fake::default());
    fail_after_a_rest(&pool, || census.closed(CloseReason::Suspect) > 0);
    // One has failed, and each of the others has left: three the first time, unless some had been seen to rest too late.
    assert_eq!(census.closed_in_all(), census.closed(CloseReason::Suspect) + census.closed(CloseReason::Failed));
    assert_eq!(pool.stats().closed(CloseReason::Suspect), census.closed(CloseReason::Suspect) as u64);
    assert_eq!(pool.stats().dials_failed, 0);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn with_a_ping_those_that_answer_stay_and_are_asked_once() {
    let network = Arc::new(Network::default());
    let asked = Arc::clone(&network);
    let manager = Hooked::new(Fake::default()).ping(move |thing| {
        assert!(asked.pinged.lock().unwrap().insert(thing.0), "thing {} was asked twice", thing.0);
        Ok(())
    });
    let (pool, census) = pool(manager);
    fail_after_a_rest(&pool, || !network.pinged.lock().unwrap().is_empty());
    let asked = network.pinged.lock().unwrap().len();
    for _ in 0..10 {
        use_all(&pool);
    }
    assert_eq!(network.pinged.lock().unwrap().len(), asked, "they are beyond suspicion");
    assert_eq!(census.closed_in_all(), census.closed(CloseReason::Failed));
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn once_a_ping_fails_too_the_rest_leave_without_one() {
    let network = Arc::new(Network::default());
    let asked = Arc::clone(&network);
    let manager = Hooked::new(Fake::default()).ping(move |thing| {
        asked.pinged.lock().unwrap().insert(thing.0);
        if thing.0 as usize <= asked.forgotten.load(Ordering::SeqCst) { Err(FakeError("no answer")) } else { Ok(()) }
    });
    let (pool, census) = pool(manager);
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < HOPELESS, "not after {HOPELESS:?}");
        network.forgotten.store(census.opened(), Ordering::SeqCst);
        thread::sleep(REST);
        pool.with(|_| Err::<(), _>(FakeError("connection reset"))).unwrap_err();
        let before = census.closed(CloseReason::PingFailed);
        // The caller who meets the second is served all the same.
        use_all(&pool);
        let failed = census.closed(CloseReason::PingFailed) - before;
        assert!(failed <= 1, "{failed} callers had to find that out");
        if failed == 1 && pool.stats().closed(CloseReason::Suspect) > 0 {
            break;
        }
    }
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_failure_on_one_that_was_just_used_says_nothing_of_the_others() {
    let asked = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&asked);
    let manager = Hooked::new(Fake::default()).ping(move |_| {
        asks.store(true, Ordering::SeqCst);
        Ok(())
    });
    let (manager, census) = Counting::new(manager);
    let builder = Pool::builder(manager).max_size(4).min_open(4).wait_timeout(HOPELESS);
    // Nothing rests for so long here.
    let pool = builder.suspect_after(Some(100 * HOPELESS)).build().unwrap();
    for _ in 0..10 {
        use_all(&pool);
        pool.with(|_| Err::<(), _>(FakeError("connection reset"))).unwrap_err();
    }
    use_all(&pool);
    assert!(!asked.load(Ordering::SeqCst));
    assert_eq!(census.closed(CloseReason::Suspect), 0);
}

#[test]
fn the_second_use_after_a_rest_says_nothing_of_the_others() {
    let (manager, census) = Counting::new(Fake::default());
    let builder = Pool::builder(manager).max_size(4).min_open(4).wait_timeout(HOPELESS).shards(1);
    // Long enough not to pass between two uses.
    let pool = builder.suspect_after(Some(400 * MS)).build().unwrap();
    use_all(&pool);
    for _ in 0..3 {
        thread::sleep(1_000 * MS);
        // One thread has the same one again, which has just served.
        let mut first = None;
        let failed = pool.with(|thing| {
            first = Some(thing.id());
            Ok::<_, FakeError>(())
        });
        failed.unwrap();
        let again =
            pool.with(|thing| if Some(thing.id()) == first { Err(FakeError("a duplicate key")) } else { Ok(()) });
        let _ = again;
        use_all(&pool);
    }
    assert_eq!((census.closed(CloseReason::Suspect), pool.stats().closed(CloseReason::Suspect)), (0, 0));
}

#[test]
fn a_failure_that_costs_no_connection_says_nothing_of_the_others() {
    let manager = Hooked::new(Fake::default()).on_return(|_, how| {
        assert!(how != Outcome::Panicked);
        Verdict::Keep
    });
    let (pool, census) = pool(manager);
    for _ in 0..5 {
        thread::sleep(REST);
        pool.with(|_| Err::<(), _>(FakeError("a duplicate key"))).unwrap_err();
        use_all(&pool);
    }
    assert_eq!(census.closed_in_all(), 0);
}

#[test]
fn turned_off_one_failure_says_nothing_of_the_others() {
    let (manager, census) = Counting::new(Fake::default());
    let builder = Pool::builder(manager).max_size(4).min_open(4).wait_timeout(HOPELESS);
    let pool = builder.suspect_after(None).validate_after(Some(LONG)).build().unwrap();
    use_all(&pool);
    for _ in 0..5 {
        thread::sleep(REST);
        let mut lease = pool.get().unwrap();
        Lease::fail(&mut lease);
        drop(lease);
        use_all(&pool);
    }
    eventually("their closes", || census.closed(CloseReason::Failed) == 5);
    assert_eq!(census.closed_in_all(), 5);
}

#[test]
fn there_is_one_round_in_so_long() {
    const SELDOM: Duration = Duration::from_secs(1);
    let (pings, refuses) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (pinged, refusing) = (Arc::clone(&pings), Arc::clone(&refuses));
    let manager = Hooked::new(Fake::default()).ping(move |_| {
        pinged.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let manager = manager.on_checkout(move |_| {
        if refusing.load(Ordering::SeqCst) { Err(FakeError("not now")) } else { Ok(Verdict::Keep) }
    });
    let builder = Pool::builder(manager).max_size(3).min_open(0).wait_timeout(HOPELESS);
    let pool = builder.suspect_after(Some(SELDOM)).build().unwrap();
    let pings = || pings.load(Ordering::SeqCst);
    // One that is suspect, and answers, and is refused, lies idle as before, and is not suspect any more.
    let refused = || {
        refuses.store(true, Ordering::SeqCst);
        assert!(pool.get().is_err());
        refuses.store(false, Ordering::SeqCst);
    };
    let fail = |mut lease| {
        Lease::fail(&mut lease);
        drop(lease);
    };
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < 3 * HOPELESS, "the machine is too busy");
        let leases: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
        drop(leases);
        thread::sleep(5 * SELDOM / 2);
        let before = pings();
        let round = Instant::now();
        fail(pool.get().unwrap());
        refused();
        let second = pool.get().unwrap();
        refused();
        if pings() != before + 2 {
            // Not all had been seen to rest so long.
            continue;
        }
        fail(second);
        drop(pool.get().unwrap());
        if round.elapsed() < SELDOM {
            break assert_eq!(pings(), before + 2, "the second failure begins no round");
        }
    }
}
