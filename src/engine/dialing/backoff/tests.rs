//! The pace, over times that are made up.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use super::*;

const MS: u64 = 1_000_000;
const ALONE: Beside = Beside { running: false, pause: 0 };
const MAX: Duration = Duration::from_secs(30);

fn error() -> Told {
    Told::new(Arc::new(io::Error::other("refused")))
}

fn fail(backoff: &mut Backoff, begun: u64, now: u64) -> bool {
    backoff.failed(begun, now, error(), false, MAX)
}

/// How many dials there are in so many milliseconds, each of which fails at once.
fn dials(lasts: u64, hurried: bool, permanent: bool) -> usize {
    let (mut backoff, mut dials) = (Backoff::new(4), 0);
    for now in (0..lasts).map(|ms| ms * MS) {
        if backoff.dials(now, ALONE) > 0 {
            backoff.begun(now, ALONE);
            backoff.failed(now, now, error(), permanent, MAX);
            dials += 1;
        }
        if hurried {
            backoff.hurry(now);
        }
    }
    dials
}

#[test]
fn pauses_double_to_a_second_and_are_jittered() {
    let mut backoff = Backoff::new(4);
    let mut now = 0;
    for base in [50, 100, 200, 400, 800, 1_000, 1_000] {
        backoff.begun(now, ALONE);
        fail(&mut backoff, now, now + MS);
        now += MS;
        let pause = backoff.due(now, NEVER, ALONE) - now;
        assert!((base / 2 * MS..=base * MS).contains(&pause), "{pause} of {base} ms");
        now += pause;
        assert_eq!(backoff.dials(now, ALONE), 1);
    }
}

#[test]
fn dials_that_fail_together_count_once() {
    let mut backoff = Backoff::new(4);
    (0..4).for_each(|_| assert_eq!(backoff.begun(0, ALONE), 1));
    assert_eq!([1, 2, 3, 4].map(|n| fail(&mut backoff, 0, n * MS)), [true, false, false, false]);
    assert_eq!(backoff.begun(100 * MS, ALONE), 2);
}

#[test]
fn demand_brings_dials_forward_to_four_a_second_in_the_end() {
    assert!((7..=9).contains(&dials(1_500, true, false)));
    assert!((40..=46).contains(&dials(10_000, true, false)));
    assert!((10..=26).contains(&dials(10_000, false, false)));
}

#[test]
fn a_permanent_failure_is_hurried_by_nobody_and_paced_up_to_the_longest_pause() {
    for hurried in [false, true] {
        let dials = dials(600_000, hurried, true);
        assert!((25..=60).contains(&dials), "{dials} in ten minutes");
    }
    let mut backoff = Backoff::new(1);
    backoff.failed(0, MS, error(), true, MAX);
    assert!(backoff.refusal(2 * MS, 1_000 * MS, ALONE).is_some(), "callers are told at once");
    backoff.reset();
    assert!(backoff.refusal(2 * MS, 1_000 * MS, ALONE).is_none());
    assert_eq!(backoff.dials(2 * MS, ALONE), 1);
}

#[test]
fn what_hangs_beside_makes_the_pause_longer_whatever_the_demand() {
    let mut backoff = Backoff::new(4);
    let beside = Beside { running: false, pause: 5_000 * MS };
    backoff.begun(0, beside);
    fail(&mut backoff, 0, MS);
    backoff.hurry(2 * MS);
    assert_eq!(backoff.dials(5_000 * MS, beside), 0);
    assert_eq!(backoff.dials(5_001 * MS, beside), 1);
    assert_eq!(backoff.dials(100 * MS, ALONE), 1, "their threads are back");
}

#[test]
fn a_connection_that_comes_to_nothing_was_no_success() {
    let mut backoff = Backoff::new(4);
    let (mut now, mut dials) = (0, 0);
    while now < 10_000 * MS {
        if backoff.dials(now, ALONE) > 0 {
            backoff.begun(now, ALONE);
            backoff.succeeded(now, now);
            now += MS;
            backoff.came_to_nothing(now, error(), MAX);
            dials += 1;
        }
        now += MS;
    }
    assert!(dials < 30, "{dials} dials in 10 s");
    assert!(backoff.refusal(now, 1_000 * MS, ALONE).is_some());
}

#[test]
fn an_outage_that_a_use_has_proved_over_is_not_taken_up_again() {
    let mut backoff = Backoff::new(1);
    fail(&mut backoff, 0, MS);
    backoff.begun(50 * MS, ALONE);
    backoff.succeeded(50 * MS, 51 * MS);
    assert_eq!(backoff.dials(60 * MS, ALONE), 0, "in doubt");
    backoff.came_to_nothing(70 * MS, error(), MAX);
    assert_eq!(backoff.begun(120 * MS, ALONE), 3, "the same outage goes on");
    backoff.succeeded(120 * MS, 121 * MS);
    backoff.proven();
    backoff.begun(5_000 * MS, ALONE);
    backoff.came_to_nothing(5_000 * MS, error(), MAX);
    assert_eq!(backoff.begun(5_050 * MS, ALONE), 2);
    assert!(backoff.refusal(5_050 * MS, 1_000 * MS, ALONE).is_none());
}

#[test]
fn success_ramps_up() {
    let mut backoff = Backoff::new(4);
    fail(&mut backoff, 0, MS);
    for allowed in [1, 2, 4, 4] {
        backoff.succeeded(2 * MS, 2 * MS);
        backoff.proven();
        assert_eq!(backoff.dials(2 * MS, ALONE), allowed);
    }
}

#[test]
fn callers_are_refused_once_it_has_been_down_for_long() {
    let mut backoff = Backoff::new(1);
    for begun in (0..40).map(|n| n * 50 * MS) {
        backoff.begun(begun, ALONE);
        fail(&mut backoff, begun, begun + 10 * MS);
        let refused = backoff.refusal(begun + 20 * MS, 1_000 * MS, ALONE).is_some();
        assert_eq!(refused, begun >= 1_000 * MS, "at {} ms", begun / MS);
    }
    backoff.succeeded(2_000 * MS, 2_001 * MS);
    assert!(backoff.refusal(2_002 * MS, 1_000 * MS, ALONE).is_none());
}

#[test]
fn an_old_outage_refuses_nobody() {
    let mut backoff = Backoff::new(1);
    backoff.begun(0, ALONE);
    fail(&mut backoff, 0, MS);
    assert!(backoff.refusal(8_000 * MS, 1_000 * MS, ALONE).is_none(), "nobody has tried for eight seconds");
    // The next caller's own dial decides, and what it finds is the first that is known of a new outage.
    backoff.begun(8_000 * MS, ALONE);
    let running = Beside { running: true, pause: 0 };
    assert!(backoff.refusal(8_001 * MS, 1_000 * MS, running).is_none());
    fail(&mut backoff, 8_000 * MS, 8_010 * MS);
    assert!(backoff.refusal(8_011 * MS, 1_000 * MS, ALONE).is_none());
}

#[test]
fn a_success_that_is_older_than_the_last_failure_ends_no_outage() {
    let mut backoff = Backoff::new(4);
    (0..2).for_each(|_| assert_eq!(backoff.begun(0, ALONE), 1));
    assert!(fail(&mut backoff, 0, 5 * MS));
    assert_eq!(backoff.succeeded(0, 6 * MS), None, "it began before the failure");
    assert!(backoff.is_down());
    assert_eq!(backoff.dials(7 * MS, ALONE), 0, "the pause goes on");
    backoff.begun(100 * MS, ALONE);
    assert_eq!(backoff.succeeded(100 * MS, 101 * MS), Some(5 * MS), "since the failure");
    assert!(!backoff.is_down());
}

#[test]
fn a_shorter_longest_pause_shortens_the_one_under_way() {
    let mut backoff = Backoff::new(4);
    // Half a minute and more, in the end.
    let mut now = 0;
    for _ in 0..12 {
        now = backoff.due(now, NEVER, ALONE).min(now + 100_000 * MS);
        backoff.begun(now, ALONE);
        backoff.failed(now, now, error(), true, MAX);
    }
    assert_eq!(backoff.dials(now + 1_000 * MS, ALONE), 0);
    backoff.set_limits(4, Duration::from_secs(1));
    assert_eq!(backoff.dials(now + 999 * MS, ALONE), 0);
    assert_eq!(backoff.dials(now + 1_000 * MS, ALONE), 1);
}

#[test]
fn one_that_is_permanent_is_heard_among_those_that_fail_together() {
    let mut backoff = Backoff::new(2);
    (0..2).for_each(|_| assert_eq!(backoff.begun(0, ALONE), 1));
    assert!(fail(&mut backoff, 0, MS));
    assert!(!backoff.is_permanent());
    assert!(!backoff.failed(0, 2 * MS, error(), true, MAX), "no other outage");
    assert!(backoff.is_permanent());
    assert!(backoff.refusal(3 * MS, 1_000 * MS, ALONE).is_some(), "callers are told at once");
}

#[test]
fn after_a_permanent_failure_a_dial_under_way_refuses_nobody_once_the_pause_is_over() {
    let running = Beside { running: true, pause: 0 };
    for (permanent, refuses) in [(false, true), (true, false)] {
        let mut backoff = Backoff::new(1);
        backoff.begun(0, ALONE);
        backoff.failed(0, MS, error(), permanent, MAX);
        backoff.begun(backoff.due(MS, NEVER, ALONE), ALONE);
        assert_eq!(backoff.refusal(2_000 * MS, 1_000 * MS, running).is_some(), refuses, "{permanent}");
    }
}

#[test]
fn another_endpoint_is_dialed_as_if_there_had_been_no_outage() {
    let mut backoff = Backoff::new(4);
    fail(&mut backoff, 0, MS);
    backoff.begun(60 * MS, ALONE);
    backoff.succeeded(60 * MS, 61 * MS);
    assert_eq!(backoff.dials(62 * MS, ALONE), 0, "in doubt, and one at a time after it");
    backoff.reset();
    assert_eq!(backoff.dials(62 * MS, ALONE), 4);
    assert_eq!(backoff.due(62 * MS, 1_000 * MS, ALONE), NEVER);
}

#[test]
fn what_changes_by_time_alone_is_due_when_it_does() {
    let mut backoff = Backoff::new(4);
    backoff.begun(0, ALONE);
    fail(&mut backoff, 0, MS);
    // Callers are refused in the middle of the first pause.
    let refused = backoff.due(2 * MS, 5 * MS, ALONE);
    assert_eq!(refused, 6 * MS);
    assert!(backoff.refusal(refused - 1, 5 * MS, ALONE).is_none() && backoff.refusal(refused, 5 * MS, ALONE).is_some());
    let over = backoff.due(refused, 5 * MS, ALONE);
    assert_eq!([over - 1, over].map(|now| backoff.dials(now, ALONE)), [0, 1]);
    let stale = backoff.due(over, 5 * MS, ALONE);
    assert!(backoff.refusal(stale - 1, 5 * MS, ALONE).is_some() && backoff.refusal(stale, 5 * MS, ALONE).is_none());
    assert_eq!(backoff.due(stale, 5 * MS, ALONE), NEVER);
    // A success in doubt.
    backoff.begun(stale, ALONE);
    backoff.succeeded(stale, stale);
    let doubted = backoff.due(stale, 5 * MS, ALONE);
    assert_eq!([doubted - 1, doubted].map(|now| backoff.dials(now, ALONE)), [0, 1]);
    assert_eq!(backoff.due(doubted, 5 * MS, ALONE), NEVER);
}

#[test]
fn successes_in_doubt_do_not_ramp_up() {
    let mut backoff = Backoff::new(4);
    fail(&mut backoff, 0, MS);
    for success in 0..4 {
        // The first, and those of dials that came back late.
        backoff.succeeded(2 * MS, (3 + success) * MS);
        assert_eq!(backoff.dials(10 * MS, ALONE), 0);
    }
    assert_eq!(backoff.dials(2_000 * MS, ALONE), 1);
}
