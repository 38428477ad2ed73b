//! A waiter's ways, on both.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::{DOWN, Pair, index, pick};
use crate::lockfree::bag::{Barred, Fate, Seat};
use crate::sync::Nap;
use crate::twin::known::End;

impl Pair {
    pub(super) fn enqueue(&mut self) {
        let barred = self.twin.barred();
        match self.bag.enqueue(self.now) {
            Ok((seat, duty)) => {
                assert_eq!(barred, None);
                let (number, expected) = self.twin.enqueue(self.now);
                self.seats.push((seat, number, self.now));
                self.same(duty, expected);
            }
            Err(Barred::Closed) => assert_eq!(barred, Some("closed")),
            Err(Barred::Refused(reason)) => assert_eq!((barred, reason), (Some("refused"), DOWN)),
            Err(Barred::Crowded) => assert_eq!(barred, Some("crowded")),
        }
    }

    /// A waiter's time is up.
    pub(super) fn wait(&mut self, at: usize) {
        let Some((seat, number, arrived)) = pick(&mut self.seats, at) else { return };
        let (expected, to_do) = self.twin.wait(number);
        let (fate, duty) = self.bag.wait(&seat, || None);
        self.same(duty, to_do);
        let end = match &fate {
            Fate::Granted(claim) => End::Granted(index(claim)),
            Fate::Closed => End::Closed,
            Fate::Refused(_) => End::Refused,
            Fate::TimedOut => End::TimedOut,
            Fate::Open => unreachable!("its time is up"),
        };
        assert_eq!(end, expected);
        if let Fate::Granted(claim) = fate {
            self.granted.push((claim, seat, number, arrived));
        }
    }

    /// A waiter that was rung gets a core.
    pub(super) fn look(&mut self, at: usize) {
        let woken = |(_, number, _): &(Seat, u64, u64)| self.twin.woken.contains(number);
        let rung: Vec<_> = (0..self.seats.len()).filter(|place| woken(&self.seats[*place])).collect();
        let Some(place) = rung.get(at % rung.len().max(1)) else { return };
        let (seat, number, arrived) = self.seats.swap_remove(*place);
        let (expected, to_do) = self.twin.look(number);
        let (fate, duty) = self.bag.wait(&seat, || Some(Nap::For(Duration::ZERO)));
        self.same(duty, to_do);
        match (fate, expected) {
            (Fate::Granted(claim), Some(End::Granted(slot))) if index(&claim) == slot => {
                self.granted.push((claim, seat, number, arrived));
            }
            (Fate::Open, None) => self.seats.push((seat, number, arrived)),
            (fate, expected) => panic!("{fate:?} for {expected:?}"),
        }
    }

    /// A waiter uses what it was granted, or evicts it and goes back to its place.
    pub(super) fn use_granted(&mut self, at: usize, b: usize) {
        let Some((claim, seat, number, arrived)) = pick(&mut self.granted, at) else { return };
        if b.is_multiple_of(2) {
            return self.leased.push(claim);
        }
        let expected = self.twin.evict(index(&claim));
        let duty = self.bag.evict(claim);
        self.same(duty, expected);
        let expected = self.twin.rejoin(number, arrived);
        let duty = self.bag.rejoin(&seat);
        self.same(duty, expected);
        self.seats.push((seat, number, arrived));
    }
}
