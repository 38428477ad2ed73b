//! A slot: the place that one connection after another lives in. Allocated once, never moved or freed while the pool lives.
//!
//! **Why no lock of its own.** It would cost every use two more read-modify-writes. Whoever has taken a slot out of an idle word has
//! locked it already: the cell belongs to whoever owns the slot (see [`Claim`]).
//!
//! **State.** Beside the cell, words that anybody may read:
//! - *notes*: what others have learned of the connection, bound to its generation by compare-exchange, so that a late event cannot
//!   hit the slot's next life;
//! - *uses* and *holder*: plain stores of the owner, so to count costs no read-modify-write. Statistics sum them by reading; a cut
//!   compares them, by edges that the owner's give carries.

use super::bits::{Flag, Notes, SlotId};
use crate::sync::UnsafeCell;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The ownership of a slot, as a value. Each slot has one at most (I2), and it ends in a give or an evict.
///
/// Not Clone, and made only by the bag: by clearing the slot's idle bit, or by taking the slot out of its place under the lock.
///
/// It knows in which shard its owner is at home, for a give that does not ask again.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an owned slot must be given back or evicted, or it is lost for ever"]
pub(crate) struct Claim {
    slot: SlotId,
    shard: u16,
}

impl Claim {
    /// Of nobody's shard: whoever gives the slot back says which.
    pub(super) fn of(slot: SlotId) -> Self {
        Claim::in_shard(slot, 0)
    }

    /// Of an owner at home in `shard`.
    #[inline(always)]
    pub(super) fn in_shard(slot: SlotId, shard: usize) -> Self {
        debug_assert!(shard <= usize::from(u16::MAX));
        Claim { slot, shard: shard as u16 }
    }

    /// Of an owner at home elsewhere: a thief, or a waiter that was granted it.
    #[inline]
    pub(crate) fn moved_to(self, shard: usize) -> Self {
        Claim::in_shard(self.slot, shard)
    }

    #[inline(always)]
    pub(crate) fn slot(&self) -> SlotId {
        self.slot
    }

    /// Where its owner is at home.
    #[inline(always)]
    pub(crate) fn shard(&self) -> usize {
        self.shard.into()
    }
}

/// One slot of the slab. In this order, so that the words that every use touches, and the connection behind them, begin in one line.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Slot<T> {
    notes: AtomicU64,
    uses: AtomicU64,
    holder: AtomicU32,
    resident: UnsafeCell<Option<T>>,
}

// SAFETY: `resident` is the only part that is not Sync by itself. It is reached through the slot's `Claim` alone, of which there is one
// (I2), and what one owner did happens before what the next one does (I3: by E1, E3 or E8 if it took a bit, by E6 if it took the slot
// under the lock). So the slot passes its resident from thread to thread, which `T: Send` allows, and does not share it. A claim
// itself could be borrowed by two threads at once; whoever keeps one where users see it must be Sync only if `T` is, as a lease is.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Slot {
            notes: AtomicU64::new(Notes::born(0).0),
            uses: AtomicU64::new(IN_HOOK),
            holder: AtomicU32::new(0),
            resident: UnsafeCell::new(None),
        }
    }

    /// The notes just now.
    #[inline]
    pub(crate) fn notes(&self) -> Notes {
        // Relaxed: the publishing read-modify-write before this load carries the edge E2 (its Acquire half); a note that a take
        // misses is read at the return.
        Notes(self.notes.load(Ordering::Relaxed))
    }

    /// Adds `flag` to the notes of that generation (I8). False: that life is over, or had the flag already.
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
    pub(super) fn move_in(&self, claim: &Claim, resident: T, probe: bool) -> u64 {
        let generation = self.notes().generation();
        // Noted, not stored: whoever tells all connections to leave may have found this one already.
        if probe {
            self.note(generation, Notes::PROBE);
        }
        // A life that ended by another way than a return left these to its successor.
        self.end_use(claim);
        self.hold_by_pool(claim);
        // SAFETY: this is the slot's one claim (I2), so nobody else reaches the cell, and its last owner has done with it (I3).
        self.resident.with_mut(|cell| unsafe { *cell = Some(resident) });
        generation
    }

    /// Moves the connection out: its life is over (I8), and what is noted of it from now on is refused. Returns its last notes.
    pub(super) fn move_out(&self, _claim: &Claim) -> Option<(T, Notes)> {
        let next = Notes::born(self.notes().generation() + 1);
        // One swap, not a load and a store: a note accepted at the last moment is among those returned; one that comes after fails
        // at its generation. Relaxed: the next life is published by its own edges.
        let last = Notes(self.notes.swap(next.0, Ordering::Relaxed));
        // SAFETY: this is the slot's one claim (I2), so nobody else reaches the cell, and its last owner has done with it (I3).
        self.resident.with_mut(|cell| unsafe { (*cell).take() }).map(|resident| (resident, last))
    }

    /// Forgets the connection, if there is one.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::replace(&mut self.resident, UnsafeCell::new(None)));
    }

    /// The connection, for the owner. Every claim that leaves the bag has one (I4): it moves in before, and out after.
    #[inline]
    pub(crate) fn resident<'a>(&'a self, _claim: &'a Claim) -> &'a T {
        // SAFETY: this is the slot's one claim (I2), and borrowed, so nobody writes the cell while this reference lives; what was
        // written before happened before (I3).
        let resident = self.resident.with(|cell| unsafe { (*cell).as_ref() });
        resident.unwrap_or_else(|| missing())
    }

    /// The same to change it.
    #[inline]
    pub(crate) fn resident_mut<'a>(&'a self, _claim: &'a mut Claim) -> &'a mut T {
        // SAFETY: this is the slot's one claim (I2), and borrowed mutably, so there is no other reference into the cell; what was
        // written before happened before (I3).
        let resident = self.resident.with_mut(|cell| unsafe { (*cell).as_mut() });
        resident.unwrap_or_else(|| missing())
    }

    /// This thread has it from now on, and asks the manager whether it may use it.
    #[inline]
    pub(crate) fn hold(&self, _claim: &Claim, thread: u32) {
        // Relaxed: only the owner writes it; others read it as statistics, or as in `last_use`.
        self.holder.store(thread, Ordering::Relaxed);
    }

    /// A use begins, and is counted. True if it is one of the few whose length is to be told.
    #[inline]
    pub(crate) fn begin_use(&self, _claim: &Claim) -> bool {
        // Relaxed, and a load and a store instead of an addition: only the owner writes it; others read it as in `hold`.
        let before = self.uses.load(Ordering::Relaxed);
        debug_assert!(before & IN_HOOK != 0, "a use begins in another");
        // Clears IN_HOOK, which carries one into the count.
        self.uses.store(before.wrapping_add(1), Ordering::Relaxed);
        self.is_sampled()
    }

    /// The use ends, and the manager is asked whether the connection may come back. Stays so while it is idle, up to the next use. True as
    /// when it began.
    #[inline]
    pub(crate) fn end_use(&self, _claim: &Claim) -> bool {
        let sampled = self.is_sampled();
        // Relaxed: as in `begin_use`.
        self.uses.store(self.uses.load(Ordering::Relaxed) | IN_HOOK, Ordering::Relaxed);
        sampled
    }

    /// Whether the use that is going on is one of the few that are timed. A load of its own: so a use begins with one instruction that adds
    /// and one that tests, instead of four by way of a register.
    #[inline]
    fn is_sampled(&self) -> bool {
        // Relaxed: as in `begin_use`.
        self.uses.load(Ordering::Relaxed) & UNSAMPLED == 0
    }

    /// It is with the pool from now on: every give says so before it publishes, and with that the hook before it has ended.
    #[inline]
    pub(crate) fn hold_by_pool(&self, _claim: &Claim) {
        // Relaxed: as in `hold`.
        self.holder.store(0, Ordering::Relaxed);
    }

    /// How often a connection in this slot was used, over all its lives. 63 bits: never comes round.
    pub(crate) fn uses(&self) -> u64 {
        // Relaxed: statistics.
        self.uses.load(Ordering::Relaxed) >> 1
    }

    /// The use that is going on, or was the last, and the hook that is or may be.
    pub(crate) fn last_use(&self) -> Use {
        // Relaxed: statistics; and a cut looks a second time after it has acquired the give that ended what it saw, if there was one
        // (E3, E6). The word before the holder: a use that begins between the two is another one to the next look.
        let word = self.uses.load(Ordering::Relaxed);
        Use { word, thread: self.holder.load(Ordering::Relaxed) }
    }
}

#[cold]
fn missing() -> ! {
    unreachable!("an owned slot has its connection until it moves out (I4)")
}

/// The lowest bit of `uses`, below the count: set except while a use lasts. One word for both, so that a use costs two stores: one to
/// begin, one to end.
const IN_HOOK: u64 = 1;

/// A use is sampled if its count has none of these bits: one in 1,024.
const UNSAMPLED: u64 = 1_023 << 1;

/// One use of a connection, or one hook before or after it, by whom: as it was read. Equal values are the same use, but for one case:
/// a thread that gives a connection back, and is given the same one next, has the hook after the one use and the hook before the other
/// look equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    word: u64,
    thread: u32,
}

impl Use {
    /// It is not being used: a hook of the user's runs on it, before a use or after, or nobody has it.
    pub(crate) fn is_in_hook(self) -> bool {
        self.word & IN_HOOK != 0
    }

    /// The thread's number; 0 for nobody yet, or a part of the pool.
    pub(crate) fn thread(self) -> u32 {
        self.thread
    }

    /// A caller has it, or had it last.
    pub(crate) fn is_callers(self) -> bool {
        self.thread != 0
    }
}
