//! The kept corpora of the fuzz targets that need a client or a TLS provider: each file once.

#[path = "../../twins/idle.rs"]
mod idle;
#[path = "../../twins/idle_postgres.rs"]
mod idle_postgres;
#[path = "../../twins/idle_tls.rs"]
mod idle_tls;

use std::fs;

use client_tests::identity;

/// The files of one target, of which there are so many at least.
fn kept(target: &str, least: usize) -> Vec<Vec<u8>> {
    let folder = format!("{}/../corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(files.len() >= least, "{} files are kept in {folder}", files.len());
    files
}

#[test]
fn an_idle_tls_stream_is_lent_only_after_what_is_its_sessions_own() {
    kept("idle_tls", 16).iter().for_each(|bytes| idle_tls::idle_tls(bytes));
}

#[test]
fn an_idle_postgres_client_is_lent_only_after_what_may_come_unasked() {
    kept("idle_postgres", 16).iter().for_each(|bytes| idle_postgres::idle_postgres(bytes));
}
