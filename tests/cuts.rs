//! Whose connection it is: a cut that is meant for one lease hits no other, and what the pool has cut looks like no hang-up of the peer's.

mod support;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Event, Lease, Pool, TcpManager, Verdict};
use support::{Counting, HOPELESS, Heard, Hooked, Server, comes_to_rest, eventually, exchange};

const MS: Duration = Duration::from_millis(1);

/// The shortest that can be set.
const LIMIT: Duration = Duration::from_millis(10);

/// How long a storm lasts.
const STORM: Duration = Duration::from_millis(1_500);

// ---- the next user ----------------------------------------------------------------------------------------------------------

#[test]
fn a_cut_for_one_lease_never_hits_the_next_user() {
    let server = Server::echo();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let builder = Pool::builder(manager).max_size(3).min_open(3).shards(1).hold_limit(Some(LIMIT)).cut_held(true);
    let pool = builder.wait_timeout(HOPELESS).build().unwrap();
    let (begun, uses, robbed) = (Instant::now(), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while begun.elapsed() < STORM {
                    let mut lease = pool.get().unwrap();
                    // No longer ago than this it was taken by this one, so whatever is cut before the limit is another's.
                    let taken = Instant::now();
                    let answer = lease.hold(|conn| exchange(conn, b"is it mine?"));
                    // The look at the clock comes last: a thread that was off its core accuses nobody.
                    let cut_early = answer.is_err() && taken.elapsed() < LIMIT / 2;
                    robbed.fetch_add(usize::from(cut_early), Ordering::SeqCst);
                    uses.fetch_add(1, Ordering::SeqCst);
                    if answer.is_err() {
                        Lease::discard(lease);
                        continue;
                    }
                    match fastrand::u32(0..8) {
                        // Back at about the moment at which the sweep would cut it.
                        0 => thread::sleep(LIMIT + Duration::from_micros(fastrand::u64(0..6_000))),
                        1 => thread::sleep(Duration::from_micros(fastrand::u64(0..10_000))),
                        _ => {}
                    }
                }
            });
        }
    });
    assert_eq!(robbed.into_inner(), 0, "of {uses:?} uses");
    let stats = pool.stats();
    assert!(stats.holds_exceeded > 0, "nothing was ever cut\n{stats}");
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_hook_that_overruns_is_cut_and_no_user_with_it() {
    let server = Server::echo();
    let manager = Hooked::new(TcpManager::new(server.address())).on_return(|_, _| {
        // A hook at return, which no caller's deadline covers: the pool's wait_timeout and the sweep do.
        if fastrand::u32(0..8) == 0 {
            thread::sleep(Duration::from_micros(fastrand::u64(8_000..16_000)));
        }
        Verdict::Keep
    });
    let (manager, census) = Counting::new(manager);
    let builder = Pool::builder(manager).max_size(3).min_open(3).shards(1).wait_timeout(LIMIT);
    let pool = builder.build().unwrap();
    let (begun, robbed) = (Instant::now(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while begun.elapsed() < STORM {
                    let Ok(mut lease) = pool.get_timeout(HOPELESS) else { continue };
                    if lease.hold(|conn| exchange(conn, b"is it mine?")).is_err() {
                        // No limit on leases is set: nothing may ever be cut in one's hands.
                        robbed.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(robbed.into_inner(), 0);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn a_lease_that_ends_in_time_is_cut_by_no_sweep() {
    let server = Server::echo();
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let builder = Pool::builder(manager).max_size(2).min_open(2).hold_limit(Some(60 * HOPELESS)).cut_held(true);
    let pool = builder.build().unwrap();
    (0..2_000).for_each(|_| pool.get_timeout(HOPELESS).unwrap().hold(|conn| exchange(conn, b"hello")).unwrap());
    assert_eq!((pool.stats().holds_exceeded, pool.stats().closed_in_all()), (0, 0));
    comes_to_rest(&pool);
    census.verify();
}

// ---- stale ------------------------------------------------------------------------------------------------------------------

#[test]
fn a_lease_that_the_pool_has_cut_is_not_stale() {
    let server = Server::mute();
    let heard = Heard::default();
    let builder = Pool::builder(TcpManager::new(server.address())).max_size(1).hold_limit(Some(LIMIT)).cut_held(true);
    let pool = builder.observer(heard.clone()).build().unwrap();
    let mut lease = pool.get_timeout(HOPELESS).unwrap();
    assert!(!matches!(lease.read(&mut [0; 8]), Ok(1..)), "the cut ends the read");
    eventually("it is told", || heard.count(|event| matches!(event, Event::HoldExceeded { cut: true, .. })) == 1);
    // The watch has its say, too: by then, or soon.
    let seen = Instant::now();
    while seen.elapsed() < 100 * MS {
        assert!(!Lease::stale(&lease), "nobody has hung up but the pool");
        thread::yield_now();
    }
    drop(lease);
    assert_eq!(pool.stats().closed(CloseReason::HeldTooLong), 1);
}

#[cfg(not(corepool_unwatched))]
#[test]
fn a_lease_whose_peer_has_hung_up_is_stale() {
    let server = Server::echo();
    let pool = Pool::builder(TcpManager::new(server.address())).max_size(1).build().unwrap();
    let lease = pool.get_timeout(HOPELESS).unwrap();
    assert!(!Lease::stale(&lease));
    server.close(support::local_port(&*lease));
    eventually("seen", || Lease::stale(&lease));
}

/// A server may carry a request out and hang up then: a client that repeats whatever it sent on a stale lease has it done twice.
#[cfg(not(corepool_unwatched))]
#[test]
fn a_stale_lease_says_nothing_of_whether_the_request_was_carried_out() {
    use std::io::Write;
    use std::net::TcpListener;

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let executed = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&executed);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let counts = Arc::clone(&counts);
            thread::spawn(move || {
                if stream.read_exact(&mut [0; 6]).is_ok() {
                    counts.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    let pool = Pool::builder(TcpManager::new(address)).max_size(1).build().unwrap();
    let asked = AtomicBool::new(false);
    let result: Result<bool, corepool::UseError<io::Error>> = pool.with_lease(|lease| {
        lease.write_all(b"insert")?;
        asked.store(true, Ordering::SeqCst);
        let answer = lease.read(&mut [0; 8]);
        assert!(!matches!(answer, Ok(1..)));
        eventually("the watch has seen it", || Lease::stale(lease));
        Ok(Lease::stale(lease))
    });
    assert!(result.unwrap() && asked.into_inner());
    assert_eq!(executed.load(Ordering::SeqCst), 1, "stale, and carried out");
}
