//! Callers whose time is up before their replies come, again and again, beside others who stay: these get their own replies, and nothing is
//! left of those who went. In a process of its own, whose memory is looked at.
//!
//! `COREPOOL_MUX_TIMEOUTS` overrides how many go: 1,000 by default, 10,000 in `.ci/long`.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use corepool::mux::{CallErrorKind, Mux};
use corepool::{Pool, TcpManager};
use support::{HOPELESS, Lines, Server, from_environment};

fn token(numbers: &AtomicU64) -> String {
    let number = numbers.fetch_add(1, Ordering::SeqCst);
    format!("{number} {}", "x".repeat(fastrand::usize(0..2_000) / fastrand::usize(1..200)))
}

/// What the process has in memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn one_who_goes_again_and_again_takes_nobodys_reply_and_no_memory() {
    let server = Server::echo();
    let timeouts = from_environment("COREPOOL_MUX_TIMEOUTS", 1_000);
    let builder = Pool::builder(TcpManager::new(server.address())).shards(1).fail_fast_after(HOPELESS);
    let mux = Mux::builder(builder, Lines::default()).call_timeout(HOPELESS).build().unwrap();
    let (over, numbers) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut memory = Vec::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let token = token(&numbers);
                    assert_eq!(mux.call(&token).unwrap(), token, "the reply to another call");
                }
            });
        }
        let (mut gone, mut turn) = (0, 0);
        while gone < timeouts {
            let token = token(&numbers);
            turn += 1;
            // From none at all to about as long as the reply takes.
            match mux.call_timeout(Duration::from_micros(turn % 50), &token) {
                Ok(reply) => assert_eq!(reply, token, "the reply to another call"),
                Err(error) => {
                    assert_eq!(error.kind(), CallErrorKind::TimedOut, "{error:?}");
                    gone += u64::from(error.was_sent());
                    if gone > memory.len() as u64 * timeouts / 10 {
                        memory.push(resident());
                    }
                }
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    mux.at_rest().unwrap();
    assert!(mux.call("last").is_ok());
    let total = mux.stats().total();
    assert_eq!((total.in_flight, total.failed), (0, 0), "{total:?}");
    let (first, last) = (memory[0], *memory.last().unwrap());
    println!("{timeouts} gone of {} calls, {} abandoned; resident KiB: {memory:?}", total.calls, total.abandoned);
    assert!(last < first + 4_096, "from {first} to {last} KiB");
}
