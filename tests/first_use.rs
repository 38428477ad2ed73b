//! A connection that is discarded before anybody has used it is no success: its dial has failed, for the pace, the outage, the counts and
//! the cause that callers are told.

mod support;

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Dial, Event, GetErrorKind, Manager, Opening, Pool, TcpManager, Verdict, Watch};
use support::{
    Fake, FakeError, HOPELESS, Heard, Hooked, ON_PURPOSE, comes_to_rest, error_with_a_cause, eventually, hush,
};

const MS: Duration = Duration::from_millis(1);

/// So long that it does not come within a test.
const LATE: Duration = Duration::from_secs(1_000);

/// The pace: after the first few, no dial within 50 ms of the one before.
fn paced(lasted: Duration) -> usize {
    8 + lasted.as_millis() as usize / 50
}

/// Discards all that it is shown.
fn choosy(hook: impl Fn() -> Verdict + Send + Sync + 'static) -> Hooked<Fake> {
    Hooked::new(Fake::default()).on_checkout(move |_| Ok(hook()))
}

/// Callers get no connection, are told this cause, and make few dials, each of which has failed or is yet to be shown to a caller.
#[track_caller]
fn is_no_success(manager: Hooked<Fake>, kinds: &[GetErrorKind], cause: &str) {
    let builder = Pool::builder(manager).max_size(4).min_idle(0).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(LATE).build().unwrap();
    let begun = Instant::now();
    // One caller who waits, and many who do not wait long.
    let told = error_with_a_cause(&pool, 400 * MS);
    assert!(kinds.contains(&told.kind()), "{told:?}");
    assert_eq!(told.cause().map(|cause| cause.to_string()).as_deref(), Some(cause), "{told:?}");
    thread::scope(|scope| {
        (0..4).for_each(|_| {
            scope.spawn(|| {
                while begun.elapsed() < 800 * MS {
                    let error = pool.get_timeout(5 * MS).map(drop).unwrap_err();
                    assert!(kinds.contains(&error.kind()), "{error:?}");
                    thread::yield_now();
                }
            });
        });
    });
    let (stats, most) = (pool.stats(), paced(begun.elapsed()));
    assert!(stats.dials as usize <= most, "no more than {most} dials should be\n{stats}");
    assert!(stats.dials_failed > 0 && stats.dials_failed <= stats.dials, "\n{stats}");
    eventually("what is left are those that nobody was shown", || {
        let stats = pool.stats();
        stats.dials == stats.dials_failed + stats.open as u64 + stats.opening as u64
    });
    assert_eq!(pool.stats().leases, 0);
}

const WAITERS: [GetErrorKind; 1] = [GetErrorKind::TimedOut];

#[test]
fn one_that_is_discarded_without_a_reason() {
    let cause = "the manager's on_checkout discards what it has just opened";
    is_no_success(choosy(|| Verdict::Discard), &WAITERS, cause);
}

#[test]
fn one_that_is_discarded_for_a_reason_which_callers_are_told() {
    is_no_success(choosy(|| Verdict::discard("a read-only replica")), &WAITERS, "a read-only replica");
}

#[test]
fn one_that_is_discarded_and_refuses_this_caller_with_the_reason() {
    let kinds = [GetErrorKind::Refused, GetErrorKind::TimedOut];
    is_no_success(choosy(|| Verdict::refuse("an expired token")), &kinds, "an expired token");
}

#[test]
fn one_at_which_the_hook_panics() {
    hush();
    let manager = choosy(|| panic!("{ON_PURPOSE}: a check"));
    is_no_success(manager, &WAITERS, "the manager's hook panicked");
}

#[test]
fn an_endpoint_of_such_connections_is_down_and_callers_are_told_at_once() {
    let pool = Pool::builder(choosy(|| Verdict::discard("a read-only replica"))).max_size(4).opening(Opening::Lazy);
    let pool = pool.fail_fast_after(100 * MS).build().unwrap();
    let error = pool.get_timeout(HOPELESS).map(drop).unwrap_err();
    assert_eq!(error.kind(), GetErrorKind::Down);
    assert_eq!(error.cause().unwrap().to_string(), "a read-only replica");
}

#[test]
fn refuse_closes_the_connection_and_tells_this_caller_alone() {
    let armed = Arc::new(AtomicBool::new(true));
    let arms = Arc::clone(&armed);
    let heard = Heard::default();
    let manager = choosy(move || match arms.swap(false, Ordering::SeqCst) {
        true => Verdict::refuse("an expired token"),
        false => Verdict::Keep,
    });
    let pool = Pool::builder(manager).max_size(1).observer(heard.clone()).build().unwrap();
    let error = pool.get().map(drop).unwrap_err();
    assert_eq!(
        (error.kind(), error.cause().unwrap().to_string().as_str()),
        (GetErrorKind::Refused, "an expired token")
    );
    assert_eq!(pool.stats().closed(CloseReason::Discarded), 1);
    eventually("the observer is told why", || {
        heard.count(|event| {
            matches!(event, Event::Discarded { why: CloseReason::Discarded, cause: Some(cause) } if cause.to_string() == "an expired token")
        }) == 1
    });
    // The next is served by another.
    assert_eq!(pool.get_timeout(HOPELESS).unwrap().0, 2);
}

#[test]
fn one_that_was_used_and_is_discarded_later_is_replaced_at_once_and_no_failure() {
    let uses = AtomicUsize::new(0);
    // Every second look finds it worn out.
    let manager = choosy(move || match uses.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => Verdict::Keep,
        _ => Verdict::discard("worn out"),
    });
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    (0..100).for_each(|_| drop(pool.get_timeout(HOPELESS).unwrap()));
    comes_to_rest(&pool);
    let stats = pool.stats();
    assert_eq!((stats.dials_failed, stats.closed(CloseReason::Discarded)), (0, 99), "\n{stats}");
}

// ---- pings ------------------------------------------------------------------------------------------------------------------

#[test]
fn one_whose_first_ping_fails() {
    let heard = Heard::default();
    let manager = Hooked::new(Fake::default()).ping(|_| Err(FakeError("no sign of life")));
    let builder = Pool::builder(manager).max_size(4).min_idle(2).opening(Opening::Background);
    let builder = builder.ping_interval(Some(10 * MS)).fail_fast_after(LATE).observer(heard.clone());
    let (begun, pool) = (Instant::now(), builder.build().unwrap());
    eventually("many have failed", || pool.stats().dials_failed >= 6);
    let (stats, most) = (pool.stats(), 2 * paced(begun.elapsed()));
    assert!(stats.dials as usize <= most, "no more than {most} dials should be\n{stats}");
    let said = |event: &Event| match event {
        Event::DialFailed { cause } => cause.to_string() == "no sign of life",
        _ => false,
    };
    eventually("the observer is told of the failed dials", || heard.count(said) >= 6);
}

#[test]
fn a_failed_pings_error_reaches_the_observer() {
    let heard = Heard::default();
    let sick = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&sick);
    let manager = Hooked::new(Fake::default()).ping(move |_| match asks.load(Ordering::SeqCst) {
        true => Err(FakeError("no sign of life")),
        false => Ok(()),
    });
    let builder = Pool::builder(manager).max_size(1).ping_interval(Some(10 * MS)).observer(heard.clone());
    let pool = builder.build().unwrap();
    // Also of one that was used.
    drop(pool.get().unwrap());
    sick.store(true, Ordering::SeqCst);
    eventually("told", || {
        heard.count(|event| {
            matches!(event, Event::Discarded { why: CloseReason::PingFailed, cause: Some(cause) } if cause.to_string() == "no sign of life")
        }) > 0
    });
}

// ---- a peer that speaks first -----------------------------------------------------------------------------------------------

/// A server that says six bytes as soon as it is connected to. Returns its address, and how often it was.
fn talkative() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&accepted);
    thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            counts.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(b"hello\n");
            open.push(stream);
        }
    });
    (address, accepted)
}

/// Waits until the peer has spoken, and does not read it.
struct Deaf(String);

impl Manager for Deaf {
    type Connection = TcpStream;
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.0)?;
        stream.peek(&mut [0])?;
        Ok(stream)
    }

    fn watch(&self, stream: &TcpStream, on: &mut Watch<'_>) {
        on.socket(stream);
    }

    fn probe_after(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn one_whose_peer_sends_before_it_is_asked() {
    let (address, accepted) = talkative();
    let builder = Pool::builder(Deaf(address)).max_size(4).min_idle(0).opening(Opening::Lazy);
    let pool = builder.fail_fast_after(LATE).build().unwrap();
    let begun = Instant::now();
    for _ in 0..20 {
        let error = pool.get_timeout(30 * MS).map(drop).unwrap_err();
        assert_eq!(error.kind(), GetErrorKind::TimedOut);
    }
    let error = error_with_a_cause(&pool, 200 * MS);
    assert_eq!(error.cause().unwrap().to_string(), "the peer sends before it is asked: read its greeting in `connect`");
    let (dials, most) = (accepted.load(Ordering::SeqCst), paced(begun.elapsed()));
    assert!(dials <= most, "{dials} dials, and no more than {most} should be");
    assert!(pool.stats().dials_failed > 0 && pool.stats().closed(CloseReason::IdleData) > 0, "{}", pool.stats());
}

#[test]
fn six_bytes_after_accept_make_few_dials_for_twenty_uses() {
    let (address, accepted) = talkative();
    let builder = Pool::builder(TcpManager::new(address)).max_size(4).min_idle(1).opening(Opening::Background);
    let pool = builder.fail_fast_after(LATE).build().unwrap();
    let begun = Instant::now();
    for _ in 0..20 {
        // One that is quicker than the bytes has a use.
        let _ = pool.get_timeout(30 * MS);
    }
    let (dials, most) = (accepted.load(Ordering::SeqCst), 2 * 20 + paced(begun.elapsed()));
    assert!(dials <= most, "{dials} dials for 20 uses, and no more than {most} should be");
}
