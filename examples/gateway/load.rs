//! The load: clients on threads of their own, each sending its next request when the last is answered.
//!
//! Such a closed loop sends less while the gateway is slow, so it shows what clients saw, not what an open stream of requests
//! would have seen. Nine in ten requests read; a value begins with its key, so a reply that belongs to another request is noticed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Args;
use crate::backend::Backend;
use crate::cli::{Failure, chain};
use crate::client::Client;
use crate::outage::Window;
use crate::store::Store;
use crate::tally::Tally;

/// How many keys there are; the help text names them.
const KEYS: usize = 1000;
/// How often the progress line is renewed.
const TICK: Duration = Duration::from_millis(100);

/// What the clients and the thread that watches them share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    window: Window,
    /// For the progress line only; each client's tally has the figures.
    requests: AtomicU64,
    failures: AtomicU64,
}

/// Writes every key once, then loads the front at `address` for as long as `args` say, with the outage half way.
pub(crate) fn run(args: &Args, address: SocketAddr, backend: &Backend, store: &Store) -> Result<Tally, Failure> {
    fill(store).map_err(|error| format!("could not write the first keys: {}", chain(&*error)))?;
    let shared = Shared::default();
    let progress = progress_line(args.length);
    let begin = Instant::now();
    let mut tally = Tally::new();
    let mut outage_played = Ok(());
    thread::scope(|scope| {
        let clients: Vec<_> = (0..args.clients).map(|_| scope.spawn(|| client(address, &shared))).collect();
        let mut outage = None;
        while begin.elapsed() < args.length {
            thread::sleep(TICK.min(args.length.saturating_sub(begin.elapsed())));
            if args.outage && outage.is_none() && begin.elapsed() >= args.length / 2 {
                outage = Some(scope.spawn(|| backend.outage(&shared.window)));
            }
            show(&progress, begin.elapsed(), &shared, store);
        }
        shared.stop.store(true, Relaxed);
        tally.length = begin.elapsed();
        for client in clients {
            tally.add(client.join().expect("a client does not panic"));
        }
        if let Some(outage) = outage {
            outage_played = outage.join().expect("the outage does not panic");
        }
    });
    progress.finish_and_clear();
    outage_played?;
    tally.outage = shared.window.length();
    Ok(tally)
}

/// Not over HTTP: that answers with the kind of a failure, and a backend that refuses everything deserves the whole story.
fn fill(store: &Store) -> Result<(), Failure> {
    let items: Vec<_> = (0..KEYS).map(|key| (name(key), value(key))).collect();
    Ok(store.set_all(&items)?)
}

/// Deletes the keys: a real backend is left as it was found.
pub(crate) fn clean_up(store: &Store) -> Result<(), Failure> {
    let keys: Vec<String> = (0..KEYS).map(name).collect();
    Ok(store.delete(&keys)?)
}

fn client(address: SocketAddr, shared: &Shared) -> Tally {
    let mut client = Client::new(address);
    let mut tally = Tally::new();
    while !shared.stop.load(Relaxed) {
        let key = fastrand::usize(..KEYS);
        let begin = Instant::now();
        let outcome = ask(&mut client, key);
        let end = Instant::now();
        shared.requests.fetch_add(1, Relaxed);
        if outcome.is_err() {
            shared.failures.fetch_add(1, Relaxed);
        }
        tally.count(begin, end, outcome, &shared.window);
    }
    tally
}

fn name(key: usize) -> String {
    format!("gateway:{key}")
}

/// Begins with the key, so that it can be told from another's.
fn value(key: usize) -> String {
    format!("{}={:064x}", name(key), fastrand::u128(..))
}

/// One request; an error is the kind of its failure.
fn ask(client: &mut Client, key: usize) -> Result<(), String> {
    let path = format!("/kv/{}", name(key));
    let answer = if fastrand::u8(..10) == 0 {
        client.request("PUT", &path, value(key).as_bytes())
    } else {
        client.request("GET", &path, &[])
    };
    match answer {
        Ok(answer) if answer.status == 204 => Ok(()),
        Ok(answer) if answer.status == 200 => {
            let right = answer.body.starts_with(format!("{}=", name(key)).as_bytes());
            if right { Ok(()) } else { Err("wrong_value".into()) }
        }
        Ok(answer) => Err(answer.error_kind.unwrap_or_else(|| format!("http_{}", answer.status))),
        Err(error) => Err(format!("http_{:?}", error.kind())),
    }
}

/// On stderr, and nowhere if that is no terminal.
fn progress_line(length: Duration) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:10} {wide_msg}").expect("a constant template");
    ProgressBar::new(length.as_millis() as u64).with_style(style)
}

fn show(progress: &ProgressBar, elapsed: Duration, shared: &Shared, store: &Store) {
    let stats = store.stats();
    progress.set_message(format!(
        "{:.1} s  {:.0} requests/s  {} failed  {} connections, {} idle, {} waiting",
        elapsed.as_secs_f64(),
        shared.requests.load(Relaxed) as f64 / elapsed.as_secs_f64(),
        shared.failures.load(Relaxed),
        stats.open,
        stats.idle,
        stats.waiting,
    ));
    progress.set_position(elapsed.as_millis() as u64);
}
