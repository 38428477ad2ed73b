//! While the endpoint is down the pool knocks at a measured pace, and no caller, waiting or not, makes it a hammer; every caller is
//! told why; and soon after the endpoint is back, all is as before.

mod support;

use std::error::Error;
use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{GetErrorKind, Opening, Pool, TcpManager};
use support::{Counting, Fake, HOPELESS, Server, chain, comes_to_rest, eventually, exchange};

const MS: Duration = Duration::from_millis(1);

/// So long that it does not come within a test.
const LATE: Duration = Duration::from_secs(1_000);

fn down() -> Fake {
    let fake = Fake::default();
    fake.script.fail("nobody is at home");
    fake
}

// ---- the pace -------------------------------------------------------------------------------------------------------------

#[test]
fn a_failed_dial_is_followed_by_a_pause() {
    let fake = down();
    let script = fake.script.clone();
    let builder = Pool::builder(fake).max_size(4).min_open(0).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(LATE).build().unwrap();
    let begun = Instant::now();
    let _ = pool.get_timeout(1_000 * MS);
    // Since the beginning, since a dial's thread may be late: half of 50 ms is the shortest pause.
    let attempts: Vec<_> = script.attempts().iter().map(|(at, number)| (*number, *at - begun)).collect();
    assert!(attempts.len() > 2 && attempts.iter().all(|(number, at)| *at >= (number - 1) * 24 * MS), "{attempts:?}");
}

#[test]
fn no_number_of_callers_makes_it_a_hammer() {
    for fail_fast_after in [LATE, 100 * MS] {
        let fake = down();
        let script = fake.script.clone();
        let builder = Pool::builder(fake).max_size(8).min_open(4).opening(Opening::Background).shards(2);
        let pool = builder.fail_fast_after(fail_fast_after).build().unwrap();
        // Those of the beginning went out together.
        eventually("down", || pool.stats().dials_failed >= 4 && pool.stats().opening == 0);
        let (before, begun) = (script.dials(), Instant::now());
        thread::scope(|scope| {
            for thread in 0..8 {
                let pool = &pool;
                scope.spawn(move || {
                    while begun.elapsed() < 700 * MS {
                        let kind = match thread % 2 {
                            0 => pool.try_get().map(drop),
                            _ => pool.get_timeout(5 * MS).map(drop),
                        };
                        let kind = kind.unwrap_err().kind();
                        assert!(matches!(kind, GetErrorKind::Busy | GetErrorKind::TimedOut | GetErrorKind::Down));
                        // Thousands of callers a second, not millions: the two cores have other tests to run.
                        thread::yield_now();
                    }
                });
            }
        });
        let (dials, lasted) = (script.dials() - before, begun.elapsed());
        let most = lasted.as_millis() as usize / 50 + 2;
        assert!(dials <= most, "{dials} dials in {lasted:?}, and no more than {most} should be");
        assert!(dials > 0);
    }
}

#[test]
fn while_it_is_down_there_is_one_probe_at_a_time() {
    let fake = down();
    let script = fake.script.clone();
    let builder = Pool::builder(fake).max_size(8).min_open(0).opening(Opening::Lazy).dials_at_once(8);
    let pool = builder.fail_fast_after(LATE).build().unwrap();
    assert_eq!(pool.get_timeout(MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    eventually("down", || pool.stats().dials_failed > 0 && script.under_way() == 0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(pool.get_timeout(400 * MS).unwrap_err().kind(), GetErrorKind::TimedOut));
        }
    });
    assert!(script.dials() > 1);
    assert_eq!(script.most_at_once(), 1);
}

#[test]
fn after_it_the_dials_ramp_up() {
    let fake = down();
    let script = fake.script.clone();
    let builder = Pool::builder(fake).max_size(16).min_open(0).opening(Opening::Lazy).dials_at_once(8);
    let pool = builder.fail_fast_after(LATE).build().unwrap();
    assert_eq!(pool.get_timeout(MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    eventually("down", || pool.stats().dials_failed > 0 && script.under_way() == 0);
    script.hang();
    let (served, all) = (AtomicU64::new(0), Barrier::new(16));
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let _lease = pool.get_timeout(6 * HOPELESS).unwrap();
                served.fetch_add(1, Ordering::SeqCst);
                // Nobody's connection serves another.
                all.wait();
            });
        }
        // The probe, then what its success and the next ones allow.
        let mut in_all = 0;
        for (at_once, succeed) in [(1, 1), (1, 1), (2, 2), (8, 12)] {
            eventually("as many as may be", || script.under_way() == at_once);
            assert_eq!(script.most_at_once(), at_once);
            script.let_through(succeed);
            in_all += succeed as u64;
            eventually("served", || served.load(Ordering::SeqCst) == in_all);
        }
    });
    assert_eq!(script.most_at_once(), 8);
    comes_to_rest(&pool);
}

#[test]
fn an_overdue_dial_counts_until_its_thread_is_back() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let builder = Pool::builder(fake).max_size(8).dials_at_once(1).dial_timeout(50 * MS).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(LATE).build().unwrap();
    let _ = pool.get_timeout(500 * MS);
    script.open();
    assert_eq!(script.most_at_once(), 1);
}

// ---- the cause ------------------------------------------------------------------------------------------------------------

#[test]
fn every_waiter_is_told_the_cause() {
    // Once by their deadlines, once by being refused together.
    for (fail_fast_after, kind) in [(LATE, GetErrorKind::TimedOut), (400 * MS, GetErrorKind::Down)] {
        let pool = Pool::builder(down()).max_size(4).opening(Opening::Lazy).fail_fast_after(fail_fast_after);
        let pool = pool.build().unwrap();
        let limit = if kind == GetErrorKind::Down { HOPELESS } else { 400 * MS };
        thread::scope(|scope| {
            let waiters: Vec<_> =
                (0..8).map(|_| scope.spawn(|| pool.get_timeout(limit).map(drop).unwrap_err())).collect();
            for waiter in waiters {
                let error = waiter.join().unwrap();
                assert_eq!((error.kind(), error.waited() > Duration::ZERO), (kind, true));
                assert_eq!(error.source().unwrap().to_string(), "nobody is at home");
            }
        });
        let stats = pool.stats();
        let (refused, timed_out) = if kind == GetErrorKind::Down { (8, 0) } else { (0, 8) };
        assert_eq!((stats.waiting, stats.waited, stats.refused, stats.timed_out), (0, 8, refused, timed_out));
    }
}

#[test]
fn newcomers_are_refused_at_the_door_and_told_the_cause() {
    let pool = Pool::builder(down()).max_size(8).opening(Opening::Lazy).fail_fast_after(50 * MS).build().unwrap();
    assert_eq!(pool.get_timeout(HOPELESS).unwrap_err().kind(), GetErrorKind::Down);
    let before = pool.stats();
    let mut without_a_wait = 0;
    for _ in 0..100 {
        let error = pool.get_timeout(HOPELESS).unwrap_err();
        // Nothing is said of a wait, unless this thread was off its core for a millisecond.
        let said = chain(&error);
        without_a_wait +=
            usize::from(said == "no connection can be opened (0 open, 0 idle, 0 waiting): nobody is at home");
        assert!(said.ends_with("(0 open, 0 idle, 0 waiting): nobody is at home"), "{said}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotConnected);
    }
    assert!(without_a_wait > 0);
    let after = pool.stats();
    assert_eq!((after.waited, after.refused), (before.waited, before.refused + 100));
    // Who would not have waited is told the same as ever.
    assert_eq!(pool.try_get().map(drop).unwrap_err().kind(), GetErrorKind::Busy);
}

#[test]
fn nobody_is_refused_while_a_connection_is_open_that_may_come_back() {
    let fake = Fake::default();
    let script = fake.script.clone();
    let pool = Pool::builder(fake).max_size(2).fail_fast_after(50 * MS).build().unwrap();
    let lease = pool.get().unwrap();
    script.fail("full");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(drop));
        // By the fourth dial it has been down for three times as long as callers would wait.
        eventually("long down", || script.attempts().last().is_some_and(|last| last.1 >= 4));
        assert_eq!((pool.stats().waiting, pool.stats().refused), (1, 0));
        drop(lease);
        waiter.join().unwrap().unwrap();
    });
}

#[test]
fn the_last_connection_gone_those_who_wait_are_refused() {
    let fake = Fake::default();
    let script = fake.script.clone();
    let pool = Pool::builder(fake).max_size(2).fail_fast_after(50 * MS).build().unwrap();
    let lease = pool.get().unwrap();
    script.fail("full");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(drop));
        eventually("long down", || script.attempts().last().is_some_and(|last| last.1 >= 4));
        assert_eq!(pool.stats().waiting, 1);
        corepool::Lease::discard(lease);
        let error = waiter.join().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.cause().unwrap().to_string().as_str()), (GetErrorKind::Down, "full"));
    });
}

// ---- recovery -------------------------------------------------------------------------------------------------------------

#[test]
fn a_waiter_is_served_soon_after_it_is_back() {
    // The best of some: a machine that has other things to do may delay any of them.
    let recoveries = (0..5).map(|_| {
        let fake = down();
        let script = fake.script.clone();
        let pool = Pool::builder(fake).max_size(2).opening(Opening::Background).fail_fast_after(LATE).build().unwrap();
        // Nobody asks meanwhile, so the pauses grow.
        eventually("long down", || script.attempts().last().is_some_and(|last| last.1 >= 4));
        thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.get_timeout(HOPELESS).map(|_lease| Instant::now()));
            eventually("it waits", || pool.stats().waiting == 1);
            script.open();
            let (back, dials) = (Instant::now(), script.dials());
            let served = waiter.join().unwrap().unwrap();
            assert!(script.dials() <= dials + 2, "one dial for the waiter, and one for min_open");
            served.saturating_duration_since(back)
        })
    });
    let best = recoveries.min().unwrap();
    assert!(best < 200 * MS, "{best:?} after it was back");
}

#[test]
fn a_pool_that_keeps_min_open_recovers_by_itself() {
    let fake = down();
    let script = fake.script.clone();
    let pool = Pool::builder(fake).max_size(8).min_open(3).opening(Opening::Background).build().unwrap();
    eventually("down", || script.dials() >= 3);
    script.open();
    eventually("back", || pool.stats().idle == 3);
    assert_eq!(pool.stats().open, 3);
    assert!(pool.try_get().is_ok());
    comes_to_rest(&pool);
}

/// Callers that are refused do not wait, so no waiter stands for them: that they asked is remembered.
#[test]
fn a_pool_without_min_open_comes_back_though_all_callers_are_refused() {
    let fake = down();
    let script = fake.script.clone();
    let builder = Pool::builder(fake).max_size(2).min_open(0).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(100 * MS).build().unwrap();
    eventually("fails fast", || matches!(pool.get_timeout(20 * MS), Err(e) if e.kind() == GetErrorKind::Down));
    script.open();
    eventually("recovers", || pool.get_timeout(20 * MS).is_ok());
}

#[test]
fn attempts_are_numbered_from_the_last_success() {
    let fake = down();
    let script = fake.script.clone();
    let builder = Pool::builder(fake).max_size(1).min_open(1).opening(Opening::Background);
    let pool = builder.fail_fast_after(LATE).build().unwrap();
    eventually("down", || script.dials() == 3);
    script.open();
    corepool::Lease::discard(pool.get_timeout(HOPELESS).unwrap());
    drop(pool.get_timeout(HOPELESS).unwrap());
    let numbers: Vec<_> = script.attempts().iter().map(|attempt| attempt.1).collect();
    assert!(numbers.len() >= 5 && numbers[..3] == [1, 2, 3], "{numbers:?}");
    assert_eq!(numbers.last(), Some(&1), "{numbers:?}");
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1 || pair[1] == 1), "{numbers:?}");
}

#[test]
fn on_real_sockets_nobody_who_waits_is_told_of_a_short_outage() {
    let server = Server::echo();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let builder = Pool::builder(manager).max_size(4).min_open(2).shards(2).wait_timeout(HOPELESS);
    let pool = builder.fail_fast_after(LATE).build().unwrap();
    let (done, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    match pool.with(|conn| conn.hold(|conn| exchange(conn, b"hello"))) {
                        Ok(()) => drop(done.fetch_add(1, Ordering::SeqCst)),
                        // The exchange that was cut, never a wait in vain.
                        Err(error) => assert!(matches!(error, corepool::UseError::Use(_)), "{error}"),
                    }
                }
            });
        }
        let goes_on = |what: &str| {
            let before = done.load(Ordering::SeqCst);
            eventually(what, || done.load(Ordering::SeqCst) > before + 100);
        };
        goes_on("all is well");
        for _ in 0..3 {
            server.stop();
            eventually("all are gone", || pool.stats().open == 0);
            eventually("it knocks", || pool.stats().opening == 0 && pool.stats().waiting > 0);
            server.start();
            goes_on("all is well again");
        }
        over.store(true, Ordering::SeqCst);
    });
    let stats = pool.stats();
    assert_eq!((stats.timed_out, stats.refused, stats.waiting), (0, 0, 0), "\n{stats}");
    assert!(stats.dials_failed >= 3 && stats.closed_in_all() >= 3, "\n{stats}");
    comes_to_rest(&pool);
    eventually("every close", || census.alive() == pool.stats().open);
    census.verify();
}

#[cfg(not(corepool_unwatched))]
mod watched {
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;
    use std::sync::{Arc, Mutex};

    use corepool::{Dial, Manager, Watch};

    use super::*;

    /// A server without room accepts and hangs up at once. Dialing it again at once would be thousands of dials a second.
    #[test]
    fn what_a_peer_hangs_up_on_at_once_is_kept_ever_more_rarely() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = thread::spawn(move || listener.incoming().take(8).for_each(drop));
        let builder = Pool::builder(TcpManager::new(address)).max_size(4).min_open(2).opening(Opening::Background);
        let pool = builder.build().unwrap();
        let begun = Instant::now();
        served.join().unwrap();
        // After the first of them pauses of at least 50, 100, 200 ms: at most two dials in each.
        assert!(begun.elapsed() > 300 * MS, "{}", pool.stats());
    }

    /// Opens one end of socket pairs; remembers which attempt each was.
    #[derive(Clone, Default)]
    struct Pairs(Arc<Mutex<(Vec<UnixStream>, Vec<u32>)>>);

    impl Manager for Pairs {
        type Connection = UnixStream;
        type Error = io::Error;

        fn connect(&self, dial: &Dial<'_>) -> io::Result<UnixStream> {
            let (ours, theirs) = UnixStream::pair()?;
            let (peers, attempts) = &mut *self.0.lock().unwrap();
            peers.push(theirs);
            attempts.push(dial.attempt());
            Ok(ours)
        }

        fn watch(&self, socket: &UnixStream, on: &mut Watch<'_>) {
            on.socket(socket);
        }
    }

    /// A healthy server may close what is not used for long, and "long" may be short.
    #[test]
    fn a_peer_that_closes_what_nobody_uses_refuses_no_caller() {
        let pairs = Pairs::default();
        let builder = Pool::builder(pairs.clone()).max_size(2).min_open(2).opening(Opening::Background);
        let pool = builder.fail_fast_after(100 * MS).build().unwrap();
        for round in 0..100 {
            // What is open is closed, and no more is kept for a while; but a caller is served, by a dial of its own.
            pairs.0.lock().unwrap().0.clear();
            if round % 10 == 0 {
                drop(pool.get_timeout(HOPELESS).unwrap_or_else(|error| panic!("round {round}: {error}")));
            } else {
                thread::sleep(5 * MS);
            }
        }
    }
}
