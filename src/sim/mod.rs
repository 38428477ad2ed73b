//! A simulator: the whole engine over a scripted clock, scripted threads and a scripted endpoint.
//!
//! One seed is one world: a pool with settings of its own, callers, an endpoint with its moods (up, slow, refusing, a black hole, denying,
//! flapping), connections that die, farewells and pings that hang, and an owner who retires, pauses, reconfigures and replaces. The
//! threads of the engine take [turns](crate::sync::turns); so an hour is over in the time that what happens in it takes, and comes out the
//! same each time. At every step the books are looked at ([`world`]), and at the end all must have come to rest.
//!
//! What is simulated is what is above the descriptors: nothing is watched, a hang-up is told to the pool as the reactor would. What is
//! between two doors runs in one piece, so that interleavings of single loads and stores are the models' business.
#![forbid(unsafe_code)]

mod callers;
mod owner;
#[cfg(test)]
mod times;
mod world;

use crate::os::thread;
use crate::sync::turns::{Choices, simulate};

/// What came of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Callers' uses.
    pub leases: u64,
    /// Dials begun.
    pub dials: u64,
    /// Events played: moods, hang-ups, changes.
    pub events: u64,
    /// A digest of all that was chosen.
    pub trace: u64,
}

/// One world, for so many seconds of its time. Ends the process, with the seed, if anything is off.
pub fn run(seed: u64, seconds: u64) -> Report {
    live(&format!("seed {seed}, {seconds} s"), Choices::seeded(seed), seconds)
}

/// The body of the fuzz target of this name: a world whose choices are these bytes, as long as there are any.
pub fn pool_ops(bytes: &[u8]) {
    live(&format!("bytes {bytes:?}"), Choices::of_bytes(bytes), 5);
}

fn live(name: &str, mut choices: Choices, seconds: u64) -> Report {
    // A clock of 64 bits has no edge that a process reaches; but what is saturated there must not wrap.
    let begin = [0, 1 << 32, 1 << 62, u64::MAX - (seconds + 3_600) * 2_000_000_000][choices.first(4)];
    // Its lock is a door: passed once in the life of a thread, not once in a simulation.
    thread::number();
    let (report, trace) = simulate(name, begin, choices, || owner::own(seconds));
    Report { trace, ..report }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::kept;

    fn from_environment(name: &str, usual: u64) -> u64 {
        std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}")))
    }

    /// `COREPOOL_SIM_SEEDS` says how many seeds, `COREPOOL_SIM_SECONDS` how long each lives, `COREPOOL_SIM_SEED` which is the first.
    #[test]
    fn the_books_balance_in_every_world() {
        let (seeds, seconds) =
            (from_environment("COREPOOL_SIM_SEEDS", 60), from_environment("COREPOOL_SIM_SECONDS", 60));
        let first = from_environment("COREPOOL_SIM_SEED", 1);
        let begun = std::time::Instant::now();
        let all = (first..first + seeds).map(|seed| run(seed, seconds));
        let sum = all.fold([0; 3], |sum, Report { leases, dials, events, .. }| {
            [sum[0] + leases, sum[1] + dials, sum[2] + events]
        });
        let [leases, dials, events] = sum;
        println!(
            "{seeds} worlds of {seconds} s in {:?}: {leases} leases, {dials} dials, {events} events",
            begun.elapsed()
        );
        assert!(leases > seeds && dials > seeds && events > seeds, "hardly anything happens");
    }

    #[test]
    fn a_seed_comes_out_the_same_each_time() {
        for seed in [3, 17] {
            assert_eq!(run(seed, 20), run(seed, 20));
        }
        assert_ne!(run(3, 20), run(4, 20));
    }

    #[test]
    fn the_kept_corpus_of_worlds_balances() {
        kept("pool_ops", 16).iter().for_each(|bytes| pool_ops(bytes));
    }
}
