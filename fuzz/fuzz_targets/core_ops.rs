//! The concurrent core against its twin, on one thread. `cargo +nightly fuzz run core_ops`; `cargo test` runs the kept corpus.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corepool::twin::core_ops(bytes));
