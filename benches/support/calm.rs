//! Whether the machine is at its best just now.
//!
//! A virtual processor has two speeds: as a neighbour on the same core comes and goes, the same instructions take twice the time, for a
//! second or for minutes. And what else runs on the machine takes its share. Neither says anything of a pool, and a median outvotes only
//! what is rare. So the machine is looked at before and after each round, and a round in between which it was not calm is set apart.

use std::cell::{Cell, RefCell};
use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{cores, pin};

/// Slower than the best that was seen by more than this: a neighbour is there.
const SLOWER: f64 = 1.2;

/// More than this of all cores' time was somebody else's.
const OTHERS: f64 = 0.05;

/// The kernel tells times in hundredths of a second, so others are counted no more often than this.
const COUNTED: Duration = Duration::from_millis(200);

/// A look at the machine.
pub(crate) struct Look {
    at: Instant,
    /// Nanoseconds that a step of the loop took, on the slowest core.
    step: f64,
    /// Processor time that others have had, in all, if they were counted.
    others: Option<Duration>,
}

/// Nanoseconds a step at best, in this process. As bits of a positive `f64`, which sort as the numbers do.
static BEST: AtomicU64 = AtomicU64::new(f64::MAX.to_bits());

/// What a step of the loop takes at best, in nanoseconds.
pub(crate) fn best() -> f64 {
    // Relaxed, here and below: a figure by itself.
    f64::from_bits(BEST.load(Ordering::Relaxed))
}

thread_local! {
    /// All that this thread has seen, for whoever reports it.
    static STEPS: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
    /// When others were counted last.
    static COUNTED_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What a step took in all looks of this thread.
pub(crate) fn steps() -> Vec<f64> {
    STEPS.with_borrow(Vec::clone)
}

/// Looks. Takes about 0.2 ms a core, and a few more where others are counted.
pub(crate) fn look() -> Look {
    let on = |core| {
        let timed = move || {
            pin(core);
            // The best of three: an interrupt is none of ours.
            (0..3).map(|_| step()).fold(f64::MAX, f64::min)
        };
        std::thread::scope(|scope| scope.spawn(timed).join().expect("arithmetic does not panic"))
    };
    let step = (0..cores()).map(on).fold(0.0, f64::max);
    BEST.fetch_min(step.to_bits(), Ordering::Relaxed);
    STEPS.with_borrow_mut(|steps| steps.push(step));
    let at = Instant::now();
    let due = COUNTED_AT.get().is_none_or(|before| at - before >= COUNTED);
    let others = due.then(|| {
        COUNTED_AT.set(Some(at));
        others()
    });
    Look { at, step, others }
}

/// For each stretch between two looks, whether the machine was calm. To be asked at the end, when the best is known.
pub(crate) fn calm(looks: &[Look]) -> Vec<bool> {
    let counted: Vec<_> = looks.iter().filter_map(|look| Some((look.at, look.others?))).collect();
    let shared: Vec<_> = counted
        .windows(2)
        .filter(|pair| {
            let (took, theirs) = (pair[1].0 - pair[0].0, pair[1].1.saturating_sub(pair[0].1));
            theirs.as_secs_f64() > OTHERS * took.as_secs_f64() * cores() as f64
        })
        .map(|pair| pair[0].0..pair[1].0)
        .collect();
    let is_calm = |pair: &[Look]| {
        let at_its_best = pair[0].step.max(pair[1].step) <= SLOWER * best();
        at_its_best && !shared.iter().any(|shared| shared.start < pair[1].at && pair[0].at < shared.end)
    };
    looks.windows(2).map(is_calm).collect()
}

/// Nanoseconds that a step of arithmetic takes: four chains side by side, since it is the units that a neighbour shares.
fn step() -> f64 {
    const STEPS: u32 = 20_000;
    let mut chains = black_box([1_u64, 3, 5, 7]);
    let begun = Instant::now();
    for _ in 0..STEPS {
        for chain in &mut chains {
            *chain = chain.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ 0x5555;
        }
    }
    let took = begun.elapsed();
    black_box(chains);
    took.as_nanos() as f64 / f64::from(STEPS)
}

/// Processor time that others have had: programs but this one, with those that they have waited for, and the host.
///
/// Summed up over the processes, since what the kernel has in one line for the machine is sampled by a clock to which timers, and so a
/// server that sleeps, keep step. Its own threads are left out: they are busy with our network.
fn others() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    const KERNEL: u64 = 2;
    let own = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    let ticks = ids.filter(|id: &u32| *id != own).filter_map(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Behind the name, which may have blanks: the state, the parent, and from the twelfth on the times.
        let fields: Vec<u64> =
            stat.rsplit(')').next()?.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        (*fields.get(1)? != KERNEL).then(|| fields.iter().skip(11).take(4).sum::<u64>())
    });
    TICK * u32::try_from(ticks.sum::<u64>() + stolen().unwrap_or(0)).unwrap_or(u32::MAX)
}

/// What the host took, in ticks.
fn stolen() -> Option<u64> {
    let all = fs::read_to_string("/proc/stat").ok()?;
    all.lines().next()?.split_whitespace().nth(8)?.parse().ok()
}
