//! The models of corepool's lock-free bag, and of the line of a mux.
//!
//! The files under test are the real ones, compiled here against loom: what they take from elsewhere than `sync.rs`, from the
//! network or from a clock, does not compile here. Each theme is one file, each race one test, named for it and with a sentence on
//! what would break. The edges (E1…E9) are those of the table in `src/lockfree/README.md`; `mutations/` takes each one out, and shows
//! which model fails.

#[path = "../../src/mux/line/mod.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod line;
#[path = "../../src/lockfree/mod.rs"]
#[allow(dead_code, reason = "no model needs all that the crate needs")]
#[allow(clippy::modulo_one, reason = "a line has one word here")]
mod lockfree;
#[path = "../../src/sync.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod sync;

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
mod refusal;
#[cfg(test)]
mod waiting;
