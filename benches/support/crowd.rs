//! More callers than connections: throughput, and how long each caller waits from asking to having.
//!
//! Waits have no upper bound and are never averaged: a histogram keeps them, and p50, p99, p99.9 and the longest are shown. Every wait
//! counts that ends after the warm-up, also one that began in it and one that outlasts the measurement: to leave out those who wait
//! longest would be to praise whoever starves them.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::rivals::Rival;

/// How a crowd is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Callers.
    pub(crate) threads: usize,
    /// How long they are measured; a quarter more goes before, unmeasured.
    pub(crate) measured: Duration,
    /// One wait in so many is timed. Two looks at the clock cost more than a whole checkout, so where that is all that a caller does,
    /// most of them go untimed.
    pub(crate) timed: u32,
}

/// What came of it.
pub(crate) struct Outcome {
    /// Uses a second.
    pub(crate) per_second: f64,
    /// Waits, in nanoseconds.
    pub(crate) waits: Histogram<u64>,
}

/// The figures of an outcome, in the order of [`Outcome::figures`].
pub(crate) const PER_SECOND: usize = 0;
/// Median wait, µs.
pub(crate) const P50: usize = 1;
/// µs.
pub(crate) const P99: usize = 2;
/// µs.
pub(crate) const P999: usize = 3;
/// The longest wait, µs.
pub(crate) const MAX: usize = 4;

impl Outcome {
    /// All figures: uses a second, then waits in µs.
    pub(crate) fn figures(&self) -> Vec<f64> {
        let micros = |quantile| self.waits.value_at_quantile(quantile) as f64 / 1e3;
        vec![self.per_second, micros(0.5), micros(0.99), micros(0.999), self.waits.max() as f64 / 1e3]
    }
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Lets a crowd loose on a pool; each caller does `hold` with each connection that it gets.
pub(crate) fn measure<C>(rival: &impl Rival<C>, plan: Plan, hold: impl Fn(&mut C) + Sync) -> Outcome {
    let phase = AtomicU8::new(WARMING);
    let start = Barrier::new(plan.threads + 1);
    let caller = || {
        let mut waits = Histogram::<u64>::new(3).expect("three digits are allowed");
        let (mut uses, mut turn) = (0_u64, 0);
        start.wait();
        loop {
            // Relaxed: the phases only say what to count, and when to stop.
            match phase.load(Ordering::Relaxed) {
                OVER => return (uses, waits),
                now => uses += u64::from(now == MEASURING),
            }
            turn += 1;
            if turn % plan.timed != 0 {
                rival.with(&hold);
                continue;
            }
            let asked = Instant::now();
            let waited = rival.with(|connection| {
                let waited = asked.elapsed();
                hold(connection);
                waited
            });
            if phase.load(Ordering::Relaxed) != WARMING {
                let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
                waits.record(nanos).expect("the histogram grows");
            }
        }
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..plan.threads)
            .map(|_| thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, caller))
            .map(|caller| caller.expect("the machine has room for a thread a caller"))
            .collect();
        start.wait();
        thread::sleep(plan.measured / 4);
        phase.store(MEASURING, Ordering::Relaxed);
        let begun = Instant::now();
        thread::sleep(plan.measured);
        phase.store(OVER, Ordering::Relaxed);
        let took = begun.elapsed();
        let mut all = Outcome { per_second: 0.0, waits: Histogram::new(3).expect("three digits are allowed") };
        for caller in callers {
            let (uses, waits) = caller.join().expect("no caller panics");
            all.per_second += uses as f64 / took.as_secs_f64();
            all.waits.add(waits).expect("both grow");
        }
        all
    })
}
