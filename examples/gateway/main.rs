//! An HTTP gateway to a key-value store, on a pool: `GET /kv/KEY`, `PUT /kv/KEY`, `GET /stats`.
//!
//! ```text
//! cargo run --release --example gateway            # ten seconds of load on itself, with an outage half way
//! cargo run --release --example gateway -- --serve # only serves, for curl
//! cargo run --release --example gateway -- --help
//! ```
//!
//! The store speaks Redis: by default a small server inside this process ([`resp_server`]), with `--backend` a real one. The HTTP
//! front ([`front`]) serves each client on a blocking worker thread; the workers share fewer connections than they are, through
//! one [`Pool`]. The load ([`load`]) comes over real HTTP connections, and half way the backend goes away for 300 ms. What the
//! clients saw is counted by when it happened ([`outage`], [`tally`]): a request may fail from the cut until 400 ms after the
//! backend is back, and at no other time, or the exit status is 1.
#![forbid(unsafe_code)]

mod args;
mod backend;
mod client;
mod front;
mod load;
mod outage;
mod report;
mod tally;

#[path = "../support/resp.rs"]
mod resp;
#[path = "../support/resp_server.rs"]
mod resp_server;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use corepool::{Opening, Pool};

use args::{Args, Command};
use backend::Backend;
use front::Front;
use report::Report;

/// Why the gateway could not run.
type Failure = Box<dyn Error + Send + Sync>;

/// A backend that is absent at the start is reported after this long: a person is waiting.
const OPENING: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let args = match Args::from_env() {
        Ok(Command::Run(args)) => args,
        Ok(Command::Help) => return finish(print(args::HELP).map(|()| ExitCode::SUCCESS)),
        Err(error) => {
            eprintln!("gateway: {error}\nTry 'gateway --help'.");
            return ExitCode::from(2);
        }
    };
    finish(run(&args))
}

fn finish(result: Result<ExitCode, Failure>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("gateway: {}", report::chain(&*error));
        ExitCode::FAILURE
    })
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let backend = Backend::start(args.backend.as_ref())?;
    let pool = Pool::builder(backend.manager())
        .max_size(args.max_size)
        .min_idle(args.max_size.div_ceil(2))
        .opening(Opening::Wait(OPENING))
        .build()?;
    let front = Front::start(args.listen, args.workers, pool.clone())?;
    if args.serve {
        print(&format!("listening on http://{}, backend {backend}\n", front.address()))?;
        front.serve()?;
        return Ok(ExitCode::SUCCESS);
    }

    let tally = load::run(args, front.address(), &backend, &pool)?;
    let stats = pool.stats();
    let report = Report::new(args, &backend, tally, &stats);
    print(&if args.json { report.json() } else { report.table() })?;
    load::clean_up(&pool)?;
    pool.close();
    Ok(if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `print!` panics when the reader has gone.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
