//! The models of corepool's lock-free bag, of the line of a mux, and of the policy: the whole engine, and the map of pools.
//!
//! The files under test are the real ones, compiled here against loom: what the bag and the line take from elsewhere than `sync.rs`, from
//! the network or from a clock, does not compile here. Beneath the engine stand a clock, threads and a reactor of the models' own (`os`,
//! `watch`, `swap`, `once`), and around a map a pool and a builder (`pool`, `lease`, `builder`). Each theme is one file, each race one
//! test, named for it and with a sentence on what would break. The edges (E1…E9) are those of the table in `src/lockfree/README.md`;
//! `mutations/` takes each one out, and shows which model fails.

#[allow(dead_code, unreachable_pub, reason = "as below")]
mod builder;
#[path = "../../src/engine/mod.rs"]
#[allow(dead_code, unused_imports, missing_debug_implementations, reason = "as below")]
mod engine;
#[path = "../../src/mux/line/mod.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod line;
#[path = "../../src/lockfree/mod.rs"]
#[allow(dead_code, reason = "no model needs all that the crate needs")]
#[allow(clippy::modulo_one, reason = "a line has one word here")]
mod lockfree;
/// Files with files of their own, which are beside them in the crate.
#[path = "../../src"]
mod house {
    #[allow(dead_code, unreachable_pub, reason = "as above")]
    pub(crate) mod error;
    #[allow(dead_code, unreachable_pub, missing_debug_implementations, reason = "as above")]
    pub(crate) mod map;
}
use house::error;
#[allow(dead_code, reason = "as above")]
mod lease;
#[path = "../../src/manager.rs"]
#[allow(dead_code, unreachable_pub, reason = "as above")]
mod manager;
#[path = "../../src/observe.rs"]
#[allow(dead_code, unreachable_pub, reason = "as above")]
mod observe;
#[allow(dead_code, reason = "as above")]
mod once;
#[allow(dead_code, reason = "as above")]
mod os;
#[allow(dead_code, reason = "as above")]
mod pool;
#[path = "../../src/settings.rs"]
#[allow(dead_code, unreachable_pub, reason = "as above")]
mod settings;
#[path = "../../src/stats.rs"]
#[allow(dead_code, unreachable_pub, reason = "as above")]
mod stats;
#[allow(dead_code, reason = "as above")]
mod swap;
#[path = "../../src/sync.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod sync;
#[allow(dead_code, unreachable_pub, missing_debug_implementations, reason = "as above")]
mod watch;

#[cfg(test)]
mod explore;
#[cfg(test)]
mod rig;

#[cfg(test)]
mod alarm;
#[cfg(test)]
mod close;
#[cfg(test)]
mod composition;
#[cfg(test)]
mod cut;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod mux_calls;
#[cfg(test)]
mod mux_ends;
#[cfg(test)]
mod mux_rig;
#[cfg(test)]
mod notes;
#[cfg(test)]
mod on_its_way;
#[cfg(test)]
mod pause;
#[cfg(test)]
mod permits;
#[cfg(test)]
mod pool_closes;
#[cfg(test)]
mod pool_dials;
#[cfg(test)]
mod pool_map;
#[cfg(test)]
mod pool_rig;
#[cfg(test)]
mod pool_upkeep;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod waiting;
