//! A slot: the place that one connection after another lives in. Allocated once, never moved or freed while the pool lives.
//!
//! Its cell belongs to whoever owns the slot (see [`Claim`]); the rest are words that anybody may read:
//! - *notes*: what others have learned of the connection, bound to its generation by compare-exchange, so that a late event cannot
//!   hit the slot's next life;
//! - *uses* and *holder*: plain stores of the owner. Counting costs no read-modify-write; statistics are summed by reading.

use super::bits::{Flag, Notes, SlotId};
use crate::sync::UnsafeCell;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The ownership of a slot. It exists once for each slot that is neither idle nor vacant, and ends in a give or a retire.
///
/// Not Clone, and made only by the core: by clearing an idle bit, or from a permit.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an owned slot must be given back or retired, or it is lost for ever"]
pub(crate) struct Claim {
    slot: SlotId,
}

impl Claim {
    pub(super) fn of(slot: SlotId) -> Self {
        Claim { slot }
    }

    #[inline]
    pub(crate) fn slot(&self) -> SlotId {
        self.slot
    }
}

/// One slot of the slab.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    notes: AtomicU64,
    uses: AtomicU64,
    holder: AtomicU64,
    resident: UnsafeCell<Option<T>>,
}

// SAFETY: `resident` is the only part that is not Sync by itself. It is reached through a `Claim` alone, which is unique; the
// idle word (E1) or the queue's lock (E6) orders one owner's accesses before the next one's. So the slot passes its resident
// from thread to thread, which `T: Send` allows, and never shares it.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Slot {
            notes: AtomicU64::new(0),
            uses: AtomicU64::new(0),
            holder: AtomicU64::new(0),
            resident: UnsafeCell::new(None),
        }
    }

    /// The notes just now.
    #[inline]
    pub(crate) fn notes(&self) -> Notes {
        // Relaxed: the publishing read-modify-write before this load carries the edge E2 (its Acquire half); at a take, a note that
        // is not seen yet is one that was not written yet.
        Notes(self.notes.load(Ordering::Relaxed))
    }

    /// Adds `flag` to the notes of that generation. False: that life is over, or had the flag already.
    pub(super) fn note(&self, generation: u64, flag: Flag) -> bool {
        let mut notes = self.notes();
        while notes.generation() == generation && !notes.has(flag) {
            // Relaxed: made visible by the read-modify-write on the idle words that follows; edge E2.
            match self.notes.compare_exchange_weak(notes.0, notes.with(flag).0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => notes = Notes(now),
            }
        }
        false
    }

    /// Takes `flag` off again. Only the owner, who acted on it.
    pub(super) fn clear(&self, _claim: &Claim, flag: Flag) {
        // Relaxed: a flag that the owner has dealt with carries nothing.
        self.notes.fetch_and(!flag.0, Ordering::Relaxed);
    }

    /// Moves a new connection in, and says which generation it is.
    pub(super) fn move_in(&self, _claim: &Claim, resident: T, probe: bool) -> u64 {
        let generation = self.notes().generation();
        // Noted, not stored: whoever tells all connections to leave may have found this one already.
        if probe {
            self.note(generation, Notes::PROBE);
        }
        // SAFETY: the claim is unique, so nobody else reaches the cell.
        self.resident.with_mut(|cell| unsafe { *cell = Some(resident) });
        generation
    }

    /// Moves the connection out: its life is over, and what is noted of it from now on is refused. Returns the last notes of it.
    pub(super) fn move_out(&self, _claim: &Claim) -> Option<(T, Notes)> {
        let next = Notes::born(self.notes().generation() + 1);
        // One swap, not a load and a store: a note accepted at the last moment is among those returned; one that comes after fails
        // at its generation. Relaxed: the next life is published by its own edges.
        let last = Notes(self.notes.swap(next.0, Ordering::Relaxed));
        // SAFETY: the claim is unique, so nobody else reaches the cell.
        self.resident.with_mut(|cell| unsafe { (*cell).take() }).map(|resident| (resident, last))
    }

    /// The connection, for the owner. None between a permit and `move_in`.
    #[inline]
    pub(crate) fn resident<'a>(&'a self, _claim: &'a Claim) -> Option<&'a T> {
        // SAFETY: the claim is unique and borrowed, so nobody writes the cell while this reference lives.
        self.resident.with(|cell| unsafe { (*cell).as_ref() })
    }

    /// The same to change it.
    #[inline]
    pub(crate) fn resident_mut<'a>(&'a self, _claim: &'a mut Claim) -> Option<&'a mut T> {
        // SAFETY: the claim is unique and borrowed mutably, so no other reference into the cell exists.
        self.resident.with_mut(|cell| unsafe { (*cell).as_mut() })
    }

    /// A hook of the user's runs on the connection, on this thread.
    #[inline]
    pub(crate) fn enter_hook(&self, _claim: &Claim, thread: u32) {
        // Relaxed: only the owner writes it; others read it as statistics.
        self.holder.store(u64::from(thread) | Holder::HOOK, Ordering::Relaxed);
    }

    /// A use begins: counts it and says which thread it is by.
    #[inline]
    pub(crate) fn begin_use(&self, _claim: &Claim, thread: u32) {
        // Relaxed, and a load and a store instead of an addition: only the owner writes these; others read them as statistics.
        self.uses.store(self.uses.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.holder.store(u64::from(thread), Ordering::Relaxed);
    }

    /// The slot is with a part of the pool from now on. A mere return does not say so: whether it is over, the idle words say.
    #[inline]
    pub(crate) fn end_use(&self, _claim: &Claim) {
        // Relaxed: as in `begin_use`.
        self.holder.store(Holder::NOBODY.0, Ordering::Relaxed);
    }

    /// How often a connection in this slot was used, over all its lives. 64 bits: never comes round.
    pub(crate) fn uses(&self) -> u64 {
        // Relaxed: statistics.
        self.uses.load(Ordering::Relaxed)
    }

    /// Who has it, or had it last.
    pub(crate) fn holder(&self) -> Holder {
        // Relaxed: statistics.
        Holder(self.holder.load(Ordering::Relaxed))
    }
}

/// Who has a slot, or had it last: a thread's number, and whether it runs a hook on the connection or uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder(u64);

impl Holder {
    /// Nobody yet, or a part of the pool itself.
    pub(crate) const NOBODY: Holder = Holder(0);

    const HOOK: u64 = 1 << 32;

    pub(crate) fn thread(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn in_hook(self) -> bool {
        self.0 & Self::HOOK != 0
    }
}
