//! The gateway in front of each kind of server, and of what stands in front of some.

mod support;

use client_tests::cluster::Cluster;
use client_tests::identity::Identity;
use client_tests::relays::{Haproxy, Pgbouncer};
use client_tests::server::Scratch;
use client_tests::servers::{MariaDb, Postgres, Redis};
use serde_json::Value;

/// Runs it, with as many clients as connections.
#[track_caller]
fn gateway(url: &str, more: &[&str]) -> (Value, i32) {
    let usual = ["--backend", url, "--seconds", "2", "--clients", "8", "--max-size", "8", "--json"];
    support::run(env!("CARGO_BIN_EXE_gateway"), &[&usual[..], more].concat())
}

/// No request fails while all is well; and when every connection is cut half way, none is answered with another's answer, and all that hear
/// of it are closed.
#[track_caller]
fn serves(url: &str, hears_of_it: bool) {
    serves_by(url, &[], hears_of_it);
}

#[track_caller]
fn serves_by(url: &str, more: &[&str], hears_of_it: bool) {
    let (calm, status) = gateway(url, &[&["--no-outage"], more].concat());
    assert_eq!((&calm["errors"], status), (&Value::from(0), 0));
    assert!(calm["requests"].as_u64().unwrap() > 0);

    let (cut, _) = gateway(url, more);
    let kinds = cut["errors_by_kind"].as_object().unwrap();
    assert!(!kinds.contains_key("wrong_value") && !kinds.contains_key("backend_refused"), "{kinds:?}");
    assert!(cut["recovery_ms"].is_number(), "no success after it");
    if hears_of_it {
        // By the watch, at a look, or by the user that met it: which of them is first, is the machine's affair.
        let closed: u64 = cut["closed"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert!(closed >= 1, "{cut}");
    }
}

#[test]
fn in_front_of_redis() {
    let Some(server) = Redis::start(&[]) else { return };
    serves(&server.url(), true);
}

#[test]
fn in_front_of_redis_with_tls() {
    let identity = Identity::new();
    let Some(server) = Redis::start_tls(&identity.certificate_pem, &identity.key_pem, &[]) else { return };
    let scratch = Scratch::new(None);
    let ca = scratch.join("ca");
    std::fs::write(&ca, &identity.certificate_pem).unwrap();
    let url = format!("rediss://localhost:{}", server.server.port());
    serves_by(&url, &["--ca", &ca], true);
    is_refused(&["--backend", &url], 2, "--ca");
}

#[test]
fn in_front_of_mariadb() {
    let Some(server) = MariaDb::start(&[]) else { return };
    serves(&format!("mysql://root@{}/test?prefer_socket=false", server.server.address()), true);
    use mysql::prelude::Queryable;
    let left: Option<String> = server.admin().query_first("show tables from test").unwrap();
    assert_eq!(left, None, "it leaves nothing behind");
}

#[test]
fn in_front_of_postgresql() {
    let Some(server) = Postgres::start(&[]) else { return };
    serves(&format!("postgresql://postgres@{}/postgres", server.server.address()), true);
}

#[test]
fn in_front_of_pgbouncer_in_front_of_postgresql() {
    let Some(server) = Postgres::start(&[]) else { return };
    let Some(pgbouncer) = Pgbouncer::start(server.server.port(), 0) else { return };
    // The sessions behind it are cut; it keeps its idle clients, and opens others for them.
    serves(&format!("postgresql://postgres@{}/postgres", pgbouncer.server.address()), false);
}

#[test]
fn in_front_of_haproxy_in_front_of_redis() {
    let Some(server) = Redis::start(&[]) else { return };
    let Some(haproxy) = Haproxy::start(&[server.server.port()]) else { return };
    serves(&format!("redis://{}", haproxy.server.address()), true);
}

#[test]
fn in_front_of_a_redis_cluster() {
    let Some(cluster) = Cluster::start() else { return };
    // What is counted by reason is not added up for its nodes.
    serves(&format!("redis-cluster://{}", cluster.nodes[0].server.address()), false);
    for node in &cluster.nodes {
        let keys: u64 = redis::cmd("DBSIZE").query(&mut node.admin()).unwrap();
        assert_eq!(keys, 0, "it leaves nothing behind");
    }
}

#[track_caller]
fn is_refused(args: &[&str], status: i32, why: &str) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_gateway")).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(why), "{said}");
    assert_eq!(output.status.code(), Some(status));
}

#[test]
fn a_backend_that_nobody_knows_is_refused() {
    is_refused(&["--backend", "gopher://x"], 2, "a URL that begins with");
    is_refused(&[], 2, "--backend URL is needed");
}

#[test]
fn a_file_that_has_no_certificate_is_named() {
    let asked = |file| ["--backend", "rediss://localhost:1", "--ca", file];
    is_refused(&asked("/nowhere/ca.pem"), 1, "--ca /nowhere/ca.pem: ");
    is_refused(&asked("/dev/null"), 1, "--ca /dev/null: no certificate in it");
    is_refused(&["--backend", "redis://localhost:1", "--ca", "/dev/null"], 2, "--ca is for rediss:// only");
}
