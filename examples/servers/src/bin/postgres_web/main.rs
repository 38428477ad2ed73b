//! A small bank: a blocking HTTP server whose transfers are transactions, in PostgreSQL or, without one, in SQLite.
//!
//! ```text
//! cargo run --release -p server-examples --bin postgres_web      # SQLite in a file of its own, ten seconds of load on itself
//! cargo run --release -p server-examples --bin postgres_web -- --database postgresql://postgres@localhost/postgres
//! cargo run --release -p server-examples --bin postgres_web -- --serve
//! cargo run --release -p server-examples --bin postgres_web -- --help
//! ```
//!
//! `POST /transfer/FROM/TO/AMOUNT` moves money, `GET /balance/ID` and `GET /total` look, `GET /stats` is the pool in numbers. Each request
//! has a thread of its own ([`front`]) and borrows a connection for one transaction ([`bank`]): PostgreSQL by the crate's own manager,
//! SQLite by the bridge to r2d2's. One transfer in ten is left half done by the load, as by a handler that fails: its transaction is rolled
//! back and its connection serves on. What shows is that no money is made or lost, or the exit status is 1.
#![forbid(unsafe_code)]

mod args;
mod bank;
mod front;
mod load;

#[path = "../../../../support/cli.rs"]
mod cli;
#[path = "../../../../gateway/client.rs"]
#[allow(dead_code, reason = "the kind of a failure is in the status here")]
mod client;

use std::process::ExitCode;

use args::Args;
use bank::Bank;
use cli::{Failure, print, row};
use front::Front;
use load::Tally;

fn main() -> ExitCode {
    cli::run("postgres_web", args::HELP, Args::parse, run)
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let bank = Bank::open(args.database.as_deref(), args.max_size)?;
    bank.prepare()?;
    let front = Front::start(args.listen, args.workers, bank.clone())?;
    if args.serve {
        print(&format!("listening on http://{}, accounts in {}\n", front.address(), bank.name()))?;
        front.serve()?;
        return Ok(ExitCode::SUCCESS);
    }
    let before = bank.total()?;
    let tally = load::run(args, front.address());
    let after = bank.total()?;
    print(&if args.json { json(&bank, &tally, before, after) } else { table(args, &bank, &tally, before, after) })?;
    bank.clean_up()?;
    Ok(if tally.failed > 0 || before != after { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(args: &Args, bank: &Bank, tally: &Tally, before: i64, after: i64) -> String {
    let stats = bank.stats();
    let mut out = format!(
        "{} clients for {:.1} s by a pool of at most {} connections, accounts in {}\n\n",
        args.clients,
        tally.length.as_secs_f64(),
        args.max_size,
        bank.name()
    );
    let rate = tally.latencies.len() as f64 / tally.length.as_secs_f64();
    row(&mut out, "requests", tally.latencies.len(), format!("{rate:.0}/s"));
    row(&mut out, "  transfers", tally.moved, "committed");
    row(&mut out, "  refused", tally.refused, "for want of money, rolled back");
    row(&mut out, "  left half done", tally.half_done, "rolled back");
    row(&mut out, "  balances read", tally.read, "");
    row(&mut out, "  failed", tally.failed, tally.failure.as_deref().unwrap_or_default());
    row(&mut out, "money before", before, "");
    row(&mut out, "money after", after, if before == after { "the same" } else { "NOT the same" });
    row(&mut out, "connections opened", stats.opened, format!("{} closed", stats.closed_in_all()));
    row(&mut out, "leases", stats.leases, format!("{} waited", stats.waited));
    for (name, share) in [("latency in ms, p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        let latency = tally.latencies.value_at_quantile(share) as f64 / 1_000.0;
        row(&mut out, name, format!("{latency:.3}"), "");
    }
    out
}

/// One object on one line.
fn json(bank: &Bank, tally: &Tally, before: i64, after: i64) -> String {
    let stats = bank.stats();
    let object = serde_json::json!({
        "seconds": tally.length.as_secs_f64(),
        "requests": tally.latencies.len(),
        "moved": tally.moved,
        "refused": tally.refused,
        "half_done": tally.half_done,
        "read": tally.read,
        "failed": tally.failed,
        "failure": tally.failure,
        "before": before,
        "after": after,
        "opened": stats.opened,
        "closed": stats.closed_in_all(),
        "leases": stats.leases,
        "waited": stats.waited,
        "p50_us": tally.latencies.value_at_quantile(0.5),
        "p99_us": tally.latencies.value_at_quantile(0.99),
    });
    format!("{object}\n")
}
