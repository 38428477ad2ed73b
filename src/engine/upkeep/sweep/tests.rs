//! The sweep, on a clock of the test's own.
#![forbid(unsafe_code)]

use super::*;
use crate::lockfree::queue::Limits;

const LIMIT: Duration = Duration::from_millis(20);

/// A reactor may be off its core between the look at the clock and the look at the connections.
#[test]
fn a_late_look_ends_nothing_early() {
    let bag: Bag<(), ()> = Bag::new(
        1,
        1,
        Limits { max_size: 1, max_closing: 1, min_open: 0, min_idle: 0, dials: 1, max_waiters: 1, handoff_after: 0 },
    );
    let permit = bag.demand().unwrap().dial.into_iter().next().unwrap();
    let (claim, life) = bag.admit(permit, (), false).unwrap();
    assert!(bag.land(claim, 0, clock::now).is_none());
    let settings = Settings { min_open: 0, idle_timeout: Some(LIMIT), ..Settings::usual() };
    let mut sweep = Sweep::default();
    sweep.extend([Entrant::new(life, bag.slot(life.slot).last_use(), None, Weak::<[Duplicate; 0]>::new())]);

    let tick = clock::now();
    while clock::now() < tick + nanos(LIMIT) {
        std::thread::yield_now();
    }
    let claim = bag.take(0).unwrap();
    bag.slot(life.slot).begin_use(&claim);
    bag.slot(life.slot).end_use(&claim);
    assert!(bag.give(claim, 0, clock::now).is_none());
    let mut found = 0;
    sweep.run(tick, &bag, &settings, 0, |_| found += 1);
    sweep.run(tick + nanos(LIMIT), &bag, &settings, 0, |_| found += 1);
    assert_eq!(found, 0, "it was used a moment ago");
    sweep.run(clock::now() + nanos(LIMIT), &bag, &settings, 0, |_| found += 1);
    assert_eq!(found, 1);
}
