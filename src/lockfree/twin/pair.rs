//! The bag and its twin side by side: one operation at a time on both, and what can be seen of them compared.

#![forbid(unsafe_code)]

mod waiting;

use std::collections::BTreeSet;

use super::known::{FLAGS, LEAVING, Used};
use super::simple::Twin;
use crate::lockfree::bag::{Bag, Claim, Cut, Limits, Permit, Seat, Use};
use crate::lockfree::bits::{Flag, Life, Notes, SlotId};

const DOWN: &str = "down";

/// The bag, its twin, and what a user of both has in hand.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) bag: Bag<usize, &'static str>,
    pub(super) twin: Twin,
    pub(super) permits: Vec<Permit>,
    pub(super) arrived: Vec<Claim>,
    pub(super) leased: Vec<Claim>,
    /// Who waits, as which number, since when.
    pub(super) seats: Vec<(Seat, u64, u64)>,
    /// Who was granted a connection, and has not used it yet.
    pub(super) granted: Vec<(Claim, Seat, u64, u64)>,
    /// What was seen of slots, to be cut later.
    pub(super) sights: Vec<(Life, Use, Used)>,
    pub(super) now: u64,
    pub(super) residents: usize,
    pub(super) closed: BTreeSet<usize>,
    /// Of these, those that both were told of.
    pub(super) gone: usize,
}

fn pick<T>(from: &mut Vec<T>, at: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.swap_remove(at % from.len()))
}

fn index(claim: &Claim) -> usize {
    claim.slot().index()
}

impl Pair {
    pub(super) fn new(shards: usize, capacity: usize, max_size: usize, max_closing: usize) -> Self {
        let limits =
            Limits { max_size, max_closing, min_open: 0, min_idle: 0, dials: 8, max_waiters: 6, handoff_after: 3 };
        Pair {
            bag: Bag::new(shards, capacity, limits),
            twin: Twin::new(shards, capacity, limits),
            permits: Vec::new(),
            arrived: Vec::new(),
            leased: Vec::new(),
            seats: Vec::new(),
            granted: Vec::new(),
            sights: Vec::new(),
            now: 0,
            residents: 0,
            closed: BTreeSet::new(),
            gone: 0,
        }
    }

    /// One operation, on both. Those that find nothing to work on do nothing.
    pub(super) fn apply(&mut self, code: u8, a: usize, b: usize) {
        let (shard, now) = (b % self.twin.idle.len(), self.now);
        match code % 32 {
            0 | 1 => {
                let top = || self.bag.take_top(shard).map(|(claim, _)| claim);
                let home = || top().or_else(|| self.bag.take_home(shard));
                let claim = if code.is_multiple_of(2) { self.bag.take(shard) } else { home() };
                assert_eq!(claim.as_ref().map(index), self.twin.take(shard));
                self.leased.extend(claim);
            }
            2 | 3 => {
                let Some(claim) = pick(&mut self.leased, a) else { return };
                let expected = self.twin.give(index(&claim), shard, now);
                let duty = self.bag.give(claim, shard, || now);
                self.same(duty, expected);
            }
            4 => {
                let Some(claim) = pick(&mut self.leased, a) else { return };
                let expected = self.twin.give_or_evict(index(&claim), shard, now);
                let duty = self.bag.give_or_evict(claim, shard, || now);
                self.same(duty, expected);
            }
            5 => {
                let Some(claim) = pick(&mut self.leased, a) else { return };
                let expected = self.twin.evict(index(&claim));
                let duty = self.bag.evict(claim);
                self.same(duty, expected);
            }
            6 => self.dismiss(a % self.twin.known.len(), b),
            7 => self.note(a % self.twin.known.len(), b),
            8 => {
                let Some(claim) = self.leased.get(a % self.leased.len().max(1)) else { return };
                // Those that an owner acts on.
                let flag = [Notes::AGED, Notes::RESTED, Notes::FRESH][b % 3];
                self.bag.clear(claim, flag);
                self.twin.known[index(claim)].set(flag, false);
            }
            9 => {
                let slot = a % self.twin.known.len();
                let claim = self.bag.remove(SlotId::at(slot));
                assert_eq!(claim.is_some(), self.twin.remove(slot));
                self.leased.extend(claim);
            }
            10 | 11 => self.enqueue(),
            12 => self.wait(a),
            13 => self.use_granted(a, b),
            14 => {
                let expected = self.twin.demand();
                let duty = self.bag.demand();
                self.same_if_any(duty, expected);
            }
            15 => {
                let Some(permit) = pick(&mut self.permits, a) else { return };
                self.admit(permit, b % 2 == 1);
            }
            16 => {
                let Some(claim) = pick(&mut self.arrived, a) else { return };
                self.land(claim, shard);
            }
            17 => {
                let Some(permit) = pick(&mut self.permits, a) else { return };
                let expected = self.twin.overdue(permit.ticket).unwrap_or_default();
                let duty = self.bag.dial_failed(permit);
                self.same(duty, expected);
            }
            18 => {
                let Some(permit) = self.permits.get(a % self.permits.len().max(1)) else { return };
                let expected = self.twin.overdue(permit.ticket);
                let duty = self.bag.overdue(permit.ticket);
                self.same_if_any(duty, expected);
            }
            19 => self.open_all(),
            20 => self.limit(a, b),
            21 => {
                let refused = b % 2 == 1;
                let expected = self.twin.refuse(refused);
                let duty = self.bag.refuse(refused.then_some(DOWN));
                self.same(duty, expected);
            }
            22 if b.is_multiple_of(2) => {
                self.bag.pause();
                self.twin.pause();
            }
            22 => self.resume(),
            23 => self.use_leased(a, b),
            24 => self.see(a % self.twin.known.len()),
            25 => self.cut(a),
            26 => {
                let Some(permit) = self.permits.get(a % self.permits.len().max(1)) else { return };
                let ticket = permit.ticket;
                let expected = self.twin.slow(ticket);
                let duty = self.bag.slow(ticket);
                self.same(duty, expected);
            }
            27 => {
                let Some(permit) = pick(&mut self.permits, a) else { return };
                self.turn_away(permit);
            }
            28 => self.tell_closed(),
            29 => self.look(a),
            // The end, so not too often.
            _ if a.is_multiple_of(32) => self.close(),
            _ => self.now += b as u64 % 8,
        }
    }

    fn note(&mut self, slot: usize, b: usize) {
        let Some((life, flag)) = self.life(slot, b, &FLAGS[LEAVING..]) else { return };
        assert_eq!(self.bag.note(life, flag), self.twin.note(slot, life.generation, flag));
    }

    fn dismiss(&mut self, slot: usize, b: usize) {
        let Some((life, flag)) = self.life(slot, b, &FLAGS[..LEAVING]) else { return };
        let expected = self.twin.dismiss(slot, life.generation, flag);
        let duty = self.bag.dismiss(life, flag);
        self.same_if_any(duty, expected);
    }

    /// A caller with a lease goes one step on: its hook, its use, the hook after it.
    fn use_leased(&mut self, at: usize, b: usize) {
        let Some(claim) = self.leased.get(at % self.leased.len().max(1)) else { return };
        let (id, slot) = (index(claim), self.bag.slot(claim.slot()));
        match b % 3 {
            0 => {
                let thread = 1 + b as u32 / 3 % 3;
                slot.hold(claim, thread);
                self.twin.hold(id, thread);
            }
            // A use begins in no other: whoever gives a connection back has ended it.
            1 if self.twin.used[id].in_hook => {
                slot.begin_use(claim);
                self.twin.begin_use(id);
            }
            _ => {
                slot.end_use(claim);
                self.twin.end_use(id);
            }
        }
    }

    fn see(&mut self, slot: usize) {
        let life = Life { slot: SlotId::at(slot), generation: self.twin.known[slot].generation };
        self.sights.push((life, self.bag.slot(life.slot).last_use(), self.twin.used[slot]));
    }

    fn cut(&mut self, at: usize) {
        let Some((life, seen, known)) = pick(&mut self.sights, at) else { return };
        let expected = self.twin.cut(life.slot.index(), life.generation, known);
        match (self.bag.cut(life, seen), expected) {
            (Cut::Now, Ok(())) => {}
            (Cut::TooLate(duty), Err(expected)) => self.same(duty, expected),
            (cut, expected) => panic!("{cut:?} for {expected:?}"),
        }
    }

    /// The life in a slot, or in a quarter of all cases the one before it, and one of `flags`.
    fn life(&self, slot: usize, b: usize, flags: &[Flag]) -> Option<(Life, Flag)> {
        let over = b % 4 == 3 || self.twin.resident[slot].is_none();
        let generation = self.twin.known[slot].generation.checked_sub(u64::from(over))?;
        Some((Life { slot: SlotId::at(slot), generation }, flags[b / 4 % flags.len()]))
    }

    fn admit(&mut self, permit: Permit, probe: bool) {
        let resident = self.residents;
        self.residents += 1;
        let lost = !self.twin.has_permit(permit.ticket);
        let expected = self.twin.admit(permit.ticket, resident, probe);
        match self.bag.admit(permit, resident, probe) {
            Ok((claim, life)) => {
                let slot = expected.expect("the twin has no room");
                assert_eq!((index(&claim), life.generation), (slot, self.twin.known[slot].generation));
                assert!(!lost || self.twin.is_within_limits(), "I7, I9");
                self.arrived.push(claim);
            }
            Err(turned_away) => {
                assert_eq!((expected, turned_away), (None, resident));
                assert!(self.closed.insert(resident));
            }
        }
    }

    /// A dial has opened what nobody wants.
    fn turn_away(&mut self, permit: Permit) {
        assert!(self.closed.insert(self.residents));
        self.residents += 1;
        let expected = self.twin.turn_away(permit.ticket);
        let duty = self.bag.turn_away(permit);
        self.same(duty, expected);
    }

    /// One that is being closed is gone.
    fn tell_closed(&mut self) {
        if self.gone < self.closed.len() {
            self.gone += 1;
            let expected = self.twin.gone();
            let duty = self.bag.closed();
            self.same(duty, expected);
        }
    }

    fn land(&mut self, claim: Claim, shard: usize) {
        let now = self.now;
        let expected = self.twin.land(index(&claim), shard, now);
        let duty = self.bag.land(claim, shard, || now);
        self.same(duty, expected);
    }

    /// All dials under way succeed, and those that follow from it.
    fn open_all(&mut self) {
        while let Some(permit) = self.permits.pop() {
            self.admit(permit, false);
            while let Some(claim) = self.arrived.pop() {
                let shard = index(&claim) % self.twin.idle.len();
                self.land(claim, shard);
            }
        }
    }

    fn limit(&mut self, a: usize, b: usize) {
        let capacity = self.twin.known.len();
        let change = |limits: &mut Limits| match a % 7 {
            0 => limits.max_size = 1 + b % capacity,
            1 => limits.min_open = b % (capacity + 1),
            2 => limits.dials = b % 10,
            3 => limits.max_waiters = b % 10,
            4 => limits.max_closing = b % 4,
            5 => limits.min_idle = b % 4,
            _ => limits.handoff_after = [0, 1, 3, 9, 40, u64::MAX][b % 6],
        };
        let expected = self.twin.limit(change);
        let duty = self.bag.limit(change);
        self.same(duty, expected);
    }

    fn resume(&mut self) {
        let (expected, expected_dead) = self.twin.resume();
        let (duty, dead) = self.bag.resume();
        self.same(duty, expected);
        self.same_closed(dead, expected_dead);
    }

    fn close(&mut self) {
        let expected = self.twin.close();
        let closed = self.bag.close();
        self.same_closed(closed, expected);
    }

    /// Lets everything under way come to its end: then the bag is at rest, and every connection was closed once.
    pub(super) fn wind_up(mut self) {
        self.limit(2, 0);
        self.resume();
        while !(self.permits.is_empty() && self.seats.is_empty() && self.granted.is_empty()) {
            self.open_all();
            self.wait(0);
            self.use_granted(0, 0);
        }
        while let Some(claim) = self.arrived.pop() {
            self.land(claim, 0);
        }
        while let Some(claim) = self.leased.pop() {
            let expected = self.twin.give(index(&claim), 0, self.now);
            let duty = self.bag.give(claim, 0, || self.now);
            self.same(duty, expected);
        }
        self.compare();
        self.bag.at_rest().unwrap();
        self.close();
        self.compare();
        self.bag.at_rest().unwrap();
        assert_eq!(self.closed.len(), self.residents);
        while self.gone < self.closed.len() {
            self.tell_closed();
        }
        self.compare();
    }
}
