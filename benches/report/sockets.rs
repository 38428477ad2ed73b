//! What a pool adds to a real round trip, and what it learns of its peers' ends.

use std::io::{Read, Write};
use std::sync::Mutex;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::effort::Effort;
use crate::support::connections::{Client, Endpoint, Tcp, Unix};
use crate::support::rivals::{self, Rival};
use crate::support::rounds::{Contender, Crew, Rounds, interleave, median};
use crate::support::servers::Server;
use crate::support::watching;
use crate::table::{Section, Target};

const OWN: &str = "own connection";
const COREPOOL: &str = "corepool";
const UNLOOKED: &str = "corepool, probe_after a second";

/// Between looks at a socket: longer than it ever rests here.
const RARELY: Duration = Duration::from_secs(1);

const ROUND: Duration = Duration::from_millis(30);

fn trips<'a, S: Read + Write>(
    name: &str,
    effort: Effort,
    threads: usize,
    pool: &'a impl Rival<Client<S>>,
) -> Contender<'a> {
    Contender::operation(name, Crew::pinned(threads), effort.time(ROUND), move |_| {
        move || pool.with(|client| client.exchange().expect("the server is up"))
    })
}

fn measured<S, E>(effort: Effort, endpoint: &E, threads: usize) -> Rounds
where
    S: Read + Write + Send + 'static,
    E: Endpoint<Connection = Client<S>>,
{
    let own: Vec<_> = (0..threads).map(|_| Mutex::new(endpoint.dial().expect("the server is up"))).collect();
    let corepool = rivals::corepool(endpoint.clone(), threads);
    let unlooked = rivals::settings(endpoint.clone(), threads).probe_after(RARELY);
    let unlooked = unlooked.build().expect("the server is up");
    let (r2d2, shipped) =
        (rivals::r2d2(endpoint.clone(), threads, false), rivals::r2d2(endpoint.clone(), threads, true));
    let dedicated = Contender::operation(OWN, Crew::pinned(threads), effort.time(ROUND), |thread| {
        let mut client = own[thread].lock().expect("no exchange panics");
        move || client.exchange().expect("the server is up")
    });
    let contenders = vec![
        dedicated,
        trips(COREPOOL, effort, threads, &corepool),
        trips(UNLOOKED, effort, threads, &unlooked),
        trips("r2d2 without test", effort, threads, &r2d2),
        trips("r2d2 as shipped", effort, threads, &shipped),
    ];
    interleave(effort.rounds(31), contenders)
}

/// As many connections as threads, echo, TCP and Unix sockets. Each server thread shares its client's core, which is the shortest round
/// trip there is, and so the one in which a pool weighs most.
pub(crate) fn round_trips(effort: Effort) -> Section {
    let server = Server::echo();
    let (tcp, unix) = (Tcp(server.address), Unix(server.path.clone()));
    let rounds =
        [measured(effort, &tcp, 1), measured(effort, &tcp, 4), measured(effort, &unix, 1), measured(effort, &unix, 4)];
    let columns = &["TCP, 1", "TCP, 4", "Unix, 1", "Unix, 4"];
    let mut section = Section::new("A round trip in µs, threads = connections", columns);
    for name in rounds[0].names() {
        section.line(name, rounds.iter().map(|rounds| rounds.median(name, 0) / 1e3).collect());
    }
    rounds.iter().for_each(|rounds| section.disturbed(rounds));
    let names = ["_tcp_1", "", "_unix_1", "_unix_4"];
    for (rounds, name) in rounds.iter().zip(names) {
        let meaning = "throughput with the pool in between, beside a connection of each thread's own, client and server on one core";
        let ratio = rounds.ratio(OWN, COREPOOL, 0);
        section.row(format!("roundtrip_vs_dedicated{name}"), ratio, Target::AtLeast(0.95), meaning);
        let meaning = "the same without the look at the socket before each use, which is what the pool costs here";
        let ratio = rounds.ratio(OWN, UNLOOKED, 0);
        section.row(format!("roundtrip_unlooked_vs_dedicated{name}"), ratio, Target::AtLeast(0.95), meaning);
    }
    section
}

const UNWATCHED: &str = "round trip, not watched";
const WATCHED: &str = "round trip, watched";
const LOOKED_AT: &str = "round trip, watched, and looked at before each use";

/// Round trips with and without the watch, and how often it was woken by them.
fn watched_trips<S, E>(effort: Effort, endpoint: &E) -> (Rounds, u64)
where
    S: Read + Write + Send + 'static,
    E: Endpoint<Connection = Client<S>>,
{
    let (unwatched, _) = watching::pool_with_own_reactors(endpoint.clone(), false, Duration::ZERO);
    let (watched, reactors) = watching::pool_with_own_reactors(endpoint.clone(), true, RARELY);
    let (looked_at, others) = watching::pool_with_own_reactors(endpoint.clone(), true, Duration::ZERO);
    let events = || reactors.events() + others.events();
    let before = events();
    let contenders = vec![
        trips(UNWATCHED, effort, 1, &unwatched),
        trips(WATCHED, effort, 1, &watched),
        trips(LOOKED_AT, effort, 1, &looked_at),
    ];
    (interleave(effort.rounds(31), contenders), events() - before)
}

/// Sockets watched and not watched; peers that hang up.
pub(crate) fn watch(effort: Effort) -> Section {
    let server = Server::echo();
    let (tcp, tcp_events) = watched_trips(effort, &Tcp(server.address));
    let (unix, unix_events) = watched_trips(effort, &Unix(server.path.clone()));

    let mut fins = Histogram::<u64>::new(3).expect("three digits are allowed");
    for micros in watching::fin_to_removed(effort.count(500)) {
        fins.record((micros * 1e3) as u64).expect("the histogram grows");
    }
    let micros = |quantile| fins.value_at_quantile(quantile) as f64 / 1e3;
    let connections = watching::connections_within_limit(effort.count(5_000));
    let closure = median((0..effort.rounds(3)).map(|_| watching::mass_closure(connections)).collect());

    let mut section = Section::new("The watch", &["µs"]);
    for (rounds, over) in [(&tcp, "TCP"), (&unix, "Unix")] {
        rounds.names().for_each(|name| section.line(format!("{over}, {name}"), vec![rounds.median(name, 0) / 1e3]));
        section.disturbed(rounds);
    }
    section.line("FIN to removal, p99.9", vec![micros(0.999)]);
    section.line("FIN to removal, longest", vec![fins.max() as f64 / 1e3]);
    section.row(
        "watch_overhead",
        tcp.ratio(WATCHED, UNWATCHED, 0),
        Target::AtMost(1.05),
        "what being watched costs a round trip over TCP",
    );
    section.row(
        "watch_overhead_unix",
        unix.ratio(WATCHED, UNWATCHED, 0),
        Target::AtMost(1.05),
        "the same over a Unix socket, for which the kernel looks at its watches whenever the peer has read, too",
    );
    for (rounds, name) in [(&tcp, "look_overhead"), (&unix, "look_overhead_unix")] {
        let meaning = "and with the look before each use that is the default: two system calls, one for a stream with an identity";
        section.row(name, rounds.ratio(LOOKED_AT, UNWATCHED, 0), Target::None, meaning);
    }
    section.row(
        "watch_events",
        (tcp_events + unix_events) as f64,
        Target::AtMost(0.0),
        "times that a reply woke the reactor in all these round trips",
    );
    section.row(
        "fin_to_removed_p50_us",
        micros(0.5),
        Target::AtMost(200.0),
        "how soon a dead connection is out of the pool, µs",
    );
    section.row(
        "fin_to_removed_p99_us",
        micros(0.99),
        Target::AtMost(2_000.0),
        "the same for all but one in a hundred, µs",
    );
    let meaning = format!("all of {connections} connections closed at once by their peer are out of the pool, ms");
    section.row("mass_close_ms", closure, Target::AtMost(300.0), meaning);
    section.row(
        "mass_close_connections",
        connections as f64,
        Target::None,
        "as many as the limit on descriptors allows, 5,000 at most",
    );
    section
}
