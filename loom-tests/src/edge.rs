//! The idle stacks by themselves: take, give and removal, without anybody waiting; and each of them once more as the hot path does it,
//! which tries the slot given last, and gives by what its take has left in the word.

use crate::lockfree::bag::Limits;
use crate::lockfree::bits::Notes;
use crate::rig::{AT_ONCE, Got, NEVER_DUE, NO_DIALS, Patience, Rig, beside, two_threads};

/// Without it a taker would use a connection in a state from before its last user's work (E1).
#[test]
fn give_publishes_the_connection_to_take() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 1, NO_DIALS);
        let claim = rig.must_take(0);
        let giver = beside(&rig, move |rig| rig.give(claim, 0));
        let uses = rig.bag.take(0).map(|claim| {
            let uses = rig.uses(&claim);
            rig.give(claim, 0);
            uses
        });
        giver.join().unwrap();
        rig.at_rest();
        uses
    });
    assert_eq!(seen, [None, Some(1)]);
}

/// Without it one connection would be leased twice.
#[test]
fn take_against_take_of_the_last_one() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 1, NO_DIALS);
        let other = beside(&rig, |rig| rig.bag.take(0));
        let mine = rig.bag.take(0);
        let theirs = other.join().unwrap();
        let served = (mine.is_some(), theirs.is_some());
        mine.into_iter().chain(theirs).for_each(|claim| rig.give(claim, 0));
        rig.at_rest();
        served
    });
    assert_eq!(seen, [(false, true), (true, false)]);
}

/// Without it a healthy connection could not be had while another caller takes its neighbour.
#[test]
fn take_against_take_of_two() {
    two_threads(|| {
        let rig = Rig::new(1, 2, NO_DIALS);
        let other = beside(&rig, |rig| {
            let claim = rig.must_take(0);
            rig.give(claim, 0);
        });
        let claim = rig.must_take(0);
        rig.give(claim, 0);
        other.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.idle(), 2);
    });
}

/// Without it a return would be wiped out by another that changes the same word.
#[test]
fn return_against_return() {
    two_threads(|| {
        let rig = Rig::new(1, 2, NO_DIALS);
        let (one, two) = (rig.must_take(0), rig.must_take(0));
        let other = beside(&rig, move |rig| rig.give(one, 0));
        rig.give(two, 0);
        other.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.idle(), 2);
    });
}

/// Without it a removal and a taker would both own the connection, or the remover see less than its last user did (E3).
#[test]
fn take_against_removal() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 1, NO_DIALS);
        let mut claim = rig.must_take(0);
        rig.touch(&mut claim);
        let slot = claim.slot();
        let user = beside(&rig, move |rig| {
            rig.give(claim, 0);
            rig.bag.take(0).map(|claim| rig.give(claim, 0)).is_some()
        });
        let removed = rig.bag.remove(slot).map(|claim| rig.give(claim, 0)).is_some();
        let taken = user.join().unwrap();
        rig.at_rest();
        (removed, taken)
    });
    assert_eq!(seen, [(false, true), (true, false), (true, true)]);
}

/// Without it a removal would make its neighbour unavailable for a moment: a caller would be sent away from an idle connection.
#[test]
fn removal_hides_no_neighbour() {
    two_threads(|| {
        let rig = Rig::new(1, 2, NO_DIALS);
        let gone = rig.must_take(0);
        let slot = gone.slot();
        rig.give(gone, 0);
        let reactor = beside(&rig, move |rig| rig.bag.remove(slot));
        let claim = rig.must_take(0);
        let removed = reactor.join().unwrap();
        assert!(removed.is_some() || claim.slot() == slot);
        rig.give(claim, 0);
        removed.into_iter().for_each(|claim| rig.give(claim, 0));
        rig.at_rest();
    });
}

/// Without it a thief and the shard's own caller would lease the same connection, or both go without.
#[test]
fn steal_against_local_take() {
    let seen = two_threads(|| {
        let rig = Rig::new(2, 1, NO_DIALS);
        let thief = beside(&rig, |rig| rig.take(1).map(|claim| rig.give(claim, 1)).is_some());
        let local = rig.bag.take(0).map(|claim| rig.give(claim, 0)).is_some();
        let stolen = thief.join().unwrap();
        rig.at_rest();
        (local, stolen)
    });
    assert_eq!(seen, [(false, true), (true, false), (true, true)]);
}

/// The same edge where the connection is published under the lock: its taker never comes to that lock (E1).
#[test]
fn landing_publishes_the_connection_to_take() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 0, Limits { max_size: 1, dials: 1, ..NO_DIALS });
        let permit = rig.ask().dial.pop().unwrap();
        let dialer = beside(&rig, move |rig| assert!(rig.dial(permit)));
        let taken = rig.bag.take(0).map(|claim| rig.give(claim, 0)).is_some();
        dialer.join().unwrap();
        rig.at_rest();
        taken
    });
    assert_eq!(seen, [false, true]);
}

// ---- the hot path ----------------------------------------------------------------------------------------------------------------

/// Without it a taker who tries the one given last would use it in a state from before its last user's work (E1).
#[test]
fn top_is_taken_as_its_giver_left_it() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 1, NO_DIALS);
        let giver = beside(&rig, |rig| rig.take_top(0).map(|(claim, place)| rig.give_back(claim, place)).is_some());
        let mine = rig.take_top(0).map(|(claim, place)| {
            let uses = rig.uses(&claim);
            rig.give_back(claim, place);
            uses
        });
        let given = giver.join().unwrap();
        rig.at_rest();
        (given, mine)
    });
    assert_eq!(seen, [(false, Some(0)), (true, None), (true, Some(0)), (true, Some(1))]);
}

/// Without it a hint that is wrong by now, or a look that is, would lease one connection twice.
#[test]
fn top_against_removal() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 1, NO_DIALS);
        let slot = rig.must_take(0);
        let number = slot.slot();
        rig.give(slot, 0);
        let reactor = beside(&rig, move |rig| rig.bag.remove(number).map(|claim| rig.give(claim, 0)).is_some());
        let taken = rig.take_top(0).map(|(claim, place)| rig.give_back(claim, place)).is_some();
        let removed = reactor.join().unwrap();
        rig.at_rest();
        (taken, removed)
    });
    assert_eq!(seen, [(false, true), (true, false), (true, true)]);
}

/// Without it a return that guesses would wipe out what its neighbours have done since its take: given, and taken, so that the word may
/// look as it did.
#[test]
fn a_return_by_an_old_guess_against_a_neighbour() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 2, NO_DIALS);
        let (top, place) = rig.take_top(0).expect("two are idle");
        let neighbour = beside(&rig, |rig| {
            let claim = rig.must_take(0);
            rig.give(claim, 0);
            rig.bag.take(0).map(|claim| rig.give(claim, 0)).is_some()
        });
        rig.give_back(top, place);
        let again = neighbour.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.idle(), 2);
        again
    });
    assert_eq!(seen, [true]);
}

/// Without it a return that guesses from before the announcement would pass the waiter by (E4).
#[test]
fn announcement_against_a_return_by_an_old_guess() {
    for handoff_after in [AT_ONCE, NEVER_DUE] {
        two_threads(move || {
            let rig = Rig::new(1, 1, Limits { handoff_after, ..NO_DIALS });
            let (claim, place) = rig.take_top(0).expect("it is idle");
            let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
            rig.give_back(claim, place);
            assert_eq!(waiter.join().unwrap(), Got::Granted);
            rig.at_rest();
        });
    }
}

/// Without it a note would be missed by a return whose guess proves right, since the removal that came between has changed no bit (E2);
/// or be looked for in another shard than the one that the return was to.
#[test]
fn dead_note_against_a_return_by_an_old_guess() {
    let seen = two_threads(|| {
        let rig = Rig::new(2, 1, NO_DIALS);
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        rig.give(claim, 1);
        let reactor = beside(&rig, move |rig| rig.bag.dismiss(life, Notes::DEAD).map(|duty| rig.carry(duty)).is_some());
        if let Some((claim, place)) = rig.take_top(1) {
            rig.give_back(claim, place);
        }
        let dismissed = reactor.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
        dismissed
    });
    assert_eq!(seen, [false, true]);
}
