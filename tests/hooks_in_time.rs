//! The caller's deadline covers the hooks: none starts after it, and one that overruns it has its socket shut down and is counted.

mod support;

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Conn, Event, GetErrorKind, Lease, Outcome, Pool, TcpManager, Verdict};
use support::{Census, Counting, Fake, HOPELESS, Heard, Hooked, Server, comes_to_rest, eventually, local_port};

const MS: Duration = Duration::from_millis(1);

/// When hooks began.
type Log = Arc<Mutex<Vec<Instant>>>;

/// A manager whose checks take this long and find nothing good.
fn sluggish(takes: Duration) -> (Hooked<Fake>, Log) {
    let log = Log::default();
    let writes = Arc::clone(&log);
    let manager = Hooked::new(Fake::default()).on_checkout(move |_| {
        writes.lock().unwrap().push(Instant::now());
        thread::sleep(takes);
        Ok(Verdict::Discard)
    });
    (manager, log)
}

#[test]
fn no_hook_starts_after_the_deadline_of_who_finds_enough_idle() {
    let (manager, log) = sluggish(30 * MS);
    let pool = Pool::builder(manager).max_size(16).min_open(16).build().unwrap();
    // The first discard of a pool's life teaches it that its manager is one that discards.
    let _ = pool.get_timeout(MS);
    log.lock().unwrap().clear();
    let (begun, limit) = (Instant::now(), 100 * MS);
    assert_eq!(pool.get_timeout(limit).unwrap_err().kind(), GetErrorKind::TimedOut);
    let late = begun.elapsed();
    assert!(late >= limit);
    let log = log.lock().unwrap();
    assert!(!log.is_empty() && log.len() <= 4, "{} checks of 30 ms in 100 ms", log.len());
    assert!(log.iter().all(|at| *at < begun + late), "{log:?}");
}

#[test]
fn no_hook_starts_after_the_deadline_of_who_waited() {
    let (manager, log) = sluggish(60 * MS);
    let pool = Pool::builder(manager).max_size(16).min_open(16).build().unwrap();
    // As above.
    let _ = pool.get_timeout(MS);
    log.lock().unwrap().clear();
    let limit = 100 * MS;
    pool.pause();
    let (asked, error) = thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let asked = Instant::now();
            (asked, pool.get_timeout(limit).map(drop).unwrap_err())
        });
        eventually("it waits", || pool.stats().waiting == 1);
        // As many as it likes to look at, one after another, in a time for two: and the pool replaces what it discards.
        pool.resume();
        waiter.join().unwrap()
    });
    assert_eq!(error.kind(), GetErrorKind::TimedOut);
    let begun = log.lock().unwrap().len();
    assert!((1..=2).contains(&begun), "{begun} checks of 60 ms in 100 ms");
    assert!(error.waited() >= limit && asked.elapsed() < HOPELESS);
}

#[test]
fn a_caller_who_does_not_wait_takes_what_is_there() {
    let (manager, log) = sluggish(5 * MS);
    let pool = Pool::builder(manager).max_size(4).min_open(0).build().unwrap();
    assert_eq!(pool.try_get().unwrap_err().kind(), GetErrorKind::Busy);
    assert_eq!(log.lock().unwrap().len(), 1);
}

type Stuck = Pool<Counting<Hooked<TcpManager>>>;

/// A pool of one connection to a server that never says a word, whose hook asks it something all the same, once it is armed.
fn stuck(
    hook: impl FnOnce(Hooked<TcpManager>, Arc<AtomicBool>) -> Hooked<TcpManager>,
    server: &Server,
) -> (Stuck, Arc<Census>, Heard, Arc<AtomicBool>) {
    let (heard, armed) = (Heard::default(), Arc::new(AtomicBool::new(false)));
    let manager = hook(Hooked::new(TcpManager::new(server.address())).probe_after(HOPELESS), Arc::clone(&armed));
    let (manager, census) = Counting::new(manager);
    let builder = Pool::builder(manager).max_size(1).min_open(0).wait_timeout(100 * MS).observer(heard.clone());
    (builder.build().unwrap(), census, heard, armed)
}

/// Waits for an answer that does not come. An end that the pool makes is an end.
fn ask(conn: &mut Conn, armed: &AtomicBool) -> io::Result<usize> {
    if armed.swap(false, Ordering::SeqCst) { conn.read(&mut [0; 8]) } else { Ok(1) }
}

/// One hook has overrun: it was cut, counted and told of, by the name of its thread, and the connection is gone.
#[track_caller]
fn overran_once(pool: &Stuck, census: &Census, heard: &Heard) {
    eventually("its connection is closed", || census.fate(0) == Some(CloseReason::HeldTooLong));
    eventually("it is counted", || pool.stats().hooks_overran > 0);
    let stats = pool.stats();
    assert_eq!((stats.hooks_overran, stats.holds_exceeded, stats.closed_in_all()), (1, 0, 1));
    let name = thread::current().name().unwrap().to_owned();
    eventually("the observer is told", || {
        heard.count(|event| matches!(event, Event::HookOverran { thread } if *thread == name)) == 1
    });
    assert_eq!(pool.get_timeout(HOPELESS).unwrap().id(), 1, "the next caller has another one");
    comes_to_rest(pool);
    census.verify();
}

#[test]
fn a_check_at_checkout_that_overruns_is_cut() {
    let server = Server::mute();
    let (pool, census, heard, armed) = stuck(
        |hooked, armed| {
            hooked.on_checkout(move |conn| match ask(conn, &armed) {
                Ok(1..) => Ok(Verdict::Keep),
                Ok(0) | Err(_) => Ok(Verdict::Discard),
            })
        },
        &server,
    );
    armed.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let _ = pool.get();
    assert!(begun.elapsed() < HOPELESS, "it was left alone");
    overran_once(&pool, &census, &heard);
}

#[test]
fn a_check_that_keeps_what_was_cut_under_it_keeps_nothing() {
    let server = Server::mute();
    let (pool, census, heard, armed) = stuck(
        |hooked, armed| {
            hooked.on_checkout(move |conn| {
                let _ = ask(conn, &armed);
                Ok(Verdict::Keep)
            })
        },
        &server,
    );
    armed.store(true, Ordering::SeqCst);
    // In time or not, the caller never has one whose socket was shut down.
    if let Ok(lease) = pool.get() {
        assert_eq!(lease.id(), 1);
    }
    overran_once(&pool, &census, &heard);
}

#[test]
fn a_judgement_of_idle_data_that_overruns_is_cut() {
    let server = Server::echo();
    let (pool, census, heard, armed) = stuck(
        |hooked, armed| {
            hooked.probe_after(Duration::ZERO).on_idle_data(move |conn, peeked| {
                // Reads what there is and then what there is not.
                conn.read_exact(&mut vec![0; peeked.len()]).unwrap();
                match ask(conn, &armed) {
                    Ok(1..) => Verdict::Keep,
                    Ok(0) | Err(_) => Verdict::Discard,
                }
            })
        },
        &server,
    );
    let port = local_port(&*pool.get().unwrap());
    server.push(port, b"?");
    armed.store(true, Ordering::SeqCst);
    eventually("the bytes are found", || {
        let _ = pool.get();
        !armed.load(Ordering::SeqCst)
    });
    overran_once(&pool, &census, &heard);
}

#[test]
fn a_check_at_return_that_overruns_is_cut() {
    let server = Server::mute();
    let (pool, census, heard, armed) = stuck(
        |hooked, armed| {
            hooked.on_return(move |conn, how| {
                assert_eq!(how, Outcome::Done);
                match ask(conn, &armed) {
                    Ok(1..) => Verdict::Keep,
                    Ok(0) | Err(_) => Verdict::Discard,
                }
            })
        },
        &server,
    );
    armed.store(true, Ordering::SeqCst);
    drop(pool.get().unwrap());
    overran_once(&pool, &census, &heard);
}

// ---- the call's own limit ---------------------------------------------------------------------------------------------------

#[test]
fn the_first_discard_of_a_pools_life_is_within_the_callers_deadline() {
    let (manager, log) = sluggish(200 * MS);
    let pool = Pool::builder(manager).max_size(8).min_open(8).build().unwrap();
    assert_eq!(pool.get_timeout(300 * MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    let begun = log.lock().unwrap().len();
    assert!((1..=2).contains(&begun), "{begun} checks of 200 ms in 300 ms");
}

#[test]
fn so_it_is_if_the_hook_alone_takes_longer_than_the_caller_has() {
    let (manager, log) = sluggish(200 * MS);
    let pool = Pool::builder(manager).max_size(8).min_open(8).build().unwrap();
    assert_eq!(pool.get_timeout(100 * MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    assert_eq!(log.lock().unwrap().len(), 1, "no hook begins after the deadline");
}

#[test]
fn so_it_is_of_a_pool_that_has_let_many_pass() {
    let (log, strict) = (Log::default(), Arc::new(AtomicBool::new(false)));
    let (writes, judges) = (Arc::clone(&log), Arc::clone(&strict));
    let manager = Hooked::new(Fake::default()).on_checkout(move |_| {
        // Asks somebody each time.
        thread::sleep(MS);
        if !judges.load(Ordering::SeqCst) {
            return Ok(Verdict::Keep);
        }
        writes.lock().unwrap().push(Instant::now());
        thread::sleep(200 * MS);
        Ok(Verdict::Discard)
    });
    let pool = Pool::builder(manager).max_size(8).min_open(8).build().unwrap();
    for _ in 0..2 {
        let all: Vec<_> = (0..8).map(|_| pool.get_timeout(HOPELESS).unwrap()).collect();
        drop(all);
    }
    strict.store(true, Ordering::SeqCst);
    assert_eq!(pool.get_timeout(300 * MS).unwrap_err().kind(), GetErrorKind::TimedOut);
    let begun = log.lock().unwrap().len();
    assert!((1..=2).contains(&begun), "{begun} checks of 200 ms in 300 ms");
}

/// A connection to a server that never says a word, whose hook asks it something, once it is armed.
fn patient(server: &Server, wait_timeout: Duration) -> (Pool<Hooked<TcpManager>>, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&armed);
    let manager = Hooked::new(TcpManager::new(server.address())).on_checkout(move |conn| {
        thread::sleep(MS);
        Ok(match ask(conn, &asks) {
            Ok(1..) => Verdict::Keep,
            Ok(0) | Err(_) => Verdict::Discard,
        })
    });
    let pool = Pool::builder(manager).max_size(1).min_open(0).wait_timeout(wait_timeout).build().unwrap();
    (pool, armed)
}

#[test]
fn a_hook_that_hangs_is_cut_at_the_calls_own_limit() {
    for used_before in [false, true] {
        let server = Server::mute();
        let (pool, armed) = patient(&server, 6 * HOPELESS);
        if used_before {
            drop(pool.get().unwrap());
        }
        armed.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        let kind = pool.get_timeout(50 * MS).map(drop).unwrap_err().kind();
        assert!(begun.elapsed() < HOPELESS, "not by the pool's wait_timeout of a minute");
        assert_eq!(kind, GetErrorKind::TimedOut);
        eventually("counted", || pool.stats().hooks_overran == 1);
        assert!(pool.get_timeout(HOPELESS).is_ok(), "the next caller has another one");
    }
}

#[test]
fn so_it_is_on_a_connection_that_was_opened_since() {
    let server = Server::mute();
    let (pool, armed) = patient(&server, 3 * HOPELESS);
    // Its hook takes its time, which the pool has learnt by now.
    Lease::discard(pool.get().unwrap());
    // Nobody has used this one, and then somebody has.
    drop(pool.get_timeout(HOPELESS).unwrap());
    armed.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let kind = pool.get_timeout(50 * MS).map(drop).unwrap_err().kind();
    assert!(begun.elapsed() < HOPELESS, "not by the pool's wait_timeout");
    assert_eq!(kind, GetErrorKind::TimedOut);
}

#[test]
fn a_hook_of_a_caller_who_does_not_wait_is_cut_at_the_pools_wait_timeout() {
    let server = Server::mute();
    let (pool, armed) = patient(&server, 50 * MS);
    drop(pool.get_timeout(HOPELESS).unwrap());
    armed.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    assert_eq!(pool.try_get().map(drop).unwrap_err().kind(), GetErrorKind::Busy);
    assert!(begun.elapsed() < HOPELESS);
    eventually("counted", || pool.stats().hooks_overran == 1);
}
