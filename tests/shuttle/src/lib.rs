//! Storms on corepool's lock-free bag, and on the line of a mux, under random schedules: six threads, three shards, four connections.
//!
//! Loom visits every interleaving of two or three threads; this visits some of very many, of more threads, and longer ones. The files under
//! test are the real ones, compiled here against shuttle, as `loom-tests` compiles them against loom; the rigs are those of the models.
//! Shuttle is sequentially consistent: which ordering an operation needs is the models' business.
//!
//! `COREPOOL_SHUTTLE` says how many schedules each storm runs, half of them random, half by PCT (few preemptions, at random places): 300 by
//! default. A schedule that fails is printed; `COREPOOL_SHUTTLE_REPLAY` runs the one of this text again.

extern crate loom as shuttle;

#[path = "../../../src/mux/line/mod.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod line;
#[path = "../../../src/lockfree/mod.rs"]
#[allow(dead_code, unused_imports, reason = "no storm needs all that the crate needs")]
mod lockfree;
#[path = "../../../src/sync.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod sync;

#[cfg(test)]
mod explore;
#[cfg(test)]
#[path = "../../../loom-tests/src/mux_rig.rs"]
#[allow(dead_code, reason = "the models need more of it")]
mod mux_rig;
#[cfg(test)]
#[path = "../../../loom-tests/src/rig.rs"]
#[allow(dead_code, unused_imports, reason = "the models need more of it")]
mod rig;

#[cfg(test)]
mod storm;
