//! The hot path keeps its budget: instructions of a checkout and its return in each of its forms, counted by valgrind, so that a regression
//! shows without a timer. Needs a release build and valgrind; without them it says so and passes, and the gate provides both.
//!
//! Each form is called from three places, each a function of its own, as in a server: with one place only, the compiler would put into it
//! what is a call elsewhere.

use std::hint::black_box;
use std::io;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use corepool::{Dial, GetError, Manager, Opening, Pool, TcpManager};

/// The forms, and how many instructions each may take. On rustc 1.95 they take 158, 205, 205, 241 and 522; the slack of 15 % is for other
/// compilers.
///
/// Valgrind has no restartable sequences, so that the question for the current core is a call of some 35 instructions more than it is
/// elsewhere. `recv` is one instruction to valgrind, which does not see the kernel.
const FORMS: [(&str, u64); 5] =
    [("with", 175), ("get", 230), ("try_get", 230), ("get_owned", 275), ("probed with", 590)];

const FORM: &str = "COREPOOL_HOTPATH_FORM";
const LOOPS: &str = "COREPOOL_HOTPATH_LOOPS";

struct Nothing;

impl Manager for Nothing {
    type Connection = u64;
    type Error = io::Error;

    fn connect(&self, _: &Dial<'_>) -> io::Result<u64> {
        Ok(0)
    }
}

/// Three functions that do the same, and so are kept apart by what they touch.
macro_rules! sites {
    ($name:ident, $pool:ident: $manager:ty, $use:expr) => {
        fn $name($pool: &Pool<$manager>, turns: u64) {
            #[inline(never)]
            fn first($pool: &Pool<$manager>) {
                $use;
            }
            #[inline(never)]
            fn second($pool: &Pool<$manager>) {
                $use;
                black_box(2_u8);
            }
            #[inline(never)]
            fn third($pool: &Pool<$manager>) {
                $use;
                black_box(3_u8);
            }
            for _ in 0..turns {
                first($pool);
                second($pool);
                third($pool);
            }
        }
    };
}

sites!(with, pool: Nothing, pool.with(|_| Ok::<_, GetError>(())).unwrap());
sites!(get, pool: Nothing, drop(pool.get().unwrap()));
sites!(try_get, pool: Nothing, drop(pool.try_get().unwrap()));
sites!(get_owned, pool: Nothing, drop(pool.get_owned().unwrap()));
sites!(probed_with, pool: TcpManager, pool.with(|_| Ok::<_, GetError>(())).unwrap());

/// What runs under valgrind; without its variables, nothing.
#[test]
fn loops() {
    let Ok(form) = std::env::var(FORM) else { return };
    let turns = std::env::var(LOOPS).unwrap().parse::<u64>().unwrap() / 3;
    let opening = Opening::Wait(Duration::from_secs(60));
    if form == "probed with" {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let manager = TcpManager::new(listener.local_addr().unwrap().to_string());
        let pool = Pool::builder(manager).max_size(1).opening(opening).build().unwrap();
        return probed_with(&pool, turns);
    }
    let pool = Pool::builder(Nothing).max_size(4).opening(opening).build().unwrap();
    match form.as_str() {
        "with" => with(&pool, turns),
        "get" => get(&pool, turns),
        "try_get" => try_get(&pool, turns),
        "get_owned" => get_owned(&pool, turns),
        unknown => panic!("no form {unknown}"),
    }
}

/// All instructions of this many loops and what surrounds them.
fn instructions(form: &str, loops: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "loops"])
        .env(FORM, form)
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
    const MANY: u64 = 60_000;
    let counts = FORMS.map(|(form, budget)| {
        let each = (instructions(form, 2 * MANY) - instructions(form, MANY)) / MANY;
        println!("{each} instructions for a {form} and its return, budget {budget}");
        (form, each, budget)
    });
    let beyond: Vec<_> = counts.into_iter().filter(|(_, each, budget)| !(50..=*budget).contains(each)).collect();
    assert!(beyond.is_empty(), "form, instructions, budget: {beyond:?}");
}
