//! An HTTP gateway to a key-value store, on a pool or a mux: `GET /kv/KEY`, `PUT /kv/KEY`; for people `GET /` and `GET /stats`, for
//! Prometheus `GET /metrics`.
//!
//! ```text
//! cargo run --release --example gateway            # ten seconds of load on itself, with an outage half way
//! cargo run --release --example gateway -- --mode mux
//! cargo run --release --example gateway -- --serve # only serves, for curl
//! cargo run --release --example gateway -- --help
//! ```
//!
//! The store speaks Redis: by default a small server inside this process ([`resp_server`]), with `--backend` a real one. The HTTP
//! front ([`front`]) serves each client on a blocking worker thread; the workers share fewer connections than they are, through
//! one [`Pool`], or with `--mode mux` one connection a core ([`store`]). The load ([`load`]) comes over real HTTP connections, and half
//! way the backend goes away for 300 ms. What the clients saw is counted by when it happened ([`outage`], [`tally`]): a request may
//! fail from the cut until 400 ms after the backend is back, and at no other time, or the exit status is 1.
#![forbid(unsafe_code)]

mod args;
mod backend;
mod client;
mod front;
mod live;
mod load;
mod metrics;
mod outage;
mod report;
mod store;
mod tally;

#[path = "../support/cli.rs"]
mod cli;
#[allow(dead_code, reason = "no reply is looked at here but by the client of the client")]
#[path = "../support/resp.rs"]
mod resp;
#[path = "../support/resp_server.rs"]
mod resp_server;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use corepool::mux::Mux;
use corepool::{Event, Opening, Pool};

use args::Args;
use backend::Backend;
use cli::{Failure, print};
use front::Front;
use live::Live;
use report::Report;
use store::{Mode, Replies, Store};

/// A backend that is absent at the start is reported after this long: a person is waiting. Longer than a dial may take, so that one that
/// hangs is named.
const OPENING: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    cli::run("gateway", args::HELP, Args::parse, run)
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let backend = Backend::start(args.backend.as_ref())?;
    let live = Live::new();
    let told = Arc::clone(&live);
    let builder = Pool::builder(backend.manager())
        .max_size(args.max_size)
        .min_open(args.max_size.div_ceil(2))
        .opening(Opening::Wait(OPENING))
        .observer(move |event: &Event| told.event(event));
    let store = match args.mode {
        Mode::Pool => Store::Pool(builder.build()?),
        Mode::Mux => Store::Mux(Mux::builder(builder, Replies).build()?),
    };
    live.watch(store.clone());
    let front = Front::start(args.listen, args.workers, store.clone(), live)?;
    if args.serve {
        print(&format!("listening on http://{}, backend {backend}\n", front.address()))?;
        front.serve()?;
        return Ok(ExitCode::SUCCESS);
    }

    if !args.json {
        print(&format!("to be watched at http://{}\n", front.address()))?;
    }
    let tally = load::run(args, front.address(), &backend, &store)?;
    let report = Report::new(args, &backend, tally, &store);
    print(&if args.json { report.json() } else { report.table() })?;
    load::clean_up(&store)?;
    store.close();
    Ok(if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
