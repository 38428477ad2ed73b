//! The matrix of faults: each server in front of this pool and of r2d2, with the same client; see `client_tests::matrix`.
//!
//! Dead connections lent, answers that went to another user, and what is left behind are asserted, of this pool; times are recorded only.
//! One scenario at a time, since descriptors and threads are counted. A test is a server, a row of the matrix a line that it prints.

mod cluster;
mod databases;
mod network;
mod redis_server;
mod relays;

use std::sync::{Mutex, MutexGuard, PoisonError};

use client_tests::matrix::census::memory;
use client_tests::matrix::record::Record;
use client_tests::matrix::run::{Fault, Meets, run};
use client_tests::matrix::subject::Subject;
use client_tests::matrix::{are_kept, outage, rounds};

/// What makes a pool anew for each run.
type Make<'a> = &'a dyn Fn() -> Box<dyn Subject>;

/// One after another: descriptors and threads are the process's.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does all of these faults to all of these pools, as often as there are rounds; a first pool is made and ended so that what a process
/// makes once is there. Of r2d2 nothing is asserted: after the first round it has its turn only where records are kept.
fn matrix(pools: &[Make<'_>], faults: &[Fault<'_>]) -> Vec<Record> {
    let are_ours: Vec<bool> = pools.iter().map(|make| is_ours(*make)).collect();
    let (mut records, mut first) = (Vec::new(), 0);
    for round in 0..rounds() {
        for fault in faults.iter().filter(|fault| is_wanted(fault.name)) {
            let wanted = pools.iter().zip(&are_ours).filter(|(_, ours)| **ours || round == 0 || are_kept());
            records.extend(wanted.map(|(make, _)| run(fault, *make)));
        }
        if round == 0 {
            first = memory();
        }
    }
    // Of one round to the next: allocators keep some, and a pool that leaked would leak in each.
    let more = memory().saturating_sub(first) / 1024;
    assert!(more < 64, "{more} MiB more than after the first of {} rounds", rounds());
    records
}

/// Makes one and ends it.
fn is_ours(make: Make<'_>) -> bool {
    let subject = make();
    let ours = subject.is_ours();
    subject.end();
    ours
}

/// All, or those whose names have in them what `COREPOOL_FAULT` says.
fn is_wanted(name: &str) -> bool {
    std::env::var("COREPOOL_FAULT").map_or(true, |wanted| name.contains(&wanted))
}

/// A fault that does not last, and meets idle connections.
fn killing<'a>(name: &'a str, server: &'a str, port: u16, begin: &'a dyn Fn()) -> Fault<'a> {
    Fault { name, server, port, meets: Meets::Idle, begin, lasts: None, end: &nothing, dead_are_known: true }
}

/// A server that is away.
fn away<'a>(name: &'a str, server: &'a str, port: u16, begin: &'a dyn Fn(), end: &'a dyn Fn()) -> Fault<'a> {
    Fault { name, server, port, meets: Meets::Callers, begin, lasts: Some(outage()), end, dead_are_known: true }
}

fn nothing() {}
