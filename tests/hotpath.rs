//! The hot path keeps its budget: instructions of one `with` around an empty closure, counted by valgrind, so that a regression shows without a
//! timer. Needs a release build and valgrind; without them it says so and passes, and the gate provides both.

use std::io;
use std::process::Command;

use corepool::{Dial, GetError, Manager, Opening, Pool};

/// Instructions of a checkout and its return. Measured: 249 under valgrind, which has no restartable sequences, so that each of the two
/// questions for the current core is a call of some 35 instructions more than it is elsewhere. The slack is for other compilers.
const BUDGET: u64 = 320;

const LOOPS: &str = "COREPOOL_HOTPATH_LOOPS";

struct Nothing;

impl Manager for Nothing {
    type Connection = ();
    type Error = io::Error;

    fn connect(&self, _: &Dial<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// What runs under valgrind; without its variable, nothing.
#[test]
fn loops() {
    let Ok(loops) = std::env::var(LOOPS) else { return };
    let pool =
        Pool::builder(Nothing).max_size(4).opening(Opening::Wait(std::time::Duration::from_secs(60))).build().unwrap();
    for _ in 0..loops.parse::<u64>().unwrap() {
        pool.with(|_| Ok::<_, GetError>(())).unwrap();
    }
}

/// All instructions of this many loops and what surrounds them.
fn instructions(loops: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "loops"])
        .env(LOOPS, loops.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let counted = text.lines().find_map(|line| line.split("Collected :").nth(1));
    counted.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("no count in {text}"))
}

#[test]
fn a_checkout_and_its_return_stay_within_their_instructions() {
    if cfg!(debug_assertions) {
        println!("skipped: needs --release");
        return;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        assert!(std::env::var_os("COREPOOL_REQUIRE_SERVERS").is_none(), "valgrind is not installed");
        println!("skipped: needs valgrind");
        return;
    }
    const MANY: u64 = 100_000;
    let each = (instructions(2 * MANY) - instructions(MANY)) / MANY;
    println!("{each} instructions for a checkout and its return");
    assert!((50..=BUDGET).contains(&each), "{each} instructions, budget {BUDGET}");
}
