//! A lone caller's round trip through a mux is one send and one receive, and nothing else. Counted by strace.

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use corepool::mux::Mux;
use corepool::{Pool, TcpManager};
use support::{HOPELESS, Lines, Server};

/// What runs under strace is told by these: with whom to speak, and how often.
const ADDRESS: &str = "COREPOOL_MUX_ADDRESS";
const TRIPS: &str = "COREPOOL_MUX_TRIPS";

/// What runs under strace; without its variables, nothing.
#[test]
fn trips() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let trips: usize = std::env::var(TRIPS).unwrap().parse().unwrap();
    let mux = Mux::builder(Pool::builder(TcpManager::new(address)).shards(1), Lines::default());
    let mux = mux.call_timeout(HOPELESS).build().unwrap();
    (0..trips).for_each(|_| assert_eq!(mux.call("a request").unwrap(), "a request"));
}

/// System calls of the thread that talks to the server, by name.
fn calls(server: &Server, trips: usize) -> BTreeMap<String, usize> {
    let log = std::env::temp_dir().join(format!("corepool-mux-syscalls-{}", std::process::id()));
    let mut strace = Command::new("strace");
    strace.arg("-f").arg("-o").arg(&log).arg(std::env::current_exe().unwrap()).args(["--exact", "trips"]);
    let output = strace.env(ADDRESS, server.address()).env(TRIPS, trips.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let mut threads = BTreeMap::<&str, BTreeMap<String, usize>>::new();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, _)) = call.trim_start().split_once('(').filter(|(name, _)| !name.contains(' ')) else {
            continue;
        };
        *threads.entry(thread).or_default().entry(name.to_owned()).or_default() += 1;
    }
    threads.into_values().max_by_key(|calls| calls.get("sendto").copied()).unwrap_or_default()
}

#[test]
fn a_lone_round_trip_is_one_send_and_one_receive() {
    match Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).status() {
        Ok(status) if status.success() => {}
        Ok(status) => return println!("skipped: strace may trace nothing here: {status}"),
        Err(error) => {
            assert!(std::env::var_os("COREPOOL_REQUIRE_SERVERS").is_none(), "strace: {error}");
            return println!("skipped: needs strace");
        }
    }
    let server = Server::echo();
    let (few, many) = (calls(&server, 100), calls(&server, 1_100));
    let more = many.into_iter().map(|(name, count)| {
        let before = few.get(&name).copied().unwrap_or(0);
        (name, (count as f64 - before as f64) / 1e3)
    });
    // What its surroundings make now and not then, as a receive that waited for longer than usual, is less than one in ten trips.
    let a_trip: BTreeMap<String, f64> = more.filter(|(_, calls)| calls.abs() >= 0.1).collect();
    println!("a round trip: {a_trip:?}");
    let names: Vec<&str> = a_trip.keys().map(String::as_str).collect();
    assert_eq!(names, ["recvfrom", "sendto"]);
    assert!((a_trip["sendto"] - 1.0).abs() < 0.01 && (a_trip["recvfrom"] - 1.0).abs() < 0.1, "{a_trip:?}");
}
