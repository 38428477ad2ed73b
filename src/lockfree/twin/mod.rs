//! The lock-free bag beside a simple twin: any operations in any order, on one thread, compared after each.
//!
//! The models show that no interleaving breaks the bag; this shows that it does the right thing where nothing interleaves, with many
//! slots, shards and waiters. The twin knows nothing of words and bits: its shards are sets, its queue is a queue.

#![forbid(unsafe_code)]

mod compare;
mod known;
mod pair;
mod simple;

use pair::Pair;

/// The body of the fuzz target of this name: reads `bytes` as a bag's size and what is done to it, does that to the bag and to the
/// twin, and panics where they differ.
pub fn bag_ops(bytes: &[u8]) {
    const CAPACITIES: [usize; 12] = [1, 2, 3, 4, 5, 8, 62, 63, 64, 65, 127, 130];
    const CLOSING: [usize; 4] = [0, 1, 2, usize::MAX];
    let [shards, capacity, max_size, rest @ ..] = bytes else { return };
    let capacity = CAPACITIES[usize::from(*capacity) % CAPACITIES.len()];
    let max_size = 1 + usize::from(*max_size) % capacity;
    let (shards, max_closing) = (1 + usize::from(*shards % 4), CLOSING[usize::from(*shards / 4 % 4)]);
    let mut pair = Pair::new(shards, capacity, max_size, max_closing);
    for op in rest.chunks_exact(3) {
        pair.apply(op[0], usize::from(op[1]), usize::from(op[2]));
        pair.compare();
    }
    pair.wind_up();
}

#[cfg(test)]
mod tests {
    use super::bag_ops;
    use crate::kept::kept;

    #[test]
    fn the_kept_corpus_finds_no_difference() {
        kept("bag_ops", 24).iter().for_each(|bytes| bag_ops(bytes));
    }

    #[test]
    fn random_operations_find_no_difference() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..2_000 {
            let mut bytes = Vec::new();
            for _ in 0..20 {
                // xorshift: any fixed sequence that spreads will do.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.extend(state.to_le_bytes());
            }
            bag_ops(&bytes);
        }
    }
}
