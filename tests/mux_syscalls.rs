//! A lone caller's round trip through a mux is one send and one receive, and nothing else. Counted by strace.

mod support;

use std::collections::BTreeMap;

use corepool::mux::Mux;
use corepool::{Pool, TcpManager};
use support::{HOPELESS, Lines, Server, calls_a_trip, may_trace};

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

#[test]
fn a_lone_round_trip_is_one_send_and_one_receive() {
    if !may_trace() {
        return;
    }
    let server = Server::echo();
    let a_trip = calls_a_trip(|traced, trips| {
        traced.env(ADDRESS, server.address()).env(TRIPS, trips.to_string());
    });
    println!("a round trip: {a_trip:?}");
    let once: BTreeMap<String, f64> = ["recvfrom", "sendto"].map(|name| (name.to_owned(), 1.0)).into();
    assert_eq!(a_trip, once);
}
