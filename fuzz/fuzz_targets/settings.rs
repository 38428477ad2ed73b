//! Any combination of settings. `cargo +nightly fuzz run settings`; `cargo test` runs the kept corpus.
#![no_main]
#[path = "../../tests/twins/settings.rs"]
mod settings;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| settings::settings(bytes));
