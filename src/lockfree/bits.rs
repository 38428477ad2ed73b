//! The words of the core as values: which slot, which bits of an idle word, which notes. Pure functions, no atomics.
//!
//! ```text
//! idle word   63    62 ........................................ 0
//!            [WAIT][ one bit a slot: set = idle in this shard    ]
//!
//! slot id     15 ........ 6  5 ............ 0
//!            [ idle word    ][ bit, never 63 ]
//!
//! notes       63 ............ 16  15 ... 9  8       7      6    5      4     3        2        1        0
//!            [ generation        ][ unused ][RESTED][TIMED][CUT][PROBE][AGED][SURPLUS][RETIRED][EXPIRED][DEAD]
//! ```

use std::fmt;

/// "Come to the lock": somebody waits, or the pool is closed. In every word of every shard at once.
pub(crate) const WAIT: u64 = 1 << 63;

/// Slots that fit one idle word beside [`WAIT`].
pub(crate) const SLOTS_PER_WORD: usize = 63;

/// The number of a slot, which is also its permit and its place in the idle words.
///
/// Packed as word and bit, not counted, so that the hot path shifts where it would have to divide by 63.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(u16);

impl SlotId {
    const BIT_WIDTH: u32 = 6;

    /// The most slots that 16 bits can name.
    pub(crate) const CAPACITY_LIMIT: usize = (1 << (16 - Self::BIT_WIDTH)) * SLOTS_PER_WORD;

    /// The slot at `index` of the slab.
    pub(crate) fn at(index: usize) -> Self {
        debug_assert!(index < Self::CAPACITY_LIMIT);
        let (word, bit) = (index / SLOTS_PER_WORD, index % SLOTS_PER_WORD);
        SlotId(((word << Self::BIT_WIDTH) | bit) as u16)
    }

    /// The slot of the lowest bit in `mask` of idle word `word`.
    #[inline]
    pub(crate) fn of(word: usize, mask: u64) -> Self {
        SlotId(((word << Self::BIT_WIDTH) as u32 | mask.trailing_zeros()) as u16)
    }

    /// From and to a bare number, for the hint of an idle stack.
    #[inline]
    pub(crate) fn from_raw(raw: u32) -> Self {
        SlotId(raw as u16)
    }

    #[inline]
    pub(crate) fn raw(self) -> u32 {
        u32::from(self.0)
    }

    /// Its place in the slab: every 64th id is missing.
    #[inline]
    pub(crate) fn index(self) -> usize {
        usize::from(self.0) - self.word()
    }

    /// The idle word, of each shard, that it has a bit in.
    #[inline]
    pub(crate) fn word(self) -> usize {
        usize::from(self.0 >> Self::BIT_WIDTH)
    }

    /// That bit.
    #[inline]
    pub(crate) fn mask(self) -> u64 {
        1 << (self.0 & ((1 << Self::BIT_WIDTH) - 1))
    }
}

impl fmt::Debug for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.index())
    }
}

/// What is known of a connection, as it was read: its generation and the flags that others wrote for its holder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notes(pub(super) u64);

impl Notes {
    const GENERATION_SHIFT: u32 = 16;
    const FLAGS: u64 = (1 << Self::GENERATION_SHIFT) - 1;

    /// Its peer has hung up.
    pub(crate) const DEAD: Flag = Flag(1 << 0);
    /// It has reached its lifetime.
    pub(crate) const EXPIRED: Flag = Flag(1 << 1);
    /// Its manager was replaced, or the pool was told to retire all.
    pub(crate) const RETIRED: Flag = Flag(1 << 2);
    /// There are more connections than the limit, which was lowered.
    pub(crate) const SURPLUS: Flag = Flag(1 << 3);
    /// It has been idle for so long that a checkout should look at it first. Cleared by whoever looked.
    pub(crate) const AGED: Flag = Flag(1 << 4);
    /// It has been unused for as long as the sweep looks back; the sweep does so no more until whoever uses it clears this.
    pub(crate) const RESTED: Flag = Flag(1 << 8);
    /// It is to be looked at on every checkout. Set at birth, never cleared.
    pub(crate) const PROBE: Flag = Flag(1 << 5);
    /// Its manager is known to discard or refuse at checkout: the clock is read first. Never cleared.
    pub(crate) const TIMED: Flag = Flag(1 << 7);
    /// Its socket was shut down because its lease, or a hook on it, took too long.
    pub(crate) const CUT: Flag = Flag(1 << 6);

    /// The flags with which a connection must not be used again.
    const LEAVING: u64 = Self::DEAD.0 | Self::EXPIRED.0 | Self::RETIRED.0 | Self::SURPLUS.0 | Self::CUT.0;

    pub(super) fn born(generation: u64) -> Self {
        // 48 bits: a slot that lived a thousand lives a second would take 8,900 years to come round.
        Notes(generation << Self::GENERATION_SHIFT)
    }

    /// How many connections have lived in the slot, this one included.
    pub(crate) fn generation(self) -> u64 {
        self.0 >> Self::GENERATION_SHIFT
    }

    /// Nothing is known against it: the one test of the hot path.
    #[inline]
    pub(crate) fn is_clean(self) -> bool {
        self.0 & Self::FLAGS == 0
    }

    /// It must leave the pool.
    pub(crate) fn is_leaving(self) -> bool {
        self.0 & Self::LEAVING != 0
    }

    pub(crate) fn has(self, flag: Flag) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) fn with(self, flag: Flag) -> Self {
        Notes(self.0 | flag.0)
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {}", self.generation())?;
        let names = [
            (Self::DEAD, "dead"),
            (Self::EXPIRED, "expired"),
            (Self::RETIRED, "retired"),
            (Self::SURPLUS, "surplus"),
            (Self::AGED, "aged"),
            (Self::RESTED, "rested"),
            (Self::PROBE, "probe"),
            (Self::CUT, "cut"),
            (Self::TIMED, "timed"),
        ];
        names.iter().filter(|(flag, _)| self.has(*flag)).try_for_each(|(_, name)| write!(f, " {name}"))
    }
}

/// One flag of [`Notes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flag(pub(super) u64);

/// One life in one slot: what a late event has to name so that it cannot hit the slot's next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    pub(crate) slot: SlotId,
    pub(crate) generation: u64,
}

impl Life {
    /// As one word, to travel through a reactor's table: the generation's 48 bits above the slot's 16.
    pub(crate) fn to_word(self) -> u64 {
        self.generation << Notes::GENERATION_SHIFT | u64::from(self.slot.0)
    }

    pub(crate) fn from_word(word: u64) -> Self {
        Life { slot: SlotId(word as u16), generation: word >> Notes::GENERATION_SHIFT }
    }
}

const _: () = {
    assert!(WAIT.count_ones() == 1 && WAIT.trailing_zeros() as usize == SLOTS_PER_WORD);
    assert!(Notes::LEAVING & (Notes::AGED.0 | Notes::PROBE.0) == 0);
    assert!((Notes::LEAVING | Notes::AGED.0 | Notes::PROBE.0) & !Notes::FLAGS == 0);
    assert!(SlotId::CAPACITY_LIMIT == 64_512);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_id_names_its_place_in_slab_and_words() {
        for index in [0, 1, 62, 63, 64, 125, 126, 1_000, SlotId::CAPACITY_LIMIT - 1] {
            let slot = SlotId::at(index);
            assert_eq!(slot.index(), index);
            assert_eq!(slot.word(), index / 63);
            assert_eq!(slot.mask(), 1 << (index % 63));
            assert_ne!(slot.mask(), WAIT);
            assert_eq!(SlotId::of(slot.word(), slot.mask()), slot);
            assert_eq!(SlotId::from_raw(slot.raw()), slot);
        }
    }
}
