//! The bank, on SQLite and in front of PostgreSQL.

mod support;

use client_tests::servers::Postgres;

/// No money is made or lost, whatever is refused or left half done, and none of that costs a connection.
#[track_caller]
fn keeps_its_money(more: &[&str]) {
    let usual = ["--seconds", "2", "--clients", "8", "--max-size", "4", "--json"];
    let (report, status) = support::run(env!("CARGO_BIN_EXE_postgres_web"), &[&usual[..], more].concat());
    assert_eq!((&report["failed"], &report["after"], status), (&0.into(), &report["before"], 0), "{report}");
    assert_eq!(report["before"], 100_000);
    assert!(report["moved"].as_u64().unwrap() > 0 && report["leases"].as_u64() >= report["requests"].as_u64());
    assert_eq!(report["closed"], 0, "{report}");
}

#[test]
fn on_sqlite_by_the_bridge() {
    keeps_its_money(&[]);
}

#[test]
fn in_front_of_postgresql() {
    let Some(server) = Postgres::start(&[]) else { return };
    keeps_its_money(&["--database", &format!("postgresql://postgres@{}/postgres", server.server.address())]);
    let tables = server.admin().query("select 1 from pg_tables where tablename = 'corepool_accounts'", &[]).unwrap();
    assert!(tables.is_empty(), "it leaves nothing behind");
}

#[test]
fn a_database_that_it_does_not_know_is_a_wrong_argument() {
    let args = ["--database", "mysql://root@localhost/test"];
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_postgres_web")).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("a URL that begins with postgresql://"), "{said}");
    assert_eq!(output.status.code(), Some(2));
}
