//! One idle word: which slots lie idle in one shard, and whether a return must come to the lock. Its value, and its cell.
//!
//! ```text
//! 63    62 ......................................... 0
//! [WAIT][ one bit a slot: set = idle in this shard   ]
//! ```
//!
//! **WAIT** says "come to the lock": somebody waits and nobody is on their way, the pool is paused, or it is closed. It is in every word of
//! every shard or in none (I5). A return learns of it from the very compare-exchange that would publish, which refuses it: no fence, no
//! second line.
//!
//! **Every change is one read-modify-write**, so each word is one release sequence: whoever reads a later value has also read what
//! was released into an earlier one. Loads only guess for a compare-exchange, or look. Orderings name the edges (E1…E8) of the table
//! in `README.md`.

use std::fmt;

use super::bits::{Field, SLOTS_PER_WORD, SlotId};
use crate::sync::atomic::{AtomicU64, Ordering};

/// An idle word as it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct IdleWord(u64);

/// The cell of an idle word.
pub(super) struct IdleCell(AtomicU64);

/// The publishing compare-exchange met WAIT.
#[derive(Debug)]
#[must_use = "the slot is still owned: come to the lock"]
pub(crate) struct MetWait;

impl IdleWord {
    const SLOTS: Field = Field::lowest(SLOTS_PER_WORD as u32);
    const WAIT: Field = Self::SLOTS.then(1);

    /// What to guess from for whoever has not read the word: a give then reads it.
    pub(super) const UNREAD: IdleWord = IdleWord(Self::WAIT.mask());

    /// Whether WAIT is set.
    #[inline]
    pub(super) fn waits(self) -> bool {
        self.0 & Self::WAIT.mask() != 0
    }

    /// Whether the slot's bit is set.
    #[inline]
    pub(super) fn has(self, slot: SlotId) -> bool {
        self.0 & slot.mask() != 0
    }

    /// Whether no slot is idle.
    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.0 & Self::SLOTS.mask() == 0
    }

    /// How many slots are idle.
    pub(super) fn len(self) -> usize {
        (self.0 & Self::SLOTS.mask()).count_ones() as usize
    }

    /// The idle slots, lowest first, of the idle word of that number.
    pub(super) fn slots(self, number: usize) -> impl Iterator<Item = SlotId> {
        let first = SlotId::first_of(number);
        (0..SLOTS_PER_WORD as u32).map(move |bit| first.beside(bit)).filter(move |slot| self.has(*slot))
    }

    /// `wanted` if it is idle, else the lowest idle slot of the same word.
    #[inline]
    fn pick(self, wanted: SlotId) -> Option<SlotId> {
        if self.has(wanted) {
            Some(wanted)
        } else if self.is_empty() {
            None
        } else {
            // WAIT is the highest bit, so it is the lowest that is set only where no slot is.
            Some(wanted.beside(self.0.trailing_zeros()))
        }
    }

    #[inline]
    fn with(self, slot: SlotId) -> Self {
        IdleWord(self.0 | slot.mask())
    }

    #[inline]
    fn without(self, slot: SlotId) -> Self {
        IdleWord(self.0 & !slot.mask())
    }
}

impl fmt::Debug for IdleWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.waits() { "WAIT " } else { "" })?;
        f.debug_set().entries((0..SLOTS_PER_WORD).filter(|bit| self.0 >> bit & 1 != 0)).finish()
    }
}

impl IdleCell {
    pub(super) fn new() -> Self {
        IdleCell(AtomicU64::new(0))
    }

    /// Takes `wanted` out, if one look and one try will do. Returns the word as that left it; the caller owns the slot.
    ///
    /// Which slot it is does not come out of the compare-exchange, which only confirms it: the processor looks at the slot while the
    /// locked instruction is still under way.
    #[inline(always)]
    pub(super) fn take_this(&self, wanted: SlotId) -> Option<IdleWord> {
        // Relaxed: a first guess, which the compare-exchange confirms.
        let word = IdleWord(self.0.load(Ordering::Relaxed));
        let rest = word.without(wanted);
        if rest == word {
            return None;
        }
        // Acquire: the connection as its last owner left it; edge E1, written by the Release in `publish`.
        // Relaxed on failure: whoever comes in its place reads the word anew.
        self.0.compare_exchange(word.0, rest.0, Ordering::Acquire, Ordering::Relaxed).is_ok().then_some(rest)
    }

    /// Takes `wanted` out, or else the lowest idle slot of the same word. The caller owns it.
    #[inline]
    pub(super) fn take_bit(&self, wanted: SlotId) -> Option<SlotId> {
        // Relaxed: a first guess, which the compare-exchange confirms.
        let mut word = IdleWord(self.0.load(Ordering::Relaxed));
        loop {
            let slot = word.pick(wanted)?;
            let rest = word.without(slot);
            // Acquire: the connection as its last owner left it; edge E1, written by the Release in `publish`.
            // Relaxed on failure: only a better guess.
            match self.0.compare_exchange_weak(word.0, rest.0, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(slot),
                Err(now) => word = IdleWord(now),
            }
        }
    }

    /// Puts an owned slot in, unless WAIT is set.
    ///
    /// `guess` is any earlier value, as a take left it or [`UNREAD`](IdleWord::UNREAD): where nothing else has come and gone meanwhile, it
    /// saves the first look. A wrong one costs a second try; one with WAIT is not believed, since WAIT may be gone.
    #[inline(always)]
    pub(super) fn publish(&self, slot: SlotId, guess: IdleWord) -> Result<(), MetWait> {
        let mut word = guess;
        if word.waits() {
            // Relaxed: a first guess, which the compare-exchange confirms; and where it shows WAIT, the lock orders the rest.
            word = IdleWord(self.0.load(Ordering::Relaxed));
        }
        loop {
            if word.waits() {
                return Err(MetWait);
            }
            debug_assert!(!word.has(slot), "{slot:?} is owned (I1), and idle in {word:?}");
            let more = word.with(slot);
            // Release: publishes the connection; edge E1, read by the Acquire in `take_bit`.
            // Acquire: a dead note written before the reactor's read-modify-write on this word; edge E2.
            // Relaxed on failure: only a better guess.
            match self.0.compare_exchange_weak(word.0, more.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => word = IdleWord(now),
            }
        }
    }

    /// The same under the lock, where WAIT is no obstacle: whoever is to be woken is known there.
    pub(super) fn publish_locked(&self, slot: SlotId) {
        // AcqRel: as in `publish`, E1 and E2.
        let word = IdleWord(self.0.fetch_or(slot.mask(), Ordering::AcqRel));
        debug_assert!(!word.has(slot), "{slot:?} is owned (I1), and idle in {word:?}");
    }

    /// Takes this very slot out. True: the caller owns it now.
    pub(super) fn remove(&self, slot: SlotId) -> bool {
        // Acquire: the remover is an owner like any other; edge E3, written by the Release in `publish`.
        // Release: the dead note before it, to whoever publishes in this word later; edge E2.
        IdleWord(self.0.fetch_and(!slot.mask(), Ordering::AcqRel)).has(slot)
    }

    /// Sets WAIT. Returns the word before. Under the lock.
    pub(super) fn announce(&self) -> IdleWord {
        // Relaxed: one word's order of changes decides between this and a publish; edges E4 and E5.
        IdleWord(self.0.fetch_or(IdleWord::WAIT.mask(), Ordering::Relaxed))
    }

    /// Clears WAIT. Under the lock.
    pub(super) fn retract(&self) {
        // Relaxed: whoever publishes next either sees WAIT and comes to the lock, or does not; both are right. Edge E7.
        self.0.fetch_and(!IdleWord::WAIT.mask(), Ordering::Relaxed);
    }

    /// Takes all slots out, and leaves WAIT behind. Returns the word before: the caller owns its slots. Under the lock.
    pub(super) fn seal(&self) -> IdleWord {
        // Acquire: the connections that this takes; edge E8, written by the Release in `publish`.
        IdleWord(self.0.swap(IdleWord::WAIT.mask(), Ordering::Acquire))
    }

    /// The word as it looks just now. Nothing may be taken by it.
    pub(super) fn look(&self) -> IdleWord {
        // Relaxed: nothing is reached through it. What has to be exact is asked under the lock, with WAIT set: then a bit was set
        // before WAIT (coherence with the announcement) or under the lock (E6).
        IdleWord(self.0.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for IdleCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.look().fmt(f)
    }
}

/// The picture above.
const _: () = {
    assert!(IdleWord::WAIT.is(63, 63) && IdleWord::SLOTS.is(62, 0));
};

#[cfg(all(test, not(any(corepool_loom, corepool_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_printed_decoded() {
        let cell = IdleCell::new();
        cell.publish(SlotId::at(63 + 5), IdleWord::UNREAD).unwrap();
        cell.publish(SlotId::at(63), IdleWord::UNREAD).unwrap();
        assert_eq!(format!("{cell:?}"), "{0, 5}");
        assert_eq!(cell.announce().len(), 2);
        assert_eq!(format!("{cell:?}"), "WAIT {0, 5}");
        assert_eq!(cell.seal().slots(1).collect::<Vec<_>>(), [SlotId::at(63), SlotId::at(68)]);
        assert_eq!(format!("{cell:?}"), "WAIT {}");
    }

    #[test]
    fn wait_is_never_picked() {
        let cell = IdleCell::new();
        cell.announce();
        for wanted in [0, 7, 62] {
            assert_eq!(cell.take_bit(SlotId::at(wanted)), None);
            assert_eq!(cell.take_this(SlotId::at(wanted)), None);
        }
        cell.publish_locked(SlotId::at(62));
        assert_eq!(cell.take_bit(SlotId::at(0)), Some(SlotId::at(62)));
        assert!(cell.look().waits() && cell.look().is_empty());
    }

    #[test]
    fn a_wrong_guess_costs_a_try_and_nothing_else() {
        let cell = IdleCell::new();
        let [one, two, three] = [1, 2, 3].map(SlotId::at);
        cell.publish(one, IdleWord::UNREAD).unwrap();
        let left = cell.take_this(one).unwrap();
        assert!(left.is_empty() && cell.take_this(one).is_none());
        cell.publish(two, left).unwrap();
        // By now `left` is wrong.
        cell.publish(one, left).unwrap();
        assert_eq!(format!("{cell:?}"), "{1, 2}");
        cell.announce();
        let _: MetWait = cell.publish(three, left).unwrap_err();
        let left = cell.take_this(two).unwrap();
        assert!(left.waits());
        cell.retract();
        // Nor is WAIT believed that it remembers.
        cell.publish(two, left).unwrap();
        assert_eq!(format!("{cell:?}"), "{1, 2}");
    }
}
