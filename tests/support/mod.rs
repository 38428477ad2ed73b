//! What the tests share: waiting for a condition, a server to connect to, managers that count, fail, hang and panic.
//!
//! Nothing here sleeps as a synchronisation: a test waits for a condition, and a limit says when that has become hopeless.
#![allow(dead_code, unused_imports, reason = "each test takes only a part of it")]

mod canary;
mod census;
mod fake;
mod gate;
mod heard;
mod hooked;
mod lines;
mod server;
mod traced;
mod watchdog;

use std::any::Any;
use std::io::{self, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use canary::Canary;
pub(crate) use census::{Census, Counted, Counting};
pub(crate) use fake::{Fake, FakeError, Script, Thing};
pub(crate) use gate::{Gate, Gated, gated};
pub(crate) use heard::Heard;
pub(crate) use hooked::Hooked;
pub(crate) use lines::{Lines, Peer, Stage, each_gets_its_own};
pub(crate) use server::{Server, local_port};
pub(crate) use traced::{calls_a_trip, may_trace};
pub(crate) use watchdog::{Watchdog, from_environment, storm_length};

use corepool::{GetError, Manager, Pool};

/// How long a condition may take before a test gives it up. Decides nothing while all is well.
pub(crate) const HOPELESS: Duration = Duration::from_secs(30);

/// Waits until `condition` holds; fails the test if it never does.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(200);
    while !condition() {
        assert!(begun.elapsed() < HOPELESS, "{what}: not after {HOPELESS:?}");
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// Waits until the pool is quiet and its core's invariant holds: nothing dialing, nothing leased, nothing half done.
#[track_caller]
pub(crate) fn comes_to_rest<M: Manager>(pool: &Pool<M>) {
    let mut last = Ok(());
    let begun = Instant::now();
    while begun.elapsed() < HOPELESS {
        last = pool.at_rest();
        if last.is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("not at rest after {HOPELESS:?}: {last:?}\n{}", pool.stats());
}

/// The error of a caller that finds no connection once a dial has failed.
#[track_caller]
pub(crate) fn error_with_a_cause<M: Manager>(pool: &Pool<M>, limit: Duration) -> GetError {
    let begun = Instant::now();
    loop {
        let error = pool.get_timeout(limit).map(drop).unwrap_err();
        if error.cause().is_some() {
            return error;
        }
        assert!(begun.elapsed() < HOPELESS, "no dial has failed after {HOPELESS:?}: {error}");
    }
}

/// Says `request` and hears the same back.
pub(crate) fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> io::Result<()> {
    stream.write_all(request)?;
    let mut reply = vec![0; request.len()];
    stream.read_exact(&mut reply)?;
    if reply == request { Ok(()) } else { Err(io::Error::other("the answer to somebody else's question")) }
}

/// What panics on purpose say, so that [`panics`] and the threads of the pool keep them off the screen.
pub(crate) const ON_PURPOSE: &str = "on purpose";

/// Runs `f`, which must panic.
#[track_caller]
pub(crate) fn panics<R>(f: impl FnOnce() -> R) {
    hush();
    let caught = panic::catch_unwind(AssertUnwindSafe(f));
    let payload = caught.err().expect("it should have panicked");
    assert!(is_on_purpose(&*payload), "another panic: {:?}", message(&*payload));
}

pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}

pub(crate) fn is_on_purpose(payload: &(dyn Any + Send)) -> bool {
    message(payload).contains(ON_PURPOSE)
}

/// Keeps panics on purpose off the screen.
pub(crate) fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let payload: &(dyn Any + Send) = info.payload();
            if !is_on_purpose(payload) {
                usual(info);
            }
        }));
    });
}

/// Pins this thread to the `n`-th core that the process may use, modulo their number. False where a sandbox forbids it.
pub(crate) fn pin(n: usize) -> bool {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    !cores.is_empty() && core_affinity::set_for_current(cores[n % cores.len()])
}

/// Allows as many descriptors as the hard limit does. Says how many that are.
pub(crate) fn raise_descriptor_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused by a sandbox: then the soft limit stays.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |current| current as usize)
}

/// The whole chain of an error, as a reporter prints it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}
