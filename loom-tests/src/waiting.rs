//! Waiters against returns: no wake-up is lost, whoever comes, leaves or runs out of time.

use crate::lockfree::bag::{Fate, Limits};
use crate::lockfree::bits::Notes;
use crate::rig::{
    AT_ONCE, Got, NEVER_DUE, NO_DIALS, Patience, Rig, SOON, beside, four_threads, three_threads, two_threads,
};
use crate::sync::Nap;

const STRICT: Limits = Limits { handoff_after: AT_ONCE, ..NO_DIALS };
const BARGING: Limits = Limits { handoff_after: NEVER_DUE, ..NO_DIALS };
const BOUNDED: Limits = Limits { handoff_after: SOON, ..NO_DIALS };

/// Without it the return misses the announcement, the waiter's look misses the return, and the waiter sleeps although a connection is
/// idle (E4, E5).
#[test]
fn announcement_against_a_return() {
    for limits in [STRICT, BARGING] {
        two_threads(move || {
            let rig = Rig::new(1, 1, limits);
            let claim = rig.must_take(0);
            let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
            rig.give(claim, 0);
            assert_eq!(waiter.join().unwrap(), Got::Granted);
            rig.at_rest();
        });
    }
}

/// The same where the return goes to another shard than the one that the waiter announces in first or looks at first.
#[test]
fn announcement_against_a_return_on_two_shards() {
    for (limits, shard) in [(STRICT, 0), (STRICT, 1), (BARGING, 0), (BARGING, 1)] {
        two_threads(move || {
            let rig = Rig::new(2, 1, limits);
            let claim = rig.must_take(0);
            let waiter = beside(&rig, move |rig| rig.wait_and_give(1 - shard, Patience::Endless));
            rig.give(claim, shard);
            assert_eq!(waiter.join().unwrap(), Got::Granted);
            rig.at_rest();
        });
    }
}

/// Without it a caller that takes and returns between the announcement, the look and the last leaver's retraction wipes one of
/// them out, or takes what a waiter was woken for and leaves it asleep (E4, E7).
#[test]
fn a_barger_between_a_return_and_a_waiter() {
    three_threads(|| {
        let rig = Rig::new(1, 1, BARGING);
        let claim = rig.must_take(0);
        let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
        let barger = beside(&rig, |rig| rig.bag.take(0).map(|claim| rig.give(claim, 0)).is_some());
        rig.give(claim, 0);
        assert_eq!(waiter.join().unwrap(), Got::Granted);
        let _ = barger.join().unwrap();
        rig.at_rest();
    });
}

/// Without it a waiter and a caller that finds the connection first both lease it: one of them announces, the other takes.
#[test]
fn announcement_against_a_taker() {
    two_threads(|| {
        let rig = Rig::new(1, 1, BARGING);
        let barger = beside(&rig, |rig| rig.bag.take(0).map(|claim| rig.give(claim, 0)).is_some());
        assert_eq!(rig.wait_and_give(0, Patience::Endless), Got::Granted);
        let _ = barger.join().unwrap();
        rig.at_rest();
    });
}

/// Without it a barger passes a head that is due: a connection would be public for a moment before the return sees WAIT.
#[test]
fn nobody_passes_a_head_that_is_due() {
    two_threads(|| {
        let rig = Rig::new(1, 1, STRICT);
        let claim = rig.must_take(0);
        let seat = rig.enqueue().unwrap();
        let barger = beside(&rig, |rig| assert!(rig.bag.take(0).is_none(), "a barger passed the head"));
        rig.give(claim, 0);
        barger.join().unwrap();
        let claim = rig.wait(&seat, Patience::Endless).unwrap();
        rig.give(claim, 0);
        rig.at_rest();
    });
}

/// Without it the connection granted to a waiter whose time is up is lost, or the waiter fails although one is idle.
#[test]
fn timeout_against_grant() {
    for limits in [STRICT, BARGING] {
        let seen = two_threads(move || {
            let rig = Rig::new(1, 1, limits);
            let claim = rig.must_take(0);
            let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Limited));
            rig.give(claim, 0);
            let got = waiter.join().unwrap();
            rig.at_rest();
            assert_eq!(rig.idle(), 1);
            got
        });
        assert_eq!(seen, [Got::Granted, Got::TimedOut]);
    }
}

/// Without it a waiter whose time is up fails although a connection is idle, because it was not its turn to look.
#[test]
fn timeout_beside_what_an_earlier_waiter_leaves() {
    two_threads(|| {
        let rig = Rig::new(1, 2, BARGING);
        let (one, two) = (rig.must_take(0), rig.must_take(0));
        let (first, second) = (rig.enqueue().unwrap(), rig.enqueue().unwrap());
        rig.give(one, 0);
        rig.give(two, 0);
        let other = beside(&rig, move |rig| {
            let claim = rig.wait(&first, Patience::Endless).unwrap();
            rig.give(claim, 0);
        });
        let (fate, duty) = rig.bag.wait(&second, || None);
        rig.carry(duty);
        let Fate::Granted(claim) = fate else { panic!("{fate:?}, with two connections for two waiters") };
        rig.give(claim, 0);
        other.join().unwrap();
        rig.at_rest();
    });
}

/// Without it the first waiter leaves with the wake-up that was meant for whoever is head: the second sleeps although a connection is
/// idle.
#[test]
fn timeout_against_grant_with_a_second_waiter() {
    for limits in [STRICT, BARGING] {
        let seen = three_threads(move || {
            let rig = Rig::new(1, 1, limits);
            let claim = rig.must_take(0);
            let first = beside(&rig, |rig| rig.wait_and_give(0, Patience::Limited));
            let second = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
            rig.give(claim, 0);
            let got = first.join().unwrap();
            assert_eq!(second.join().unwrap(), Got::Granted);
            rig.at_rest();
            got
        });
        assert_eq!(seen, [Got::Granted, Got::TimedOut]);
    }
}

/// Without it both returns wake the same head, it leaves with one connection, and the second waiter sleeps although the other one is idle.
#[test]
fn two_returns_and_two_waiters() {
    for limits in [STRICT, BARGING, BOUNDED] {
        three_threads(move || {
            let rig = Rig::new(1, 2, limits);
            let (one, two) = (rig.must_take(0), rig.must_take(0));
            let seat = rig.enqueue().unwrap();
            let second = beside(&rig, |rig| {
                let seat = rig.enqueue().unwrap();
                rig.wait(&seat, Patience::Endless).unwrap()
            });
            let returns = beside(&rig, move |rig| {
                rig.give(one, 0);
                rig.give(two, 0);
            });
            let mine = rig.wait(&seat, Patience::Endless).unwrap();
            let theirs = second.join().unwrap();
            returns.join().unwrap();
            rig.give(mine, 0);
            rig.give(theirs, 0);
            rig.at_rest();
        });
    }
}

/// The same with each return on its own thread and shard.
#[test]
fn two_returns_on_two_threads_and_two_waiters() {
    four_threads(|| {
        let rig = Rig::new(2, 2, BARGING);
        let (one, two) = (rig.must_take(0), rig.must_take(0));
        let seat = rig.enqueue().unwrap();
        let second = beside(&rig, |rig| rig.enqueue().and_then(|seat| rig.wait(&seat, Patience::Endless)).unwrap());
        let first_return = beside(&rig, move |rig| rig.give(one, 0));
        let second_return = beside(&rig, move |rig| rig.give(two, 1));
        let mine = rig.wait(&seat, Patience::Endless).unwrap();
        let theirs = second.join().unwrap();
        first_return.join().unwrap();
        second_return.join().unwrap();
        rig.give(mine, 0);
        rig.give(theirs, 0);
        rig.at_rest();
    });
}

/// Without it every connection is on its way to somebody asleep while others run; or a waiter that did not get the one that is public
/// sleeps on.
#[test]
fn one_connection_is_left_to_whoever_runs() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 2, BOUNDED);
        let (one, two) = (rig.must_take(0), rig.must_take(0));
        let (first, second) = (rig.enqueue().unwrap(), rig.enqueue().unwrap());
        let runs = beside(&rig, |rig| rig.bag.take(0).map(|claim| rig.give(claim, 0)).is_some());
        rig.give(one, 0);
        rig.give(two, 0);
        let passed = runs.join().unwrap();
        for seat in [first, second] {
            let claim = rig.wait(&seat, Patience::Endless).unwrap();
            rig.give(claim, 0);
        }
        rig.at_rest();
        passed
    });
    assert_eq!(seen, [false, true]);
}

/// Without it the first of two waiters, leaving, opens the fast path for returns although the second one still waits (E7).
#[test]
fn the_first_of_two_leaves() {
    three_threads(|| {
        let rig = Rig::new(1, 1, BARGING);
        let claim = rig.must_take(0);
        let first = rig.enqueue().unwrap();
        let second = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
        let giver = beside(&rig, move |rig| rig.give(claim, 0));
        if let Ok(claim) = rig.wait(&first, Patience::Limited) {
            rig.give(claim, 0);
        }
        assert_eq!(second.join().unwrap(), Got::Granted);
        giver.join().unwrap();
        rig.at_rest();
    });
}

/// Without it WAIT stays behind, and every return comes to the lock for ever; or a return that comes to it finds nobody and is lost (E7).
#[test]
fn the_last_waiter_leaves_against_a_return() {
    two_threads(|| {
        let rig = Rig::new(2, 1, BARGING);
        let claim = rig.must_take(0);
        let seat = rig.enqueue().unwrap();
        let giver = beside(&rig, move |rig| {
            rig.give(claim, 1);
            rig.bag.take(1).map(|claim| rig.give(claim, 0)).is_some()
        });
        if let Ok(claim) = rig.wait(&seat, Patience::Limited) {
            rig.give(claim, 0);
        }
        let _ = giver.join().unwrap();
        rig.at_rest();
    });
}

/// Without it those who give up leave WAIT behind: every return comes to the lock until somebody else has waited (E7).
#[test]
fn two_waiters_give_up() {
    two_threads(|| {
        let rig = Rig::new(1, 0, BARGING);
        let other = beside(&rig, |rig| rig.wait_and_give(0, Patience::Limited));
        assert_eq!(rig.wait_and_give(0, Patience::Limited), Got::TimedOut);
        assert_eq!(other.join().unwrap(), Got::TimedOut);
        rig.at_rest();
    });
}

/// Without it the retraction of the last waiter puts a connection back that was taken in the meantime: leased twice (E7).
#[test]
fn the_last_waiter_leaves_against_a_taker() {
    two_threads(|| {
        let rig = Rig::new(1, 2, BARGING);
        let taker = beside(&rig, |rig| {
            let claim = rig.must_take(0);
            rig.give(claim, 0);
        });
        assert_eq!(rig.wait_and_give(0, Patience::Endless), Got::Granted);
        taker.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.idle(), 2);
    });
}

/// Without it a waiter whose granted connection is dead goes away empty, or goes back to its place unseen by the next return.
#[test]
fn granted_but_dead_goes_back_to_its_place() {
    for limits in [STRICT, BARGING] {
        let seen = two_threads(move || {
            let rig = Rig::new(1, 2, limits);
            let (one, two) = (rig.must_take(0), rig.must_take(0));
            let life = rig.life(&one);
            let seat = rig.enqueue().unwrap();
            let others = beside(&rig, move |rig| {
                rig.give(one, 0);
                let dismissed = rig.bag.dismiss(life, Notes::DEAD);
                let idle = dismissed.is_some();
                dismissed.into_iter().for_each(|duty| rig.carry(duty));
                rig.give(two, 0);
                idle
            });
            let claim = rig.wait(&seat, Patience::Endless).unwrap();
            let first = rig.life(&claim) == life;
            rig.give(claim, 0);
            let idle = others.join().unwrap();
            rig.at_rest();
            (first, idle)
        });
        assert!(seen.contains(&(false, false)), "never granted a dead one: {seen:?}");
    }
}

/// Without it a waiter that was rung while it stood in for an earlier one, which then came back to its place, is taken for awake
/// when its turn comes: it sleeps on although a connection is idle.
#[test]
fn an_earlier_waiter_comes_back() {
    three_threads(|| {
        let rig = Rig::new(1, 2, BARGING);
        let (one, two) = (rig.must_take(0), rig.must_take(0));
        let first = rig.enqueue().unwrap();
        rig.carry(rig.bag.give(one, 0, crate::rig::clock));
        let (fate, duty) = rig.bag.wait(&first, || Some(Nap::UntilRung));
        rig.carry(duty);
        let Fate::Granted(dead) = fate else { panic!("it was there") };
        let second = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
        let giver = beside(&rig, move |rig| rig.give(two, 0));
        // What the first was granted turns out to be no good.
        rig.carry(rig.bag.evict(dead));
        rig.carry(rig.bag.rejoin(&first));
        let claim = rig.wait(&first, Patience::Endless).unwrap();
        rig.give(claim, 0);
        assert_eq!(second.join().unwrap(), Got::Granted);
        giver.join().unwrap();
        rig.at_rest();
    });
}
