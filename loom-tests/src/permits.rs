//! Permits: a freed slot reaches a waiter as a dial, and open + opening never passes the limit.

use crate::lockfree::bag::Limits;
use crate::rig::{AT_ONCE, Got, NO_DIALS, Patience, Rig, beside, three_threads, two_threads};

/// One connection at most, opened by whoever's demand it is.
const ONE: Limits = Limits { max_size: 1, dials: 1, ..NO_DIALS };

/// Without it a waiter sleeps although a connection could be opened: it came too late to be told of the permit, or too early to see it.
#[test]
fn a_freed_slot_against_a_waiter() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 1, ONE);
        let broken = rig.must_take(0);
        let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
        let duty = rig.bag.evict(broken);
        let dialed_here = !duty.dial.is_empty();
        rig.carry(duty);
        assert_eq!(waiter.join().unwrap(), Got::Granted);
        rig.at_rest();
        dialed_here
    });
    assert_eq!(seen, [false, true]);
}

/// Without it a waiter sleeps although a connection could be opened: what was idle when the dials were counted has gone to a caller who was
/// faster and keeps it.
#[test]
fn a_barger_takes_what_stood_against_a_dial() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 1, NO_DIALS);
        let claim = rig.must_take(0);
        let seat = rig.enqueue().unwrap();
        let barger = beside(&rig, |rig| rig.bag.take(0));
        rig.give(claim, 0);
        rig.carry(rig.bag.limit(|limits| limits.dials = 1));
        let claim = rig.wait(&seat, Patience::Endless).unwrap();
        let kept = barger.join().unwrap();
        let barged = kept.is_some();
        kept.into_iter().chain([claim]).for_each(|claim| rig.give(claim, 0));
        rig.at_rest();
        (barged, rig.open())
    });
    assert_eq!(seen, [(false, 1), (true, 2)]);
}

/// Without it the permit and a return both go to the same waiter, and the second one gets neither.
#[test]
fn a_freed_slot_and_a_return_against_two_waiters() {
    three_threads(|| {
        let rig = Rig::new(1, 2, Limits { dials: 1, ..NO_DIALS });
        let (broken, good) = (rig.must_take(0), rig.must_take(0));
        let first = rig.enqueue().unwrap();
        let second = beside(&rig, |rig| rig.enqueue().and_then(|seat| rig.wait(&seat, Patience::Endless)).unwrap());
        let others = beside(&rig, move |rig| {
            rig.carry(rig.bag.evict(broken));
            rig.give(good, 0);
        });
        let mine = rig.wait(&first, Patience::Endless).unwrap();
        let theirs = second.join().unwrap();
        others.join().unwrap();
        rig.give(mine, 0);
        rig.give(theirs, 0);
        rig.at_rest();
    });
}

/// Without it the waiter for whom the permit was meant takes it away with it when its time is up.
#[test]
fn a_freed_slot_against_a_timeout_and_a_waiter() {
    three_threads(|| {
        let rig = Rig::new(1, 1, ONE);
        let broken = rig.must_take(0);
        let first = rig.enqueue().unwrap();
        let second = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
        let evicting = beside(&rig, move |rig| rig.carry(rig.bag.evict(broken)));
        if let Ok(claim) = rig.wait(&first, Patience::Limited) {
            rig.give(claim, 0);
        }
        assert_eq!(second.join().unwrap(), Got::Granted);
        evicting.join().unwrap();
        rig.at_rest();
    });
}

/// Without it a failed dial leaves the waiter that counted on it without another.
#[test]
fn a_failed_dial_is_made_again() {
    two_threads(|| {
        let rig = Rig::new(1, 0, ONE);
        let (seat, duty) = rig.bag.enqueue(0).unwrap();
        let dialer = beside(&rig, move |rig| {
            duty.dial.into_iter().for_each(|permit| rig.carry(rig.bag.dial_failed(permit)));
        });
        let claim = rig.wait(&seat, Patience::Endless).unwrap();
        rig.give(claim, 0);
        dialer.join().unwrap();
        rig.at_rest();
    });
}

/// Without it the result of an overdue dial comes in beside the one that replaced it: two connections where one is allowed.
#[test]
fn an_overdue_dial_against_its_permit() {
    // With no slot to spare, and with one that only the limit forbids.
    for capacity in [1, 2] {
        let seen = three_threads(move || {
            let rig = Rig::with_capacity(1, capacity, 0, ONE);
            let (seat, mut duty) = rig.bag.enqueue(0).unwrap();
            let permit = duty.dial.pop().unwrap();
            let ticket = permit.ticket;
            let dialer = beside(&rig, move |rig| {
                let admitted = rig.dial(permit);
                assert!(within(rig, 1));
                admitted
            });
            let overseer = beside(&rig, move |rig| {
                let overdue = rig.bag.overdue(ticket);
                let late = overdue.is_some();
                overdue.into_iter().for_each(|duty| rig.carry(duty));
                assert!(within(rig, 1));
                late
            });
            let claim = rig.wait(&seat, Patience::Endless).unwrap();
            rig.give(claim, 0);
            let (admitted, late) = (dialer.join().unwrap(), overseer.join().unwrap());
            rig.at_rest();
            assert_eq!(rig.open(), 1);
            (admitted, late)
        });
        // Late, and turned away; in time.
        assert_eq!(seen, [(false, true), (true, false)]);
    }
}

/// Without it an overdue dial that succeeds after all is thrown away although there is room for it, or both of its ends free the same
/// permit.
#[test]
fn an_overdue_dial_is_admitted_under_a_new_permit() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 0, ONE);
        let permit = rig.ask().dial.pop().unwrap();
        let ticket = permit.ticket;
        let overseer = beside(&rig, move |rig| {
            let overdue = rig.bag.overdue(ticket);
            let late = overdue.is_some();
            overdue.into_iter().for_each(|duty| rig.carry(duty));
            late
        });
        assert!(rig.dial(permit));
        let late = overseer.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 1);
        late
    });
    assert_eq!(seen, [false, true]);
}

/// Without it a waiter and one who only asks, or two who ask, open more than the limit allows.
#[test]
fn demand_against_demand() {
    for waits in [false, true] {
        two_threads(move || {
            let rig = Rig::with_capacity(1, 2, 0, Limits { dials: 2, ..ONE });
            let ask = |rig: &Rig| {
                let duty = rig.ask();
                assert!(within(rig, 1));
                rig.carry(duty);
            };
            let other =
                beside(&rig, move |rig| if waits { _ = rig.wait_and_give(0, Patience::Endless) } else { ask(rig) });
            ask(&rig);
            other.join().unwrap();
            rig.at_rest();
            assert_eq!(rig.open(), 1);
        });
    }
}

/// Without it the end of a backoff, which is a change of the limits, does not reach the waiter that came during it.
#[test]
fn the_end_of_a_backoff_against_a_waiter() {
    two_threads(|| {
        let rig = Rig::new(1, 0, Limits { dials: 0, handoff_after: AT_ONCE, ..ONE });
        let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
        rig.carry(rig.bag.limit(|limits| limits.dials = 1));
        assert_eq!(waiter.join().unwrap(), Got::Granted);
        rig.at_rest();
    });
}

fn within(rig: &Rig, max_size: usize) -> bool {
    let census = rig.bag.census();
    census.open + census.opening <= max_size
}
