//! The first moment of a connection in the pool, by which it is told later whether anybody has used it.
#![forbid(unsafe_code)]

use crate::lockfree::bag::Bag;
use crate::lockfree::bits::Life;

/// When a connection came into the pool, and what its slot's count of uses was then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    pub(crate) life: Life,
    pub(crate) at: u64,
    uses: u64,
}

impl Birth {
    pub(crate) fn new<T, R: Clone>(life: Life, at: u64, bag: &Bag<T, R>) -> Self {
        Birth { life, at, uses: bag.slot(life.slot).uses() }
    }

    /// How often its slot had been used by then.
    pub(crate) fn uses(&self) -> u64 {
        self.uses
    }

    /// Whether nobody has used it yet.
    pub(crate) fn is_unused<T, R: Clone>(&self, bag: &Bag<T, R>) -> bool {
        bag.slot(self.life.slot).uses() == self.uses
    }
}
