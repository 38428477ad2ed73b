//! Where the frames of Redis's protocol end, in any cuts, beside the client's parser. `cargo +nightly fuzz run resp`; `cargo test` runs
//! the kept corpus.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corepool::clients::resp(bytes));
