//! A simulation's callers: each thinks, asks for a connection, uses it, and gives it back in one way or another.
#![forbid(unsafe_code)]
// SeqCst, throughout: the threads take turns, and what is shared hangs on no ordering.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::world::{Endpoints, Line, MS, World, add, up_to};
use crate::error::{GetError, GetErrorKind, UseError};
use crate::lease::Lease;
use crate::os::clock;
use crate::pool::Pool;
use crate::sync::turns::{pick, sleep};

/// Nobody waits for so long while the endpoint is up.
pub(super) const LONG: u64 = 3_000 * MS;

/// One caller's life.
pub(super) fn live(pool: &Pool<Endpoints>, world: &Arc<World>) {
    while !world.over.load(Ordering::SeqCst) {
        sleep(Duration::from_nanos(world.quiet.load(Ordering::SeqCst).saturating_sub(clock::now())));
        match pick(12) {
            0 => sleep(up_to(4_000 * MS)),
            1..4 => sleep(up_to(300 * MS)),
            _ => sleep(up_to(20 * MS)),
        }
        call(pool, world);
    }
    world.callers.fetch_sub(1, Ordering::SeqCst);
}

fn call(pool: &Pool<Endpoints>, world: &Arc<World>) {
    let (begun, known) = (clock::now(), world.known());
    let limit = match pick(6) {
        0 => Duration::ZERO,
        1 => up_to(50 * MS),
        _ => Duration::from_secs(20),
    };
    let hold = if pick(30) == 1 { up_to(400 * MS) } else { up_to(5 * MS) };
    match pick(8) {
        0..3 => {
            let done = pool.with_timeout(limit, |line| {
                line.lent(known);
                add(&world.tally.leases);
                sleep(hold);
                if pick(30) == 1 { Err(()) } else { Ok(()) }
            });
            if let Err(UseError::Get(error)) = done {
                without(pool, world, begun, limit, &error);
            }
        }
        choice => match pool.get_timeout(limit) {
            Err(error) => without(pool, world, begun, limit, &error),
            Ok(mut lease) => {
                lease.lent(known);
                add(&world.tally.leases);
                sleep(hold);
                match choice {
                    3 if pick(10) == 1 => {
                        Line::end(&lease);
                        Lease::discard(lease);
                    }
                    4 if pick(20) == 1 => {
                        Line::end(&lease);
                        add(&world.tally.detached);
                        drop(Lease::detach(lease));
                    }
                    5 if pick(10) == 1 => Lease::fail(&mut lease),
                    _ => drop(lease),
                }
            }
        },
    }
    let waited = clock::now().saturating_sub(begun).saturating_sub(hold.as_nanos() as u64);
    assert!(
        waited < LONG || !world.is_free_since(begun),
        "waited for {} ms beside an endpoint that is up: {:?}\n{}",
        waited / MS,
        pool.at_rest(),
        pool.stats()
    );
}

/// A caller got nothing: there must be a reason.
fn without(pool: &Pool<Endpoints>, world: &Arc<World>, begun: u64, limit: Duration, error: &GetError) {
    match error.kind() {
        GetErrorKind::TimedOut => {
            add(&world.tally.timed_out);
            let short = limit.as_nanos() < u128::from(LONG);
            assert!(short || !world.is_free_since(begun), "timed out: {error:?}\n{}", pool.stats());
        }
        GetErrorKind::Down => {
            add(&world.tally.refused);
            assert!(!world.is_free_since(begun), "down, beside an endpoint that is up: {error:?}\n{}", pool.stats());
        }
        GetErrorKind::Refused => add(&world.tally.refused),
        GetErrorKind::Busy => assert!(limit.is_zero(), "{error}"),
        GetErrorKind::Closed => panic!("{error}"),
    }
}
