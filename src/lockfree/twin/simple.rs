//! The twin: what the bag does, in sets and queues.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::lockfree::bag::Limits;
use crate::lockfree::bits::{Flag, Notes};

/// The flags with which a connection leaves, then the others.
pub(super) const FLAGS: [Flag; 8] =
    [Notes::DEAD, Notes::EXPIRED, Notes::RETIRED, Notes::SURPLUS, Notes::CUT, Notes::AGED, Notes::PROBE, Notes::TIMED];
/// How many of them are of the first kind.
pub(super) const LEAVING: usize = 5;

/// What a slot is known for: its generation, and which of the [`FLAGS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) generation: u64,
    pub(super) flags: [bool; FLAGS.len()],
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Granted(usize),
    Closed,
    Refused,
    TimedOut,
}

/// What is to be done outside: tickets to dial with, and what is to be closed, with what is known of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ToDo {
    pub(super) dial: Vec<u64>,
    pub(super) close: Option<(usize, Known)>,
}

#[derive(Debug)]
pub(super) struct Twin {
    pub(super) idle: Vec<BTreeSet<usize>>,
    pub(super) given_last: Vec<usize>,
    pub(super) known: Vec<Known>,
    pub(super) resident: Vec<Option<usize>>,
    pub(super) vacant: BTreeSet<usize>,
    pub(super) opening: BTreeMap<u64, usize>,
    pub(super) arriving: usize,
    pub(super) waiting: VecDeque<(u64, u64)>,
    pub(super) settled: BTreeMap<u64, End>,
    pub(super) parked: Option<BTreeSet<usize>>,
    pub(super) closed: bool,
    pub(super) refused: bool,
    pub(super) asked: bool,
    pub(super) limits: Limits,
    pub(super) tickets: u64,
    pub(super) arrivals: u64,
}

impl Twin {
    pub(super) fn new(shards: usize, capacity: usize, limits: Limits) -> Self {
        Twin {
            idle: vec![BTreeSet::new(); shards],
            given_last: vec![0; shards],
            known: vec![Known::default(); capacity],
            resident: vec![None; capacity],
            vacant: (0..capacity).collect(),
            opening: BTreeMap::new(),
            arriving: 0,
            waiting: VecDeque::new(),
            settled: BTreeMap::new(),
            parked: None,
            closed: false,
            refused: false,
            asked: false,
            limits,
            tickets: 0,
            arrivals: 0,
        }
    }

    pub(super) fn occupied(&self) -> usize {
        self.known.len() - self.vacant.len()
    }

    pub(super) fn dialing(&self) -> usize {
        self.opening.len() + self.arriving
    }

    pub(super) fn is_leaving(&self, slot: usize) -> bool {
        self.known[slot].flags[..LEAVING].contains(&true)
    }

    /// Everything that comes back has to come to the lock.
    pub(super) fn waits(&self) -> bool {
        self.closed || self.parked.is_some() || !self.waiting.is_empty()
    }

    /// The one given last, else the lowest of its word, else the lowest.
    pub(super) fn next(&self, shard: usize) -> Option<usize> {
        let (idle, last) = (&self.idle[shard], self.given_last[shard]);
        let near = idle.iter().find(|slot| **slot / 63 == last / 63);
        idle.get(&last).or(near).or(idle.first()).copied()
    }

    pub(super) fn take(&mut self, shard: usize) -> Option<usize> {
        let slot = self.next(shard)?;
        self.idle[shard].remove(&slot);
        Some(slot)
    }

    pub(super) fn remove(&mut self, slot: usize) -> bool {
        self.idle.iter_mut().any(|idle| idle.remove(&slot))
    }

    pub(super) fn publish(&mut self, slot: usize, shard: usize) {
        self.idle[shard].insert(slot);
        self.given_last[shard] = slot;
    }

    pub(super) fn give(&mut self, slot: usize, shard: usize, now: u64) -> ToDo {
        if self.waits() {
            let close = self.give_locked(slot, shard, now);
            return ToDo { dial: self.balance(), close };
        }
        self.publish(slot, shard);
        if self.is_leaving(slot) && self.remove(slot) { self.evict(slot) } else { ToDo::default() }
    }

    pub(super) fn give_locked(&mut self, slot: usize, shard: usize, now: u64) -> Option<(usize, Known)> {
        if self.closed || self.is_leaving(slot) {
            return self.evict_locked(slot);
        }
        let after = self.limits.handoff_after;
        let granted = self.settled.len();
        let none_at_work = granted > 0 && granted + 1 >= self.occupied() - self.dialing();
        let due = |arrived: u64| after == 0 || !none_at_work && now.saturating_sub(arrived) >= after;
        match (&mut self.parked, self.waiting.front()) {
            (Some(parked), _) => drop(parked.insert(slot)),
            (None, Some((number, arrived))) if due(*arrived) => {
                self.settled.insert(*number, End::Granted(slot));
                self.waiting.pop_front();
            }
            _ => self.publish(slot, shard),
        }
        None
    }

    pub(super) fn give_or_evict(&mut self, slot: usize, shard: usize, now: u64) -> ToDo {
        if self.is_leaving(slot) { self.evict(slot) } else { self.give(slot, shard, now) }
    }

    pub(super) fn evict(&mut self, slot: usize) -> ToDo {
        let close = self.evict_locked(slot);
        ToDo { dial: self.balance(), close }
    }

    pub(super) fn evict_locked(&mut self, slot: usize) -> Option<(usize, Known)> {
        assert!(self.vacant.insert(slot));
        let next = Known { generation: self.known[slot].generation + 1, ..Known::default() };
        let last = std::mem::replace(&mut self.known[slot], next);
        self.resident[slot].take().map(|resident| (resident, last))
    }

    pub(super) fn note(&mut self, slot: usize, generation: u64, flag: usize) -> bool {
        self.known[slot].generation == generation && !std::mem::replace(&mut self.known[slot].flags[flag], true)
    }

    pub(super) fn dismiss(&mut self, slot: usize, generation: u64, flag: usize) -> Option<ToDo> {
        let parked = |twin: &mut Twin| twin.parked.as_mut().is_some_and(|parked| parked.remove(&slot));
        let found = self.note(slot, generation, flag) && (self.remove(slot) || parked(self));
        found.then(|| self.evict(slot))
    }

    pub(super) fn room(&self, wanted: usize) -> usize {
        let permits = self.limits.max_size.saturating_sub(self.occupied()).min(self.vacant.len());
        let dials = self.limits.dials.saturating_sub(self.dialing());
        wanted.saturating_sub(self.dialing()).min(permits).min(dials)
    }

    pub(super) fn reserve(&mut self, count: usize) -> Vec<u64> {
        let reserve = |_| {
            self.tickets += 1;
            self.opening.insert(self.tickets, self.vacant.pop_first().unwrap());
            self.tickets
        };
        (0..count).map(reserve).collect()
    }

    pub(super) fn balance(&mut self) -> Vec<u64> {
        if self.closed || self.parked.is_some() {
            return Vec::new();
        }
        if self.refused && self.occupied() == self.dialing() {
            self.settled.extend(self.waiting.drain(..).map(|(number, _)| (number, End::Refused)));
        }
        let missing = self.limits.floor.saturating_sub(self.occupied() - self.dialing());
        let unserved = self.waiting.len().saturating_sub(self.idle.iter().map(BTreeSet::len).sum());
        let dial = self.reserve(self.room(missing.max(unserved).max(usize::from(self.asked))));
        self.asked &= dial.is_empty();
        dial
    }

    /// Why nobody may wait just now.
    pub(super) fn barred(&self) -> Option<&'static str> {
        let crowded = self.waiting.len() >= self.limits.max_waiters;
        let refused = self.refused && self.occupied() == self.dialing();
        let reasons = [(self.closed, "closed"), (refused, "refused"), (crowded, "crowded")];
        reasons.into_iter().find_map(|(barred, why)| barred.then_some(why))
    }

    /// Where a waiter that comes back belongs: before all who came after it.
    pub(super) fn sit(&mut self, number: u64, arrived: u64) {
        let place = self.waiting.partition_point(|(other, _)| *other < number);
        self.waiting.insert(place, (number, arrived));
    }

    /// A last look, then gone.
    pub(super) fn wait(&mut self, number: u64) -> (End, Vec<u64>) {
        if let Some(end) = self.settled.remove(&number) {
            return (end, Vec::new());
        }
        self.waiting.retain(|(other, _)| *other != number);
        let end = (0..self.idle.len()).find_map(|shard| self.take(shard)).map_or(End::TimedOut, End::Granted);
        (end, self.balance())
    }
}

/// What the bag's notes say, in the twin's terms.
pub(super) fn known(notes: Notes) -> Known {
    Known { generation: notes.generation(), flags: FLAGS.map(|flag| notes.has(flag)) }
}
