//! What waits on an idle connection to Redis, judged before it is lent. `cargo +nightly fuzz run peek`; `cargo test` runs the kept corpus.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corepool::clients::peek(bytes));
