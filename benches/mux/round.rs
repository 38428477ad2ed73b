//! A round: so many callers at once, each of whom times every call.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// How long one is.
pub(crate) const ROUND: Duration = Duration::from_millis(333);
/// Its figures, by place.
pub(crate) const COLUMNS: [&str; 5] = ["calls/s", "p50 us", "p99 us", "p99.9 us", "max us"];
/// Where the tail stands among these.
pub(crate) const TAIL: usize = 3;

/// All callers at once. `prepare` makes what each of them does.
pub(crate) fn round<F: FnMut()>(callers: usize, prepare: impl Fn() -> F + Sync) -> Vec<f64> {
    let (over, start) = (AtomicBool::new(false), Barrier::new(callers + 1));
    let mut all = times();
    let mut took = Duration::ZERO;
    let caller = || {
        let mut times = times();
        let mut call = prepare();
        call();
        start.wait();
        // Relaxed: nothing hangs on it but the end.
        while !over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            call();
            record(&mut times, begun);
        }
        times
    };
    thread::scope(|scope| {
        let small = || thread::Builder::new().stack_size(256 << 10);
        let threads: Vec<_> = (0..callers).map(|_| small().spawn_scoped(scope, caller)).collect();
        start.wait();
        let begun = Instant::now();
        thread::sleep(ROUND);
        over.store(true, Ordering::Relaxed);
        took = begun.elapsed();
        for thread in threads {
            let times = thread.expect("the machine has room for the callers").join().expect("no caller panics");
            all.add(times).expect("both grow");
        }
    });
    figures(&all, took)
}

/// Nanoseconds.
pub(crate) fn times() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

pub(crate) fn record(times: &mut Histogram<u64>, begun: Instant) {
    let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    times.record(nanos).expect("the histogram grows");
}

pub(crate) fn figures(all: &Histogram<u64>, took: Duration) -> Vec<f64> {
    let micros = |share| all.value_at_quantile(share) as f64 / 1e3;
    vec![all.len() as f64 / took.as_secs_f64(), micros(0.5), micros(0.99), micros(0.999), all.max() as f64 / 1e3]
}
