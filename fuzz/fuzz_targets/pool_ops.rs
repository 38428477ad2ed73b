//! A pool in a simulated world, whose events and turns are these bytes. `cargo +nightly fuzz run pool_ops`; `cargo test` runs the kept
//! corpus.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corepool::sim::pool_ops(bytes));
