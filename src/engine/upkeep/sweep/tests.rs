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

fn bag(connections: usize) -> (Bag<(), ()>, Vec<Life>) {
    let limits = Limits {
        max_size: connections,
        max_closing: 1,
        min_open: 0,
        min_idle: 0,
        dials: connections,
        max_waiters: 1,
        handoff_after: 0,
    };
    let bag: Bag<(), ()> = Bag::new(1, connections, limits);
    let land = |_| {
        let permit = bag.demand().unwrap().dial.into_iter().next().unwrap();
        let (claim, life) = bag.admit(permit, (), false).unwrap();
        assert!(bag.land(claim, 0, clock::now).is_none());
        life
    };
    let lives = (0..connections).map(land).collect();
    (bag, lives)
}

fn entrant(bag: &Bag<(), ()>, life: Life, max_lifetime: Option<Duration>) -> Entrant {
    Entrant::new(life, bag.slot(life.slot).last_use(), max_lifetime, Weak::<[Duplicate; 0]>::new())
}

#[test]
fn a_life_is_never_longer_than_it_may_be_and_shorter_by_a_tenth_at_most() {
    let (bag, lives) = bag(1);
    let life = Duration::from_secs(100);
    let lengths: Vec<_> = (0..1_000)
        .map(|_| {
            let born = entrant(&bag, lives[0], Some(life));
            born.expires - born.at
        })
        .collect();
    assert!(lengths.iter().all(|length| (nanos(life) / 10 * 9..=nanos(life)).contains(length)));
    // They do not end together: among so many some are near each end.
    let near = |begin: u64| lengths.iter().any(|length| (begin..=begin + nanos(life) / 50).contains(length));
    assert!(near(nanos(life) / 10 * 9) && near(nanos(life) / 50 * 49));
    assert_eq!(entrant(&bag, lives[0], None).expires, NEVER);
}

#[test]
fn where_nobody_waits_a_hook_may_take_a_second() {
    let (bag, lives) = bag(1);
    let settings = Settings { min_open: 0, wait_timeout: Duration::ZERO, ..Settings::usual() };
    let mut sweep = Sweep::default();
    sweep.extend([entrant(&bag, lives[0], None)]);
    let claim = bag.take(0).unwrap();
    bag.slot(lives[0].slot).hold(&claim, 1);
    let before = clock::now();
    sweep.run(before, &bag, &settings, 0, |finding| panic!("it has just begun: {finding:?}"));
    let after = clock::now();
    sweep.run(before + nanos(USUAL) - 1, &bag, &settings, 0, |finding| panic!("it has time: {finding:?}"));
    let mut found = Vec::new();
    sweep.run(after + nanos(USUAL), &bag, &settings, 0, |finding| found.push(finding));
    assert!(matches!(found[..], [Finding::Held(..)]), "{found:?}");
    assert!(bag.give(claim, 0, clock::now).is_none());
}

#[test]
fn what_is_ordered_in_the_middle_of_a_sweep_is_done_by_the_next() {
    let (bag, lives) = bag(2);
    let settings = Settings { min_open: 0, ..Settings::usual() };
    let mut sweep = Sweep::default();
    // The first has lived for long enough, and what is done about that takes all of the go.
    sweep.extend([entrant(&bag, lives[0], Some(Duration::ZERO)), entrant(&bag, lives[1], None)]);
    let now = clock::now();
    let mut found = 0;
    sweep.run(now, &bag, &settings, 0, |_| {
        found += 1;
        let begun = clock::now();
        while clock::now() <= begun + GO {
            std::thread::yield_now();
        }
    });
    assert!(found == 1 && sweep.next == 1, "{found}, {}", sweep.next);
    sweep.retire(Order::new(&lives[1..], now, 0));
    let (due, _) = sweep.run(now, &bag, &settings, 0, |finding| panic!("not in this one: {finding:?}"));
    assert!(due <= now, "at once");
    let mut left = Vec::new();
    sweep.run(now, &bag, &settings, 0, |finding| {
        if let Finding::Leave(life, retired) = finding {
            left.push((life, retired));
        }
    });
    assert_eq!(left, [(lives[0], false), (lives[1], true)]);
}
