//! Permits: a freed slot reaches a waiter as a dial, open + opening never passes the limit, and with those that are being closed not
//! the room.

use crate::lockfree::bag::Limits;
use crate::rig::{AT_ONCE, Got, NO_DIALS, Patience, Rig, beside, three_threads, two_threads};

/// One connection at most, opened by whoever's demand it is.
const ONE: Limits = Limits { max_size: 1, dials: 1, ..NO_DIALS };

/// The same where the one before it has to be closed first.
const NO_ROOM: Limits = Limits { max_closing: 0, ..ONE };

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
            let other = beside(&rig, move |rig| {
                if !waits {
                    return ask(rig);
                }
                let (seat, duty) = rig.bag.enqueue(0).unwrap();
                assert!(within(rig, 1));
                rig.carry(duty);
                let claim = rig.wait(&seat, Patience::Endless).unwrap();
                rig.give(claim, 0);
            });
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

/// Without it a waiter is not dialed for although the connection has gone that took up the room; or it is before that.
#[test]
fn a_close_against_a_waiter() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 1, NO_ROOM);
        let broken = rig.must_take(0);
        let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
        let duty = rig.bag.evict(broken);
        assert!(duty.dial.is_empty() && within_room(&rig, 1));
        let held_back = duty.hasten > 0;
        rig.carry(duty);
        assert!(within_room(&rig, 1));
        rig.tell_closed();
        assert_eq!(waiter.join().unwrap(), Got::Granted);
        rig.at_rest();
        held_back
    });
    // The waiter came after the eviction; before it.
    assert_eq!(seen, [false, true]);
}

/// Without it a close takes all the time that it is allowed although a waiter, or one who asked, needs nothing but its room.
#[test]
fn a_patient_close_is_hastened() {
    for waits in [true, false] {
        let seen = two_threads(move || {
            let rig = Rig::new(1, 1, NO_ROOM);
            rig.close_when_hastened();
            let broken = rig.must_take(0);
            let other = beside(&rig, move |rig| {
                if waits {
                    assert_eq!(rig.wait_and_give(0, Patience::Endless), Got::Granted);
                } else {
                    rig.carry(rig.ask());
                }
            });
            rig.carry(rig.bag.evict(broken));
            other.join().unwrap();
            rig.at_rest();
            rig.open()
        });
        // One who asks while it is open is content with it.
        assert_eq!(seen, if waits { vec![1] } else { vec![0, 1] });
    }
}

/// Without it a connection that came too late, and has no permit any more, comes in beside those that are being closed.
#[test]
fn an_overdue_dial_against_a_close() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 0, NO_ROOM);
        let permit = rig.ask().dial.pop().unwrap();
        let overdue = rig.bag.overdue(permit.ticket).unwrap();
        assert!(overdue.is_none(), "nobody asks any more");
        rig.carry(rig.ask());
        rig.carry(rig.bag.evict(rig.must_take(0)));
        assert!(within_room(&rig, 1));
        let dialer = beside(&rig, move |rig| rig.dial(permit));
        rig.tell_closed();
        let admitted = dialer.join().unwrap();
        // What is turned away comes on top.
        assert!(within_room(&rig, if admitted { 1 } else { 2 }));
        rig.at_rest();
        (admitted, rig.open())
    });
    assert_eq!(seen, [(false, 0), (true, 1)]);
}

/// Without it a waiter relies on a dial that may take for ever: on one that was slow before it came, or becomes so while it waits.
#[test]
fn a_slow_dial_against_a_waiter() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 0, Limits { dials: 2, ..NO_DIALS });
        let permit = rig.ask().dial.pop().unwrap();
        let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
        let duty = rig.bag.slow(permit.ticket);
        let dialed_here = !duty.dial.is_empty();
        rig.carry(duty);
        assert!(rig.bag.slow(permit.ticket).is_none(), "it is known");
        assert_eq!(waiter.join().unwrap(), Got::Granted);
        assert!(rig.dial(permit), "it has kept its permit");
        rig.at_rest();
        dialed_here
    });
    assert_eq!(seen, [false, true]);
}

/// Without it one who asks relies on a slow dial; or slow dials do not count among those that may be under way.
#[test]
fn a_slow_dial_against_one_who_asks() {
    for (max_size, dials) in [(2, 2), (1, 2), (2, 1)] {
        two_threads(move || {
            let rig = Rig::with_capacity(1, 2, 0, Limits { max_size, dials, ..NO_DIALS });
            let permit = rig.ask().dial.pop().unwrap();
            let ticket = permit.ticket;
            let ask = move |rig: &Rig| {
                let duty = rig.ask();
                let begun = duty.dial.len();
                assert!(within(rig, max_size) && rig.bag.census().opening <= dials);
                rig.carry(duty);
                begun
            };
            let overseer = beside(&rig, move |rig| {
                let duty = rig.bag.slow(ticket);
                assert!(duty.is_none(), "nobody waits, and nobody asks yet");
                ask(rig)
            });
            let begun = ask(&rig) + overseer.join().unwrap();
            assert_eq!(begun, max_size.min(dials) - 1);
            assert!(rig.dial(permit), "it has kept its permit");
            rig.at_rest();
        });
    }
}

/// Without it a dial whose connection nobody wants leaves the waiter that counted on it without another: one that begins at once, or
/// when there is room for it.
#[test]
fn a_dial_turned_away_against_a_waiter() {
    for max_closing in [0, 1] {
        two_threads(move || {
            let rig = Rig::new(1, 0, Limits { max_closing, ..ONE });
            let (seat, mut duty) = rig.bag.enqueue(0).unwrap();
            let permit = duty.dial.pop().unwrap();
            let dialer = beside(&rig, move |rig| {
                rig.turn_away(permit);
                assert!(within_room(rig, 1 + max_closing));
                if max_closing == 0 {
                    rig.tell_closed();
                }
            });
            let claim = rig.wait(&seat, Patience::Endless).unwrap();
            rig.give(claim, 0);
            dialer.join().unwrap();
            rig.at_rest();
            assert_eq!(rig.open(), 1);
        });
    }
}

/// Without it both ends of an overdue dial free the same permit, or none does.
#[test]
fn an_overdue_dial_turned_away() {
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
        rig.turn_away(permit);
        let late = overseer.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
        late
    });
    assert_eq!(seen, [false, true]);
}

fn within(rig: &Rig, max_size: usize) -> bool {
    let census = rig.bag.census();
    census.open + census.opening <= max_size
}

/// The same with those that are being closed.
fn within_room(rig: &Rig, room: usize) -> bool {
    let census = rig.bag.census();
    census.open + census.opening + census.closing <= room
}
