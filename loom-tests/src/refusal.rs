//! Refusal: while the endpoint is down a waiter is told so at once, unless a connection is open that could come back to it.

use crate::lockfree::bag::Limits;
use crate::rig::{AT_ONCE, Got, NEVER_DUE, NO_DIALS, Patience, Rig, beside, three_threads, two_threads};

const ONE: Limits = Limits { max_size: 1, ..NO_DIALS };

/// Without it a waiter that came just before the refusal waits for a connection that cannot come.
#[test]
fn refusal_against_a_waiter() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 0, ONE);
        let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
        rig.carry(rig.bag.refuse(Some("down")));
        let got = waiter.join().unwrap();
        rig.at_rest();
        got
    });
    assert_eq!(seen, [Got::Refused]);
}

/// Without it a waiter is refused although the connection that it gets is open all the time.
#[test]
fn refusal_against_a_return() {
    for handoff_after in [AT_ONCE, NEVER_DUE] {
        let seen = three_threads(move || {
            let rig = Rig::new(1, 1, Limits { handoff_after, ..ONE });
            let claim = rig.must_take(0);
            let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
            let giver = beside(&rig, move |rig| rig.give(claim, 0));
            rig.carry(rig.bag.refuse(Some("down")));
            giver.join().unwrap();
            let got = waiter.join().unwrap();
            rig.at_rest();
            got
        });
        assert_eq!(seen, [Got::Granted]);
    }
}

/// Without it a waiter hopes on for the last open connection after that has left the pool broken.
#[test]
fn refusal_against_the_last_one_leaving() {
    let seen = three_threads(|| {
        let rig = Rig::new(1, 1, ONE);
        let claim = rig.must_take(0);
        let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
        let broken = beside(&rig, move |rig| rig.carry(rig.bag.evict(claim)));
        rig.carry(rig.bag.refuse(Some("down")));
        broken.join().unwrap();
        let got = waiter.join().unwrap();
        rig.at_rest();
        got
    });
    assert_eq!(seen, [Got::Refused]);
}
