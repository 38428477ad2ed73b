//! Whoever observes a pool is told of everything off the hot path, in order, on a background thread, and disturbs nobody.

mod support;

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use corepool::{CloseReason, Event, GetErrorKind, Lease, Opening, Pool, TcpManager};
use support::{Counting, Fake, HOPELESS, Heard, Hooked, ON_PURPOSE, Server, comes_to_rest, eventually, hush};

const MS: Duration = Duration::from_millis(1);

#[track_caller]
fn told(heard: &Heard, what: &str, times: usize, is: impl Fn(&Event) -> bool) {
    eventually(what, || heard.count(&is) >= times);
    assert_eq!(heard.count(&is), times, "{what}: {:?}", heard.all());
}

#[test]
fn a_connection_from_its_dial_to_its_end() {
    let heard = Heard::default();
    let pool = Pool::builder(Fake::default()).max_size(1).observer(heard.clone()).build().unwrap();
    Lease::discard(pool.get().unwrap());
    drop(pool.get_timeout(HOPELESS).unwrap());
    pool.close();
    told(&heard, "two ends", 2, |event| matches!(event, Event::Closed { .. }));
    assert_eq!((heard.discarded(CloseReason::Condemned), heard.closed(CloseReason::Condemned)), (1, 1));
    assert_eq!((heard.discarded(CloseReason::PoolClosed), heard.closed(CloseReason::PoolClosed)), (1, 1));
    told(&heard, "two dials", 2, |event| matches!(event, Event::Opened { took } if *took < HOPELESS));
    // In the order in which it happened.
    let all = heard.all();
    let place = |is: fn(&Event) -> bool| all.iter().position(is).unwrap();
    let opened = place(|event| matches!(event, Event::Opened { .. }));
    let discarded = place(|event| matches!(event, Event::Discarded { why: CloseReason::Condemned, .. }));
    let closed = place(|event| matches!(event, Event::Closed { why: CloseReason::Condemned, .. }));
    assert!(opened < discarded && discarded < closed, "{all:?}");
}

#[test]
fn an_outage() {
    let (fake, heard) = (Fake::default(), Heard::default());
    let script = fake.script.clone();
    script.fail("nobody is at home");
    let builder = Pool::builder(fake).max_size(2).min_open(1).opening(Opening::Background);
    let pool = builder.fail_fast_after(HOPELESS * 10).observer(heard.clone()).build().unwrap();
    eventually("some failures", || pool.stats().dials_failed >= 3);
    script.open();
    assert!(pool.get_timeout(HOPELESS).is_ok());
    told(
        &heard,
        "its begin",
        1,
        |event| matches!(event, Event::OutageBegan { cause } if cause.to_string() == "nobody is at home"),
    );
    told(&heard, "its end", 1, |event| matches!(event, Event::OutageEnded { lasted } if *lasted >= 50 * MS));
    let failed =
        |event: &Event| matches!(event, Event::DialFailed { cause } if cause.to_string() == "nobody is at home");
    assert_eq!(heard.count(failed) as u64, pool.stats().dials_failed);
}

#[test]
fn waits_well_ended_and_not() {
    let heard = Heard::default();
    let pool = Pool::builder(Fake::default()).max_size(1).observer(heard.clone()).build().unwrap();
    let lease = pool.get().unwrap();
    assert_eq!(pool.get_timeout(10 * MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    thread::scope(|scope| {
        scope.spawn(|| pool.get_timeout(HOPELESS).map(drop).unwrap());
        eventually("it waits", || pool.stats().waiting == 1);
        // For longer than can be missed.
        thread::sleep(10 * MS);
        drop(lease);
    });
    told(&heard, "a wait", 1, |event| matches!(event, Event::Waited { waited } if *waited >= 10 * MS));
    let timed_out = |event: &Event| matches!(event, Event::Abandoned { waited, .. } if *waited >= 10 * MS);
    told(&heard, "a wait in vain", 1, timed_out);
    assert_eq!(heard.abandoned(GetErrorKind::TimedOut), 1);
    let lease = pool.get().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| pool.get_timeout(HOPELESS).map(drop).unwrap_err());
        eventually("it waits", || pool.stats().waiting == 1);
        pool.close();
    });
    eventually("it was told", || heard.abandoned(GetErrorKind::Closed) == 1);
    drop(lease);
}

#[test]
fn a_hold_and_a_hook_that_take_too_long() {
    let server = Server::mute();
    let heard = Heard::default();
    let manager = Hooked::new(TcpManager::new(server.address())).on_checkout(|conn| {
        let _ = conn.read(&mut [0; 8]);
        Ok(corepool::Verdict::Discard)
    });
    let builder = Pool::builder(manager).max_size(1).min_open(0).wait_timeout(60 * MS).observer(heard.clone());
    assert!(builder.build().unwrap().get().is_err());
    eventually("a hook", || heard.count(|event| matches!(event, Event::HookOverran { .. })) >= 1);

    let builder = Pool::builder(Fake::default()).max_size(1).hold_limit(Some(20 * MS)).observer(heard.clone());
    let pool = builder.build().unwrap();
    let lease = pool.get().unwrap();
    told(&heard, "a hold", 1, |event| matches!(event, Event::HoldExceeded { cut: false, .. }));
    drop(lease);
}

#[test]
fn nothing_of_checkouts_and_returns_that_find_what_they_need() {
    let heard = Heard::default();
    let pool = Pool::builder(Fake::default()).max_size(2).min_open(2).observer(heard.clone()).build().unwrap();
    told(&heard, "two dials", 2, |event| matches!(event, Event::Opened { .. }));
    for _ in 0..1_000 {
        let pair = (pool.get().unwrap(), pool.get().unwrap(), pool.try_get().is_err());
        drop(pair);
    }
    // Events come in order: once the next one is there, nothing else can be on its way.
    Lease::discard(pool.get().unwrap());
    told(&heard, "a close", 1, |event| matches!(event, Event::Closed { .. }));
    let others = |event: &Event| {
        !matches!(event, Event::Opened { .. } | Event::Discarded { .. } | Event::Closed { .. } | Event::Unpinned { .. })
    };
    assert_eq!(heard.count(others), 0, "{:?}", heard.all());
}

#[test]
fn it_is_told_on_a_background_thread() {
    let heard = Heard::default();
    let builder = Pool::builder(Fake::default()).max_size(2).max_lifetime(Some(20 * MS)).observer(heard.clone());
    let pool = builder.build().unwrap();
    // By callers, by a reactor's sweep, by background threads.
    pool.pause();
    let _ = pool.get_timeout(MS);
    pool.resume();
    eventually("expiries", || heard.closed(CloseReason::Expired) >= 2 && heard.abandoned(GetErrorKind::TimedOut) == 1);
    let tellers = heard.tellers();
    assert!(tellers.iter().all(|teller| teller == "corepool-bg"), "{tellers:?}");
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
fn one_that_is_stuck_disturbs_nobody_and_is_told_what_it_missed() {
    const ROUNDS: usize = 3_000;
    let (door, events, missed) =
        (Arc::new(Door::default()), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (shut, counts, misses) = (Arc::clone(&door), Arc::clone(&events), Arc::clone(&missed));
    let observer = move |event: &Event| {
        shut.pass();
        match event {
            Event::Missed { events } => misses.fetch_add(*events as usize, Ordering::SeqCst),
            Event::Unpinned { .. } => 0,
            _ => counts.fetch_add(1, Ordering::SeqCst),
        };
    };
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(4).min_open(4).observer(observer).build().unwrap();
    for _ in 0..ROUNDS {
        Lease::discard(pool.get_timeout(HOPELESS).unwrap());
    }
    eventually("all is closed and opened, with nobody told", || {
        census.closed_in_all() == ROUNDS && pool.stats().idle == 4
    });
    assert_eq!(events.load(Ordering::SeqCst), 0);
    comes_to_rest(&pool);
    door.open();
    // A dial, a discard and a close each, and whoever had to wait for a dial did not wait in vain.
    let waits = pool.stats().waits.count() as usize;
    let all = 3 * ROUNDS + 4 + waits;
    eventually("all is told or missed", || events.load(Ordering::SeqCst) + missed.load(Ordering::SeqCst) == all);
    let events = events.load(Ordering::SeqCst);
    assert!((4_096..all).contains(&events), "{events} told of {all}");
}

#[test]
fn one_that_panics_is_told_the_next() {
    hush();
    let heard = Heard::default();
    let hears = heard.clone();
    let observer = move |event: &Event| {
        corepool::Observer::event(&hears, event);
        panic!("{ON_PURPOSE}");
    };
    let pool = Pool::builder(Fake::default()).max_size(1).observer(observer).build().unwrap();
    for _ in 0..20 {
        Lease::discard(pool.get_timeout(HOPELESS).unwrap());
    }
    eventually("all ends", || heard.closed(CloseReason::Condemned) == 20);
    comes_to_rest(&pool);
}

#[test]
fn one_may_use_the_pool() {
    let own: Arc<Mutex<Option<Pool<Fake>>>> = Arc::default();
    let (uses, asked) = (Arc::clone(&own), Arc::new(AtomicUsize::new(0)));
    let asks = Arc::clone(&asked);
    let observer = move |event: &Event| {
        if let (Some(pool), Event::Closed { .. }) = (&*uses.lock().unwrap(), event) {
            asks.fetch_add(1 + pool.stats().waiting, Ordering::SeqCst);
            drop(pool.get_timeout(HOPELESS).unwrap());
            pool.reconfigure(|settings| settings.max_waiters = 100).unwrap();
        }
    };
    let pool = Pool::builder(Fake::default()).max_size(2).observer(observer).build().unwrap();
    *own.lock().unwrap() = Some(pool.clone());
    for _ in 0..10 {
        Lease::discard(pool.get_timeout(HOPELESS).unwrap());
    }
    eventually("it was told, and asked", || asked.load(Ordering::SeqCst) >= 10);
    // Or the two would keep each other for ever.
    *own.lock().unwrap() = None;
    comes_to_rest(&pool);
}

#[test]
fn a_dial_that_nobody_wants_any_more_is_heard_of_when_it_fails() {
    let (fake, heard) = (Fake::default(), Heard::default());
    let script = fake.script.clone();
    script.hang();
    let builder = Pool::builder(fake).max_size(1).min_open(1).opening(Opening::Background).observer(heard.clone());
    let pool = builder.dial_timeout(HOPELESS * 10).build().unwrap();
    eventually("a dial", || script.under_way() == 1);
    pool.replace_manager(Fake::default(), Duration::ZERO);
    assert!(pool.get_timeout(HOPELESS).is_ok());
    script.fail("gone");
    told(&heard, "its failure", 1, |event| matches!(event, Event::DialFailed { cause } if cause.to_string() == "gone"));
    assert_eq!(pool.stats().dials_failed, 1);
    // But it is no outage.
    assert_eq!(heard.count(|event| matches!(event, Event::OutageBegan { .. })), 0);
}
