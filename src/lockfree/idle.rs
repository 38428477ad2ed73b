//! The idle stacks: for each shard, which slots lie idle in it.
//!
//! **Why bits.** The pool has to take *any given* connection out, at once and exclusively, the moment its peer hangs up, while
//! others take and give. A linked stack can only pop its top: to get at the middle one has to take the chain off, and for that
//! time healthy connections cannot be had. Here a connection is one bit, in one word of one shard, and *whoever clears the bit
//! owns the slot*, whether a caller, a thief or the reactor. There is nothing to reclaim and no ABA: the bit says all.
//!
//! **Order.** Each shard remembers the slot given last and tries it first: the connection that is warmest in this CPU core's cache.
//! The memory is a hint, written and read without order, so it may be stale; then the lowest bit wins. So few connections stay
//! hot, and those with high numbers age until they are closed.
//!
//! **Where.** No two shards share a line. A shard's hints and its first words lie together; the lines of those further up come after
//! the first lines of all shards, which are found by the shard's number alone. What happens to one word, and by which ordering, is in
//! `word`; here is which words, and in which order.
//!
//! Costs: a take and a publish are one locked read-modify-write on one line when uncontended.

use crossbeam::utils::CachePadded;

use super::bits::{SLOTS_PER_WORD, SlotId};
use super::word::{IdleCell, IdleWord, MetWait};
use crate::sync::atomic::{AtomicU32, Ordering};

/// Words beside the hint in one padded line of 128 bytes. A model has one, since loom tracks every word.
const WORDS_PER_LINE: usize = if cfg!(corepool_loom) { 1 } else { 15 };

/// The idle stacks of all shards.
#[derive(Debug)]
pub(crate) struct IdleStacks {
    /// The first line of every shard, which has its hints; then the second ones, and so on.
    lines: Box<[CachePadded<Line>]>,
    words: usize,
    shards: usize,
}

/// In this order: of the 64 bytes that most processors move at a time, the first have the hints and the words of 441 slots.
#[derive(Debug)]
#[repr(C)]
struct Line {
    /// The slot given last. Only a hint: Relaxed everywhere, any value is sound.
    top: AtomicU32,
    /// Takes in a row that found this shard empty and stole. A hint too; see [`IdleStacks::note_steal`].
    stolen: AtomicU32,
    words: [IdleCell; WORDS_PER_LINE],
}

/// Where a slot was taken, or is to be put, in one shard: for an owner who gives it back without looking for its word again.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The first line of the shard.
    first: &'a Line,
    word: &'a IdleCell,
    /// The word as the take left it, from which the give guesses.
    left: IdleWord,
}

impl Place<'_> {
    /// Makes the owned slot whose place it is idle there, unless WAIT is set.
    ///
    /// Lock-free: one locked read-modify-write when uncontended. After it, the caller must read the slot's notes once more (E2).
    #[inline(always)]
    pub(crate) fn publish(self, slot: SlotId) -> Result<(), MetWait> {
        self.word.publish(slot, self.left)?;
        // Relaxed: a hint.
        self.first.top.store(slot.raw(), Ordering::Relaxed);
        Ok(())
    }
}

/// HAProxy's lesson: with connections to spare, a shard that steals all the time should open one of its own.
const STEALS_IN_A_ROW: u32 = 8;

impl Line {
    fn new() -> Self {
        Line { top: AtomicU32::new(0), stolen: AtomicU32::new(0), words: std::array::from_fn(|_| IdleCell::new()) }
    }

    /// One of the shard's own was had, so the count of steals in a row begins anew.
    #[inline(always)]
    fn ends_row(&self) {
        // Relaxed: a count for a heuristic. Written only where a steal was noted, in a line that is this take's own already.
        if self.stolen.load(Ordering::Relaxed) != 0 {
            self.stolen.store(0, Ordering::Relaxed);
        }
    }
}

impl IdleStacks {
    pub(crate) fn new(shards: usize, capacity: usize) -> Self {
        let words = capacity.div_ceil(SLOTS_PER_WORD);
        let lines = shards * words.div_ceil(WORDS_PER_LINE);
        IdleStacks { lines: (0..lines).map(|_| CachePadded::new(Line::new())).collect(), words, shards }
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards
    }

    /// The first line of `shard`, which has its hints.
    #[inline(always)]
    fn first_line(&self, shard: usize) -> &Line {
        &self.lines[shard]
    }

    fn word(&self, shard: usize, word: usize) -> &IdleCell {
        &self.lines[word / WORDS_PER_LINE * self.shards + shard].words[word % WORDS_PER_LINE]
    }

    fn all(&self) -> impl Iterator<Item = &IdleCell> {
        (0..self.shards).flat_map(move |shard| (0..self.words).map(move |word| self.word(shard, word)))
    }

    /// Takes the connection given last to `shard`, for a caller of this very shard: if it is idle still, lies in the first line, and
    /// nobody is faster. Without a division, and with one line touched. The caller owns the slot.
    ///
    /// Wait-free: one locked read-modify-write at most, none where a look shows that it is gone.
    #[inline(always)]
    pub(crate) fn take_top(&self, shard: usize) -> Option<(SlotId, Place<'_>)> {
        let first = self.first_line(shard);
        // Relaxed: a hint.
        let top = SlotId::from_raw(first.top.load(Ordering::Relaxed));
        let word = first.words.get(top.word())?;
        let left = word.take_this(top)?;
        first.ends_row();
        Some((top, Place { first, word, left }))
    }

    /// Takes the connection given last to `shard`, or else its lowest. The caller owns the slot.
    ///
    /// Lock-free: one locked read-modify-write when uncontended, none when the shard is empty.
    pub(crate) fn take(&self, shard: usize) -> Option<SlotId> {
        // Relaxed: a hint.
        let top = SlotId::from_raw(self.first_line(shard).top.load(Ordering::Relaxed));
        match self.word(shard, top.word()).take_bit(top) {
            None if self.words > 1 => self.take_below(shard),
            taken => taken,
        }
    }

    /// The hinted word was empty: the lowest connection of the others.
    #[cold]
    fn take_below(&self, shard: usize) -> Option<SlotId> {
        (0..self.words).find_map(|word| self.word(shard, word).take_bit(SlotId::first_of(word)))
    }

    /// The same for a caller of this very shard: it need not steal.
    pub(crate) fn take_home(&self, shard: usize) -> Option<SlotId> {
        let taken = self.take(shard)?;
        self.first_line(shard).ends_row();
        Some(taken)
    }

    /// The place of an owned slot in `shard`.
    pub(crate) fn place(&self, slot: SlotId, shard: usize) -> Place<'_> {
        Place { first: self.first_line(shard), word: self.word(shard, slot.word()), left: IdleWord::UNREAD }
    }

    /// The same if it lies in the first line, without a division: for the first 945 slots.
    #[inline(always)]
    pub(crate) fn place_near(&self, slot: SlotId, shard: usize) -> Option<Place<'_>> {
        let first = self.first_line(shard);
        Some(Place { first, word: first.words.get(slot.word())?, left: IdleWord::UNREAD })
    }

    /// The same under the lock, where WAIT is no obstacle.
    pub(crate) fn publish_locked(&self, shard: usize, slot: SlotId) {
        self.word(shard, slot.word()).publish_locked(slot);
        // Relaxed: a hint.
        self.first_line(shard).top.store(slot.raw(), Ordering::Relaxed);
    }

    /// Takes this very slot out of `shard`. True: the caller owns it now.
    pub(crate) fn remove(&self, shard: usize, slot: SlotId) -> bool {
        self.word(shard, slot.word()).remove(slot)
    }

    /// Takes this very slot out of whichever shard it is idle in.
    ///
    /// A read-modify-write on its word of *every* shard, also where a look shows no bit: the return that is about to publish there
    /// must find this write, and through it the note (E2). Only once the slot is owned can the rest be left out.
    pub(crate) fn remove_anywhere(&self, slot: SlotId) -> bool {
        (0..self.shards).any(|shard| self.remove(shard, slot))
    }

    /// Takes any connection, of any shard. For those who wait, under the lock.
    pub(crate) fn take_any(&self) -> Option<SlotId> {
        (0..self.shards).find_map(|shard| self.take(shard))
    }

    /// Sets WAIT in every word of every shard. Returns how many slots were idle. Under the lock.
    pub(crate) fn announce(&self) -> usize {
        self.all().map(|word| word.announce().len()).sum()
    }

    /// Clears WAIT everywhere. Under the lock, when the pool is neither paused nor closed, and nobody waits or somebody is on their way.
    pub(crate) fn retract(&self) {
        self.all().for_each(IdleCell::retract);
    }

    /// Takes everything, and leaves WAIT behind: until the end of the pause that it begins, or for ever if the pool is closed. Under
    /// the lock.
    pub(crate) fn seal(&self) -> Vec<SlotId> {
        let mut taken = Vec::new();
        for shard in 0..self.shards {
            for word in 0..self.words {
                taken.extend(self.word(shard, word).seal().slots(word));
            }
        }
        taken
    }

    /// Whether a look finds an idle slot. Exact for "none" only under the lock and with WAIT set: then no word gains a bit (I5).
    pub(crate) fn any(&self) -> bool {
        self.all().any(|word| !word.look().is_empty())
    }

    /// Whether a look finds this slot idle, in whichever shard.
    pub(crate) fn is_idle(&self, slot: SlotId) -> bool {
        (0..self.shards).any(|shard| self.word(shard, slot.word()).look().has(slot))
    }

    /// How many slots look idle in `shard`.
    pub(crate) fn count(&self, shard: usize) -> usize {
        (0..self.words).map(|word| self.word(shard, word).look().len()).sum()
    }

    /// How many look idle in all shards.
    pub(crate) fn total(&self) -> usize {
        (0..self.shards).map(|shard| self.count(shard)).sum()
    }

    /// Whether a look at all of them touches very many lines.
    pub(crate) fn are_many(&self) -> bool {
        const FEW: usize = 64;
        self.shards * self.words > FEW
    }

    /// The same as far as it matters: not more than `enough`, and no more words looked at than `words`.
    pub(crate) fn some(&self, enough: usize, words: usize) -> usize {
        let mut found = 0;
        for word in self.all().take(words) {
            found += word.look().len();
            if found >= enough {
                return enough;
            }
        }
        found
    }

    /// Those that look idle, all shards together: whether each slot of the slab is one of them.
    pub(crate) fn looks(&self, capacity: usize) -> Vec<bool> {
        let mut idle = vec![false; capacity];
        (0..self.shards).for_each(|shard| {
            self.looks_of(shard, &mut idle);
        });
        idle
    }

    /// Marks those that look idle in `shard`. Returns how many.
    pub(crate) fn looks_of(&self, shard: usize, idle: &mut [bool]) -> usize {
        let mut found = 0;
        for number in 0..self.words {
            let look = self.word(shard, number).look();
            found += look.len();
            look.slots(number).for_each(|slot| idle[slot.index()] = true);
        }
        found
    }

    /// A take by this shard's callers found it empty and stole. True for every eighth in a row: connections are scarce here.
    pub(crate) fn note_steal(&self, shard: usize) -> bool {
        // Relaxed, and a load and a store instead of an addition: a count for a heuristic, which may miss one.
        let stolen = &self.first_line(shard).stolen;
        let now = stolen.load(Ordering::Relaxed).wrapping_add(1);
        stolen.store(now, Ordering::Relaxed);
        now.is_multiple_of(STEALS_IN_A_ROW)
    }

    /// Whether WAIT is set in all words, or in none (I5): what the at-rest check compares with the queue. Under the lock.
    pub(crate) fn wait_everywhere(&self) -> Option<bool> {
        let set = self.all().filter(|word| word.look().waits()).count();
        match set {
            0 => Some(false),
            n if n == self.shards * self.words => Some(true),
            _ => None,
        }
    }
}

#[cfg(all(test, not(any(corepool_loom, corepool_shuttle))))]
mod tests {
    use super::*;

    fn publish(stacks: &IdleStacks, shard: usize, slot: SlotId) -> Result<(), MetWait> {
        stacks.place(slot, shard).publish(slot)
    }

    fn slots(stacks: &IdleStacks, shard: usize) -> Vec<usize> {
        std::iter::from_fn(|| stacks.take(shard)).map(SlotId::index).collect()
    }

    #[test]
    fn the_one_given_last_comes_first_then_the_lowest() {
        let stacks = IdleStacks::new(1, 200);
        for index in [5, 130, 2, 70] {
            publish(&stacks, 0, SlotId::at(index)).unwrap();
        }
        assert_eq!(slots(&stacks, 0), [70, 2, 5, 130]);
    }

    #[test]
    fn a_given_slot_leaves_from_the_middle_of_any_shard() {
        let stacks = IdleStacks::new(3, 2_000);
        for index in 0..2_000 {
            publish(&stacks, index % 3, SlotId::at(index)).unwrap();
        }
        assert!(stacks.remove_anywhere(SlotId::at(1_001)));
        assert!(!stacks.remove_anywhere(SlotId::at(1_001)));
        assert_eq!((0..3).map(|shard| slots(&stacks, shard).len()).sum::<usize>(), 1_999);
        assert!(!stacks.any());
    }

    #[test]
    fn no_two_shards_share_a_line() {
        // What a checkout or a return of one shard writes: its words and its hints. 128 bytes, since neighbouring lines are fetched in
        // pairs.
        let stacks = IdleStacks::new(5, 2_000);
        let lines = |shard: usize| -> std::collections::BTreeSet<usize> {
            let first = stacks.first_line(shard);
            let hints = [&raw const first.top as usize, &raw const first.stolen as usize];
            let words = (0..stacks.words).map(|word| std::ptr::from_ref(stacks.word(shard, word)) as usize);
            hints.into_iter().chain(words).map(|address| address / 128).collect()
        };
        let mut all = std::collections::BTreeSet::new();
        let separate: usize = (0..5)
            .map(lines)
            .map(|mut lines| {
                let n = lines.len();
                all.append(&mut lines);
                n
            })
            .sum();
        assert_eq!(all.len(), separate);
        assert_eq!(separate, stacks.lines.len());
    }

    /// The table under *Costs* in `README.md`.
    #[test]
    fn what_grows_with_shards_and_capacity_is_counted() {
        let lines = |cells: &mut dyn Iterator<Item = &IdleCell>| {
            cells.map(|cell| std::ptr::from_ref(cell) as usize / 128).collect::<std::collections::BTreeSet<_>>().len()
        };
        let counted = |shards, capacity| {
            let stacks = IdleStacks::new(shards, capacity);
            let last = SlotId::at(capacity - 1);
            let removal = lines(&mut (0..shards).map(|shard| stacks.word(shard, last.word())));
            (stacks.all().count(), lines(&mut stacks.all()), removal)
        };
        // An announcement's read-modify-writes, and the lines that it and a miss touch; those of a removal, one write each.
        assert_eq!([2, 16, 64].map(|shards| counted(shards, 63)), [(2, 2, 2), (16, 16, 16), (64, 64, 64)]);
        assert_eq!([2, 16, 64].map(|shards| counted(shards, 945)), [(30, 2, 2), (240, 16, 16), (960, 64, 64)]);
        assert_eq!([2, 16, 64].map(|shards| counted(shards, 4_000)), [(128, 10, 2), (1_024, 80, 16), (4_096, 320, 64)]);
    }

    #[test]
    fn a_word_with_wait_refuses_to_publish() {
        let stacks = IdleStacks::new(2, 100);
        assert_eq!(stacks.announce(), 0);
        assert_eq!(stacks.wait_everywhere(), Some(true));
        assert!(publish(&stacks, 1, SlotId::at(99)).is_err());
        stacks.publish_locked(1, SlotId::at(99));
        stacks.retract();
        assert_eq!(stacks.take(1), Some(SlotId::at(99)));
        assert!(publish(&stacks, 1, SlotId::at(99)).is_ok());
        assert_eq!(stacks.seal(), [SlotId::at(99)]);
        assert!(publish(&stacks, 0, SlotId::at(3)).is_err());
    }
}
