//! A storm: sixteen callers, while connections are hung up on, reset and retired, and callers go before their time. Every call ends once,
//! and no reply reaches another caller: each carries a token that its reply must echo.
//!
//! `COREPOOL_STORM_SECS` overrides its length: 5 s by default.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corepool::mux::{CallErrorKind, Mux};
use corepool::{Pool, TcpManager};
use support::{HOPELESS, Lines, Server, Watchdog, eventually, storm_length};

const CALLERS: usize = 16;

#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    timed_out: AtomicU64,
    disconnected: AtomicU64,
    elsewise: AtomicU64,
}

fn step(mux: &Mux<TcpManager, Lines>, tally: &Tally, caller: usize, turn: u64) {
    let token = format!("{caller} {turn} {}", "x".repeat(fastrand::usize(0..3_000) / fastrand::usize(1..300)));
    let limit = if fastrand::u32(0..4) == 0 { Duration::from_micros(fastrand::u64(1..2_000)) } else { HOPELESS };
    let results = if fastrand::u32(0..8) == 0 {
        mux.pipeline_timeout(limit, [token.as_str(), token.as_str(), token.as_str()])
    } else {
        vec![mux.call_timeout(limit, &token)]
    };
    for result in results {
        let counter = match &result {
            Ok(reply) => {
                assert_eq!(*reply, token, "the reply to another call");
                &tally.answered
            }
            Err(error) => match error.kind() {
                CallErrorKind::TimedOut => &tally.timed_out,
                CallErrorKind::Disconnected => {
                    assert!(error.was_sent() && error.cause().is_some(), "{error:?}");
                    &tally.disconnected
                }
                _ => &tally.elsewise,
            },
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn after_a_storm_every_call_has_ended_and_no_reply_has_gone_astray() {
    let server = Server::echo();
    let builder = Pool::builder(TcpManager::new(server.address())).shards(2).fail_fast_after(HOPELESS);
    let mux = Mux::builder(builder, Lines::default()).call_timeout(HOPELESS).build().unwrap();
    let (over, tally, end) = (AtomicBool::new(false), Tally::default(), Instant::now() + storm_length());
    let seen = mux.clone();
    let watchdog = Watchdog::new(CALLERS, move || format!("{:?} {:?}", seen.stats().lines, seen.stats().pool));
    let mut kills = 0_u64;
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (mux, tally, over, watchdog) = (&mux, &tally, &over, &watchdog);
            scope.spawn(move || {
                let mut turn = 0;
                while !over.load(Ordering::SeqCst) {
                    step(mux, tally, caller, turn);
                    watchdog.alive(caller);
                    turn += 1;
                }
            });
        }
        while Instant::now() < end {
            match fastrand::u32(0..8) {
                0..3 => server.close_any(),
                3..5 => server.reset_any(),
                5 => mux.retire(),
                _ => server.close_all(),
            }
            kills += 1;
            thread::sleep(Duration::from_micros(fastrand::u64(100..3_000)));
        }
        over.store(true, Ordering::SeqCst);
    });
    drop(watchdog);
    let [answered, timed_out, disconnected, elsewise] =
        [&tally.answered, &tally.timed_out, &tally.disconnected, &tally.elsewise].map(|it| it.load(Ordering::SeqCst));
    println!("{kills} kills: {answered} answered, {timed_out} timed out, {disconnected} disconnected, {elsewise} else");
    assert!(answered > 100 && disconnected > 10, "{answered} {disconnected}");
    assert_eq!(elsewise, 0);
    eventually("it works on", || mux.call("hello").is_ok());
    mux.at_rest().unwrap();
    let report = mux.drain(HOPELESS);
    assert!(report.is_complete(), "{report:?}");
}
