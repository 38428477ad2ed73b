//! What an HTTP/1 peer answers, in any cuts, against the same in one piece. `cargo +nightly fuzz run http1`; `cargo test` runs the kept
//! corpus.
#![no_main]
#[path = "../../tests/twins/http1.rs"]
mod http1;
#[allow(dead_code)]
#[path = "../../examples/http1/response.rs"]
mod response;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| http1::http1(bytes));
