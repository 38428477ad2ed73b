//! What can be seen of the bag and its twin, compared.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::known::{Known, ToDo, Used};
use super::pair::Pair;
use crate::lockfree::bag::{Census, Duty};
use crate::lockfree::bits::{Notes, SlotId};

impl Pair {
    pub(super) fn same(&mut self, duty: Duty<usize>, expected: ToDo) {
        let dial = duty.dial.iter().map(|permit| permit.ticket).collect();
        let close = duty.close.map(|(resident, notes)| (resident, Known::by(notes)));
        assert!(duty.dial.is_empty() || self.twin.is_within_limits(), "I7, I9");
        assert_eq!(ToDo { dial, close, hasten: duty.hasten }, expected);
        self.permits.extend(duty.dial);
        close.into_iter().for_each(|(resident, _)| assert!(self.closed.insert(resident), "closed twice"));
    }

    pub(super) fn same_if_any(&mut self, duty: Option<Duty<usize>>, expected: Option<ToDo>) {
        match (duty, expected) {
            (Some(duty), Some(expected)) => self.same(duty, expected),
            (duty, expected) => assert!(duty.is_none() && expected.is_none(), "{duty:?} for {expected:?}"),
        }
    }

    pub(super) fn same_closed(&mut self, residents: Vec<(usize, Notes)>, expected: Vec<(usize, Known)>) {
        let residents: Vec<_> = residents.into_iter().map(|(resident, notes)| (resident, Known::by(notes))).collect();
        assert_eq!(residents, expected);
        residents.into_iter().for_each(|(resident, _)| assert!(self.closed.insert(resident), "closed twice"));
    }

    /// Everything that can be seen of the bag from outside.
    pub(super) fn compare(&self) {
        let (bag, twin) = (&self.bag, &self.twin);
        let parked = twin.parked.as_ref().map_or(0, BTreeSet::len);
        let census = Census {
            open: twin.occupied() - twin.dialing(),
            opening: twin.dialing(),
            idle: twin.idle.iter().map(BTreeSet::len).sum::<usize>() + parked,
            waiting: twin.waiting.len(),
            closing: twin.closing,
            paused: twin.parked.is_some(),
        };
        assert_eq!(bag.census(), census);
        assert_eq!(census.closing, self.closed.len() - self.gone);
        let emptiness = bag.emptiness();
        assert_eq!((emptiness.paused, emptiness.none_open), (census.paused, census.open == 0));
        assert_eq!((bag.waiting(), bag.is_closed()), (census.waiting, twin.closed));
        assert_eq!(bag.idle().wait_everywhere(), Some(twin.waits()));
        assert_eq!(bag.wait_until_empty(|| None), twin.occupied() == 0);
        for (shard, idle) in twin.idle.iter().enumerate() {
            assert_eq!(bag.idle().count(shard), idle.len());
        }
        for (index, expected) in twin.known.iter().enumerate() {
            let slot = SlotId::at(index);
            let (notes, last_use) = (bag.slot(slot).notes(), bag.slot(slot).last_use());
            let (count, in_hook) = (bag.slot(slot).uses(), last_use.is_in_hook());
            assert_eq!(Used { count, in_hook, thread: last_use.thread() }, twin.used[index]);
            assert_eq!(bag.is_idle(slot), twin.idle.iter().any(|idle| idle.contains(&index)));
            assert_eq!(Known::by(notes), *expected);
            assert_eq!(
                (notes.is_leaving(), notes.is_clean()),
                (expected.is_leaving(), expected.is_clean()),
                "{notes:?}"
            );
        }
        assert!(bag.lives().iter().map(|(life, _)| life.slot.index()).eq(twin.lived_in()));
    }
}
