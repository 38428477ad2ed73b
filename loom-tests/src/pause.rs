//! Pause, resume and drain: what is parked is neither lost nor leased, and whoever waits for the end of something is woken.

use crate::lockfree::bag::Limits;
use crate::lockfree::bits::Notes;
use crate::rig::{AT_ONCE, Got, NEVER_DUE, NO_DIALS, Patience, Rig, beside, three_threads, two_threads};
use crate::sync::Nap;

const ONE: Limits = Limits { max_size: 1, ..NO_DIALS };

impl Rig {
    fn drain(&self) {
        assert!(self.bag.wait_until_empty(|| Some(Nap::UntilRung)));
    }
}

/// Without it what is returned during a pause, or idle when it begins, stays parked or gets lost.
#[test]
fn pause_and_resume_against_a_return() {
    two_threads(|| {
        let rig = Rig::new(2, 2, NO_DIALS);
        let claim = rig.must_take(0);
        let giver = beside(&rig, move |rig| rig.give(claim, 1));
        rig.bag.pause();
        assert!(rig.bag.take(0).is_none() && rig.bag.take(1).is_none(), "taken during a pause");
        rig.resume();
        giver.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.idle(), 2);
    });
}

/// Without it a waiter sleeps on after the pause, although what was parked in it is idle.
#[test]
fn pause_and_resume_against_a_return_and_a_waiter() {
    for handoff_after in [AT_ONCE, NEVER_DUE] {
        three_threads(move || {
            let rig = Rig::new(1, 1, Limits { handoff_after, ..ONE });
            let claim = rig.must_take(0);
            let waiter = beside(&rig, |rig| rig.wait_and_give(0, Patience::Endless));
            let giver = beside(&rig, move |rig| rig.give(claim, 0));
            rig.bag.pause();
            rig.resume();
            assert_eq!(waiter.join().unwrap(), Got::Granted);
            giver.join().unwrap();
            rig.at_rest();
        });
    }
}

/// Without it the last waiter to leave opens the fast path for returns, in the middle of the pause.
#[test]
fn timeout_during_a_pause_against_a_return() {
    two_threads(|| {
        let rig = Rig::new(1, 1, ONE);
        let claim = rig.must_take(0);
        rig.bag.pause();
        let giver = beside(&rig, move |rig| rig.give(claim, 0));
        assert_eq!(rig.wait_and_give(0, Patience::Limited), Got::TimedOut);
        giver.join().unwrap();
        assert!(rig.bag.take(0).is_none(), "taken during a pause");
        rig.at_rest();
        rig.resume();
        rig.at_rest();
    });
}

/// Without it the endpoint that a pause leaves alone is dialed, for one who waits.
#[test]
fn nobody_is_dialed_for_in_a_pause() {
    two_threads(|| {
        let rig = Rig::new(1, 1, Limits { dials: 1, ..NO_DIALS });
        let claim = rig.must_take(0);
        rig.bag.pause();
        let giver = beside(&rig, move |rig| rig.give(claim, 0));
        assert_eq!(rig.wait_and_give(0, Patience::Limited), Got::TimedOut);
        giver.join().unwrap();
        assert_eq!(rig.open(), 1, "dialed in a pause");
        rig.at_rest();
        rig.resume();
        rig.at_rest();
    });
}

/// Without it a connection that dies while it is parked, or on its way there or back, is idle when the pause is over (E2, E6).
#[test]
fn dead_note_against_pause_and_resume() {
    two_threads(|| {
        let rig = Rig::new(2, 1, ONE);
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        rig.give(claim, 1);
        let reactor = beside(&rig, move |rig| {
            rig.bag.dismiss(life, Notes::DEAD).into_iter().for_each(|duty| rig.carry(duty));
        });
        rig.bag.pause();
        rig.resume();
        reactor.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
    });
}

/// The same where the connection is returned into the pause.
#[test]
fn dead_note_against_a_return_into_a_pause() {
    two_threads(|| {
        let rig = Rig::new(1, 1, ONE);
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        rig.bag.pause();
        let reactor = beside(&rig, move |rig| {
            rig.bag.dismiss(life, Notes::DEAD).into_iter().for_each(|duty| rig.carry(duty));
        });
        rig.give(claim, 0);
        reactor.join().unwrap();
        assert_eq!(rig.open(), 0, "parked, and dead");
        rig.resume();
        rig.at_rest();
    });
}

/// Without it a late event closes the connection that is parked in the next life of its slot.
#[test]
fn a_late_event_against_slot_recycling_in_a_pause() {
    two_threads(|| {
        let rig = Rig::new(1, 1, Limits { dials: 1, ..ONE });
        let claim = rig.must_take(0);
        let life = rig.life(&claim);
        let reactor = beside(&rig, move |rig| {
            rig.bag.dismiss(life, Notes::DEAD).into_iter().for_each(|duty| rig.carry(duty));
        });
        rig.carry(rig.bag.evict(claim));
        let permit = rig.ask().dial.pop().unwrap();
        rig.bag.pause();
        assert!(rig.dial(permit));
        reactor.join().unwrap();
        assert_eq!(rig.open(), 1);
        rig.resume();
        rig.at_rest();
        assert_eq!(rig.open(), 1);
    });
}

/// Without it a close in the middle of a pause forgets what is parked, or a resume brings it back into the closed pool.
#[test]
fn close_against_pause_and_resume() {
    for resumes in [false, true] {
        two_threads(move || {
            let rig = Rig::new(1, 1, ONE);
            let closer = beside(&rig, |rig| rig.shut());
            rig.bag.pause();
            if resumes {
                rig.resume();
            }
            closer.join().unwrap();
            rig.at_rest();
            assert_eq!(rig.open(), 0);
        });
    }
}

/// Without it whoever drains the pool sleeps on after the last connection was returned to it.
#[test]
fn drain_against_a_return() {
    three_threads(|| {
        let rig = Rig::new(1, 2, NO_DIALS);
        let (one, two) = (rig.must_take(0), rig.must_take(0));
        let giver = beside(&rig, move |rig| rig.give(one, 0));
        let breaks = beside(&rig, move |rig| rig.carry(rig.bag.evict(two)));
        rig.shut();
        rig.drain();
        giver.join().unwrap();
        breaks.join().unwrap();
        rig.at_rest();
        assert_eq!(rig.open(), 0);
    });
}

/// Without it whoever drains the pool sleeps on after the last dial has ended: the pool turns it away, it fails, is overdue, or has
/// opened what nobody wants.
#[test]
fn drain_against_a_dial() {
    for end in [0, 1, 2, 3] {
        two_threads(move || {
            let rig = Rig::new(1, 0, Limits { dials: 1, ..ONE });
            let permit = rig.ask().dial.pop().unwrap();
            let dialer = beside(&rig, move |rig| match end {
                0 => drop(rig.dial(permit)),
                1 => rig.carry(rig.bag.dial_failed(permit)),
                2 => rig.turn_away(permit),
                _ => rig.carry(rig.bag.overdue(permit.ticket).unwrap()),
            });
            rig.shut();
            rig.drain();
            dialer.join().unwrap();
            rig.at_rest();
        });
    }
}

/// Without it a connection that arrives while all are told to leave is told so in vain: it stays, opened by the manager of before.
#[test]
fn retiring_all_against_an_arrival() {
    let seen = two_threads(|| {
        let rig = Rig::new(1, 0, Limits { dials: 1, ..ONE });
        let permit = rig.ask().dial.pop().unwrap();
        let dialer = beside(&rig, move |rig| assert!(rig.dial(permit)));
        let lives = rig.bag.lives();
        for (life, _) in &lives {
            rig.bag.dismiss(*life, Notes::RETIRED).into_iter().for_each(|duty| rig.carry(duty));
        }
        dialer.join().unwrap();
        rig.at_rest();
        (lives.len(), rig.open())
    });
    assert_eq!(seen, [(0, 1), (1, 0)]);
}
