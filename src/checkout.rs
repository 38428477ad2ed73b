//! The callers' way in and out: from an idle connection to a lease and back.
//!
//! The fast path, both ways: the core's shard, one locked read-modify-write on its word, one look at the notes. No clock, no system call,
//! no allocation. Everything else is `#[cold]`: a note to act on, a shard that is empty, somebody who waits.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::{self, nanos, until};
use crate::error::{Cause, Detail, GetError, GetErrorKind};
use crate::lockfree::bits::{Notes, SlotId};
use crate::lockfree::core::{Barred, Claim, Fate};
use crate::manager::{CloseReason, Manager, Outcome};
use crate::shared::{Shared, count, reason};
use crate::thread;

/// How long a caller is ready to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// The pool's `wait_timeout`.
    Usual,
    /// This long; zero means not at all.
    Only(Duration),
}

impl<M: Manager> Shared<M> {
    /// Takes a connection for a caller.
    #[inline]
    pub(crate) fn check_out(&self, patience: Patience) -> Result<Claim, GetError> {
        let shard = self.here();
        let claim = match self.core.take(shard) {
            Some(claim) if self.core.slot(claim.slot()).notes().is_clean() => {
                self.core.idle().note_local(shard);
                claim
            }
            other => self.check_out_slow(other, shard, patience)?,
        };
        self.core.slot(claim.slot()).begin_use(&claim, thread::number());
        Ok(claim)
    }

    /// Takes back a connection that a caller has used.
    #[inline]
    pub(crate) fn check_in(&self, mut claim: Claim, how: Outcome) {
        let slot = self.core.slot(claim.slot());
        let judged = slot.resident_mut(&mut claim).map_or(Ok(()), |resident| resident.judge_return(how));
        slot.end_use(&claim);
        if judged.is_ok() && slot.notes().is_clean() {
            self.perform(self.core.give(claim, self.here(), clock::now));
        } else {
            self.check_in_slow(claim, judged);
        }
    }

    /// It must leave, or something is noted of it.
    #[cold]
    fn check_in_slow(&self, claim: Claim, judged: Result<(), CloseReason>) {
        let notes = self.core.slot(claim.slot()).notes();
        if notes.is_leaving() {
            return self.retire(claim, reason(notes));
        }
        if let Err(why) = judged {
            return self.retire(claim, why);
        }
        self.freshen(&claim, notes);
        self.perform(self.core.give(claim, self.here(), clock::now));
    }

    /// Nothing clean in this core's own shard: look at what was taken, steal, ask for growth, wait.
    #[cold]
    fn check_out_slow(&self, taken: Option<Claim>, shard: usize, patience: Patience) -> Result<Claim, GetError> {
        let mut taken = taken;
        while let Some(claim) = taken.or_else(|| self.core.take(shard)).or_else(|| self.steal(shard)) {
            match self.inspect(claim) {
                Some(sound) => return Ok(sound),
                None => taken = None,
            }
        }
        self.awaken();
        match patience {
            Patience::Only(Duration::ZERO) => Err(self.busy()),
            Patience::Only(limit) => self.wait(limit),
            Patience::Usual => self.wait(self.settings.load().wait_timeout),
        }
    }

    /// Takes from another shard: those that share this one's L3 first, each time beginning at another one.
    fn steal(&self, shard: usize) -> Option<Claim> {
        let (near, far) = self.dispatch.neighbours(shard);
        // Relaxed: only spreads the thieves.
        let turn = self.stolen[shard].load(Ordering::Relaxed) as usize;
        let claim = rotated(near, turn).chain(rotated(far, turn)).find_map(|victim| self.core.take(victim))?;
        count(&self.stolen[shard]);
        if self.core.idle().note_steal(shard) {
            self.ask();
        }
        Some(claim)
    }

    /// Asks for one dial in the background. False if the pool is closed.
    fn ask(&self) -> bool {
        self.hurry();
        self.core.demand().map(|duty| self.perform(duty)).is_some()
    }

    /// Looks at what is noted of a connection before anybody uses it. `None`: it had to leave.
    pub(crate) fn inspect(&self, mut claim: Claim) -> Option<Claim> {
        let slot = self.core.slot(claim.slot());
        let notes = slot.notes();
        if notes.is_clean() {
            return Some(claim);
        }
        if notes.is_leaving() {
            self.retire(claim, reason(notes));
            return None;
        }
        let found = slot.resident_mut(&mut claim).map_or(Ok(()), |resident| resident.look_for_data());
        if let Err(why) = found {
            self.retire(claim, why);
            return None;
        }
        self.freshen(&claim, notes);
        Some(claim)
    }

    /// It is in use, so it is not aged any more; the sweep may have to look at it again.
    fn freshen(&self, claim: &Claim, notes: Notes) {
        if notes.has(Notes::AGED) {
            self.core.clear(claim, Notes::AGED);
            self.rejuvenated();
        }
    }

    /// A caller that does not wait finds nothing. With room to grow, one dial begins for those who come later.
    fn busy(&self) -> GetError {
        GetError::bare(if self.ask() { GetErrorKind::Busy } else { GetErrorKind::Closed })
    }

    fn wait(&self, limit: Duration) -> Result<Claim, GetError> {
        let begun = clock::now();
        let deadline = begun.saturating_add(nanos(limit));
        let (seat, duty) = match self.core.enqueue(begun) {
            Ok(seated) => seated,
            Err(barred) => return Err(self.barred(barred)),
        };
        self.perform(duty);
        self.hurry();
        count(&self.counts.waited);
        loop {
            let (fate, duty) = self.core.wait(&seat, || {
                let now = clock::now();
                (now < deadline).then(|| Some(until(deadline, now)))
            });
            self.perform(duty);
            match fate {
                Fate::Granted(claim) => match self.inspect(claim) {
                    Some(sound) => return Ok(sound),
                    // Not the waiter's fault: back to its old place.
                    None => self.perform(self.core.rejoin(&seat)),
                },
                Fate::Closed => return Err(GetError::bare(GetErrorKind::Closed)),
                Fate::Refused(cause) => return Err(self.failure(GetErrorKind::Down, begun, Some(cause))),
                Fate::TimedOut => {
                    count(&self.counts.timed_out);
                    let cause = crate::sync::lock(&self.backoff).cause();
                    return Err(self.failure(GetErrorKind::TimedOut, begun, cause));
                }
            }
        }
    }

    fn barred(&self, barred: Barred<Cause>) -> GetError {
        match barred {
            Barred::Closed => GetError::bare(GetErrorKind::Closed),
            Barred::Crowded => self.failure(GetErrorKind::Refused, clock::now(), None),
            Barred::Refused(cause) => {
                self.hurry();
                self.failure(GetErrorKind::Down, clock::now(), Some(cause))
            }
        }
    }

    /// An error with all that is known: how long, the counts, whose leases, the cause.
    fn failure(&self, kind: GetErrorKind, begun: u64, cause: Option<Cause>) -> GetError {
        let census = self.core.census();
        let me = thread::number();
        let slots = (0..self.core.capacity()).map(SlotId::at);
        let detail = Detail {
            waited: until(clock::now(), begun),
            open: census.open,
            idle: census.idle,
            waiting: census.waiting,
            held_here: slots.filter(|slot| self.core.slot(*slot).holder() == me).count(),
            cause,
        };
        GetError::detailed(kind, detail)
    }
}

/// The shards of `list`, beginning at another one each turn.
fn rotated(list: &[u16], turn: usize) -> impl Iterator<Item = usize> {
    let begin = turn % list.len().max(1);
    list[begin..].iter().chain(&list[..begin]).map(|shard| usize::from(*shard))
}
