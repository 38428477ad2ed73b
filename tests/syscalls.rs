//! Between a caller and its connection the pool makes one system call, the look before the checkout, or two where the stream has no
//! identity of its own; and none where its manager says that nobody need look: a pooled round trip makes exactly those of a connection of
//! one's own. Counted by strace. Without the watch each checkout looks, whatever the manager says.
#![cfg(not(corepool_unwatched))]

mod support;

use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;

use corepool::{Dial, Manager, Outcome, Pool, TcpManager, Verdict, Watch};
use support::{HOPELESS, Server, calls_a_trip, may_trace};

/// What runs under strace is told by these: with whom to speak, how often, and by which of the [`WAYS`].
const ADDRESS: &str = "COREPOOL_TRIPS_ADDRESS";
const TRIPS: &str = "COREPOOL_TRIPS";
const WAY: &str = "COREPOOL_TRIPS_WAY";

/// With a connection of one's own; from a pool that looks at none, at each, and at each without asking the kernel which socket it is.
const WAYS: [&str; 4] = ["own", "framed", "looked at", "conn"];

struct Framed(String);

/// A connection, and whether a request of it has no reply yet.
struct Client {
    stream: TcpStream,
    in_flight: bool,
}

impl Client {
    fn exchange(&mut self) -> io::Result<()> {
        self.in_flight = true;
        support::exchange(&mut self.stream, b"a request")?;
        self.in_flight = false;
        Ok(())
    }
}

impl Manager for Framed {
    type Connection = Client;
    type Error = io::Error;

    fn connect(&self, _: &Dial<'_>) -> io::Result<Client> {
        Ok(Client { stream: TcpStream::connect(&self.0)?, in_flight: false })
    }

    fn watch(&self, client: &Client, on: &mut Watch<'_>) {
        on.socket(&client.stream);
    }

    fn on_return(&self, client: &mut Client, how: Outcome) -> Verdict {
        if how == Outcome::Done && !client.in_flight { Verdict::Keep } else { Verdict::Discard }
    }
}

/// What runs under strace; without its variables, nothing.
#[test]
fn trips() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let trips = std::env::var(TRIPS).unwrap().parse().unwrap();
    let way = std::env::var(WAY).unwrap();
    match WAYS.iter().position(|known| *known == way).unwrap() {
        0 => {
            let mut client = Client { stream: TcpStream::connect(address).unwrap(), in_flight: false };
            (0..trips).for_each(|_| client.exchange().unwrap());
        }
        1 => {
            let builder = Pool::builder(Framed(address)).max_size(2).min_open(2).probe_after(1_000 * HOPELESS);
            let pool = builder.build().unwrap();
            (0..trips).for_each(|_| pool.with(|client| client.exchange()).unwrap());
        }
        2 => {
            let pool = Pool::builder(Framed(address)).max_size(2).min_open(2).build().unwrap();
            (0..trips).for_each(|_| pool.with(|client| client.exchange()).unwrap());
        }
        _ => {
            let pool = Pool::builder(TcpManager::new(address)).max_size(2).min_open(2).build().unwrap();
            (0..trips).for_each(|_| pool.with(|conn| support::exchange(conn, b"a request")).unwrap());
        }
    }
}

#[test]
fn a_pooled_round_trip_makes_those_of_a_connection_of_ones_own_and_the_look_before_it() {
    if !may_trace() {
        return;
    }
    let server = Server::echo();
    let [own, framed, looked_at, conn] = WAYS.map(|way| {
        calls_a_trip(|traced, trips| {
            traced.env(ADDRESS, server.address()).env(TRIPS, trips.to_string()).env(WAY, way);
        })
    });
    println!("a round trip: {own:?} with its own, {framed:?} pooled, {looked_at:?} looked at, {conn:?} of a Conn");
    assert_eq!(own.values().sum::<f64>(), 2.0, "one to write and one to read");
    assert_eq!(own, framed);
    let more = |calls: &BTreeMap<String, f64>, name: &str| {
        calls.get(name).copied().unwrap_or(0.0) - own.get(name).copied().unwrap_or(0.0)
    };
    assert_eq!((conn.values().sum::<f64>(), more(&conn, "recvfrom")), (3.0, 1.0));
    assert_eq!((looked_at.values().sum::<f64>(), more(&looked_at, "recvfrom")), (4.0, 1.0));
    assert_eq!(more(&looked_at, "getsockopt"), 1.0);
}
