//! Structures that an idle set could be made of, each holding slot numbers, behind one door.
//!
//! corepool's own is the real one, compiled from `src/lockfree/`. Beside the figures stands what they do not show: of all these only
//! [`IdleStacks`] can give up any given entry to a reactor at once while the others stay available, and tells a return in the
//! same read-modify-write whether anybody waits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam::epoch::{self, Atomic, Owned};
use crossbeam::queue::{ArrayQueue, SegQueue};
use crossbeam::utils::CachePadded;

use crate::lockfree::bits::SlotId;
use crate::lockfree::idle::IdleStacks;

/// A set of idle slots.
pub(crate) trait IdleSet: Sync {
    /// How it names a slot.
    type Slot: Copy;

    /// An empty set with room for `slots`.
    fn new(slots: usize) -> Self;

    /// The name of a slot.
    fn slot(index: usize) -> Self::Slot;

    /// Takes any slot out.
    fn take(&self) -> Option<Self::Slot>;

    /// Puts a slot in that is not in it.
    fn give(&self, slot: Self::Slot);
}

/// A set with its slots `0..idle` in it.
pub(crate) fn filled<S: IdleSet>(idle: usize) -> S {
    let set = S::new(idle);
    (0..idle).for_each(|index| set.give(S::slot(index)));
    set
}

/// Takes a slot and gives it back. One that finds the set empty, because others have all of it, tries again.
#[inline]
pub(crate) fn pair<S: IdleSet>(set: &S) {
    loop {
        if let Some(slot) = set.take() {
            return set.give(std::hint::black_box(slot));
        }
        std::hint::spin_loop();
    }
}

impl IdleSet for IdleStacks {
    type Slot = SlotId;

    fn new(slots: usize) -> Self {
        IdleStacks::new(1, slots)
    }

    fn slot(index: usize) -> SlotId {
        SlotId::at(index)
    }

    #[inline]
    fn take(&self) -> Option<SlotId> {
        self.take_top(0).map(|(slot, _)| slot).or_else(|| IdleStacks::take(self, 0))
    }

    #[inline]
    fn give(&self, slot: SlotId) {
        let place = self.place_near(slot, 0).unwrap_or_else(|| self.place(slot, 0));
        place.publish(slot).expect("nobody waits");
    }
}

/// A linked stack over slot numbers. The head is a number below a tag that each push raises, so that a head that was popped
/// and pushed meanwhile is not mistaken for the old one. 32 bits of tag come round after 43 s at 100 million pushes a second.
pub(crate) struct Tagged {
    head: CachePadded<AtomicU64>,
    next: Box<[CachePadded<AtomicU32>]>,
}

/// No slot.
const NIL: u32 = u32::MAX;

impl IdleSet for Tagged {
    type Slot = u32;

    fn new(slots: usize) -> Self {
        let next = (0..slots).map(|_| CachePadded::new(AtomicU32::new(NIL))).collect();
        Tagged { head: CachePadded::new(AtomicU64::new(NIL.into())), next }
    }

    fn slot(index: usize) -> u32 {
        index as u32
    }

    #[inline]
    fn take(&self) -> Option<u32> {
        // Acquire, here and below: the link and the slot as their giver left them, by the Release in `give`.
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let top = head as u32;
            // Relaxed: if it was popped meanwhile, this is a stale link, and the tag has changed.
            let next = self.next.get(top as usize)?.load(Ordering::Relaxed);
            let below = head & !u64::from(u32::MAX) | u64::from(next);
            match self.head.compare_exchange_weak(head, below, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Some(top),
                Err(now) => head = now,
            }
        }
    }

    #[inline]
    fn give(&self, slot: u32) {
        // Relaxed: a guess, confirmed by the compare-exchange.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // Relaxed: published by the Release below.
            self.next[slot as usize].store(head as u32, Ordering::Relaxed);
            let above = (head >> 32).wrapping_add(1) << 32 | u64::from(slot);
            match self.head.compare_exchange_weak(head, above, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// A linked stack whose nodes are reclaimed by crossbeam-epoch: what "a crossbeam stack" would be by the book.
pub(crate) struct Epoch {
    head: CachePadded<Atomic<Node>>,
}

struct Node {
    slot: u32,
    next: Atomic<Node>,
}

impl IdleSet for Epoch {
    type Slot = u32;

    fn new(_slots: usize) -> Self {
        Epoch { head: CachePadded::new(Atomic::null()) }
    }

    fn slot(index: usize) -> u32 {
        index as u32
    }

    #[inline]
    fn take(&self) -> Option<u32> {
        let guard = epoch::pin();
        loop {
            // Acquire: the node that the Release in `give` published.
            let head = self.head.load(Ordering::Acquire, &guard);
            // SAFETY: the guard was pinned before the load, so what it loaded is not freed before the guard drops.
            let node = unsafe { head.as_ref() }?;
            // Relaxed, twice: written before the node was published, never after.
            let next = node.next.load(Ordering::Relaxed, &guard);
            if self.head.compare_exchange(head, next, Ordering::Relaxed, Ordering::Relaxed, &guard).is_ok() {
                // SAFETY: this thread alone has unlinked it, and nobody finds it any more.
                unsafe { guard.defer_destroy(head) };
                return Some(node.slot);
            }
        }
    }

    #[inline]
    fn give(&self, slot: u32) {
        let guard = epoch::pin();
        let mut node = Owned::new(Node { slot, next: Atomic::null() });
        loop {
            // Relaxed: a guess, confirmed by the compare-exchange.
            let head = self.head.load(Ordering::Relaxed, &guard);
            node.next.store(head, Ordering::Relaxed);
            // Release: publishes the node.
            match self.head.compare_exchange(head, node, Ordering::Release, Ordering::Relaxed, &guard) {
                Ok(_) => return,
                Err(refused) => node = refused.new,
            }
        }
    }
}

impl IdleSet for ArrayQueue<u32> {
    type Slot = u32;

    fn new(slots: usize) -> Self {
        ArrayQueue::new(slots)
    }

    fn slot(index: usize) -> u32 {
        index as u32
    }

    #[inline]
    fn take(&self) -> Option<u32> {
        self.pop()
    }

    #[inline]
    fn give(&self, slot: u32) {
        self.push(slot).expect("it came from here");
    }
}

impl IdleSet for SegQueue<u32> {
    type Slot = u32;

    fn new(_slots: usize) -> Self {
        SegQueue::new()
    }

    fn slot(index: usize) -> u32 {
        index as u32
    }

    #[inline]
    fn take(&self) -> Option<u32> {
        self.pop()
    }

    #[inline]
    fn give(&self, slot: u32) {
        self.push(slot);
    }
}

impl IdleSet for Mutex<Vec<u32>> {
    type Slot = u32;

    fn new(slots: usize) -> Self {
        Mutex::new(Vec::with_capacity(slots))
    }

    fn slot(index: usize) -> u32 {
        index as u32
    }

    #[inline]
    fn take(&self) -> Option<u32> {
        self.lock().expect("nothing panics under it").pop()
    }

    #[inline]
    fn give(&self, slot: u32) {
        self.lock().expect("nothing panics under it").push(slot);
    }
}
