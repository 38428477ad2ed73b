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
//! **Where.** The words of a shard lie together, padded from those of every other. What happens to one word, and by which ordering,
//! is in `word`; here is which words, and in which order.
//!
//! Costs: `take` and `publish` are one locked read-modify-write on one line when uncontended.

use crossbeam::utils::CachePadded;

use super::bits::{SLOTS_PER_WORD, SlotId};
use super::word::{IdleCell, MetWait};
use crate::sync::atomic::{AtomicU32, Ordering};

/// Words beside the hint in one padded line of 128 bytes. A model has one, since loom tracks every word.
const WORDS_PER_LINE: usize = if cfg!(corepool_loom) { 1 } else { 15 };

/// The idle stacks of all shards.
#[derive(Debug)]
pub(crate) struct IdleStacks {
    /// Shard after shard, `lines_per_shard` each; the first line of a shard has its hint.
    lines: Box<[CachePadded<Line>]>,
    lines_per_shard: usize,
    words: usize,
    shards: usize,
}

#[derive(Debug)]
struct Line {
    /// The slot given last. Only a hint: Relaxed everywhere, any value is sound.
    top: AtomicU32,
    /// Takes in a row that found this shard empty and stole. A hint too; see [`IdleStacks::note_steal`].
    stolen: AtomicU32,
    words: [IdleCell; WORDS_PER_LINE],
}

/// HAProxy's lesson: with connections to spare, a shard that steals all the time should open one of its own.
const STEALS_IN_A_ROW: u32 = 8;

impl Line {
    fn new() -> Self {
        Line { top: AtomicU32::new(0), stolen: AtomicU32::new(0), words: std::array::from_fn(|_| IdleCell::new()) }
    }
}

impl IdleStacks {
    pub(crate) fn new(shards: usize, capacity: usize) -> Self {
        let words = capacity.div_ceil(SLOTS_PER_WORD);
        let lines_per_shard = words.div_ceil(WORDS_PER_LINE);
        let lines = (0..shards * lines_per_shard).map(|_| CachePadded::new(Line::new())).collect();
        IdleStacks { lines, lines_per_shard, words, shards }
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards
    }

    /// The first line of `shard`, which has its hints.
    #[inline]
    fn first_line(&self, shard: usize) -> &Line {
        &self.lines[shard * self.lines_per_shard]
    }

    /// The word of `shard` whose first line is `first`. Without a division, and with one line touched, for the first 945 slots.
    #[inline]
    fn word_by<'a>(&'a self, first: &'a Line, shard: usize, word: usize) -> &'a IdleCell {
        if word < WORDS_PER_LINE { &first.words[word] } else { self.word(shard, word) }
    }

    fn word(&self, shard: usize, word: usize) -> &IdleCell {
        &self.lines[shard * self.lines_per_shard + word / WORDS_PER_LINE].words[word % WORDS_PER_LINE]
    }

    fn all(&self) -> impl Iterator<Item = &IdleCell> {
        (0..self.shards).flat_map(move |shard| (0..self.words).map(move |word| self.word(shard, word)))
    }

    /// Takes the connection given last to `shard`, or else its lowest. The caller owns the slot.
    ///
    /// Lock-free: one locked read-modify-write when uncontended, none when the shard is empty.
    #[inline]
    pub(crate) fn take(&self, shard: usize) -> Option<SlotId> {
        self.take_by(self.first_line(shard), shard)
    }

    /// The same for a caller of this very shard: it need not steal, so the count of steals in a row begins anew.
    #[inline]
    pub(crate) fn take_home(&self, shard: usize) -> Option<SlotId> {
        let first = self.first_line(shard);
        let taken = self.take_by(first, shard);
        // Relaxed: a count for a heuristic. Written only where a steal was noted, in a line that is this take's own already.
        if taken.is_some() && first.stolen.load(Ordering::Relaxed) != 0 {
            first.stolen.store(0, Ordering::Relaxed);
        }
        taken
    }

    #[inline]
    fn take_by(&self, first: &Line, shard: usize) -> Option<SlotId> {
        // Relaxed: a hint.
        let top = SlotId::from_raw(first.top.load(Ordering::Relaxed));
        match self.word_by(first, shard, top.word()).take_bit(top) {
            None if self.words > 1 => self.take_below(shard),
            taken => taken,
        }
    }

    /// The hinted word was empty: the lowest connection of the others.
    #[cold]
    fn take_below(&self, shard: usize) -> Option<SlotId> {
        (0..self.words).find_map(|word| self.word(shard, word).take_bit(SlotId::first_of(word)))
    }

    /// Makes an owned slot idle in `shard`, unless WAIT is set.
    ///
    /// Lock-free: one locked read-modify-write when uncontended. After it, the caller must read the slot's notes once more (E2).
    #[inline]
    pub(crate) fn publish(&self, shard: usize, slot: SlotId) -> Result<(), MetWait> {
        let first = self.first_line(shard);
        self.word_by(first, shard, slot.word()).publish(slot)?;
        // Relaxed: a hint.
        first.top.store(slot.raw(), Ordering::Relaxed);
        Ok(())
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
        for shard in 0..self.shards {
            for number in 0..self.words {
                let slots = self.word(shard, number).look().slots(number);
                slots.for_each(|slot| idle[slot.index()] = true);
            }
        }
        idle
    }

    /// A take by this shard's callers found it empty and stole. True for every eighth in a row: connections are scarce here.
    pub(crate) fn note_steal(&self, shard: usize) -> bool {
        // Relaxed: a count for a heuristic.
        let before = self.first_line(shard).stolen.fetch_add(1, Ordering::Relaxed);
        before % STEALS_IN_A_ROW == STEALS_IN_A_ROW - 1
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

#[cfg(all(test, not(corepool_loom)))]
mod tests {
    use super::*;

    fn slots(stacks: &IdleStacks, shard: usize) -> Vec<usize> {
        std::iter::from_fn(|| stacks.take(shard)).map(SlotId::index).collect()
    }

    #[test]
    fn the_one_given_last_comes_first_then_the_lowest() {
        let stacks = IdleStacks::new(1, 200);
        for index in [5, 130, 2, 70] {
            stacks.publish(0, SlotId::at(index)).unwrap();
        }
        assert_eq!(slots(&stacks, 0), [70, 2, 5, 130]);
    }

    #[test]
    fn a_given_slot_leaves_from_the_middle_of_any_shard() {
        let stacks = IdleStacks::new(3, 2_000);
        for index in 0..2_000 {
            stacks.publish(index % 3, SlotId::at(index)).unwrap();
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
        assert_eq!(separate, 5 * stacks.lines_per_shard);
    }

    #[test]
    fn a_word_with_wait_refuses_to_publish() {
        let stacks = IdleStacks::new(2, 100);
        assert_eq!(stacks.announce(), 0);
        assert_eq!(stacks.wait_everywhere(), Some(true));
        assert!(stacks.publish(1, SlotId::at(99)).is_err());
        stacks.publish_locked(1, SlotId::at(99));
        stacks.retract();
        assert_eq!(stacks.take(1), Some(SlotId::at(99)));
        assert!(stacks.publish(1, SlotId::at(99)).is_ok());
        assert_eq!(stacks.seal(), [SlotId::at(99)]);
        assert!(stacks.publish(0, SlotId::at(3)).is_err());
    }
}
