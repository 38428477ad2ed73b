//! What a line of a mux reads, in any cuts, against the same in one piece. `cargo +nightly fuzz run mux_replies`; `cargo test` runs the
//! kept corpus.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corepool::mux_replies(bytes));
