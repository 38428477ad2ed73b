//! Those who wait for a connection, and the permits: the part of the bag that is behind a lock.
//!
//! **Why a lock.** It is touched only when every shard is empty, and to fall asleep costs four thousand times as much. **Why one
//! queue**, not one a shard: a connection given back anywhere must reach whoever has waited longest anywhere.
//!
//! **Modes.** The first line that holds is the one that counts. In all but the last two, WAIT is set in every idle word (I5), so that
//! what is given back comes to the lock. *Attended* is what keeps a crowd cheap: a waiter that was rung takes milliseconds to get a core
//! where all are busy, and for so long no return has to take the lock. With a `handoff_after` of zero there is no such mode.
//!
//! | mode | holds while | a give | balance |
//! |---|---|---|---|
//! | closed | `closed`, for ever; then `waiting` is empty and `parked` is `None` | evicts | rings `emptied` once all slots are vacant |
//! | paused | `parked` is `Some` | parks | does nothing, until the resume |
//! | awaited | `waiting` is not empty, `woken` is 0 | to the head if it is due, else publishes | wakes one for each idle bit, dials for the others |
//! | attended | `waiting` is not empty, `woken` is not 0 | publishes, without the lock | the same |
//! | at ease | none of these | publishes, without the lock | dials for the floor, and for one who asked |
//!
//! **A waiter** is an entry under its number of arrival, so an earlier one sorts first whatever happened to it in between. It leaves
//! the map the moment its fate is settled or its time is up, so nothing of it stays behind. Its fate lies in `settled` until it wakes.
//!
//! **Permits are slots**: a slot is vacant, or in a dial (`opening`, then `arriving`), or lived in. Nothing is counted twice, so
//! `open + opening <= max_size` (I7) needs no counter of its own. A connection that is being closed is in no slot any more, and still
//! takes up room at the endpoint: `closing` counts it, and a dial begins only where there is room beside it (I9).
//!
//! **A slow dial** keeps its permit, and counts as a dial wherever the limits are concerned. But it is no hope: whoever waits, or asks,
//! is dialed for as if it were not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bits::SlotId;
use super::slot::Claim;
use crate::sync::Condvar;

/// What is under the lock.
#[derive(Debug)]
pub(super) struct Queue<R> {
    /// By order of arrival. The first is the head.
    pub(super) waiting: BTreeMap<u64, Waiter>,
    /// How many of them are woken: on their way to the lock, to look.
    woken: usize,
    /// What became of waiters that were taken out of `waiting` and have not woken up to it.
    pub(super) settled: BTreeMap<u64, Fate<R>>,
    arrivals: u64,
    /// WAIT is set in every word (I5).
    pub(super) announced: bool,
    /// An idle bit may be set. False, while WAIT is set, only if there is none (I6). While it is not, a hint: the last look found one.
    pub(super) stirred: bool,
    pub(super) closed: bool,
    /// A pause: nobody is given anything, and what is idle or comes back is parked here until the pool resumes.
    pub(super) parked: Option<BTreeSet<SlotId>>,
    /// Rung when a closed pool has become empty.
    pub(super) emptied: Arc<Condvar>,
    /// The endpoint is down for good enough: whoever would wait without an open connection in sight is told this instead.
    pub(super) refusal: Option<R>,

    /// Slots that no connection lives in and no dial has, lowest first, so that the low words fill up.
    pub(super) vacant: BTreeSet<SlotId>,
    /// Dials under way, by ticket. An overdue one is taken out, and its slot is vacant again.
    opening: BTreeMap<u64, Reserved>,
    tickets: u64,
    /// Dials that succeeded and move in just now.
    pub(super) arriving: usize,
    /// Connections that have left the pool, or were turned away from it, and are not closed yet.
    pub(super) closing: usize,
    /// Somebody who does not wait wants a connection: one dial for them, as soon as dials are allowed.
    pub(super) asked: bool,

    pub(super) limits: Limits,
    /// By slot: up to when its connection is charged for going to heads that were due. Nanoseconds on the pool's clock.
    charged: Box<[u64]>,
}

/// Each time that a connection goes to a head that is due, it is charged with this part of `handoff_after`, and it goes to none if it
/// would be charged for more than `handoff_after` from now. So it goes to four in a row at most, and after that to one in each such part.
const HANDOFFS: u64 = 4;

/// What the policy allows and wants. Changes at run time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections open and opening, together, at most.
    pub(crate) max_size: usize,
    /// Connections being closed that may be there beside as many open and opening as `max_size` allows (I9).
    pub(crate) max_closing: usize,
    /// Connections to keep open, used or not.
    pub(crate) min_open: usize,
    /// Connections to keep idle beside those that are used.
    pub(crate) min_idle: usize,
    /// Dials at once; 0 while the policy backs off.
    pub(crate) dials: usize,
    /// Callers that may wait at once.
    pub(crate) max_waiters: usize,
    /// A return goes to the head, past everybody, once the head has waited this long; zero: always. Nanoseconds.
    pub(crate) handoff_after: u64,
}

/// How many dials may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) now: usize,
    /// And how many more, were it not for connections that are being closed.
    pub(super) held_back: usize,
}

/// A slot that a dial has.
#[derive(Debug)]
struct Reserved {
    slot: SlotId,
    /// It has been under way for so long that nobody should rely on it.
    slow: bool,
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Nanoseconds on the pool's clock.
    pub(super) arrived: u64,
    pub(super) bell: Arc<Condvar>,
    /// Its bell was rung for an idle bit, and it has not looked yet.
    pub(super) woken: bool,
}

/// What became of a waiter.
#[derive(Debug)]
pub(crate) enum Fate<R> {
    /// It owns a slot.
    Granted(Claim),
    /// The pool is closed.
    Closed,
    /// No connection can be opened, and none is open that could come back.
    Refused(R),
    /// Its time is up.
    TimedOut,
    /// None yet: it waits still. Do the duty, and go on waiting.
    Open,
}

/// A permit to dial: a reserved slot. Ends in `Bag::admit`, `Bag::turn_away` or `Bag::dial_failed`; past its time, `Bag::overdue` takes
/// it away.
#[derive(Debug)]
#[must_use = "a permit that nobody dials with is lost"]
pub(crate) struct Permit {
    pub(crate) ticket: u64,
}

/// A waiter's own end of its place in the queue.
///
/// Its bell is a condition variable of its own, and its fate is behind the lock. Tried against it, in a program of its own with nothing but
/// strict hand-overs, 16, 64 and 256 threads on 4 connections, 2 cores: a fate in a word of the waiter's, on which it parks, so that it
/// needs no lock to learn it, and a seat that each thread keeps. CPU time a use, medians of 41 rounds by turns: 1.02, 1.04 and 0.96 of
/// what it is with the condition variable (quarters 0.73 to 1.25); with a new seat each time 1.03, 0.99 and 1.02. A sleep and a wake-up
/// cost so much more that neither the allocation nor the lock shows, and the claim in a word would be one more edge.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(super) number: u64,
    pub(super) arrived: u64,
    pub(super) bell: Arc<Condvar>,
}

impl<R> Queue<R> {
    pub(super) fn new(capacity: usize, limits: Limits) -> Self {
        Queue {
            waiting: BTreeMap::new(),
            settled: BTreeMap::new(),
            arrivals: 0,
            woken: 0,
            announced: false,
            stirred: false,
            closed: false,
            parked: None,
            emptied: Arc::new(Condvar::new()),
            refusal: None,
            vacant: (0..capacity).map(SlotId::at).collect(),
            opening: BTreeMap::new(),
            tickets: 0,
            arriving: 0,
            closing: 0,
            asked: false,
            limits,
            charged: vec![0; capacity].into(),
        }
    }

    /// Whether WAIT has to be set: see the table of modes.
    pub(super) fn everything_comes_here(&self) -> bool {
        self.closed || self.parked.is_some() || !self.waiting.is_empty() && !self.somebody_comes()
    }

    /// Whether returns need not come to the lock although somebody waits: one of them is woken, and will see to whatever is idle then.
    /// Not where nobody may pass the head at any time.
    fn somebody_comes(&self) -> bool {
        self.woken > 0 && self.limits.handoff_after > 0
    }

    /// Whether an idle bit may be set. While WAIT is clear nobody knows.
    pub(super) fn may_be_stirred(&self) -> bool {
        self.stirred || !self.announced
    }

    /// A new place at the end of the queue, not in it yet. Numbers never come round: 64 bits.
    pub(super) fn seat(&mut self, arrived: u64) -> Seat {
        self.arrivals += 1;
        Seat { number: self.arrivals, arrived, bell: Arc::new(Condvar::new()) }
    }

    /// Into the queue, at the place of its number: a waiter that comes back stands where it stood.
    pub(super) fn sit(&mut self, seat: &Seat) {
        let waiter = Waiter { arrived: seat.arrived, bell: Arc::clone(&seat.bell), woken: false };
        self.waiting.insert(seat.number, waiter);
    }

    /// Wakes as many as there are idle connections, the first first, but for those who are woken already. Returns their bells.
    pub(super) fn wake(&mut self, idle: usize) -> impl Iterator<Item = Arc<Condvar>> {
        let (missing, woken) = (idle.saturating_sub(self.woken), &mut self.woken);
        self.waiting.values_mut().filter(|waiter| !waiter.woken).take(missing).map(|waiter| {
            waiter.woken = true;
            *woken += 1;
            Arc::clone(&waiter.bell)
        })
    }

    /// This waiter is awake. True: it was rung.
    pub(super) fn awake(&mut self, seat: &Seat) -> bool {
        let woken = self.waiting.get_mut(&seat.number).is_some_and(|waiter| std::mem::take(&mut waiter.woken));
        self.woken -= usize::from(woken);
        woken
    }

    /// Whether this connection must go to the head, past everybody. The head has waited for long, and:
    ///
    /// - Not all other connections are on their way to waiters that have still to wake up. Else nobody would be at work, and with uses
    ///   shorter than a wake-up nobody ever again: 256 threads that did no I/O on 4 connections had 0.05 to 2.6 million uses a second,
    ///   and have 17 with one connection left to whoever runs.
    /// - This one has not gone to heads [`HANDOFFS`] times in a row, or else a good while ago. Each time costs a sleep and a wake-up in
    ///   which it does nothing: 256 threads with an echo on 4 connections had 0.7 of the exchanges without a bound.
    pub(super) fn head_is_due(&mut self, slot: SlotId, now: impl FnOnce() -> u64) -> bool {
        let Some((_, head)) = self.waiting.first_key_value() else { return false };
        let (after, granted) = (self.limits.handoff_after, self.settled.len());
        if after == 0 {
            return true;
        }
        let none_at_work = granted > 0 && granted + 1 >= self.occupied(self.charged.len()) - self.dialing();
        let now = if none_at_work { return false } else { now() };
        let charged = &mut self.charged[slot.index()];
        let next = now.max(*charged).saturating_add(after / HANDOFFS);
        let due = now.saturating_sub(head.arrived) >= after && next <= now.saturating_add(after);
        if due {
            *charged = next;
        }
        due
    }

    /// What was charged by another measure than the one in force is forgotten.
    pub(super) fn remit(&mut self) {
        self.charged.fill(0);
    }

    /// Takes the head out of the queue and settles its fate.
    pub(super) fn settle_head(&mut self, fate: Fate<R>) -> Option<Arc<Condvar>> {
        let (number, head) = self.waiting.pop_first()?;
        self.woken -= usize::from(head.woken);
        self.settled.insert(number, fate);
        Some(head.bell)
    }

    /// Connections open, or to be soon: every slot that is not vacant. What the limit is compared with (I7).
    pub(super) fn occupied(&self, capacity: usize) -> usize {
        capacity - self.vacant.len()
    }

    /// Slots reserved for dials.
    pub(super) fn reserved(&self) -> impl Iterator<Item = &SlotId> {
        self.opening.values().map(|reserved| &reserved.slot)
    }

    /// Dials whose connection is not in the pool yet.
    pub(super) fn dialing(&self) -> usize {
        self.opening.len() + self.arriving
    }

    /// Of these, those that may serve somebody soon.
    pub(super) fn hopeful(&self) -> usize {
        self.dialing() - self.opening.values().filter(|reserved| reserved.slow).count()
    }

    /// How many dials to begin so that there are `wanted` under way that may serve somebody soon, as far as the limits allow (I7, I9).
    pub(super) fn room_to_dial(&self, wanted: usize, capacity: usize) -> Room {
        let permits = self.limits.max_size.saturating_sub(self.occupied(capacity)).min(self.vacant.len());
        let dials = self.limits.dials.saturating_sub(self.dialing());
        let wanted = wanted.saturating_sub(self.hopeful()).min(permits).min(dials);
        let now = wanted.min(self.room(capacity));
        Room { now, held_back: wanted - now }
    }

    /// How many more may be open or opening beside those that are being closed (I9).
    pub(super) fn room(&self, capacity: usize) -> usize {
        let bound = self.limits.max_size.saturating_add(self.limits.max_closing);
        bound.saturating_sub(self.occupied(capacity) + self.closing)
    }

    /// Reserves a slot for a dial.
    pub(super) fn reserve(&mut self) -> Option<Permit> {
        let slot = self.vacant.pop_first()?;
        self.tickets += 1;
        self.opening.insert(self.tickets, Reserved { slot, slow: false });
        Some(Permit { ticket: self.tickets })
    }

    /// Takes the slot back from a dial. None: the dial was overdue, and has lost it.
    pub(super) fn redeem(&mut self, ticket: u64) -> Option<SlotId> {
        self.opening.remove(&ticket).map(|reserved| reserved.slot)
    }

    /// Nobody should rely on this dial any more. False: it has ended, or that was known.
    pub(super) fn slow_down(&mut self, ticket: u64) -> bool {
        self.opening.get_mut(&ticket).is_some_and(|reserved| !std::mem::replace(&mut reserved.slow, true))
    }
}

#[cfg(all(test, not(any(corepool_loom, corepool_shuttle))))]
mod tests {
    use super::*;

    fn a_head_that_waits_since(arrived: u64) -> Queue<()> {
        let limits = Limits {
            max_size: 2,
            max_closing: 0,
            min_open: 0,
            min_idle: 0,
            dials: 0,
            max_waiters: 1,
            handoff_after: 100,
        };
        let mut queue = Queue::new(2, limits);
        let seat = queue.seat(arrived);
        queue.sit(&seat);
        queue
    }

    #[test]
    fn a_connection_goes_to_four_heads_in_a_row_and_then_to_one_in_each_quarter() {
        let mut queue = a_head_that_waits_since(0);
        let mut times = |slot, now| (0..9).take_while(|_| queue.head_is_due(SlotId::at(slot), || now)).count();
        assert_eq!(times(0, 99), 0, "it is not due");
        assert_eq!(times(0, 1_000), 4);
        assert_eq!(times(1, 1_000), 4, "each connection by itself");
        assert_eq!([1_024, 1_025, 1_026, 1_080].map(|now| times(0, now)), [0, 1, 0, 2]);
        assert_eq!(times(0, 2_000), 4);
    }

    #[test]
    fn what_was_charged_by_another_measure_is_forgotten() {
        let mut queue = a_head_that_waits_since(0);
        queue.limits.handoff_after = 1_000;
        assert_eq!((0..9).take_while(|_| queue.head_is_due(SlotId::at(0), || 1_000)).count(), 4);
        queue.limits.handoff_after = 100;
        assert!(!queue.head_is_due(SlotId::at(0), || 1_100));
        queue.remit();
        assert!(queue.head_is_due(SlotId::at(0), || 1_100));
    }
}
