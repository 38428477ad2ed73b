//! Where idle stacks, slots and queue meet: every transition of a slot, and the one rule that ends each of them.
//!
//! A slot is vacant → opening → leased ⇄ idle → leased → vacant; "leased" is whoever owns it: a caller, a waiter it was granted to, the
//! reactor, a closer. *Whoever clears its idle bit owns it, and an owner ends in one of two ways: give or retire.*
//!
//! Every critical section ends in [`balance`](Core::balance), which looks at all that could make somebody wait for nothing: an
//! idle bit beside a queue wakes the head; waiters without dials for them dial, as far as the limits go. So nobody has to know whom
//! his change concerns; in particular whoever *leaves* the queue balances, since a wake-up that was meant for two may have gone
//! to him. The race that must not happen: a waiter asleep beside an idle connection, or beside room to open one. `README.md` has
//! the proof, and each edge (E1…E8) its model.
//!
//! Nothing here runs user code, reads a clock or does I/O: what is to be done outside comes back as a [`Duty`].

use std::sync::Arc;
use std::time::Duration;

use crossbeam::utils::CachePadded;

use super::bits::{Flag, Life, Notes, SlotId};
use super::idle::IdleStacks;
pub(crate) use super::queue::{Fate, Limits, Opening, Seat};
use super::queue::{Queue, Waiter};
pub(crate) use super::slot::{Claim, Slot};
use crate::sync::{Condvar, Mutex, MutexGuard, lock, nap};

/// The concurrent core of a pool of `T`. `R` is the reason that waiters are given when the endpoint is down.
#[derive(Debug)]
pub(crate) struct Core<T, R> {
    slots: Box<[CachePadded<Slot<T>>]>,
    idle: IdleStacks,
    queue: CachePadded<Mutex<Queue<R>>>,
}

/// What the caller of a transition has to do, now that no lock is held.
#[derive(Debug)]
#[must_use = "permits to dial with and connections to close are lost unless somebody sees to them"]
pub(crate) struct Duty<T> {
    /// Dial with each of these.
    pub(crate) dial: Vec<Opening>,
    /// Close these: they are out of the pool. The notes say what was known of them.
    pub(crate) close: Option<(T, Notes)>,
}

impl<T> Duty<T> {
    pub(crate) fn none() -> Self {
        Duty { dial: Vec::new(), close: None }
    }

    /// Nothing to do: so it is after all but a few transitions.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.dial.is_empty() && self.close.is_none()
    }

    fn closing(mut self, resident: Option<(T, Notes)>) -> Self {
        self.close = resident;
        self
    }
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
}

/// Whose bells to ring once the lock is free, and what to dial.
#[must_use]
struct After {
    bells: Vec<Arc<Condvar>>,
    dial: Vec<Opening>,
}

impl<T, R: Clone> Core<T, R> {
    pub(crate) fn new(shards: usize, capacity: usize, limits: Limits) -> Self {
        Core {
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
    #[inline]
    pub(crate) fn slot(&self, slot: SlotId) -> &Slot<T> {
        &self.slots[slot.index()]
    }

    // ---- take, give, retire ------------------------------------------------------------------------------------------------

    /// Takes an idle connection of `shard`. Lock-free: one locked read-modify-write when uncontended.
    ///
    /// The taker owns the slot, and must look at its notes before anybody uses it.
    #[inline]
    pub(crate) fn take(&self, shard: usize) -> Option<Claim> {
        self.idle.take(shard).map(Claim::of)
    }

    /// The same for a caller of this very shard.
    #[inline]
    pub(crate) fn take_home(&self, shard: usize) -> Option<Claim> {
        self.idle.take_home(shard).map(Claim::of)
    }

    /// Gives an owned slot back, idle in `shard`. Lock-free: one locked read-modify-write when uncontended and nobody waits.
    ///
    /// `now`, in nanoseconds, is asked only if somebody waits.
    #[inline]
    pub(crate) fn give(&self, claim: Claim, shard: usize, now: impl FnOnce() -> u64) -> Duty<T> {
        let mut duty = Duty::none();
        let slot = self.slot(claim.slot());
        self.give_or(claim, slot, shard, now, |owed| duty = owed);
        duty
    }

    /// The same for the hot path, which knows where the claim's slot is, and has no duty to look at unless `owing` is called with one.
    #[inline(always)]
    pub(crate) fn give_or(
        &self,
        claim: Claim,
        slot: &Slot<T>,
        shard: usize,
        now: impl FnOnce() -> u64,
        owing: impl FnOnce(Duty<T>),
    ) {
        let id = claim.slot();
        if self.idle.publish(shard, id).is_err() {
            return owing(self.give_slow(claim, shard, now));
        }
        // From here on the slot is anybody's. The second look at the notes: the reactor that wrote one in between has found
        // no bit to clear, thinks "leased" and will not come again (E2).
        if slot.notes().is_leaving() {
            owing(self.withdraw(id, shard));
        }
    }

    /// A note came in while the slot was being published: whoever clears the bit deals with it.
    #[cold]
    fn withdraw(&self, slot: SlotId, shard: usize) -> Duty<T> {
        if self.idle.remove(shard, slot) { self.settle(Claim::of(slot), shard, || 0) } else { Duty::none() }
    }

    #[cold]
    fn give_slow(&self, claim: Claim, shard: usize, now: impl FnOnce() -> u64) -> Duty<T> {
        let mut queue = self.lock();
        let (bell, resident) = self.give_locked(&mut queue, claim, shard, now);
        self.finish(queue, bell).closing(resident)
    }

    /// To the head if it must, else published for all, else out of the pool.
    fn give_locked(
        &self,
        queue: &mut Queue<R>,
        claim: Claim,
        shard: usize,
        now: impl FnOnce() -> u64,
    ) -> (Option<Arc<Condvar>>, Option<(T, Notes)>) {
        if queue.closed || self.slot(claim.slot()).notes().is_leaving() {
            return (None, self.vacate(queue, claim));
        }
        if let Some(parked) = &mut queue.parked {
            // A note that comes from now on finds it here: `dismiss` looks under the lock.
            parked.insert(claim.slot());
            self.slot(claim.slot()).hold_by_pool(&claim);
            return (None, None);
        }
        if queue.head_is_due(self.capacity(), now) {
            return (queue.settle_head(Fate::Granted(claim)), None);
        }
        let slot = claim.slot();
        self.idle.publish_locked(shard, slot);
        queue.stirred = true;
        // The second look, as in `give`.
        if self.slot(slot).notes().is_leaving() && self.idle.remove(shard, slot) {
            return (None, self.vacate(queue, Claim::of(slot)));
        }
        (None, None)
    }

    /// Ends the ownership that a removal gave: the slot may have begun another life since the remover learned what it did, so
    /// the notes are read again. Leaving → retire; else it is an ordinary give.
    pub(crate) fn settle(&self, claim: Claim, shard: usize, now: impl FnOnce() -> u64) -> Duty<T> {
        if self.slot(claim.slot()).notes().is_leaving() { self.retire(claim) } else { self.give(claim, shard, now) }
    }

    /// Takes the connection out of the pool, to be closed by the caller; its permit is free at once.
    pub(crate) fn retire(&self, claim: Claim) -> Duty<T> {
        let mut queue = self.lock();
        let resident = self.vacate(&mut queue, claim);
        self.finish(queue, None).closing(resident)
    }

    fn vacate(&self, queue: &mut Queue<R>, claim: Claim) -> Option<(T, Notes)> {
        let resident = self.slot(claim.slot()).move_out(&claim);
        let fresh = queue.vacant.insert(claim.slot());
        debug_assert!(fresh, "{:?} was vacant already", claim.slot());
        resident
    }

    // ---- notes: the reactor's, the sweep's and the limits' word to whoever holds the slot -----------------------------------

    /// Notes `flag` on one life, and takes its connection out of the pool if it is idle; if it is leased, its holder will find the note.
    ///
    /// For the flags with which a connection must leave. `None`: that life was over or knew it already, or it is leased.
    pub(crate) fn dismiss(&self, life: Life, flag: Flag) -> Option<Duty<T>> {
        // First the note, then the removal: a return that publishes after the removal's look reads the note (E2).
        if !self.slot(life.slot).note(life.generation, flag) {
            return None;
        }
        if self.idle.remove_anywhere(life.slot) {
            return Some(self.settle(Claim::of(life.slot), 0, || 0));
        }
        self.dismiss_parked(life.slot)
    }

    /// The noted connection is not idle: leased, or parked by a pause.
    fn dismiss_parked(&self, slot: SlotId) -> Option<Duty<T>> {
        let mut queue = self.lock();
        let parked = queue.parked.as_mut()?;
        // Not leaving: it is the slot's next life that is parked here.
        if !self.slot(slot).notes().is_leaving() || !parked.remove(&slot) {
            return None;
        }
        let resident = self.vacate(&mut queue, Claim::of(slot));
        Some(self.finish(queue, None).closing(resident))
    }

    /// Every connection in the pool, and whether it looks idle.
    pub(crate) fn lives(&self) -> Vec<(Life, bool)> {
        let queue = self.lock();
        let reserved = queue.reserved();
        let slots = (0..self.capacity()).map(SlotId::at);
        let lived_in = slots.filter(|slot| !queue.vacant.contains(slot) && !reserved.contains(slot));
        let life = |slot: SlotId| {
            let life = Life { slot, generation: self.slot(slot).notes().generation() };
            (life, self.idle.look(slot.word()) & slot.mask() != 0)
        };
        lived_in.map(life).collect()
    }

    /// Notes `flag` on one life for its next holder, where it is. For the flags that only ask for a look.
    pub(crate) fn note(&self, life: Life, flag: Flag) -> bool {
        self.slot(life.slot).note(life.generation, flag)
    }

    /// Clears a note that the owner has acted on.
    pub(crate) fn clear(&self, claim: &Claim, flag: Flag) {
        self.slot(claim.slot()).clear(claim, flag);
    }

    /// Takes one slot out of the idle stacks, if it is there.
    pub(crate) fn remove(&self, slot: SlotId) -> Option<Claim> {
        self.idle.remove_anywhere(slot).then(|| Claim::of(slot))
    }

    // ---- waiting -----------------------------------------------------------------------------------------------------------

    /// Into the queue, at its end. The duty is to be done before [`wait`](Core::wait).
    pub(crate) fn enqueue(&self, now: u64) -> Result<(Seat, Duty<T>), Barred<R>> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(Barred::Closed);
        }
        if let Some(reason) = &queue.refusal
            && self.none_open(&queue)
        {
            return Err(Barred::Refused(reason.clone()));
        }
        if queue.waiting.len() >= queue.limits.max_waiters {
            return Err(Barred::Crowded);
        }
        let seat = queue.seat(now);
        self.announce(&mut queue);
        queue.sit(&seat);
        Ok((seat, self.finish(queue, None)))
    }

    /// Back to its old place: what it was granted turned out to be no good.
    pub(crate) fn rejoin(&self, seat: &Seat) -> Duty<T> {
        let mut queue = self.lock();
        if queue.closed {
            queue.settled.insert(seat.number, Fate::Closed);
        } else {
            self.announce(&mut queue);
            queue.sit(seat);
        }
        self.finish(queue, None)
    }

    /// WAIT in every word before the first waiter looks (E4, E5).
    fn announce(&self, queue: &mut Queue<R>) {
        if !queue.announced {
            queue.stirred = self.idle.announce();
            queue.announced = true;
        }
    }

    /// Sleeps until the waiter's fate is settled. `left` says how long that may take: `None` once its time is up, and of the rest
    /// as [`nap`] has it. It runs under the lock and must not block.
    pub(crate) fn wait(&self, seat: &Seat, mut left: impl FnMut() -> Option<Option<Duration>>) -> (Fate<R>, Duty<T>) {
        let mut queue = self.lock();
        loop {
            if let Some(fate) = queue.settled.remove(&seat.number) {
                return (fate, Duty::none());
            }
            let left = left();
            // Awake, head or not: an earlier waiter may have come back to its place since the bell rang, and it must ring again
            // when this one is the head.
            if let Some(waiter) = queue.waiting.get_mut(&seat.number) {
                waiter.woken = false;
            }
            // The head looks whenever it is awake; anybody looks once more before he gives up.
            let looks = queue.stirred && (queue.is_head(seat) || left.is_none());
            if looks {
                if let Some(claim) = self.scan(&mut queue) {
                    queue.waiting.remove(&seat.number);
                    return (Fate::Granted(claim), self.finish(queue, None));
                }
                if left.is_some() {
                    // Somebody was faster. What was idle stood against a dial for this waiter, which is due now.
                    return (Fate::Open, self.finish(queue, None));
                }
            }
            match left {
                None => {
                    queue.waiting.remove(&seat.number);
                    return (Fate::TimedOut, self.finish(queue, None));
                }
                Some(left) => queue = nap(&seat.bell, queue, &self.queue, left),
            }
        }
    }

    fn scan(&self, queue: &mut Queue<R>) -> Option<Claim> {
        let slot = self.idle.take_any();
        queue.stirred = slot.is_some();
        slot.map(Claim::of)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// How many slots are in which state.
    pub(crate) fn census(&self) -> Census {
        let queue = self.lock();
        let opening = queue.dialing();
        Census {
            open: queue.taken(self.capacity()) - opening,
            opening,
            idle: self.idle.total() + queue.parked.as_ref().map_or(0, |parked| parked.len()),
            waiting: queue.waiting.len(),
        }
    }

    // ---- permits and dials -------------------------------------------------------------------------------------------------

    /// Asks for one dial to be under way, beyond what waiters cause by themselves; if the policy allows none just now, as soon as it
    /// does. `None`: the pool is closed.
    pub(crate) fn demand(&self) -> Option<Duty<T>> {
        let mut queue = self.lock();
        if queue.closed {
            return None;
        }
        queue.asked = queue.dialing() == 0 && queue.taken(self.capacity()) < queue.limits.max_size;
        Some(self.finish(queue, None))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// A dial succeeded. The claim to move in with, or the resident again: the pool is closed, or the dial was overdue, has lost its
    /// permit and finds no other.
    pub(crate) fn admit(&self, opening: Opening, resident: T, probe: bool) -> Result<(Claim, Life), T> {
        let mut queue = self.lock();
        let room = |queue: &mut Queue<R>| {
            let room = queue.taken(self.capacity()) < queue.limits.max_size;
            room.then(|| queue.vacant.pop_first()).flatten()
        };
        let slot = queue.redeem(opening.ticket).or_else(|| room(&mut queue));
        let Some(slot) = slot else { return Err(resident) };
        if queue.closed {
            queue.vacant.insert(slot);
            // Whoever drains the pool may be waiting for this dial alone.
            let duty = self.finish(queue, None);
            debug_assert!(duty.is_none(), "a closed pool dials nothing");
            return Err(resident);
        }
        queue.arriving += 1;
        drop(queue);
        let claim = Claim::of(slot);
        let generation = self.slot(slot).move_in(&claim, resident, probe);
        Ok((claim, Life { slot, generation }))
    }

    /// What was admitted is ready for use: into the pool with it, in `shard`.
    pub(crate) fn land(&self, claim: Claim, shard: usize, now: impl FnOnce() -> u64) -> Duty<T> {
        let mut queue = self.lock();
        queue.arriving -= 1;
        queue.asked = false;
        if queue.taken(self.capacity()) > queue.limits.max_size {
            // The limit was lowered while it was being dialed.
            let slot = self.slot(claim.slot());
            slot.note(slot.notes().generation(), Notes::SURPLUS);
        }
        let (bell, resident) = self.give_locked(&mut queue, claim, shard, now);
        self.finish(queue, bell).closing(resident)
    }

    /// A dial failed: its permit is free, unless it was overdue and has lost it before.
    pub(crate) fn dial_failed(&self, opening: Opening) -> Duty<T> {
        self.overdue(opening.ticket).unwrap_or_else(Duty::none)
    }

    /// A dial has outlasted its time: takes its permit away. `None` if it has ended just now.
    pub(crate) fn overdue(&self, ticket: u64) -> Option<Duty<T>> {
        let mut queue = self.lock();
        let slot = queue.redeem(ticket)?;
        queue.vacant.insert(slot);
        Some(self.finish(queue, None))
    }

    // ---- policy ------------------------------------------------------------------------------------------------------------

    /// Changes the limits.
    pub(crate) fn limit(&self, change: impl FnOnce(&mut Limits)) -> Duty<T> {
        let mut queue = self.lock();
        change(&mut queue.limits);
        self.finish(queue, None)
    }

    /// From now on waiters and newcomers are told `reason` unless some connection is open; `None` lets them wait again.
    pub(crate) fn refuse(&self, reason: Option<R>) -> Duty<T> {
        let mut queue = self.lock();
        queue.refusal = reason;
        self.finish(queue, None)
    }

    /// From now on nobody is given anything: callers wait, returns are parked. What is leased stays so.
    pub(crate) fn pause(&self) {
        let mut queue = self.lock();
        if !queue.closed && queue.parked.is_none() {
            // WAIT stays behind in every word, so all that comes back comes to the lock.
            let parked = self.idle.seal();
            parked.iter().for_each(|slot| self.slot(*slot).hold_by_pool(&Claim::of(*slot)));
            queue.parked = Some(parked.into_iter().collect());
            queue.announced = true;
        }
    }

    /// Ends a pause: everything parked is idle again. Returns, beside the duty, what has died meanwhile.
    pub(crate) fn resume(&self) -> (Duty<T>, Vec<(T, Notes)>) {
        let mut queue = self.lock();
        let mut dead = Vec::new();
        for slot in queue.parked.take().into_iter().flatten() {
            let shard = slot.index() % self.idle.shards();
            let (bell, resident) = self.give_locked(&mut queue, Claim::of(slot), shard, || 0);
            debug_assert!(bell.is_none() || queue.limits.handoff_after == 0);
            bell.inspect(|bell| bell.notify_one());
            dead.extend(resident);
        }
        (self.finish(queue, None), dead)
    }

    /// Closes: wakes all waiters and takes out all that is idle. What is leased leaves when it is given; nothing enters any more.
    /// Idempotent.
    pub(crate) fn close(&self) -> Vec<(T, Notes)> {
        let mut queue = self.lock();
        queue.closed = true;
        queue.announced = true;
        let parked = queue.parked.take().into_iter().flatten();
        let claims: Vec<_> = self.idle.seal().into_iter().chain(parked).map(Claim::of).collect();
        let residents = claims.into_iter().filter_map(|claim| self.vacate(&mut queue, claim)).collect();
        let bells: Vec<_> = std::iter::from_fn(|| queue.settle_head(Fate::Closed)).collect();
        let duty = self.finish(queue, None);
        debug_assert!(duty.is_none(), "a closed pool dials nothing");
        bells.iter().for_each(|bell| bell.notify_one());
        residents
    }

    /// Sleeps until the pool, which is closed, has no connection left. `left` as for [`wait`](Core::wait). False: the time is up.
    pub(crate) fn wait_until_empty(&self, mut left: impl FnMut() -> Option<Option<Duration>>) -> bool {
        let mut queue = self.lock();
        let emptied = Arc::clone(&queue.emptied);
        while queue.vacant.len() < self.capacity() {
            match left() {
                None => return false,
                Some(left) => queue = nap(&emptied, queue, &self.queue, left),
            }
        }
        true
    }

    // ---- the end of every critical section ---------------------------------------------------------------------------------

    fn lock(&self) -> MutexGuard<'_, Queue<R>> {
        lock(&self.queue)
    }

    /// Balances, unlocks, rings.
    fn finish(&self, mut queue: MutexGuard<'_, Queue<R>>, bell: Option<Arc<Condvar>>) -> Duty<T> {
        let mut after = self.balance(&mut queue);
        after.bells.extend(bell);
        drop(queue);
        after.bells.iter().for_each(|bell| bell.notify_one());
        Duty { dial: after.dial, close: None }
    }

    /// Nobody may sleep beside an idle connection, or beside room to open one.
    fn balance(&self, queue: &mut Queue<R>) -> After {
        let mut after = After { bells: Vec::new(), dial: Vec::new() };
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
        if queue.waiting.is_empty() {
            if queue.announced {
                self.idle.retract();
                queue.announced = false;
            }
        } else if queue.stirred {
            after.bells.extend(self.wake_head(queue));
        }
        let missing = queue.limits.floor.saturating_sub(queue.taken(self.capacity()) - queue.dialing());
        // What is idle is on its way to a waiter; should somebody else be faster, that waiter comes by here again.
        let at_hand = if queue.stirred && !queue.waiting.is_empty() { self.idle.total() } else { 0 };
        let unserved = queue.waiting.len().saturating_sub(at_hand);
        let room = queue.room_to_dial(missing.max(unserved).max(usize::from(queue.asked)), self.capacity());
        after.dial.extend((0..room).map_while(|_| queue.reserve()));
        queue.asked &= after.dial.is_empty();
        after
    }

    /// The head's bell, if there is something idle for it and it has not been rung for that already.
    fn wake_head(&self, queue: &mut Queue<R>) -> Option<Arc<Condvar>> {
        queue.stirred = self.idle.any();
        let mut head = queue.waiting.first_entry()?;
        let head: &mut Waiter = head.get_mut();
        (queue.stirred && !std::mem::replace(&mut head.woken, true)).then(|| Arc::clone(&head.bell))
    }

    /// No connection is open, so none can come back.
    fn none_open(&self, queue: &Queue<R>) -> bool {
        queue.taken(self.capacity()) == queue.dialing()
    }

    /// What must hold when nothing is under way: for models, storms and rounds. `Err` says what does not.
    pub(crate) fn at_rest(&self) -> Result<(), String> {
        let queue = self.lock();
        for (index, slot) in self.slots.iter().enumerate() {
            let id = SlotId::at(index);
            let vacant = queue.vacant.contains(&id);
            let parked = queue.parked.as_ref().is_some_and(|parked| parked.contains(&id));
            let idle = self.idle.look(id.word()) & id.mask() != 0;
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
        if !queue.waiting.is_empty() && !paused && (self.idle.any() || queue.room_to_dial(1, self.capacity()) > 0) {
            return Err(format!("{} wait beside something to be had", queue.waiting.len()));
        }
        let wait = queue.closed || paused || !queue.waiting.is_empty();
        if self.idle.wait_everywhere() != Some(wait) {
            return Err(format!("WAIT should be {wait}, is {:?}", self.idle.wait_everywhere()));
        }
        Ok(())
    }
}
