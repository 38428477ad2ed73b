//! The lock-free bag against its twin, on one thread. `cargo +nightly fuzz run bag_ops`; `cargo test` runs the kept corpus.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corepool::twin::bag_ops(bytes));
