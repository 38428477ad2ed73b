//! WAIT is down while a waiter that was rung is on its way: returns pass it, and nobody sleeps for nothing all the same.

use crate::lockfree::bag::{Fate, Limits};
use crate::rig::{AT_ONCE, NEVER_DUE, NO_DIALS, Patience, Rig, SOON, beside, three_threads, two_threads};
use crate::sync::Nap;

const STRICT: Limits = Limits { handoff_after: AT_ONCE, ..NO_DIALS };
const BARGING: Limits = Limits { handoff_after: NEVER_DUE, ..NO_DIALS };

/// Without it a return that finds WAIT down passes the look of the waiter that was rung before, or the announcement after it: it and the
/// one behind it sleep although a connection is idle (E4, E5, E7).
#[test]
fn a_return_past_one_on_its_way() {
    let seen = three_threads(|| {
        let rig = Rig::new(2, 2, BARGING);
        let (one, two) = (rig.must_take(0), rig.must_take(0));
        let (first, second) = (rig.enqueue().unwrap(), rig.enqueue().unwrap());
        // Rings the first: WAIT is down.
        rig.give(one, 0);
        let wait = rig.bag.idle().wait_everywhere();
        let other = beside(&rig, move |rig| {
            let claim = rig.wait(&second, Patience::Endless).unwrap();
            rig.give(claim, 0);
        });
        let runs = beside(&rig, move |rig| {
            let passed = rig.bag.take(0).map(|claim| rig.give(claim, 1)).is_some();
            rig.give(two, 0);
            passed
        });
        let claim = rig.wait(&first, Patience::Endless).unwrap();
        rig.give(claim, 1);
        other.join().unwrap();
        let passed = runs.join().unwrap();
        rig.at_rest();
        (passed, wait)
    });
    assert_eq!(seen, [(false, Some(false)), (true, Some(false))]);
}

/// The same with one connection and one waiter: it looks in vain, announces, and must see the return that came in between (E5).
#[test]
fn one_on_its_way_looks_in_vain_against_a_return() {
    let seen = two_threads(|| {
        let rig = Rig::new(2, 1, BARGING);
        let one = rig.must_take(0);
        let first = rig.enqueue().unwrap();
        rig.give(one, 0);
        let runs = beside(&rig, |rig| rig.bag.take(0).map(|claim| rig.give(claim, 1)).is_some());
        let claim = rig.wait(&first, Patience::Endless).unwrap();
        rig.give(claim, 0);
        let passed = runs.join().unwrap();
        rig.at_rest();
        passed
    });
    assert_eq!(seen, [false, true]);
}

/// Without it a waiter that was rung, and whose time is up, leaves WAIT down: the one behind it sleeps beside what comes back.
#[test]
fn one_on_its_way_runs_out_of_time() {
    let seen = three_threads(|| {
        let rig = Rig::new(1, 1, BARGING);
        let one = rig.must_take(0);
        let (first, second) = (rig.enqueue().unwrap(), rig.enqueue().unwrap());
        rig.give(one, 0);
        let runs = beside(&rig, |rig| rig.bag.take(0).map(|claim| rig.give(claim, 0)).is_some());
        let other = beside(&rig, move |rig| {
            let claim = rig.wait(&second, Patience::Endless).unwrap();
            rig.give(claim, 0);
        });
        let (fate, duty) = rig.bag.wait(&first, || None);
        rig.carry(duty);
        let granted = matches!(fate, Fate::Granted(_));
        if let Fate::Granted(claim) = fate {
            rig.give(claim, 0);
        }
        other.join().unwrap();
        let _ = runs.join().unwrap();
        rig.at_rest();
        granted
    });
    assert_eq!(seen, [false, true]);
}

/// Without it an earlier waiter that comes back before one that was rung finds WAIT down, and nobody comes for it.
#[test]
fn an_earlier_waiter_comes_back_before_one_on_its_way() {
    let seen = three_threads(|| {
        let rig = Rig::new(1, 2, BARGING);
        let (one, two) = (rig.must_take(0), rig.must_take(0));
        let (first, second) = (rig.enqueue().unwrap(), rig.enqueue().unwrap());
        rig.carry(rig.bag.give(one, 0, crate::rig::clock));
        let (fate, duty) = rig.bag.wait(&first, || Some(Nap::UntilRung));
        rig.carry(duty);
        let Fate::Granted(dead) = fate else { panic!("it was there") };
        rig.carry(rig.bag.give(two, 0, crate::rig::clock));
        let runs = beside(&rig, |rig| rig.bag.take(0).map(|claim| rig.give(claim, 0)).is_some());
        let other = beside(&rig, move |rig| {
            let claim = rig.wait(&second, Patience::Endless).unwrap();
            rig.give(claim, 0);
        });
        rig.carry(rig.bag.evict(dead));
        rig.carry(rig.bag.rejoin(&first));
        let claim = rig.wait(&first, Patience::Endless).unwrap();
        rig.give(claim, 0);
        other.join().unwrap();
        let passed = runs.join().unwrap();
        rig.at_rest();
        passed
    });
    assert_eq!(seen, [false, true]);
}

/// Two waiters are rung for two connections, and one of these is taken past them. Without it whoever looks in vain sleeps on when the
/// other one has left, since WAIT stays down.
#[test]
fn one_of_two_on_their_way_looks_in_vain() {
    let seen = three_threads(|| {
        let rig = Rig::new(1, 2, BARGING);
        let (one, two) = (rig.must_take(0), rig.must_take(0));
        let (first, second) = (rig.enqueue().unwrap(), rig.enqueue().unwrap());
        rig.give(one, 0);
        rig.give(two, 0);
        rig.carry(rig.bag.look_after());
        let runs = beside(&rig, |rig| rig.bag.take(0).map(|claim| rig.give(claim, 0)).is_some());
        let other = beside(&rig, move |rig| rig.wait(&second, Patience::Endless).unwrap());
        let mine = rig.wait(&first, Patience::Endless).unwrap();
        let theirs = other.join().unwrap();
        let passed = runs.join().unwrap();
        rig.give(mine, 0);
        rig.give(theirs, 0);
        rig.at_rest();
        passed
    });
    assert_eq!(seen, [false, true]);
}

/// Without it a waiter sleeps beside an idle connection until the one before it, which was rung for another, gets a core.
#[test]
fn as_many_are_rung_as_there_are_idle_connections() {
    two_threads(|| {
        let rig = Rig::new(1, 2, BARGING);
        let (one, two) = (rig.must_take(0), rig.must_take(0));
        let (first, second) = (rig.enqueue().unwrap(), rig.enqueue().unwrap());
        let giver = beside(&rig, |rig| {
            rig.give(one, 0);
            rig.give(two, 0);
            rig.carry(rig.bag.look_after());
        });
        // The first has not looked yet.
        let theirs = rig.wait(&second, Patience::Endless).unwrap();
        let mine = rig.wait(&first, Patience::Endless).unwrap();
        giver.join().unwrap();
        rig.give(theirs, 0);
        rig.give(mine, 0);
        rig.at_rest();
    });
}

/// Without it somebody passes a head that is due, once it has looked in vain.
#[test]
fn nobody_passes_a_head_that_is_due_and_has_looked_in_vain() {
    two_threads(|| {
        let rig = Rig::new(1, 1, BARGING);
        let claim = rig.must_take(0);
        let seat = rig.enqueue().unwrap();
        rig.give(claim, 0);
        let claim = rig.must_take(0);
        // Its time has come.
        rig.carry(rig.bag.limit(|live| live.handoff_after = SOON));
        let (fate, duty) = rig.bag.wait(&seat, || Some(Nap::UntilRung));
        rig.carry(duty);
        assert!(matches!(fate, Fate::Open));
        let barger = beside(&rig, |rig| assert!(rig.bag.take(0).is_none(), "a barger passed the head"));
        rig.give(claim, 0);
        barger.join().unwrap();
        let claim = rig.wait(&seat, Patience::Endless).unwrap();
        rig.give(claim, 0);
        rig.at_rest();
    });
}

/// Without it a head that nobody may pass at any time is passed while it is on its way.
#[test]
fn nobody_passes_one_on_its_way_where_the_order_is_strict() {
    two_threads(|| {
        let rig = Rig::new(1, 1, STRICT);
        // It is rung at once: a connection is idle.
        let seat = rig.enqueue().unwrap();
        let claim = rig.must_take(0);
        let barger = beside(&rig, |rig| assert!(rig.bag.take(0).is_none(), "a barger passed the head"));
        rig.give(claim, 0);
        barger.join().unwrap();
        let claim = rig.wait(&seat, Patience::Endless).unwrap();
        rig.give(claim, 0);
        rig.at_rest();
    });
}

/// Without it one that was rung is still expected when it has been granted another connection: the one behind it sleeps beside the first.
#[test]
fn one_on_its_way_is_granted_another_one() {
    two_threads(|| {
        let rig = Rig::new(1, 2, BARGING);
        let (one, two) = (rig.must_take(0), rig.must_take(0));
        let (first, second) = (rig.enqueue().unwrap(), rig.enqueue().unwrap());
        rig.give(one, 0);
        rig.carry(rig.bag.limit(|live| live.handoff_after = AT_ONCE));
        rig.give(two, 0);
        rig.carry(rig.bag.limit(|live| live.handoff_after = NEVER_DUE));
        let other = beside(&rig, move |rig| rig.wait(&second, Patience::Endless).unwrap());
        let mine = rig.wait(&first, Patience::Endless).unwrap();
        let theirs = other.join().unwrap();
        rig.give(mine, 0);
        rig.give(theirs, 0);
        rig.at_rest();
    });
}

/// Without it the second of two that were rung does not look, since the first has taken something.
#[test]
fn two_on_their_way_where_the_order_is_strict() {
    two_threads(|| {
        let rig = Rig::new(1, 2, STRICT);
        let (first, second) = (rig.enqueue().unwrap(), rig.enqueue().unwrap());
        let other = beside(&rig, move |rig| rig.wait(&second, Patience::Endless).unwrap());
        let mine = rig.wait(&first, Patience::Endless).unwrap();
        let theirs = other.join().unwrap();
        rig.give(mine, 0);
        rig.give(theirs, 0);
        rig.at_rest();
    });
}
