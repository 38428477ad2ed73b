//! The words of the bag as values: which slot, which life of it, which notes. Pure functions, no atomics.
//!
//! ```text
//! slot id     15 ........ 6  5 ............ 0
//!            [ idle word    ][ bit, never 63 ]
//!
//! life        63 ........ 16  15 ... 0
//!            [ generation    ][slot id]
//!
//! notes       63 ........ 16  15 14  13 ..... 0
//!            [ generation    ][unused][ flags    ]
//!
//! flags       13       12    11      10        9      8      7      6       5     4    3        2        1        0
//!            [SUSPECT][LAIN][UNSURE][UNJUDGED][FRESH][TIMED][PROBE][RESTED][AGED][CUT][SURPLUS][RETIRED][EXPIRED][DEAD]
//! ```
//!
//! The idle word has a file of its own, `word`, since its value and its cell are read together.

use std::fmt;

/// Slots that fit one idle word beside WAIT.
pub(crate) const SLOTS_PER_WORD: usize = 63;

/// Neighbouring bits of a packed word. Each field begins where the one before it ends, so no two overlap.
#[derive(Clone, Copy)]
pub(super) struct Field {
    low: u32,
    width: u32,
}

impl Field {
    pub(super) const fn lowest(width: u32) -> Self {
        Field { low: 0, width }
    }

    /// The field above this one.
    pub(super) const fn then(self, width: u32) -> Self {
        Field { low: self.low + self.width, width }
    }

    pub(super) const fn mask(self) -> u64 {
        ((1 << self.width) - 1) << self.low
    }

    /// Whether it is these bits: for the pictures.
    pub(super) const fn is(self, high: u32, low: u32) -> bool {
        self.low == low && self.low + self.width - 1 == high
    }
}

/// The number of a slot, which is also its place in the idle words.
///
/// Packed as word and bit, not counted, so that the hot path shifts where it would have to divide by 63.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(u16);

impl SlotId {
    const BIT: Field = Field::lowest(6);
    const WORD: Field = Self::BIT.then(10);

    /// The most slots that 16 bits can name.
    pub(crate) const CAPACITY_LIMIT: usize = (1 << Self::WORD.width) * SLOTS_PER_WORD;

    /// The slot at `index` of the slab.
    pub(crate) fn at(index: usize) -> Self {
        debug_assert!(index < Self::CAPACITY_LIMIT);
        let (word, bit) = (index / SLOTS_PER_WORD, index % SLOTS_PER_WORD);
        SlotId(((word << Self::WORD.low) | bit) as u16)
    }

    /// The first slot of idle word `word`.
    #[inline]
    pub(super) fn first_of(word: usize) -> Self {
        SlotId((word << Self::WORD.low) as u16)
    }

    /// The slot of bit `bit` in the same idle word.
    #[inline]
    pub(super) fn beside(self, bit: u32) -> Self {
        debug_assert!((bit as usize) < SLOTS_PER_WORD);
        SlotId(self.0 & Self::WORD.mask() as u16 | bit as u16)
    }

    /// From and to a bare number, for the hint of an idle stack.
    #[inline(always)]
    pub(crate) fn from_raw(raw: u32) -> Self {
        SlotId(raw as u16)
    }

    #[inline(always)]
    pub(crate) fn raw(self) -> u32 {
        u32::from(self.0)
    }

    /// Its place in the slab: every 64th id is missing.
    #[inline(always)]
    pub(crate) fn index(self) -> usize {
        usize::from(self.0) - self.word()
    }

    /// The idle word, of each shard, that it has a bit in.
    #[inline(always)]
    pub(crate) fn word(self) -> usize {
        usize::from(self.0 >> Self::WORD.low)
    }

    /// That bit.
    #[inline(always)]
    pub(super) fn mask(self) -> u64 {
        1 << (self.0 & Self::BIT.mask() as u16)
    }
}

impl fmt::Debug for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.index())
    }
}

/// One life in one slot: what a late event has to name so that it cannot hit the slot's next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    pub(crate) slot: SlotId,
    pub(crate) generation: u64,
}

impl Life {
    const SLOT: Field = Field::lowest(u16::BITS);
    const GENERATION: Field = Self::SLOT.then(48);

    /// As one word, to travel through a reactor's table.
    pub(crate) fn to_word(self) -> u64 {
        self.generation << Self::GENERATION.low | u64::from(self.slot.0)
    }

    pub(crate) fn from_word(word: u64) -> Self {
        Life { slot: SlotId((word & Self::SLOT.mask()) as u16), generation: word >> Self::GENERATION.low }
    }
}

/// What is known of a connection, as it was read: its generation and the flags that others wrote for its owner.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notes(pub(super) u64);

/// One flag of [`Notes`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flag(pub(super) u64);

impl Flag {
    /// The flag above this one.
    const fn next(self) -> Self {
        Flag(self.0 << 1)
    }
}

impl Notes {
    const FLAGS: Field = Field::lowest(16);
    const GENERATION: Field = Self::FLAGS.then(48);

    /// Its peer has hung up.
    pub(crate) const DEAD: Flag = Flag(1);
    /// It has reached its lifetime.
    pub(crate) const EXPIRED: Flag = Self::DEAD.next();
    /// Its manager was replaced, or the pool was told to retire all.
    pub(crate) const RETIRED: Flag = Self::EXPIRED.next();
    /// There are more connections than the limit, which was lowered.
    pub(crate) const SURPLUS: Flag = Self::RETIRED.next();
    /// A use of it, or a hook on it, took too long, and is cut short if it still goes on.
    pub(crate) const CUT: Flag = Self::SURPLUS.next();
    /// It has been idle for so long that a checkout should look at it first. Cleared by whoever looked.
    pub(crate) const AGED: Flag = Self::CUT.next();
    /// It has been unused for as long as the sweep looks back; the sweep does so no more until whoever uses it clears this.
    pub(crate) const RESTED: Flag = Self::AGED.next();
    /// It is to be looked at on every checkout. Set at birth, never cleared.
    pub(crate) const PROBE: Flag = Self::RESTED.next();
    /// Its manager is known to discard or refuse at checkout: the clock is read first. Never cleared.
    pub(crate) const TIMED: Flag = Self::PROBE.next();
    /// Nobody has used it yet. Every life begins with it; the first use clears it.
    pub(crate) const FRESH: Flag = Self::TIMED.next();
    /// The pool's owner has asked for those that a predicate means, and this one has not been judged yet. Cleared by whoever judges.
    pub(crate) const UNJUDGED: Flag = Self::FRESH.next();
    /// It has been idle for so long that it is to be pinged before it is lent. Cleared by whoever has done so, or used it.
    pub(crate) const UNSURE: Flag = Self::UNJUDGED.next();
    /// It lay idle for so long that, if its next use fails, others that lie so are suspect. Stays during that use, and is cleared after it.
    pub(crate) const LAIN: Flag = Self::UNSURE.next();
    /// Another one failed that lay idle as long: it is to be pinged before it is lent, or to leave. Cleared as *unsure* is.
    pub(crate) const SUSPECT: Flag = Self::LAIN.next();

    /// All flags by name, lowest first.
    pub(crate) const ALL: [(Flag, &str); 14] = [
        (Self::DEAD, "dead"),
        (Self::EXPIRED, "expired"),
        (Self::RETIRED, "retired"),
        (Self::SURPLUS, "surplus"),
        (Self::CUT, "cut"),
        (Self::AGED, "aged"),
        (Self::RESTED, "rested"),
        (Self::PROBE, "probe"),
        (Self::TIMED, "timed"),
        (Self::FRESH, "fresh"),
        (Self::UNJUDGED, "unjudged"),
        (Self::UNSURE, "unsure"),
        (Self::LAIN, "lain"),
        (Self::SUSPECT, "suspect"),
    ];

    /// The flags with which a connection must not be used again.
    const LEAVING: u64 = Self::DEAD.0 | Self::EXPIRED.0 | Self::RETIRED.0 | Self::SURPLUS.0 | Self::CUT.0;

    pub(super) fn born(generation: u64) -> Self {
        // 48 bits: a slot that lived a thousand lives a second would take 8,900 years to come round. A late event would then have
        // to name a life of 2^48 lives ago to hit the wrong one.
        Notes(generation << Self::GENERATION.low | Self::FRESH.0)
    }

    /// How many connections have left the slot: it tells this one from those before and after it.
    pub(crate) fn generation(self) -> u64 {
        self.0 >> Self::GENERATION.low
    }

    /// Nothing is known against it: the one test of the hot path.
    #[inline]
    pub(crate) fn is_clean(self) -> bool {
        self.0 & Self::FLAGS.mask() == 0
    }

    /// Nothing is known against it but that it is to be looked at on every checkout.
    #[inline]
    pub(crate) fn is_clean_but_for_probe(self) -> bool {
        self.0 & Self::FLAGS.mask() & !Self::PROBE.0 == 0
    }

    /// It must leave the pool.
    #[inline]
    pub(crate) fn is_leaving(self) -> bool {
        self.0 & Self::LEAVING != 0
    }

    /// It must not be lent as it is: it must leave the pool, or be judged first.
    #[inline]
    pub(crate) fn is_withheld(self) -> bool {
        self.0 & (Self::LEAVING | Self::UNJUDGED.0) != 0
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
        Self::ALL.iter().filter(|(flag, _)| self.has(*flag)).try_for_each(|(_, name)| write!(f, " {name}"))
    }
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Notes::ALL.iter().find(|(flag, _)| flag == self);
        f.write_str(named.map_or("no flag", |(_, name)| name))
    }
}

/// The pictures above, and what the flags must be to one another.
const _: () = {
    assert!(SlotId::BIT.is(5, 0) && SlotId::WORD.is(15, 6) && SLOTS_PER_WORD < 1 << SlotId::BIT.width);
    assert!(SlotId::CAPACITY_LIMIT == 64_512);
    assert!(Life::GENERATION.is(63, 16) && Life::SLOT.is(15, 0));
    assert!(Notes::GENERATION.is(63, 16) && Notes::FLAGS.is(15, 0));
    assert!(Life::GENERATION.width == Notes::GENERATION.width, "a life names every generation");
    let mut place = 0;
    let mut below = 0;
    while place < Notes::ALL.len() {
        let flag = Notes::ALL[place].0.0;
        assert!(flag.count_ones() == 1 && flag > below, "the flags are listed in another order");
        assert!(flag & below == 0, "two flags share a bit");
        assert!(flag & !Notes::FLAGS.mask() == 0, "a flag lies in the generation");
        assert!(
            (flag & Notes::LEAVING != 0) == (flag < Notes::AGED.0),
            "those that leave come first, and no other leaves"
        );
        below |= flag;
        place += 1;
    }
    assert!(Notes::LEAVING & !below == 0, "LEAVING has a bit that is no flag");
    // The picture, flag by flag.
    assert!(
        Notes::DEAD.0 == 1 && Notes::EXPIRED.0 == 1 << 1 && Notes::RETIRED.0 == 1 << 2 && Notes::SURPLUS.0 == 1 << 3
    );
    assert!(Notes::CUT.0 == 1 << 4 && Notes::AGED.0 == 1 << 5 && Notes::RESTED.0 == 1 << 6);
    assert!(Notes::PROBE.0 == 1 << 7 && Notes::TIMED.0 == 1 << 8 && Notes::FRESH.0 == 1 << 9);
    assert!(Notes::UNJUDGED.0 == 1 << 10 && Notes::UNSURE.0 == 1 << 11);
    assert!(Notes::LAIN.0 == 1 << 12 && Notes::SUSPECT.0 == 1 << 13);
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
            assert_eq!(SlotId::first_of(slot.word()).beside(slot.mask().trailing_zeros()), slot);
            assert_eq!(SlotId::from_raw(slot.raw()), slot);
            let life = Life { slot, generation: (1 << 48) - 1 };
            assert_eq!(Life::from_word(life.to_word()), life);
        }
    }

    #[test]
    fn notes_are_printed_by_name() {
        let notes = Notes::born(7).with(Notes::DEAD).with(Notes::RESTED);
        assert_eq!(format!("{notes:?}"), "generation 7 dead rested fresh");
        assert_eq!(format!("{:?}", Notes::TIMED), "timed");
        assert!(notes.is_leaving() && !notes.is_clean());
        assert!(!Notes::born(7).with(Notes::TIMED).is_leaving());
        assert!(!Notes::born(7).is_clean(), "the first to use it has something to do");
    }
}
