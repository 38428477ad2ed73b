//! Closing against everything else: whatever is in the pool leaves it once, nothing enters it after, and nobody sleeps on.

use crate::lockfree::bag::Limits;
use crate::lockfree::bits::Notes;
use crate::rig::{AT_ONCE, Got, NEVER_DUE, NO_DIALS, Patience, Rig, beside, three_threads, two_threads};

const ONE: Limits = Limits { max_size: 1, ..NO_DIALS };

/// Without it a connection returned while the pool closes lies idle in it for ever, or close sees less of it than its user did (E8).
#[test]
fn close_against_return() {
    two_threads(|| {
        let rig = Rig::new(1, 1, ONE);
        let claim = rig.must_take(0);
        let giver = beside(&rig, move |rig| rig.give(claim, 0));
        rig.shut();
        giver.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
    });
}

/// Without it close and a taker both own the connection.
#[test]
fn close_against_take() {
    let seen = two_threads(|| {
        let rig = Rig::new(2, 1, ONE);
        let taker = beside(&rig, |rig| rig.bag.take(0).map(|claim| rig.give(claim, 1)).is_some());
        rig.shut();
        let taken = taker.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
        taken
    });
    assert_eq!(seen, [false, true]);
}

/// Without it a waiter sleeps on in a closed pool, or a newcomer lies down in it.
#[test]
fn close_against_a_waiter() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 0, ONE);
        let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
        rig.shut();
        let got = waiter.join().unwrap();
        rig.at_rest();
        got
    });
    assert_eq!(seen, [Got::Closed]);
}

/// The two together: a return that would serve the waiter, and a close that would send it away.
#[test]
fn close_against_a_return_and_a_waiter() {
    for handoff_after in [AT_ONCE, NEVER_DUE] {
        let seen = three_threads(move || {
            let rig = Rig::new(1, 1, Limits { handoff_after, ..ONE });
            let claim = rig.must_take(0);
            let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
            let giver = beside(&rig, move |rig| rig.give(claim, 0));
            rig.shut();
            let got = waiter.join().unwrap();
            giver.join().unwrap();
            rig.at_rest();
            assert_eq!(rig.open(), 0);
            got
        });
        assert_eq!(seen, [Got::Granted, Got::Closed]);
    }
}

/// Without it close, the reactor and a return count one connection as left twice, or leave it to each other.
#[test]
fn close_against_a_return_and_the_reactor() {
    three_threads(|| {
        let rig = Rig::new(1, 1, ONE);
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        let giver = beside(&rig, move |rig| rig.give(claim, 0));
        let reactor = beside(&rig, move |rig| {
            rig.bag.dismiss(life, Notes::DEAD).into_iter().for_each(|duty| rig.carry(duty));
        });
        rig.shut();
        giver.join().unwrap();
        reactor.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
    });
}

/// Without it a dial that ends while the pool closes brings its connection into a closed pool.
#[test]
fn close_against_a_dial() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 0, Limits { dials: 1, ..ONE });
        let permit = rig.ask().dial.pop().unwrap();
        let dialer = beside(&rig, move |rig| rig.dial(permit));
        rig.shut();
        let admitted = dialer.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
        admitted
    });
    assert_eq!(seen, [false, true]);
}

/// Without it a waiter that goes back to its place while the pool closes lies down behind the last wake-up.
#[test]
fn close_against_one_who_goes_back_to_its_place() {
    two_threads(|| {
        let rig = Rig::new(1, 1, Limits { handoff_after: AT_ONCE, ..ONE });
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        let seat = rig.enqueue().unwrap();
        rig.give(claim, 0);
        assert!(rig.bag.dismiss(life, Notes::DEAD).is_none(), "it was granted");
        let closer = beside(&rig, |rig| rig.shut());
        assert_eq!(rig.wait(&seat, Patience::Endless), Err(Got::Closed));
        closer.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
    });
}

/// Without it two who close take something out twice, or one of them returns before all is out.
#[test]
fn close_against_close() {
    two_threads(|| {
        let rig = Rig::new(1, 2, NO_DIALS);
        let other = beside(&rig, |rig| rig.shut());
        rig.shut();
        other.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
    });
}
