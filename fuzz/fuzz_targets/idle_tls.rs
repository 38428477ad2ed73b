//! What a TLS peer sends to an idle stream, judged before that is lent. `cargo +nightly fuzz run idle_tls`; `cargo test -p client-tests`
//! runs the kept corpus.
#![no_main]
#[allow(dead_code)]
#[path = "../../tests/clients/src/identity.rs"]
mod identity;
#[path = "../../tests/twins/idle.rs"]
mod idle;
#[path = "../../tests/twins/idle_tls.rs"]
mod idle_tls;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| idle_tls::idle_tls(bytes));
