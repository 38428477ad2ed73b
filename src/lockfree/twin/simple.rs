//! The twin: what the bag does, in sets and queues, without a word, a bit or a lock.

#![forbid(unsafe_code)]

mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::known::{End, Known, ToDo, Used};
use crate::lockfree::bag::Limits;
use crate::lockfree::bits::{Flag, Notes};

/// A dial under way.
#[derive(Clone, Copy, Debug)]
struct Dial {
    slot: usize,
    slow: bool,
}

#[derive(Debug)]
pub(super) struct Twin {
    pub(super) idle: Vec<BTreeSet<usize>>,
    given_last: Vec<usize>,
    pub(super) known: Vec<Known>,
    pub(super) used: Vec<Used>,
    pub(super) resident: Vec<Option<usize>>,
    vacant: BTreeSet<usize>,
    opening: BTreeMap<u64, Dial>,
    arriving: usize,
    pub(super) closing: usize,
    pub(super) waiting: VecDeque<(u64, u64)>,
    /// Of these, by number, who was rung and has not looked yet.
    pub(super) woken: BTreeSet<u64>,
    /// Up to when each slot is charged for going to heads that were due.
    charged: Vec<u64>,
    settled: BTreeMap<u64, End>,
    pub(super) parked: Option<BTreeSet<usize>>,
    pub(super) closed: bool,
    refused: bool,
    asked: bool,
    limits: Limits,
    tickets: u64,
    arrivals: u64,
}

impl Twin {
    pub(super) fn new(shards: usize, capacity: usize, limits: Limits) -> Self {
        Twin {
            idle: vec![BTreeSet::new(); shards],
            given_last: vec![0; shards],
            known: vec![Known::born(0); capacity],
            used: vec![Used { count: 0, in_hook: true, thread: 0 }; capacity],
            resident: vec![None; capacity],
            vacant: (0..capacity).collect(),
            opening: BTreeMap::new(),
            arriving: 0,
            closing: 0,
            waiting: VecDeque::new(),
            woken: BTreeSet::new(),
            charged: vec![0; capacity],
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

    // ---- what can be seen of it --------------------------------------------------------------------------------------------

    pub(super) fn occupied(&self) -> usize {
        self.known.len() - self.vacant.len()
    }

    pub(super) fn dialing(&self) -> usize {
        self.opening.len() + self.arriving
    }

    /// One more may be open or opening: I7, I9.
    fn has_room(&self) -> bool {
        let closing = self.closing.saturating_sub(self.limits.max_closing);
        self.occupied() < self.limits.max_size && self.occupied() + closing < self.limits.max_size
    }

    /// No more are open and opening than I7 and I9 allow at the beginning of a dial.
    pub(super) fn is_within_limits(&self) -> bool {
        let (size, closing) = (self.limits.max_size, self.limits.max_closing);
        self.occupied() <= size && self.occupied() + self.closing <= size.saturating_add(closing)
    }

    pub(super) fn has_permit(&self, ticket: u64) -> bool {
        self.opening.contains_key(&ticket)
    }

    /// Everything that comes back has to come to the lock.
    pub(super) fn waits(&self) -> bool {
        let somebody_comes = self.limits.handoff_after > 0 && !self.woken.is_empty();
        self.closed || self.parked.is_some() || !self.waiting.is_empty() && !somebody_comes
    }

    /// The slots that are neither vacant nor reserved for a dial.
    pub(super) fn lived_in(&self) -> impl Iterator<Item = usize> {
        let reserved: BTreeSet<usize> = self.opening.values().map(|dial| dial.slot).collect();
        (0..self.known.len()).filter(move |slot| !self.vacant.contains(slot) && !reserved.contains(slot))
    }

    // ---- an owner's ways ---------------------------------------------------------------------------------------------------

    /// The one given last, else the lowest of its word, else the lowest.
    pub(super) fn take(&mut self, shard: usize) -> Option<usize> {
        let (idle, last) = (&mut self.idle[shard], self.given_last[shard]);
        let near = idle.iter().find(|slot| **slot / 63 == last / 63);
        let slot = *idle.get(&last).or(near).or(idle.first())?;
        idle.remove(&slot);
        Some(slot)
    }

    pub(super) fn remove(&mut self, slot: usize) -> bool {
        self.idle.iter_mut().any(|idle| idle.remove(&slot))
    }

    fn publish(&mut self, slot: usize, shard: usize) {
        self.idle[shard].insert(slot);
        self.given_last[shard] = slot;
    }

    pub(super) fn hold(&mut self, slot: usize, thread: u32) {
        self.used[slot].thread = thread;
    }

    pub(super) fn begin_use(&mut self, slot: usize) {
        let used = &mut self.used[slot];
        (used.count, used.in_hook) = (used.count + 1, false);
    }

    pub(super) fn end_use(&mut self, slot: usize) {
        self.used[slot].in_hook = true;
    }

    pub(super) fn give(&mut self, slot: usize, shard: usize, now: u64) -> ToDo {
        self.hold(slot, 0);
        if self.waits() {
            let close = self.give_locked(slot, shard, now);
            return self.balanced(close);
        }
        self.publish(slot, shard);
        if self.known[slot].is_leaving() && self.remove(slot) { self.evict(slot) } else { ToDo::default() }
    }

    fn give_locked(&mut self, slot: usize, shard: usize, now: u64) -> Option<(usize, Known)> {
        if self.closed || self.known[slot].is_leaving() {
            return self.evict_locked(slot);
        }
        let after = self.limits.handoff_after;
        let granted = self.settled.len();
        let none_at_work = granted > 0 && granted + 1 >= self.occupied() - self.dialing();
        let next = self.charged[slot].max(now).saturating_add(after / 4);
        let kept = none_at_work || next > now.saturating_add(after);
        let due = |arrived: u64| after == 0 || !kept && now.saturating_sub(arrived) >= after;
        match (&mut self.parked, self.waiting.front().copied()) {
            (Some(parked), _) => drop(parked.insert(slot)),
            (None, Some((number, arrived))) if due(arrived) => {
                if after > 0 {
                    self.charged[slot] = next;
                }
                self.leave(number);
                self.settled.insert(number, End::Granted(slot));
            }
            _ => self.publish(slot, shard),
        }
        None
    }

    pub(super) fn give_or_evict(&mut self, slot: usize, shard: usize, now: u64) -> ToDo {
        if self.known[slot].is_leaving() { self.evict(slot) } else { self.give(slot, shard, now) }
    }

    pub(super) fn evict(&mut self, slot: usize) -> ToDo {
        let close = self.evict_locked(slot);
        self.balanced(close)
    }

    fn evict_locked(&mut self, slot: usize) -> Option<(usize, Known)> {
        assert!(self.vacant.insert(slot));
        let next = Known::born(self.known[slot].generation + 1);
        let last = std::mem::replace(&mut self.known[slot], next);
        self.closing += 1;
        self.resident[slot].take().map(|resident| (resident, last))
    }

    pub(super) fn note(&mut self, slot: usize, generation: u64, flag: Flag) -> bool {
        self.known[slot].generation == generation && !self.known[slot].set(flag, true)
    }

    pub(super) fn dismiss(&mut self, slot: usize, generation: u64, flag: Flag) -> Option<ToDo> {
        if self.note(slot, generation, flag) { self.take_out(slot) } else { None }
    }

    /// What was seen may be cut, or it is too late for that.
    pub(super) fn cut(&mut self, slot: usize, generation: u64, seen: Used) -> Result<(), ToDo> {
        if self.known[slot].generation != generation {
            return Err(ToDo::default());
        }
        self.note(slot, generation, Notes::CUT);
        match self.take_out(slot) {
            Some(to_do) => Err(to_do),
            None if self.used[slot] == seen => Ok(()),
            None => Err(ToDo::default()),
        }
    }

    fn take_out(&mut self, slot: usize) -> Option<ToDo> {
        let parked = |twin: &mut Twin| twin.parked.as_mut().is_some_and(|parked| parked.remove(&slot));
        (self.remove(slot) || parked(self)).then(|| self.evict(slot))
    }

    // ---- a dial's ways -----------------------------------------------------------------------------------------------------

    pub(super) fn demand(&mut self) -> Option<ToDo> {
        (!self.closed).then(|| {
            self.asked = self.hopeful() == 0 && self.occupied() < self.limits.max_size;
            self.balanced(None)
        })
    }

    pub(super) fn admit(&mut self, ticket: u64, resident: usize, probe: bool) -> Option<usize> {
        let reserved = self.opening.remove(&ticket).map(|dial| dial.slot);
        let slot = reserved.or_else(|| if self.has_room() { self.vacant.pop_first() } else { None });
        let slot = match slot {
            Some(slot) if !self.closed => slot,
            slot => {
                self.vacant.extend(slot);
                self.closing += 1;
                return None;
            }
        };
        self.arriving += 1;
        self.end_use(slot);
        self.hold(slot, 0);
        self.resident[slot] = Some(resident);
        if probe {
            self.known[slot].set(Notes::PROBE, true);
        }
        Some(slot)
    }

    pub(super) fn land(&mut self, slot: usize, shard: usize, now: u64) -> ToDo {
        self.arriving -= 1;
        self.asked = false;
        if self.occupied() > self.limits.max_size {
            self.known[slot].set(Notes::SURPLUS, true);
        }
        let close = self.give_locked(slot, shard, now);
        self.balanced(close)
    }

    pub(super) fn overdue(&mut self, ticket: u64) -> Option<ToDo> {
        let dial = self.opening.remove(&ticket)?;
        self.vacant.insert(dial.slot);
        Some(self.balanced(None))
    }

    pub(super) fn slow(&mut self, ticket: u64) -> ToDo {
        match self.opening.get_mut(&ticket) {
            Some(dial) if !dial.slow => dial.slow = true,
            _ => return ToDo::default(),
        }
        self.balanced(None)
    }

    pub(super) fn turn_away(&mut self, ticket: u64) -> ToDo {
        self.closing += 1;
        self.overdue(ticket).unwrap_or_else(|| self.balanced(None))
    }

    pub(super) fn gone(&mut self) -> ToDo {
        self.closing -= 1;
        self.balanced(None)
    }

    /// Dials that may serve somebody soon.
    fn hopeful(&self) -> usize {
        self.arriving + self.opening.values().filter(|dial| !dial.slow).count()
    }

    // ---- the whole pool's --------------------------------------------------------------------------------------------------

    pub(super) fn limit(&mut self, change: impl FnOnce(&mut Limits)) -> ToDo {
        let before = self.limits.handoff_after;
        change(&mut self.limits);
        if self.limits.handoff_after != before {
            self.charged.fill(0);
        }
        self.balanced(None)
    }

    pub(super) fn refuse(&mut self, refused: bool) -> ToDo {
        self.refused = refused;
        self.balanced(None)
    }

    pub(super) fn pause(&mut self) {
        if !self.closed && self.parked.is_none() {
            self.parked = Some(self.idle.iter_mut().flat_map(std::mem::take).collect());
        }
    }

    pub(super) fn resume(&mut self) -> (ToDo, Vec<(usize, Known)>) {
        let shards = self.idle.len();
        let parked = self.parked.take().into_iter().flatten();
        let dead = parked.filter_map(|slot| self.give_locked(slot, slot % shards, 0)).collect();
        (self.balanced(None), dead)
    }

    pub(super) fn close(&mut self) -> Vec<(usize, Known)> {
        self.closed = true;
        let parked = self.parked.take().into_iter().flatten();
        let leaving: Vec<_> = self.idle.iter_mut().flat_map(std::mem::take).chain(parked).collect();
        self.settle_all(|| End::Closed);
        leaving.into_iter().filter_map(|slot| self.evict_locked(slot)).collect()
    }

    // ---- what ends each ----------------------------------------------------------------------------------------------------

    fn settle_all(&mut self, end: impl Fn() -> End) {
        self.woken.clear();
        self.settled.extend(self.waiting.drain(..).map(|(number, _)| (number, end())));
    }

    fn balanced(&mut self, close: Option<(usize, Known)>) -> ToDo {
        let (dial, hasten) = self.balance();
        ToDo { dial, close, hasten }
    }

    fn balance(&mut self) -> (Vec<u64>, usize) {
        if self.closed || self.parked.is_some() {
            return (Vec::new(), 0);
        }
        if self.refused && self.occupied() == self.dialing() {
            self.settle_all(|| End::Refused);
        }
        let idle = self.idle.iter().map(BTreeSet::len).sum();
        let missing = self.limits.min_open.saturating_sub(self.occupied() - self.dialing());
        let missing = missing.max(self.limits.min_idle.saturating_sub(idle));
        let unserved = self.waiting.len().saturating_sub(idle);
        let asleep: Vec<_> =
            self.waiting.iter().map(|(number, _)| *number).filter(|number| !self.woken.contains(number)).collect();
        self.woken.extend(asleep.into_iter().take(idle.saturating_sub(self.woken.len())));
        let (dial, held_back) = self.dial(missing.max(unserved).max(usize::from(self.asked)));
        self.asked &= dial.is_empty();
        (dial, held_back)
    }

    /// Begins one dial after another until there are `wanted` or one too many; once there is no more room, it counts those that closes
    /// hold back.
    fn dial(&mut self, wanted: usize) -> (Vec<u64>, usize) {
        let (mut begun, mut held_back) = (Vec::new(), 0);
        while self.hopeful() + held_back < wanted
            && self.dialing() + held_back < self.limits.dials
            && self.occupied() + held_back < self.limits.max_size.min(self.known.len())
        {
            if held_back > 0 || !self.has_room() {
                held_back += 1;
                continue;
            }
            self.tickets += 1;
            let slot = self.vacant.pop_first().unwrap();
            self.opening.insert(self.tickets, Dial { slot, slow: false });
            begun.push(self.tickets);
        }
        (begun, held_back)
    }
}
