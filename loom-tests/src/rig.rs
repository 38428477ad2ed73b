//! What every model stands on: a bag with counted connections, callers that carry out their duties, and the at-rest check.
//!
//! A connection is a plain number in the slot's tracked cell. Whoever owns it adds one: two owners at a time, or an owner to whom
//! the last one's work was not made visible, is an access that loom reports.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) use crate::explore::{beside, four_threads, three_threads, two_threads};
use crate::lockfree::bag::{Bag, Barred, Claim, Duty, Fate, Limits, Permit, Place, Seat};
use crate::lockfree::bits::{Life, Notes};
use crate::sync::Nap;

/// The limits of most models: nobody dials unless the model says so, and any number may wait.
pub(crate) const NO_DIALS: Limits = Limits {
    max_size: 2,
    max_closing: usize::MAX,
    min_open: 0,
    min_idle: 0,
    dials: 0,
    max_waiters: 9,
    handoff_after: NEVER_DUE,
};

/// For `handoff_after`: the head is due at once, which is strict first-in-first-out, or never, which is barging alone, or it is at the
/// time of every return.
pub(crate) const AT_ONCE: u64 = 0;
pub(crate) const NEVER_DUE: u64 = u64::MAX;
pub(crate) const SOON: u64 = 1;

/// How long a waiter waits. Time is no clock in a model, but a step that may come at any point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until its fate is settled: loom reports a deadlock if nobody does.
    Endless,
    /// Its time may be up at any point after the first look.
    Limited,
}

/// What a caller got.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Got {
    Granted,
    TimedOut,
    Closed,
    Refused,
}

/// A bag and a count of its connections.
pub(crate) struct Rig {
    pub(crate) bag: Bag<usize, &'static str>,
    opened: AtomicUsize,
    closed: AtomicUsize,
    /// Of the closed ones, those that the bag was told of.
    told: AtomicUsize,
    closer: Mutex<Closer>,
}

/// Who closes, in the models where it matters that a close takes time: each ends when it is hastened. A lock of std's, which loom does
/// not see: the closer is not under test.
#[derive(Default)]
struct Closer {
    hastens: bool,
    patient: usize,
    /// Hastened before it was there.
    owed: usize,
}

impl Closer {
    /// How many end, now that so many more have begun, and so many more are to be hastened.
    fn end(&mut self, begun: usize, hastened: usize) -> usize {
        if !self.hastens {
            return 0;
        }
        (self.patient, self.owed) = (self.patient + begun, self.owed + hastened);
        let ends = self.patient.min(self.owed);
        (self.patient, self.owed) = (self.patient - ends, self.owed - ends);
        ends
    }
}

/// All wait from 0, and nothing else depends on when: see [`AT_ONCE`].
pub(crate) fn clock() -> u64 {
    1
}

impl Rig {
    /// A bag of that many shards with `stock` connections idle in the first, and room for `limits.max_size`.
    pub(crate) fn new(shards: usize, stock: usize, limits: Limits) -> Arc<Rig> {
        Self::with_capacity(shards, limits.max_size, stock, limits)
    }

    /// The same with slots that the limit forbids to use.
    pub(crate) fn with_capacity(shards: usize, capacity: usize, stock: usize, limits: Limits) -> Arc<Rig> {
        let open_all = Limits { dials: stock.max(limits.dials), ..limits };
        let bag = Bag::new(shards, capacity, open_all);
        let count = || AtomicUsize::new(0);
        let rig = Rig { bag, opened: count(), closed: count(), told: count(), closer: Mutex::default() };
        if stock > 0 {
            (0..stock).for_each(|_| rig.carry(rig.ask()));
            rig.carry(rig.bag.limit(|live| *live = limits));
        }
        Arc::new(rig)
    }

    /// Asks for a dial in an open pool.
    pub(crate) fn ask(&self) -> Duty<usize> {
        self.bag.demand().expect("the pool is open")
    }

    /// From now on what is closed takes its time, and is gone when it is hastened.
    pub(crate) fn close_when_hastened(&self) {
        self.closer.lock().unwrap().hastens = true;
    }

    /// Does what a transition left to do: closes, dials at once, hastens.
    pub(crate) fn carry(&self, duty: Duty<usize>) {
        let Duty { dial, close, hasten } = duty;
        self.close(close);
        for permit in dial {
            self.dial(permit);
        }
        self.end_closes(0, hasten);
    }

    fn end_closes(&self, begun: usize, hastened: usize) {
        let ends = self.closer.lock().unwrap().end(begun, hastened);
        (0..ends).for_each(|_| self.tell_closed());
    }

    /// Tells the bag that one of the closed ones is gone for good. Few models do: for the others there is always room for more.
    pub(crate) fn tell_closed(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
        self.carry(self.bag.closed());
    }

    /// A dial that opened what nobody wants.
    pub(crate) fn turn_away(&self, permit: Permit) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.closed.fetch_add(1, Ordering::Relaxed);
        self.carry(self.bag.turn_away(permit));
    }

    /// A dial that succeeds. True: its connection is in the pool.
    pub(crate) fn dial(&self, permit: Permit) -> bool {
        self.opened.fetch_add(1, Ordering::Relaxed);
        match self.bag.admit(permit, 0, false) {
            Ok((claim, _)) => {
                self.carry(self.bag.land(claim, 0, clock));
                true
            }
            Err(_) => {
                self.closed.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// Closes what a transition took out of the pool.
    pub(crate) fn close(&self, residents: impl IntoIterator<Item = (usize, Notes)>) {
        let count = residents.into_iter().count();
        self.closed.fetch_add(count, Ordering::Relaxed);
        self.end_closes(count, 0);
    }

    /// Closes the pool.
    pub(crate) fn shut(&self) {
        self.close(self.bag.close());
    }

    /// Ends a pause.
    pub(crate) fn resume(&self) {
        let (duty, dead) = self.bag.resume();
        self.close(dead);
        self.carry(duty);
    }

    /// Takes what must be idle in `shard`.
    pub(crate) fn must_take(&self, shard: usize) -> Claim {
        self.bag.take(shard).expect("an idle connection could not be had")
    }

    /// Takes the one given last to `shard`, as the hot path does, and remembers its place.
    pub(crate) fn take_top(&self, shard: usize) -> Option<(Claim, Place<'_>)> {
        self.bag.take_top(shard)
    }

    /// Uses a connection and returns it to its place, as the hot path does.
    pub(crate) fn give_back(&self, mut claim: Claim, place: Place<'_>) {
        self.touch(&mut claim);
        let slot = self.bag.slot(claim.slot());
        if let Err(unsettled) = self.bag.give_at_once(claim, slot, place) {
            self.carry(self.bag.give_after(unsettled, clock));
        }
    }

    /// Takes a connection that may be used, wherever one is; those with a note against them are evicted on the way.
    pub(crate) fn take(&self, home: usize) -> Option<Claim> {
        let shards = self.bag.idle().shards();
        let mut next = 0;
        while next < shards {
            match self.bag.take((home + next) % shards) {
                None => next += 1,
                Some(claim) if self.is_leaving(&claim) => self.carry(self.bag.evict(claim)),
                Some(claim) => return Some(claim),
            }
        }
        None
    }

    /// The life that the slot of `claim` is in.
    pub(crate) fn life(&self, claim: &Claim) -> Life {
        Life { slot: claim.slot(), generation: self.bag.slot(claim.slot()).notes().generation() }
    }

    pub(crate) fn is_leaving(&self, claim: &Claim) -> bool {
        self.bag.slot(claim.slot()).notes().is_leaving()
    }

    /// Uses the connection: an access that loom follows.
    pub(crate) fn touch(&self, claim: &mut Claim) {
        *self.bag.slot(claim.slot()).resident_mut(claim) += 1;
    }

    /// How often it was used.
    pub(crate) fn uses(&self, claim: &Claim) -> usize {
        *self.bag.slot(claim.slot()).resident(claim)
    }

    /// Uses the connection and returns it to `shard`.
    pub(crate) fn give(&self, mut claim: Claim, shard: usize) {
        self.touch(&mut claim);
        self.carry(self.bag.give(claim, shard, clock));
    }

    /// Joins the queue.
    pub(crate) fn enqueue(&self) -> Result<Seat, Got> {
        match self.bag.enqueue(0) {
            Ok((seat, duty)) => {
                self.carry(duty);
                Ok(seat)
            }
            Err(Barred::Closed) => Err(Got::Closed),
            Err(Barred::Refused(_)) => Err(Got::Refused),
            Err(Barred::Crowded) => unreachable!("no model has so many waiters"),
        }
    }

    /// Waits as a caller does: what it is granted it looks at, and goes back to its place if that must not be used.
    pub(crate) fn wait(&self, seat: &Seat, patience: Patience) -> Result<Claim, Got> {
        let mut looked = false;
        loop {
            let (fate, duty) = self.bag.wait(seat, || match patience {
                Patience::Endless => Some(Nap::UntilRung),
                Patience::Limited if std::mem::replace(&mut looked, true) => None,
                Patience::Limited => Some(Nap::For(Duration::ZERO)),
            });
            self.carry(duty);
            match fate {
                Fate::Granted(claim) if self.is_leaving(&claim) => {
                    self.carry(self.bag.evict(claim));
                    self.carry(self.bag.rejoin(seat));
                }
                Fate::Granted(claim) => return Ok(claim),
                Fate::Closed => return Err(Got::Closed),
                Fate::Refused(_) => return Err(Got::Refused),
                Fate::TimedOut => return Err(Got::TimedOut),
                // Its duty is done: it waits on.
                Fate::Open => {}
            }
        }
    }

    /// Joins the queue, waits, and returns what it got to `shard` after a use.
    pub(crate) fn wait_and_give(&self, shard: usize, patience: Patience) -> Got {
        match self.enqueue().and_then(|seat| self.wait(&seat, patience)) {
            Ok(claim) => {
                self.give(claim, shard);
                Got::Granted
            }
            Err(got) => got,
        }
    }

    /// A whole call: takes from `shard` or another, or waits; the connection is the caller's.
    pub(crate) fn get(&self, shard: usize, patience: Patience) -> Result<Claim, Got> {
        match self.take(shard) {
            Some(claim) => Ok(claim),
            None => self.enqueue().and_then(|seat| self.wait(&seat, patience)),
        }
    }

    /// Nothing is under way: the bag is at rest, and every connection opened is in the pool or was closed once.
    pub(crate) fn at_rest(&self) {
        self.bag.at_rest().unwrap_or_else(|what| panic!("not at rest: {what}"));
        let [opened, closed, told] =
            [&self.opened, &self.closed, &self.told].map(|count| count.load(Ordering::Relaxed));
        let census = self.bag.census();
        assert_eq!(opened - closed, census.open, "{opened} opened, {closed} closed");
        assert_eq!(closed - told, census.closing, "{closed} closed, {told} of which the bag was told");
    }

    /// Connections in the pool.
    pub(crate) fn open(&self) -> usize {
        self.bag.census().open
    }

    /// Connections idle.
    pub(crate) fn idle(&self) -> usize {
        self.bag.census().idle
    }

    /// What the notes of a life that has ended, or not, say now of its slot.
    pub(crate) fn notes(&self, life: Life) -> Notes {
        self.bag.slot(life.slot).notes()
    }
}
