//! How storms are run: by random schedules, and by such of few preemptions.

use shuttle::Config;
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};

// Of the models, which share their rig with the storms.
pub(crate) fn beside() {}
pub(crate) fn two_threads() {}
pub(crate) fn three_threads() {}
pub(crate) fn four_threads() {}

/// Preemptions of a schedule by PCT.
const PREEMPTIONS: usize = 3;

/// So many schedules of this storm, or the one that is to be run again.
pub(crate) fn schedules(storm: impl Fn() + Send + Sync + Clone + 'static) {
    if let Ok(schedule) = std::env::var("COREPOOL_SHUTTLE_REPLAY") {
        return run(ReplayScheduler::new_from_encoded(&schedule), storm);
    }
    let count = std::env::var("COREPOOL_SHUTTLE").map_or(300, |text| text.parse().expect("a number of schedules"));
    run(RandomScheduler::new(count / 2), storm.clone());
    run(PctScheduler::new(PREEMPTIONS, count / 2), storm);
}

fn run(scheduler: impl Scheduler + 'static, storm: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    // Of orderings nothing is claimed here.
    config.silence_warnings = true;
    config.stack_size = 256 << 10;
    shuttle::Runner::new(scheduler, config).run(storm);
}
