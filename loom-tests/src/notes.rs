//! Notes against everything that moves a connection: none stays idle with its dead note unread, and none is hit for another's.

use crate::lockfree::bag::Limits;
use crate::lockfree::bits::{Life, Notes};
use crate::rig::{Got, NO_DIALS, Patience, Rig, beside, three_threads, two_threads};

const ONE: Limits = Limits { max_size: 1, ..NO_DIALS };

impl Rig {
    /// What the reactor does on an event. True: it took the connection out itself.
    fn hang_up(&self, life: Life, flag: crate::lockfree::bits::Flag) -> bool {
        let dismissed = self.bag.dismiss(life, flag);
        let removed = dismissed.is_some();
        dismissed.into_iter().for_each(|duty| self.carry(duty));
        removed
    }
}

/// Without it the return reads clean notes, the reactor notes and finds no bit, the return publishes: the one event is spent, and a
/// dead connection lies idle (E2).
#[test]
fn dead_note_against_return() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 1, ONE);
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        let reactor = beside(&rig, move |rig| rig.hang_up(life, Notes::DEAD));
        rig.give(claim, 0);
        let removed = reactor.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
        removed
    });
    assert_eq!(seen, [false, true]);
}

/// The same where the connection comes back to another shard than the one it was taken from: only a write in *every* shard's word
/// meets the return.
#[test]
fn dead_note_against_return_to_another_shard() {
    let seen = two_threads(|| {
        let rig = Rig::new(2, 1, ONE);
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        let reactor = beside(&rig, move |rig| rig.hang_up(life, Notes::DEAD));
        rig.give(claim, 1);
        let removed = reactor.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
        removed
    });
    assert_eq!(seen, [false, true]);
}

/// With a taker in between, who may be the one who finds the note; E2 has to hold through that write to the word.
#[test]
fn dead_note_against_return_and_a_taker() {
    three_threads(|| {
        let rig = Rig::new(1, 1, ONE);
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        let reactor = beside(&rig, move |rig| rig.hang_up(life, Notes::DEAD));
        let taker = beside(&rig, |rig| rig.take(0).map(|claim| rig.give(claim, 0)).is_some());
        rig.give(claim, 0);
        let _ = (reactor.join().unwrap(), taker.join().unwrap());
        rig.at_rest();
        assert_eq!(rig.open(), 0);
    });
}

/// A whole batch of events against returns: many clients of one server that goes away.
#[test]
fn a_batch_of_dead_notes_against_returns_and_a_taker() {
    three_threads(|| {
        let rig = Rig::new(1, 2, NO_DIALS);
        let (one, two) = (rig.must_take(0), rig.must_take(0));
        let lives = [rig.life(&one), rig.life(&two)];
        let reactor = beside(&rig, move |rig| lives.map(|life| rig.hang_up(life, Notes::DEAD)));
        let taker = beside(&rig, |rig| rig.take(0).map(|claim| rig.give(claim, 0)).is_some());
        rig.give(one, 0);
        rig.give(two, 0);
        let _ = (reactor.join().unwrap(), taker.join().unwrap());
        rig.at_rest();
        assert_eq!(rig.open(), 0);
    });
}

/// Without it a return that is sent to the lock by a waiter publishes there past the note (E2 again, under the lock).
#[test]
fn dead_note_against_a_landing() {
    let seen = two_threads(|| {
        let rig = Rig::new(2, 0, Limits { dials: 1, ..ONE });
        let permit = rig.ask().dial.pop().unwrap();
        let (claim, life) = rig.bag.admit(permit, 0, false).unwrap();
        let reactor = beside(&rig, move |rig| rig.hang_up(life, Notes::DEAD));
        let duty = rig.bag.land(claim, 1, crate::rig::clock);
        let turned_back = duty.close.is_some();
        rig.carry(duty);
        let removed = reactor.join().unwrap();
        rig.bag.at_rest().unwrap();
        assert_eq!(rig.open(), 0);
        (turned_back, removed)
    });
    assert_eq!(seen, [(false, true), (true, false)]);
}

/// A connection that wanders from shard to shard while the reactor looks for it in one after the other.
#[test]
fn dead_note_against_a_migration() {
    three_threads(|| {
        let rig = Rig::new(2, 1, ONE);
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        rig.give(claim, 0);
        let there = beside(&rig, |rig| rig.bag.take(0).map(|claim| rig.give(claim, 1)).is_some());
        let back = beside(&rig, |rig| rig.bag.take(1).map(|claim| rig.give(claim, 0)).is_some());
        rig.hang_up(life, Notes::DEAD);
        let _ = (there.join().unwrap(), back.join().unwrap());
        rig.at_rest();
        assert_eq!(rig.open(), 0);
    });
}

/// Without it an event for a connection that is gone closes the next one in its slot, or leaves it lying nowhere; or the next one is
/// born with notes of its own, or taken for one that was used.
#[test]
fn a_late_event_against_slot_recycling() {
    two_threads(|| {
        let rig = Rig::new(1, 1, Limits { dials: 1, ..ONE });
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        let reactor = beside(&rig, move |rig| rig.hang_up(life, Notes::DEAD));
        rig.carry(rig.bag.evict(claim));
        rig.carry(rig.ask());
        let _ = reactor.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 1);
        let notes = rig.notes(life);
        let fresh_alone = Notes::ALL.iter().all(|(flag, _)| notes.has(*flag) == (*flag == Notes::FRESH));
        assert!(fresh_alone && notes.generation() == life.generation + 1, "{notes:?}");
    });
}

/// Without it the late event overwrites what is already known against the next connection.
#[test]
fn a_late_event_against_the_event_of_the_next_life() {
    two_threads(|| {
        let rig = Rig::new(1, 1, Limits { dials: 1, ..ONE });
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        let next = Life { generation: life.generation + 1, ..life };
        let reactor = beside(&rig, move |rig| rig.hang_up(life, Notes::DEAD));
        rig.carry(rig.bag.evict(claim));
        rig.carry(rig.ask());
        rig.hang_up(next, Notes::DEAD);
        let _ = reactor.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
    });
}

/// Without it a healthy connection that a late event took out by mistake is put back behind the back of a waiter.
#[test]
fn a_late_event_against_a_waiter_for_the_next_life() {
    three_threads(|| {
        let rig = Rig::new(1, 1, Limits { dials: 1, ..ONE });
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        let reactor = beside(&rig, move |rig| rig.hang_up(life, Notes::DEAD));
        let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
        rig.carry(rig.bag.evict(claim));
        let _ = reactor.join().unwrap();
        assert_eq!(waiter.join().unwrap(), Got::Granted);
        rig.at_rest();
        assert_eq!(rig.open(), 1);
    });
}

/// Without it an event and a sweep that dismiss the same connection close it twice, or neither does.
#[test]
fn dismissal_against_dismissal() {
    let seen = two_threads(|| {
        let rig = Rig::new(2, 1, ONE);
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        rig.give(claim, 1);
        let sweep = beside(&rig, move |rig| rig.hang_up(life, Notes::EXPIRED));
        let event = rig.hang_up(life, Notes::DEAD);
        let expired = sweep.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
        (event, expired)
    });
    assert_eq!(seen, [(false, true), (true, false)]);
}

/// Without it one of two notes written at once is lost: the dead one, under a sweep's "aged" or "rested" or a caller's "timed".
#[test]
fn note_against_note() {
    for flag in [Notes::AGED, Notes::RESTED, Notes::TIMED] {
        two_threads(move || {
            let rig = Rig::new(1, 1, ONE);
            let claim = rig.must_take(0);
            let life = rig.life(&claim);
            let other = beside(&rig, move |rig| assert!(rig.bag.note(life, flag)));
            assert!(!rig.hang_up(life, Notes::DEAD));
            other.join().unwrap();
            let notes = rig.notes(life);
            assert!(notes.has(Notes::DEAD) && notes.has(flag), "{notes:?}");
            rig.carry(rig.bag.give_or_evict(claim, 0, crate::rig::clock));
            rig.at_rest();
        });
    }
}

/// Without it a note that only asks for a look takes a connection out of the pool that is returned at the same time.
#[test]
fn note_for_a_look_against_return() {
    for flag in [Notes::AGED, Notes::RESTED, Notes::PROBE, Notes::TIMED] {
        let seen = two_threads(move || {
            let rig = Rig::new(1, 1, ONE);
            let claim = rig.must_take(0);
            let life = rig.life(&claim);
            let sweep = beside(&rig, move |rig| {
                // As the sweep does. Without this look at the word loom would not try both orders: see the end of the README.
                let _ = rig.bag.is_idle(life.slot);
                assert!(rig.bag.note(life, flag));
            });
            rig.give(claim, 0);
            let noted = rig.notes(life).has(flag);
            sweep.join().unwrap();
            rig.at_rest();
            assert_eq!(rig.idle(), 1);
            assert!(rig.notes(life).has(flag), "{:?}", rig.notes(life));
            noted
        });
        assert_eq!(seen, [false, true]);
    }
}

/// Without it a note that was accepted just before the connection left is never read: closed for one reason, counted for another.
#[test]
fn note_against_eviction() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 1, ONE);
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        let reactor = beside(&rig, move |rig| rig.bag.note(life, Notes::DEAD));
        let duty = rig.bag.evict(claim);
        let (_, last) = duty.close.as_ref().unwrap();
        let read = last.has(Notes::DEAD);
        rig.carry(duty);
        assert_eq!(reactor.join().unwrap(), read);
        rig.at_rest();
        read
    });
    assert_eq!(seen, [false, true]);
}

/// Without it an owner that clears "aged", "rested" or "fresh" wipes out the dead note that comes at the same time.
#[test]
fn note_against_clear() {
    for flag in [Notes::AGED, Notes::RESTED, Notes::FRESH] {
        two_threads(move || {
            let rig = Rig::new(1, 1, ONE);
            let claim = rig.must_take(0);
            let life = rig.life(&claim);
            assert_eq!(rig.bag.note(life, flag), flag != Notes::FRESH, "fresh it is from birth");
            let reactor = beside(&rig, move |rig| rig.hang_up(life, Notes::DEAD));
            rig.bag.clear(&claim, flag);
            rig.give(claim, 0);
            let _ = reactor.join().unwrap();
            rig.at_rest();
            assert_eq!(rig.open(), 0);
        });
    }
}

/// Without it a user that clears what the sweep has noted wipes out a note that is to last as long as the connection.
#[test]
fn lasting_note_against_clear() {
    for flag in [Notes::PROBE, Notes::TIMED] {
        two_threads(move || {
            let rig = Rig::new(1, 1, ONE);
            let claim = rig.must_take(0);
            let life = rig.life(&claim);
            assert!(rig.bag.note(life, Notes::RESTED) && rig.bag.note(life, Notes::AGED));
            let other = beside(&rig, move |rig| assert!(rig.bag.note(life, flag)));
            rig.bag.clear(&claim, Notes::AGED);
            rig.bag.clear(&claim, Notes::RESTED);
            other.join().unwrap();
            let notes = rig.notes(life);
            assert!(notes.has(flag) && !notes.has(Notes::AGED) && !notes.has(Notes::RESTED), "{notes:?}");
            rig.give(claim, 0);
            rig.at_rest();
            assert_eq!(rig.idle(), 1);
        });
    }
}

/// Without it the reactor leaves a dead connection to the sweep, which has it out for a look, and the sweep puts it back unread.
#[test]
fn dead_note_against_a_look_by_the_sweep() {
    two_threads(|| {
        let rig = Rig::new(2, 1, ONE);
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        rig.give(claim, 0);
        let reactor = beside(&rig, move |rig| rig.hang_up(life, Notes::DEAD));
        if let Some(claim) = rig.bag.remove(life.slot) {
            rig.carry(rig.bag.give_or_evict(claim, 1, crate::rig::clock));
        }
        let _ = reactor.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
    });
}
