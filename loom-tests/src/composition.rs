//! Everything at once, as the pool uses it: callers that take, steal, wait, use, return or break, a reactor, dials.

use crate::lockfree::bag::Limits;
use crate::lockfree::bits::Notes;
use crate::rig::{AT_ONCE, Got, NEVER_DUE, NO_DIALS, Patience, Rig, beside, four_threads, three_threads, two_threads};

/// Two callers for one permit, the second of whom breaks what it got, and the reactor, to whom the first connection is dead.
fn two_callers_and_the_reactor(shards: usize, handoff_after: u64) {
    three_threads(move || {
        let rig = Rig::new(shards, 1, Limits { max_size: 1, dials: 1, handoff_after, ..NO_DIALS });
        let life = rig.bag.take(0).map(|claim| {
            let life = rig.life(&claim);
            rig.give(claim, 0);
            life
        });
        let far = shards - 1;
        let keeps = beside(&rig, move |rig| rig.get(0, Patience::Endless).map(|claim| rig.give(claim, far)).unwrap());
        let breaks = beside(&rig, move |rig| {
            let claim = rig.get(far, Patience::Endless).unwrap();
            rig.carry(rig.bag.evict(claim));
        });
        rig.bag.dismiss(life.unwrap(), Notes::DEAD).into_iter().for_each(|duty| rig.carry(duty));
        keeps.join().unwrap();
        breaks.join().unwrap();
        rig.at_rest();
    });
}

#[test]
fn two_callers_and_the_reactor_who_comes_first() {
    two_callers_and_the_reactor(2, AT_ONCE);
}

#[test]
fn two_callers_and_the_reactor_who_is_faster() {
    two_callers_and_the_reactor(2, NEVER_DUE);
}

/// The same on one shard, where all meet on one word.
#[test]
fn two_callers_and_the_reactor_on_one_shard() {
    for handoff_after in [AT_ONCE, NEVER_DUE] {
        two_callers_and_the_reactor(1, handoff_after);
    }
}

/// Two of these three at a time: few enough for a search without a bound.
#[test]
fn a_caller_and_the_reactor() {
    for handoff_after in [AT_ONCE, NEVER_DUE] {
        two_threads(move || {
            let rig = Rig::new(2, 1, Limits { max_size: 1, dials: 1, handoff_after, ..NO_DIALS });
            let claim = rig.must_take(0);
            let life = rig.life(&claim);
            rig.give(claim, 0);
            let caller = beside(&rig, |rig| rig.get(1, Patience::Endless).map(|claim| rig.give(claim, 1)).unwrap());
            rig.bag.dismiss(life, Notes::DEAD).into_iter().for_each(|duty| rig.carry(duty));
            caller.join().unwrap();
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
