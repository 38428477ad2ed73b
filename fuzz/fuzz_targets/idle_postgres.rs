//! What a PostgreSQL server sends to an idle client, judged before that is lent. `cargo +nightly fuzz run idle_postgres`;
//! `cargo test -p client-tests` runs the kept corpus.
#![no_main]
#[path = "../../tests/twins/idle.rs"]
mod idle;
#[path = "../../tests/twins/idle_postgres.rs"]
mod idle_postgres;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| idle_postgres::idle_postgres(bytes));
