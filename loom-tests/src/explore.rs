//! How models are run: in every way that loom finds, within a bound on preemptions.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use loom::thread::JoinHandle;

use crate::rig::Rig;

/// Explores two threads without a bound.
pub(crate) fn two_threads<O: Ord + Debug + Send + 'static>(model: impl Fn() -> O + Send + Sync + 'static) -> Vec<O> {
    explore(None, model)
}

/// Three threads, with at most three preemptions: switches from a thread that could have gone on.
pub(crate) fn three_threads<O: Ord + Debug + Send + 'static>(model: impl Fn() -> O + Send + Sync + 'static) -> Vec<O> {
    explore(Some(3), model)
}

/// Four threads, with at most two.
pub(crate) fn four_threads<O: Ord + Debug + Send + 'static>(model: impl Fn() -> O + Send + Sync + 'static) -> Vec<O> {
    explore(Some(2), model)
}

/// Any number, with at most so many preemptions: a whole engine takes too many steps for two threads without a bound.
pub(crate) fn bounded<O: Ord + Debug + Send + 'static>(
    preemptions: usize,
    model: impl Fn() -> O + Send + Sync + 'static,
) -> Vec<O> {
    explore(Some(preemptions), model)
}

/// Runs `model` in every way that loom finds, and returns all that came of it, sorted: a model names the outcomes that it must have
/// seen, so that none of them passes because its race never happens.
fn explore<O: Ord + Debug + Send + 'static>(
    preemptions: Option<usize>,
    model: impl Fn() -> O + Send + Sync + 'static,
) -> Vec<O> {
    let (outcomes, executions) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicUsize::new(0)));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions.map(|bound| bound + deeper());
    // A guard against a loop without end, not a bound of the search: the longest model makes some 300.
    builder.max_branches = 3_000;
    let begun = Instant::now();
    builder.check({
        let (outcomes, executions) = (Arc::clone(&outcomes), Arc::clone(&executions));
        move || {
            executions.fetch_add(1, Ordering::Relaxed);
            let outcome = model();
            outcomes.lock().unwrap().insert(outcome);
        }
    });
    let outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    println!("{name}: {} executions, {:.2?}, {outcomes:?}", executions.load(Ordering::Relaxed), begun.elapsed());
    outcomes.into_iter().collect()
}

/// So many preemptions more: `.ci/long models` says one.
fn deeper() -> usize {
    std::env::var("COREPOOL_DEEPER").map_or(0, |more| more.parse().expect("COREPOOL_DEEPER is a number"))
}

/// Runs `part` on a thread of its own.
pub(crate) fn beside<O: 'static>(rig: &Arc<Rig>, part: impl FnOnce(&Rig) -> O + 'static) -> JoinHandle<O> {
    let rig = Arc::clone(rig);
    loom::thread::spawn(move || part(&rig))
}
