//! How things are timed: threads meet on a barrier and time the middle, and rivals take turns.
//!
//! A machine drifts: its clock, its neighbours, what ran before. So nothing is measured once, and no two things are compared that were
//! measured one after the other. [`interleave`] runs one short round of each contender, then the next round of each, beginning with
//! another one each time; a ratio is the median of the rounds' ratios, so that a bad moment hits both sides or is outvoted. Rounds during
//! which the machine was not [`calm`] are set apart.

#[path = "calm.rs"]
pub(crate) mod calm;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

/// The threads of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crew {
    threads: usize,
    pinned: bool,
}

impl Crew {
    /// Each on a core of its own, as far as there are any. For what costs nanoseconds: two threads that happen to share a core
    /// contend for nothing.
    pub(crate) fn pinned(threads: usize) -> Self {
        Crew { threads, pinned: true }
    }

    /// Wherever the kernel puts them. For what sleeps while others run.
    pub(crate) fn free(threads: usize) -> Self {
        Crew { threads, pinned: false }
    }

    /// Runs an operation on every thread at once and says how many nanoseconds it takes a thread on average.
    ///
    /// `prepare` makes each thread's operation. A thread warms up, meets the others, times `operations` of them, and then goes on
    /// untimed until all are done, so that nobody's last stretch is run alone.
    pub(crate) fn time<F: FnMut()>(self, operations: u64, prepare: impl Fn(usize) -> F + Sync) -> f64 {
        core_ids();
        let start = Barrier::new(self.threads);
        let busy = AtomicUsize::new(self.threads);
        let work = |index: usize| {
            if self.pinned {
                pin(index);
            }
            let mut operation = prepare(index);
            run(operations / 8, &mut operation);
            start.wait();
            let begun = Instant::now();
            run(operations, &mut operation);
            let took = begun.elapsed();
            // Relaxed: only says when to stop.
            busy.fetch_sub(1, Ordering::Relaxed);
            while busy.load(Ordering::Relaxed) > 0 {
                run(64, &mut operation);
            }
            took
        };
        let took: Duration = std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = (0..self.threads).map(|index| scope.spawn(move || work(index))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no operation panics")).sum()
        });
        took.as_nanos() as f64 / operations as f64 / self.threads as f64
    }

    /// How many operations take about `round`.
    pub(crate) fn calibrate<F: FnMut()>(self, round: Duration, prepare: impl Fn(usize) -> F + Sync) -> u64 {
        let mut operations = 16;
        loop {
            let took = self.time(operations, &prepare) * operations as f64;
            if took * 4.0 > round.as_nanos() as f64 {
                return ((operations as f64 * round.as_nanos() as f64 / took) as u64).max(1);
            }
            operations *= 4;
        }
    }
}

/// In one place and not inlined, so that the operation is: a call around it would be measured with it.
#[inline(never)]
fn run(times: u64, operation: &mut impl FnMut()) {
    for _ in 0..times {
        operation();
    }
}

/// Pins this thread to the core of that number, counted round. For threads that end with what they measure: those that they start
/// inherit it.
pub(crate) fn pin(index: usize) {
    // A sandbox may forbid it; then the scheduler's idea is as good.
    let index = index % cores();
    if core_ids().get(index).is_some_and(|core| core_affinity::set_for_current(*core)) {
        PINNED.set(u8::try_from(index).ok());
    }
}

thread_local! {
    static PINNED: Cell<Option<u8>> = const { Cell::new(None) };
}

/// Where this thread is pinned to, by the number that it was told to [`pin`].
pub(crate) fn pinned() -> Option<u8> {
    PINNED.get()
}

/// Cores that threads can be pinned to.
pub(crate) fn cores() -> usize {
    core_ids().len().max(1)
}

/// Asked once, before anybody is pinned: the answer is the asking thread's own mask.
fn core_ids() -> &'static [core_affinity::CoreId] {
    static CORES: OnceLock<Vec<core_affinity::CoreId>> = OnceLock::new();
    CORES.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default())
}

/// One side of a comparison: a round of it returns its figures, each time the same number of them.
pub(crate) struct Contender<'a> {
    name: String,
    round: Box<dyn FnMut() -> Vec<f64> + 'a>,
}

impl<'a> Contender<'a> {
    /// A contender with one figure.
    pub(crate) fn new(name: impl Into<String>, mut round: impl FnMut() -> f64 + 'a) -> Self {
        Self::with_figures(name, move || vec![round()])
    }

    /// A contender with several.
    pub(crate) fn with_figures(name: impl Into<String>, round: impl FnMut() -> Vec<f64> + 'a) -> Self {
        Contender { name: name.into(), round: Box::new(round) }
    }

    /// A contender whose figure is the nanoseconds of an operation, in rounds of about `round`.
    pub(crate) fn operation<F: FnMut() + 'a>(
        name: impl Into<String>,
        crew: Crew,
        round: Duration,
        prepare: impl Fn(usize) -> F + Sync + 'a,
    ) -> Self {
        let operations = crew.calibrate(round, &prepare);
        Self::new(name, move || crew.time(operations, &prepare))
    }
}

/// Runs `rounds` rounds of each contender, by turns.
pub(crate) fn interleave(rounds: usize, mut contenders: Vec<Contender<'_>>) -> Rounds {
    let mut order = Vec::new();
    let mut looks = vec![calm::look()];
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let index = (round + turn) % contenders.len();
            order.push((index, (contenders[index].round)()));
            looks.push(calm::look());
        }
    }
    let mut all: Vec<_> = contenders.into_iter().map(|contender| (contender.name, Vec::new())).collect();
    for ((index, figures), calm) in order.into_iter().zip(calm::calm(&looks)) {
        all[index].1.push(Round { figures, calm });
    }
    Rounds { all }
}

/// One round of one contender.
struct Round {
    figures: Vec<f64>,
    calm: bool,
}

/// What rounds have shown. Those during which the machine was not calm are left out, unless that were most of them.
pub(crate) struct Rounds {
    all: Vec<(String, Vec<Round>)>,
}

impl Rounds {
    fn of(&self, name: &str) -> &[Round] {
        let found = self.all.iter().find(|(contender, _)| contender == name);
        found.map_or_else(|| panic!("no contender is named {name}"), |(_, rounds)| rounds)
    }

    /// The contenders in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|(name, _)| name.as_str())
    }

    /// How many rounds there were of each.
    fn count(&self) -> usize {
        self.all.iter().map(|(_, rounds)| rounds.len()).min().unwrap_or(0)
    }

    /// The rounds that were calm for all of these. If that is not even every third one, all of them.
    pub(crate) fn kept(&self, names: &[&str]) -> Vec<usize> {
        let calm: Vec<_> =
            (0..self.count()).filter(|round| names.iter().all(|name| self.of(name)[*round].calm)).collect();
        if calm.len() * 3 >= self.count() { calm } else { (0..self.count()).collect() }
    }

    /// How many rounds were not calm, of how many.
    pub(crate) fn disturbed(&self) -> (usize, usize) {
        let rounds = || self.all.iter().flat_map(|(_, rounds)| rounds);
        (rounds().filter(|round| !round.calm).count(), rounds().count())
    }

    fn figures(&self, name: &str, which: usize) -> Vec<f64> {
        let of = self.of(name);
        self.kept(&[name]).into_iter().map(|round| of[round].figures[which]).collect()
    }

    /// The median of a contender's figure number `which`.
    pub(crate) fn median(&self, name: &str, which: usize) -> f64 {
        median(self.figures(name, which))
    }

    /// The least of a contender's figure number `which`: what it takes if nothing gets in the way.
    pub(crate) fn least(&self, name: &str, which: usize) -> f64 {
        self.figures(name, which).into_iter().fold(f64::MAX, f64::min)
    }

    /// The median over the rounds of what `figure` makes of a round, in which it may ask for the first figure of any of `names`.
    pub(crate) fn median_of(&self, names: &[&str], figure: impl Fn(&dyn Fn(&str) -> f64) -> f64) -> f64 {
        let rounds = self.kept(names).into_iter();
        median(rounds.map(|round| figure(&|name| self.of(name)[round].figures[0])).collect())
    }

    /// The median over the rounds of one contender's figure number `which` divided by another's in the same round.
    pub(crate) fn ratio(&self, name: &str, to: &str, which: usize) -> f64 {
        let (of, others) = (self.of(name), self.of(to));
        let rounds = self.kept(&[name, to]).into_iter();
        median(rounds.map(|round| of[round].figures[which] / others[round].figures[which]).collect())
    }
}

/// The middle one. Of an even number the upper of the two in the middle: no figure is shown that was not measured.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
