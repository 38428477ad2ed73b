//! The load: clients on threads of their own, each sending its next request when the last is answered.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::args::Args;
use crate::bank::ACCOUNTS;
use crate::client::Client;

/// Microseconds, to three digits, up to the minute; a longer wait counts as a minute.
const LONGEST_US: u64 = 60_000_000;

/// What the clients have seen.
#[derive(Debug)]
pub(crate) struct Tally {
    /// In microseconds, of every request.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) moved: u64,
    pub(crate) refused: u64,
    pub(crate) half_done: u64,
    pub(crate) read: u64,
    pub(crate) failed: u64,
    /// What one of these said.
    pub(crate) failure: Option<String>,
    pub(crate) length: Duration,
}

/// Loads the front at `address` for as long as `args` say.
pub(crate) fn run(args: &Args, address: SocketAddr) -> Tally {
    let begin = Instant::now();
    let mut tally = Tally::new();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..args.clients).map(|_| scope.spawn(|| client(address, begin + args.length))).collect();
        for client in clients {
            tally.add(client.join().expect("a client does not panic"));
        }
    });
    tally.length = begin.elapsed();
    tally
}

fn client(address: SocketAddr, until: Instant) -> Tally {
    let mut client = Client::new(address);
    let mut tally = Tally::new();
    // Once at least, on however slow a machine.
    loop {
        let begin = Instant::now();
        tally.ask(&mut client);
        tally.latencies.saturating_record(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
        if Instant::now() >= until {
            return tally;
        }
    }
}

impl Tally {
    fn new() -> Self {
        let latencies =
            Histogram::new_with_max(LONGEST_US, 3).expect("three digits up to a minute are within its limits");
        let (moved, refused, half_done, read, failed) = (0, 0, 0, 0, 0);
        Tally { latencies, moved, refused, half_done, read, failed, failure: None, length: Duration::ZERO }
    }

    /// One request: eight in ten transfers, one that is left half done, one look at a balance.
    fn ask(&mut self, client: &mut Client) {
        let (from, step) = (fastrand::i64(0..ACCOUNTS), fastrand::i64(1..ACCOUNTS));
        let to = (from + step) % ACCOUNTS;
        let transfer = format!("/transfer/{from}/{to}/{}", fastrand::i64(1..=300));
        let (count, answer) = match fastrand::u8(..10) {
            0 => (&mut self.read, client.request("GET", &format!("/balance/{from}"), &[])),
            1 => (&mut self.half_done, client.request("POST", &(transfer + "/half"), &[])),
            _ => (&mut self.moved, client.request("POST", &transfer, &[])),
        };
        match answer {
            Ok(answer) if answer.status == 409 => self.refused += 1,
            Ok(answer) if [200, 204, 500].contains(&answer.status) => *count += 1,
            Ok(answer) => self.failed(String::from_utf8_lossy(&answer.body).trim().to_owned()),
            Err(error) => self.failed(error.to_string()),
        }
    }

    fn failed(&mut self, said: String) {
        self.failed += 1;
        self.failure.get_or_insert(said);
    }

    /// Adds what another client counted.
    fn add(&mut self, other: Tally) {
        self.latencies += other.latencies;
        self.moved += other.moved;
        self.refused += other.refused;
        self.half_done += other.half_done;
        self.read += other.read;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
    }
}
