//! The bag: where idle stacks, slots and queue meet. Every transition of a slot, and the one rule that ends each of them.
//!
//! **Why not one lock around all of it.** Almost all that happens is a take or a give, and each is one read-modify-write on one idle
//! word. What is rare, or has to see several things at once (to wait, to dial, to pause, to close), is under one lock, the queue's.
//!
//! **States.** A slot is in exactly one (I1 of `README.md`):
//!
//! | state | where it is seen | what ends it |
//! |---|---|---|
//! | vacant | `vacant` of the queue | the balance reserves it for a dial, `admit` gives it to an overdue one |
//! | opening | `opening` of the queue | `admit`, `dial_failed`, `turn_away`, `overdue` |
//! | arriving | nowhere; `arriving` of the queue counts it | `land` |
//! | idle | one bit of one word in `idle` | `take`, `remove`, `dismiss`, the look of a waiter, `pause`, `close` |
//! | owned | nowhere: it is a [`Claim`] in somebody's hands | `give`, `evict` |
//! | granted | `settled` of the queue | the `wait` of the waiter it was granted to |
//! | parked | `parked` of the queue | `resume`, `dismiss`, `close` |
//!
//! *Whoever clears the bit of a slot owns it, and an owner ends in one of two ways: give or evict.* An owner is whoever has the
//! claim: a caller, a waiter, the reactor, a pinger, whoever closes the pool. What has left its slot, and what never got one, is
//! **closing** until the caller says that it is [`closed`](Bag::closed): a number, since it is in no slot.
//!
//! **Operations.** They are in `bag/`: those of an owner, of a waiter, of a dial, and of the whole pool. Here is what they have in
//! common. Nothing of it runs user code, reads a clock or does I/O: what is to be done outside comes back as a [`Duty`].
//!
//! **The race that must not happen** is a waiter asleep while a connection is idle or could be opened. So every critical section
//! ends in [`balance`](Bag::balance), which looks at all that could make somebody wait for nothing: an idle bit wakes a waiter, and
//! where nobody is on their way, WAIT is set; waiters without dials for them dial, as far as the limits go; and where nothing but closes is
//! in the way, these are to be hastened. So nobody has to know whom their change concerns. In particular, whoever *leaves* the queue
//! balances, since a wake-up that was meant for two may have gone to them. `README.md` has the proof, and the models of each edge (E1…E9).

mod owning;
mod permits;
mod policy;
mod waiting;

use std::sync::Arc;

use crossbeam::utils::CachePadded;

use super::bits::{Notes, SlotId};
use super::idle::IdleStacks;
pub(crate) use super::idle::Place;
use super::queue::Queue;
pub(crate) use super::queue::{Fate, Limits, Permit, Seat};
#[cfg_attr(corepool_loom, allow(unused_imports, reason = "of the models' crate only the tests name it"))]
pub(crate) use super::slot::Use;
pub(crate) use super::slot::{Claim, Slot};
use crate::sync::{Condvar, Mutex, MutexGuard, lock};

/// The slots of a pool of `T`, and who waits for them. `R` is the reason that waiters are given when the endpoint is down.
#[derive(Debug)]
pub(crate) struct Bag<T, R> {
    slots: Box<[CachePadded<Slot<T>>]>,
    idle: IdleStacks,
    queue: CachePadded<Mutex<Queue<R>>>,
}

/// What the caller of a transition has to do, now that no lock is held.
#[derive(Debug)]
#[must_use = "permits to dial with and connections to close are lost unless somebody sees to them"]
pub(crate) struct Duty<T> {
    /// Dial with each of these.
    pub(crate) dial: Vec<Permit>,
    /// Close these: they are out of the pool, and count as closing. The notes say what was known of them.
    pub(crate) close: Option<(T, Notes)>,
    /// Hasten so many closes, this duty's own among them: as many dials wait for nothing but their room. Closes that others have still
    /// to begin may be meant too.
    pub(crate) hasten: usize,
}

impl<T> Duty<T> {
    pub(crate) fn none() -> Self {
        Duty { dial: Vec::new(), close: None, hasten: 0 }
    }

    /// Nothing to do: so it is after all but a few transitions.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.dial.is_empty() && self.close.is_none() && self.hasten == 0
    }

    fn closing(mut self, resident: Option<(T, Notes)>) -> Self {
        self.close = resident;
        self
    }
}

/// Whether a use may be cut short.
#[derive(Debug)]
#[must_use = "what is not cut has to leave all the same"]
pub(crate) enum Cut<T> {
    /// It goes on, or has just ended; nobody else will use its connection.
    Now,
    /// It has ended. If the connection was in nobody's hands, the duty has it.
    TooLate(Duty<T>),
}

/// Why a give is not done: what `give_after` has to see to.
#[derive(Debug)]
#[must_use = "the slot is owned still, or may be idle with a note"]
pub(crate) enum Unsettled {
    /// It has met WAIT: the slot is still owned.
    Waited(Claim),
    /// The slot is public, in this shard, and was noted meanwhile.
    Noted(SlotId, usize),
}

/// Why a caller cannot wait.
#[derive(Debug)]
pub(crate) enum Barred<R> {
    /// The pool is closed.
    Closed,
    /// The endpoint is down, and no connection is open that could come back.
    Refused(R),
    /// `max_waiters` wait already.
    Crowded,
}

/// How many slots are in which state, all seen under one lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) open: usize,
    pub(crate) opening: usize,
    pub(crate) idle: usize,
    pub(crate) waiting: usize,
    pub(crate) closing: usize,
    pub(crate) paused: bool,
}

/// Why nothing is idle, if neither: everything is in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emptiness {
    pub(crate) paused: bool,
    pub(crate) none_open: bool,
}

/// Whose bells to ring once the lock is free, what to dial, and how many closes to hasten.
#[must_use]
struct After {
    bells: Vec<Arc<Condvar>>,
    dial: Vec<Permit>,
    hasten: usize,
}

impl<T, R: Clone> Bag<T, R> {
    pub(crate) fn new(shards: usize, capacity: usize, limits: Limits) -> Self {
        Bag {
            slots: (0..capacity).map(|_| CachePadded::new(Slot::new())).collect(),
            idle: IdleStacks::new(shards, capacity),
            queue: CachePadded::new(Mutex::new(Queue::new(capacity, limits))),
        }
    }

    pub(crate) fn idle(&self) -> &IdleStacks {
        &self.idle
    }

    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The slot of that number; its words may be read by anybody.
    #[inline(always)]
    pub(crate) fn slot(&self, slot: SlotId) -> &Slot<T> {
        &self.slots[slot.index()]
    }

    pub(crate) fn shards(&self) -> usize {
        self.idle.shards()
    }

    /// Whether a look finds it idle, in whichever shard.
    pub(crate) fn is_idle(&self, slot: SlotId) -> bool {
        self.idle.is_idle(slot)
    }

    /// How many slots are in which state.
    pub(crate) fn census(&self) -> Census {
        let queue = self.lock();
        let opening = queue.dialing();
        Census {
            open: queue.occupied(self.capacity()) - opening,
            opening,
            idle: self.idle.total() + queue.parked.as_ref().map_or(0, |parked| parked.len()),
            waiting: queue.waiting.len(),
            closing: queue.closing,
            paused: queue.parked.is_some(),
        }
    }

    /// How many are open. A lock and a subtraction.
    pub(crate) fn open(&self) -> usize {
        let queue = self.lock();
        queue.occupied(self.capacity()) - queue.dialing()
    }

    /// Whether it is known without a look that nothing is idle: nothing is open, or somebody waits who has looked everywhere (I6). A lock
    /// and some comparisons, whatever the capacity.
    pub(crate) fn is_dry(&self) -> bool {
        let queue = self.lock();
        self.none_open(&queue) || !queue.may_be_stirred()
    }

    /// The same at a cost that does not grow with the pool: of the idle ones, those that a look at the first words shows. For an
    /// error, which is told when there are none.
    pub(crate) fn glance(&self) -> Census {
        const WORDS: usize = 64;
        let queue = self.lock();
        let opening = queue.dialing();
        let census = Census {
            open: queue.occupied(self.capacity()) - opening,
            opening,
            idle: queue.parked.as_ref().map_or(0, |parked| parked.len()),
            waiting: queue.waiting.len(),
            closing: queue.closing,
            paused: queue.parked.is_some(),
        };
        drop(queue);
        Census { idle: census.idle + self.idle.some(census.open, WORDS), ..census }
    }

    /// Why a look may have found nothing. A lock and two comparisons, whatever the capacity.
    pub(crate) fn emptiness(&self) -> Emptiness {
        let queue = self.lock();
        Emptiness { paused: queue.parked.is_some(), none_open: self.none_open(&queue) }
    }

    // ---- the end of every critical section ---------------------------------------------------------------------------------

    fn lock(&self) -> MutexGuard<'_, Queue<R>> {
        lock(&self.queue)
    }

    /// Balances, unlocks, rings: the end of a critical section.
    fn finish(&self, mut queue: MutexGuard<'_, Queue<R>>, bell: Option<Arc<Condvar>>) -> Duty<T> {
        let mut after = self.balance(&mut queue);
        // Not in a model: there a mutant has to fail by what comes of it.
        debug_assert!(cfg!(corepool_loom) || queue.announced == queue.everything_comes_here(), "WAIT is against I5");
        after.bells.extend(bell);
        drop(queue);
        after.bells.iter().for_each(|bell| bell.notify_one());
        Duty { dial: after.dial, close: None, hasten: after.hasten }
    }

    /// Nobody may sleep while a connection is idle for them, or could be opened.
    fn balance(&self, queue: &mut Queue<R>) -> After {
        let mut after = After { bells: Vec::new(), dial: Vec::new(), hasten: 0 };
        if queue.closed && queue.vacant.len() == self.capacity() {
            queue.emptied.notify_all();
        }
        if queue.closed || queue.parked.is_some() {
            return after;
        }
        if let Some(reason) = queue.refusal.clone()
            && self.none_open(queue)
        {
            after.bells.extend(std::iter::from_fn(|| queue.settle_head(Fate::Refused(reason.clone()))));
        }
        let at_hand = self.attend(queue, &mut after.bells);
        let open = queue.occupied(self.capacity()) - queue.dialing();
        let missing = queue.limits.min_open.saturating_sub(open).max(self.idle_missing(queue));
        // What is idle is on its way to a waiter; should somebody else be faster, that waiter comes by here again.
        let unserved = queue.waiting.len().saturating_sub(at_hand);
        let room = queue.room_to_dial(missing.max(unserved).max(usize::from(queue.asked)), self.capacity());
        after.dial.extend((0..room.now).map_while(|_| queue.reserve()));
        after.hasten = room.held_back;
        queue.asked &= after.dial.is_empty();
        after
    }

    /// How many idle ones are missing. Not counted where none are to be kept: the count touches every shard.
    fn idle_missing(&self, queue: &Queue<R>) -> usize {
        match queue.limits.min_idle {
            0 => 0,
            wanted => wanted - self.idle.some(wanted, usize::MAX),
        }
    }

    /// Looks whether enough are kept: for what has been taken since the lock was held last.
    pub(crate) fn look_after(&self) -> Duty<T> {
        self.finish(self.lock(), None)
    }

    /// Sees to it that as many of those who wait are woken as there are idle connections, and that WAIT is as I5 has it. Returns how many
    /// are idle, as far as somebody waits for them.
    fn attend(&self, queue: &mut Queue<R>, bells: &mut Vec<Arc<Condvar>>) -> usize {
        let waiting = queue.waiting.len();
        // Where WAIT is clear and nobody comes, the announcement looks.
        let looks = queue.stirred || !queue.announced && !queue.everything_comes_here();
        let mut idle = if looks { self.idle.some(waiting, usize::MAX) } else { 0 };
        bells.extend(queue.wake(idle));
        if !queue.announced && queue.everything_comes_here() {
            // WAIT in every word, and only then the look that counts (E4, E5).
            idle = self.idle.announce().min(waiting);
            queue.announced = true;
            bells.extend(queue.wake(idle));
        }
        queue.stirred = idle > 0;
        if queue.announced && !queue.everything_comes_here() {
            self.idle.retract();
            queue.announced = false;
        }
        idle
    }

    /// No connection is open, so none can come back.
    fn none_open(&self, queue: &Queue<R>) -> bool {
        queue.occupied(self.capacity()) == queue.dialing()
    }

    /// What must hold when nothing is under way: for models, storms and rounds. `Err` says what does not.
    pub(crate) fn at_rest(&self) -> Result<(), String> {
        let queue = self.lock();
        for (index, slot) in self.slots.iter().enumerate() {
            let id = SlotId::at(index);
            let vacant = queue.vacant.contains(&id);
            let parked = queue.parked.as_ref().is_some_and(|parked| parked.contains(&id));
            let idle = self.idle.is_idle(id);
            // I1: at rest nothing is owned, granted, or in a dial.
            if [vacant, parked, idle].iter().filter(|state| **state).count() != 1 {
                return Err(format!("{id:?} is vacant: {vacant}, parked: {parked}, idle: {idle}"));
            }
            if idle && slot.notes().is_leaving() {
                return Err(format!("{id:?} is idle with notes {:?}", slot.notes()));
            }
        }
        if queue.dialing() > 0 || !queue.settled.is_empty() {
            return Err(format!("{} dials and {} fates are left over", queue.dialing(), queue.settled.len()));
        }
        let paused = queue.parked.is_some();
        if !queue.waiting.is_empty() && !paused && (self.idle.any() || queue.room_to_dial(1, self.capacity()).now > 0) {
            return Err(format!("{} wait although there is something to be had", queue.waiting.len()));
        }
        let wait = queue.everything_comes_here();
        if self.idle.wait_everywhere() != Some(wait) {
            return Err(format!("WAIT should be {wait}, is {:?}", self.idle.wait_everywhere()));
        }
        Ok(())
    }
}
