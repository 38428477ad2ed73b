//! The gateway of `examples/gateway` in front of whatever server its `--backend` names: Redis, MySQL or MariaDB, PostgreSQL, a Redis
//! Cluster; or HAProxy or pgbouncer in front of one.
//!
//! ```text
//! cargo run --release -p server-examples --bin gateway -- --backend mysql://root@localhost/test
//! cargo run --release -p server-examples --bin gateway -- --backend redis-cluster://localhost:7000 --serve
//! cargo run --release -p server-examples --bin gateway -- --help
//! ```
//!
//! Its front, its load and its table are the other one's. What differs is [`store`]: a pool of this client or that, and what a key and its
//! value are there. Half way every connection but one is ended by the server, as [`backend`] has it.
#![forbid(unsafe_code)]

mod args;
mod backend;
mod store;

#[path = "../../../../support/cli.rs"]
mod cli;
#[path = "../../../../gateway/client.rs"]
mod client;
#[path = "../../../../gateway/front.rs"]
mod front;
#[path = "../../../../gateway/live.rs"]
mod live;
#[path = "../../../../gateway/load.rs"]
mod load;
#[path = "../../../../gateway/metrics.rs"]
mod metrics;
#[path = "../../../../gateway/outage.rs"]
mod outage;
#[path = "../../../../gateway/report.rs"]
mod report;
#[path = "../../../../gateway/tally.rs"]
mod tally;

use std::process::ExitCode;

use args::Args;
use backend::Backend;
use cli::{Failure, print};
use front::Front;
use live::Live;
use report::Report;
use store::Store;

fn main() -> ExitCode {
    cli::run("gateway", args::HELP, Args::parse, run)
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let live = Live::new();
    let store = Store::open(args, &live)?;
    let backend = Backend::new(&args.backend, store.clone());
    store.prepare()?;
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
