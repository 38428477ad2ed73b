//! The end of a pool in good order: a drain waits, counts and names names. `close.rs` has the end without a wait.

mod support;

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, GetErrorKind, Lease, Opening, Pool, TcpManager};
use support::{Census, Counting, Fake, HOPELESS, Hooked, Server, eventually, exchange};

const MS: Duration = Duration::from_millis(1);

fn pool_of(size: usize) -> (Pool<Counting<Fake>>, Arc<Census>) {
    let (manager, census) = Counting::new(Fake::default());
    let pool = Pool::builder(manager).max_size(size).min_open(size).build().unwrap();
    (pool, census)
}

#[test]
fn drain_waits_for_leases_and_closes() {
    let (pool, census) = pool_of(4);
    let lease = pool.get_owned().unwrap();
    let report = thread::scope(|scope| {
        let drain = scope.spawn(|| pool.drain(HOPELESS));
        eventually("it is closed", || pool.try_get().is_err_and(|error| error.kind() == GetErrorKind::Closed));
        assert!(!drain.is_finished());
        drop(lease);
        drain.join().unwrap()
    });
    assert!(report.is_complete() && report.closing == 0 && report.leased.is_empty(), "{report:?}");
    assert_eq!((report.closed, census.alive(), census.closed(CloseReason::PoolClosed)), (4, 0, 4));
    assert!(pool.drain(HOPELESS).is_complete(), "and again");
    census.verify();
}

#[test]
fn drain_counts_what_it_closes() {
    let (pool, census) = pool_of(4);
    let report = pool.drain(HOPELESS);
    assert_eq!((report.closed, report.is_complete()), (4, true), "{report:?}");
    assert_eq!((census.alive(), census.closed(CloseReason::PoolClosed)), (0, 4));
    let report = pool.drain(HOPELESS);
    assert_eq!((report.closed, report.is_complete()), (0, true), "{report:?}");
    census.verify();
}

#[test]
fn a_drain_that_is_complete_has_closed_the_last_one_too() {
    for round in 0..300 {
        let (pool, census) = pool_of(1);
        let lease = pool.get().unwrap();
        let report = thread::scope(|scope| {
            let drain = scope.spawn(|| pool.drain(HOPELESS));
            while pool.try_get().is_err_and(|error| error.kind() != GetErrorKind::Closed) {
                thread::yield_now();
            }
            drop(lease);
            drain.join().unwrap()
        });
        assert_eq!((report.is_complete(), report.closed, census.alive()), (true, 1, 0), "round {round}: {report:?}");
        census.verify();
    }
}

#[test]
fn drain_names_the_threads_that_hold_on() {
    let (pool, census) = pool_of(3);
    let (held, go) = (Barrier::new(3), Barrier::new(3));
    thread::scope(|scope| {
        for name in ["reports", "mailer"] {
            let hold = || {
                let _lease = pool.get().unwrap();
                held.wait();
                go.wait();
            };
            thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, hold).unwrap();
        }
        held.wait();
        let begun = Instant::now();
        let mut report = pool.drain(20 * MS);
        let lasted = begun.elapsed();
        // What fails from here on keeps nobody at a barrier.
        go.wait();
        assert!(lasted >= 20 * MS, "{lasted:?}");
        report.leased.sort();
        assert_eq!((report.leased.as_slice(), report.is_complete()), (&["mailer".into(), "reports".into()][..], false));
        assert_eq!(report.closed as usize + report.closing, 1);
    });
    assert!(pool.drain(HOPELESS).is_complete());
    eventually("each is closed", || census.closed(CloseReason::PoolClosed) == 3 && census.alive() == 0);
    census.verify();
}

#[test]
fn drain_says_what_is_still_being_closed() {
    let (shut, begun) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (stays, counts) = (Arc::clone(&shut), Arc::clone(&begun));
    let manager = Hooked::new(Fake::default()).before_close(move |_, _| {
        counts.fetch_add(1, Ordering::SeqCst);
        eventually("an end", || !stays.load(Ordering::SeqCst));
    });
    let pool = Pool::builder(manager).max_size(2).min_open(2).build().unwrap();
    pool.close();
    eventually("both are being closed", || begun.load(Ordering::SeqCst) == 2);
    let report = pool.drain(20 * MS);
    assert_eq!((report.closing, report.leased.len(), report.is_complete()), (2, 0, false), "{report:?}");
    shut.store(false, Ordering::SeqCst);
    assert!(pool.drain(HOPELESS).is_complete());
}

#[test]
fn many_who_end_it_at_once_each_get_an_answer() {
    for _ in 0..50 {
        let (pool, census) = pool_of(4);
        let meet = Barrier::new(5);
        thread::scope(|scope| {
            let (pool, meet) = (&pool, &meet);
            let drains: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(move || {
                        meet.wait();
                        pool.drain(HOPELESS)
                    })
                })
                .collect();
            scope.spawn(move || {
                meet.wait();
                pool.close();
            });
            scope.spawn(move || {
                let lease = pool.get().unwrap();
                meet.wait();
                drop(lease);
            });
            scope.spawn(move || {
                meet.wait();
                match pool.get_timeout(HOPELESS) {
                    Ok(lease) => Lease::discard(lease),
                    Err(error) => assert_eq!(error.kind(), GetErrorKind::Closed),
                }
            });
            drains.into_iter().for_each(|drain| assert!(drain.join().unwrap().is_complete()));
        });
        assert_eq!((census.alive(), pool.stats().open), (0, 0));
        census.verify();
    }
}

#[test]
fn a_drain_beside_a_dial_ends_when_what_it_opened_is_closed() {
    for round in 0..100 {
        let fake = Fake::default();
        let script = fake.script.clone();
        script.hang();
        let (manager, census) = Counting::new(fake);
        let pool = Pool::builder(manager).max_size(1).opening(Opening::Background).build().unwrap();
        eventually("a dial", || script.under_way() == 1);
        thread::scope(|scope| {
            let drain = scope.spawn(|| pool.drain(HOPELESS));
            while pool.try_get().is_err_and(|error| error.kind() != GetErrorKind::Closed) {
                thread::yield_now();
            }
            script.open();
            assert!(drain.join().unwrap().is_complete());
        });
        assert_eq!((census.opened(), census.alive()), (1, 0), "round {round}");
        assert_eq!(census.closed(CloseReason::PoolClosed), 1);
        census.verify();
    }
}

#[test]
fn what_is_being_closed_is_counted_once() {
    for round in 0..100 {
        let (pool, _census) = pool_of(4);
        // No time at all, so that of the closes some have ended, some are under way, and some have not begun.
        let report = pool.drain(Duration::from_nanos(1));
        assert_eq!(report.closed + report.closing as u64, 4, "round {round}: {report:?}");
    }
}

// ---- what a report tells ----------------------------------------------------------------------------------------------------

#[test]
fn drain_reports_the_dials_that_have_not_returned() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let (manager, census) = Counting::new(fake);
    let builder = Pool::builder(manager).max_size(4).min_open(2).opening(Opening::Background);
    let pool = builder.dial_timeout(1_000 * HOPELESS).build().unwrap();
    eventually("two dials", || script.under_way() == 2);
    assert_eq!(pool.drain(MS).opening, 2);
    script.open();
    eventually("what they opened is closed", || census.opened() == 2 && census.alive() == 0);
    assert_eq!(pool.drain(HOPELESS).opening, 0);
    census.verify();
}

#[test]
fn drain_reports_what_closed_during_it_also_of_what_had_left_before() {
    let (gate, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (opens, counts) = (Arc::clone(&gate), Arc::clone(&begun));
    let manager = Hooked::new(Fake::default()).before_close(move |_, _| {
        counts.fetch_add(1, Ordering::SeqCst);
        eventually("an end", || opens.load(Ordering::SeqCst));
    });
    let pool = Pool::builder(manager).max_size(3).min_open(0).close_timeout(1_000 * HOPELESS).build().unwrap();
    let leases: Vec<_> = (0..3).map(|_| pool.get_timeout(HOPELESS).unwrap()).collect();
    leases.into_iter().for_each(Lease::discard);
    eventually("all are being closed", || begun.load(Ordering::SeqCst) == 3);
    let report = pool.drain(MS);
    assert_eq!((report.closed, report.closing, report.is_complete()), (0, 3, false), "{report:?}");
    gate.store(true, Ordering::SeqCst);
    let report = pool.drain(HOPELESS);
    assert!(report.closed <= 3 && report.is_complete(), "{report:?}");
}

#[test]
fn a_lease_that_has_moved_and_whose_taker_has_ended_is_reported_by_the_takers_name() {
    let (pool, _census) = pool_of(1);
    let lease = thread::scope(|scope| {
        let taker = thread::Builder::new().name("taker".to_owned());
        taker.spawn_scoped(scope, || pool.get().unwrap()).unwrap().join().unwrap()
    });
    // Others have come and gone since, who may have its number by now.
    (0..50).for_each(|_| drop(thread::spawn(|| ()).join()));
    let report = pool.drain(MS);
    assert_eq!((report.leased.as_slice(), report.is_complete()), (&["taker".to_owned()][..], false));
    drop(lease);
    assert!(pool.drain(HOPELESS).is_complete());
}

// ---- by force ---------------------------------------------------------------------------------------------------------------

#[test]
fn drain_then_cut_ends_a_lease_that_is_stuck_in_a_read() {
    let server = Server::mute();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let pool = Pool::builder(manager).max_size(2).min_open(2).build().unwrap();
    let reading = AtomicBool::new(false);
    let report = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut lease = pool.get().unwrap();
            reading.store(true, Ordering::SeqCst);
            lease.hold(|conn| conn.read(&mut [0; 8]))
        });
        eventually("it reads", || reading.load(Ordering::SeqCst));
        let report = pool.drain_then_cut(20 * MS, HOPELESS);
        assert!(!matches!(reader.join().unwrap(), Ok(1..)), "an end or an error");
        report
    });
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.closed, report.closing, report.leased.len(), census.alive()), (2, 0, 0, 0));
    census.verify();
}

#[test]
fn drain_then_cut_ends_a_farewell_that_is_stuck() {
    let server = Server::mute();
    let manager = Hooked::new(TcpManager::new(server.address())).before_close(|conn, _| {
        assert!(!matches!(conn.read(&mut [0; 8]), Ok(1..)));
    });
    let (manager, census) = Counting::new(manager);
    let builder = Pool::builder(manager).max_size(6).min_open(6).close_timeout(1_000 * HOPELESS);
    let pool = builder.build().unwrap();
    let report = pool.drain(20 * MS);
    assert_eq!((report.closed, report.closing), (0, 6), "{report:?}");
    let report = pool.drain_then_cut(MS, HOPELESS);
    assert_eq!((report.closed, report.closing, report.is_complete(), census.alive()), (6, 0, true, 0), "{report:?}");
    census.verify();
}

#[test]
fn drain_then_cut_cuts_nothing_that_ends_in_time() {
    let server = Server::echo();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let pool = Pool::builder(manager).max_size(2).min_open(2).build().unwrap();
    let held = AtomicBool::new(false);
    thread::scope(|scope| {
        let user = scope.spawn(|| {
            let mut lease = pool.get().unwrap();
            held.store(true, Ordering::SeqCst);
            eventually("it is closed", || pool.try_get().is_err_and(|error| error.kind() == GetErrorKind::Closed));
            lease.hold(|conn| exchange(conn, b"the last word"))
        });
        eventually("held", || held.load(Ordering::SeqCst));
        let report = pool.drain_then_cut(HOPELESS, Duration::ZERO);
        user.join().unwrap().unwrap();
        assert!(report.is_complete(), "{report:?}");
    });
    assert_eq!((census.alive(), census.closed(CloseReason::PoolClosed)), (0, 2));
    census.verify();
}

#[test]
fn what_no_force_ends_is_reported() {
    let (pool, _census) = pool_of(2);
    let lease = pool.get().unwrap();
    let report = pool.drain_then_cut(MS, 20 * MS);
    let me = thread::current().name().unwrap().to_owned();
    assert_eq!((report.leased.as_slice(), report.is_complete()), (&[me][..], false), "{report:?}");
    drop(lease);
}
