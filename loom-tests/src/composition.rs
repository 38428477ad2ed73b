//! Everything at once, as the pool uses it: callers that take, steal, wait, use, return or break, a reactor, dials.

use crate::lockfree::bag::Limits;
use crate::lockfree::bits::Notes;
use crate::rig::{AT_ONCE, Got, NEVER_DUE, NO_DIALS, Patience, Rig, beside, four_threads, three_threads};

/// Two callers for one permit on two shards, the second of whom breaks what it got, and the reactor, to whom the first connection is dead.
#[test]
fn two_callers_and_the_reactor() {
    for handoff_after in [AT_ONCE, NEVER_DUE] {
        three_threads(move || {
            let rig = Rig::new(2, 1, Limits { max_size: 1, dials: 1, handoff_after, ..NO_DIALS });
            let life = rig.bag.take(0).map(|claim| {
                let life = rig.life(&claim);
                rig.give(claim, 0);
                life
            });
            let keeps = beside(&rig, |rig| rig.get(0, Patience::Endless).map(|claim| rig.give(claim, 1)).unwrap());
            let breaks = beside(&rig, |rig| {
                let claim = rig.get(1, Patience::Endless).unwrap();
                rig.carry(rig.bag.evict(claim));
            });
            rig.bag.dismiss(life.unwrap(), Notes::DEAD).into_iter().for_each(|duty| rig.carry(duty));
            keeps.join().unwrap();
            breaks.join().unwrap();
            rig.at_rest();
        });
    }
}

/// Three callers, one of them with limited patience, and a closure, on one connection.
#[test]
fn three_callers_and_close() {
    four_threads(|| {
        let rig = Rig::new(1, 1, Limits { max_size: 1, dials: 1, ..NO_DIALS });
        let call = |rig: &Rig, patience| match rig.get(0, patience) {
            Ok(claim) => {
                rig.give(claim, 0);
                Got::Granted
            }
            Err(got) => got,
        };
        let one = beside(&rig, move |rig| call(rig, Patience::Endless));
        let two = beside(&rig, move |rig| call(rig, Patience::Endless));
        let three = beside(&rig, move |rig| call(rig, Patience::Limited));
        rig.shut();
        for caller in [one, two, three] {
            caller.join().unwrap();
        }
        rig.at_rest();
        assert_eq!(rig.open(), 0);
    });
}
