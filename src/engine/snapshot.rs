//! The pool in numbers.
#![forbid(unsafe_code)]

use super::Engine;
use super::counters::Count;
#[cfg(any(test, fuzzing))]
use crate::lockfree::bits::Life;
use crate::lockfree::bits::SlotId;
use crate::manager::{CloseReason, Manager};
use crate::os::clock;
use crate::stats::{ShardStats, Stats};

impl<M: Manager> Engine<M> {
    /// How often the pool has been used, and whether it is just now.
    pub(crate) fn activity(&self) -> (u64, bool) {
        let census = self.bag.census();
        (self.uses(), census.waiting > 0 || census.idle < census.open)
    }

    /// Those that are open, for a simulation that hangs up on them.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn lives(&self) -> Vec<Life> {
        self.bag.lives().into_iter().map(|(life, _)| life).collect()
    }

    /// Connections that have left, and whose close the bag has not been told of.
    pub(crate) fn untold(&self) -> usize {
        self.bag.census().closing
    }

    fn uses(&self) -> u64 {
        (0..self.bag.capacity()).map(|index| self.bag.slot(SlotId::at(index)).uses()).sum()
    }

    pub(crate) fn stats(&self) -> Stats {
        let census = self.bag.census();
        let idle = census.idle.min(census.open);
        let shard = |shard| ShardStats { idle: self.bag.idle().count(shard), stolen: self.counters.stolen(shard) };
        Stats {
            open: census.open,
            idle,
            leased: census.open - idle,
            opening: census.opening,
            waiting: census.waiting,
            closing: self.closer.tally().1,
            idle_low: self.counters.idle_low(idle, clock::now()),
            leases: self.uses(),
            stolen: self.counters.all_stolen(),
            waited: self.counters.read(Count::Waited),
            timed_out: self.counters.read(Count::TimedOut),
            refused: self.counters.read(Count::Refused),
            dials: self.counters.read(Count::Dials),
            dials_failed: self.counters.read(Count::DialsFailed),
            opened: self.counters.read(Count::Opened),
            detached: self.counters.read(Count::Detached),
            hooks_overran: self.counters.read(Count::HooksOverran),
            holds_exceeded: self.counters.read(Count::HoldsExceeded),
            unpinned: self.reactors.unpinned(),
            waits: self.waits.times(),
            holds: self.holds.times(),
            shards: (0..self.bag.shards()).map(shard).collect(),
            closed: CloseReason::ALL.map(|why| self.closer.count(why)),
        }
    }

    /// Connections that have left the pool: to be closed, or with whoever detached them.
    pub(super) fn gone(&self) -> u64 {
        self.closer.count_all() + self.counters.read(Count::Detached)
    }

    /// Whether all that must hold when nothing is under way does hold: every slot is in one state, every connection that was opened is in
    /// the pool or was counted when it left, and none takes up room at the endpoint that nobody closes.
    pub(crate) fn at_rest(&self) -> Result<(), String> {
        self.bag.at_rest()?;
        let (opened, open, gone) = (self.counters.read(Count::Opened), self.bag.census().open, self.gone());
        if opened != open as u64 + gone {
            return Err(format!("{opened} opened, {open} open, {gone} gone"));
        }
        let (untold, closing) = (self.untold(), self.closer.tally().1);
        if untold > closing {
            Err(format!("room for {untold} closes, of which {closing} are under way"))
        } else {
            Ok(())
        }
    }
}
