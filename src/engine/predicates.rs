//! Which connections are still to be judged by which of the owner's predicates ([`Pool::retire_where`](crate::Pool::retire_where)).
//!
//! A predicate stands until every connection that was open, and every dial that was under way, when it was given has been judged by it or
//! is gone. Each such connection has the note *unjudged*; whoever owns it then asks here. The predicates are the user's code: nothing
//! here calls one, or drops one, under the lock.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::lockfree::bits::Life;
use crate::manager::Manager;
use crate::os::contain::contain;
use crate::sync::{Mutex, lock};

/// Predicates that stand at a time. One more, and what the oldest has not judged yet is retired unseen: or a lease that never comes
/// back would keep all that are ever given.
const MOST: usize = 16;

/// Which connections are unwanted, in the user's words.
pub(super) struct Predicate<M: Manager> {
    /// `None` only while it is dropped.
    unwanted: Option<Unwanted<M::Connection>>,
}

type Unwanted<C> = Box<dyn Fn(&C) -> bool + Send + Sync>;

impl<M: Manager> Predicate<M> {
    /// Whether it means this one. A panic says that it does.
    pub(super) fn means(&self, connection: &M::Connection) -> bool {
        contain(|| self.unwanted.as_ref().is_none_or(|unwanted| unwanted(connection))).unwrap_or(true)
    }
}

impl<M: Manager> Drop for Predicate<M> {
    /// What it has captured is the user's, and its end may panic: wherever the last handle goes, somebody may have a claim in hand.
    fn drop(&mut self) {
        let unwanted = self.unwanted.take();
        let _ = contain(|| drop(unwanted));
    }
}

/// All that stand.
#[derive(Debug)]
pub(super) struct Predicates<M: Manager> {
    standing: Mutex<Standing<M>>,
    /// A background thread judges those that lie idle.
    judging: AtomicBool,
}

#[derive(Debug)]
struct Standing<M: Manager> {
    entries: Vec<Entry<M>>,
    /// When those dials began that have opened something which is on its way into the pool.
    arriving: Vec<u64>,
    /// What was dialed before this, and lands now, comes too late to be judged, and is retired.
    too_late: u64,
}

struct Entry<M: Manager> {
    predicate: Arc<Predicate<M>>,
    /// When it was given.
    at: u64,
    /// Those it has still to judge, once they are known.
    lives: Option<HashSet<Life>>,
}

impl<M: Manager> Default for Predicates<M> {
    fn default() -> Self {
        let standing = Mutex::new(Standing { entries: Vec::new(), arriving: Vec::new(), too_late: 0 });
        Predicates { standing, judging: AtomicBool::new(false) }
    }
}

impl<M: Manager> Predicates<M> {
    /// One is given. From now on it judges what lands. Returns what the oldest has left to judge, if there are too many.
    pub(super) fn add(
        &self,
        at: u64,
        unwanted: impl Fn(&M::Connection) -> bool + Send + Sync + 'static,
    ) -> (Arc<Predicate<M>>, HashSet<Life>) {
        let predicate = Arc::new(Predicate { unwanted: Some(Box::new(unwanted)) });
        let entry = Entry { predicate: Arc::clone(&predicate), at, lives: None };
        let given_up = {
            let mut standing = lock(&self.standing);
            standing.entries.push(entry);
            (standing.entries.len() > MOST).then(|| {
                let oldest = standing.entries.remove(0);
                standing.too_late = standing.too_late.max(oldest.at);
                oldest
            })
        };
        (predicate, given_up.and_then(|entry| entry.lives).unwrap_or_default())
    }

    /// It has these to judge, which are open.
    pub(super) fn judges(&self, predicate: &Arc<Predicate<M>>, lives: HashSet<Life>) {
        let mut standing = lock(&self.standing);
        if let Some(entry) = standing.entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.predicate, predicate)) {
            entry.lives = Some(lives);
        }
    }

    /// Those that have still to judge this one. Once: the caller does it.
    pub(super) fn of(&self, life: Life) -> Vec<Arc<Predicate<M>>> {
        let mut standing = lock(&self.standing);
        let mine = standing
            .entries
            .iter_mut()
            .filter_map(|Entry { predicate, lives, .. }| lives.as_mut()?.remove(&life).then(|| Arc::clone(predicate)));
        mine.collect()
    }

    /// What a dial that began at `begun` has opened is on its way into the pool, for as long as what this returns lives. To be said while
    /// the dial is in the book still.
    pub(super) fn arriving(&self, begun: u64) -> Arriving<'_, M> {
        lock(&self.standing).arriving.push(begun);
        Arriving { predicates: self, begun }
    }

    /// Those that have to judge what a dial that began at `begun` has opened; `None` if it comes too late for that.
    pub(super) fn of_dial(&self, begun: u64) -> Option<Vec<Arc<Predicate<M>>>> {
        let standing = lock(&self.standing);
        let mine = standing.entries.iter().filter(|entry| begun <= entry.at).map(|entry| Arc::clone(&entry.predicate));
        (begun > standing.too_late).then(|| mine.collect())
    }

    /// Lets go of those that have nothing left to judge: of what is open `is_there` knows, and no dial in the book began before `oldest`.
    /// The caller drops them where that may be.
    pub(super) fn forget_done(&self, oldest: u64, is_there: impl Fn(Life) -> bool) -> Vec<Arc<Predicate<M>>> {
        let mut standing = lock(&self.standing);
        let oldest = standing.arriving.iter().copied().min().unwrap_or(oldest).min(oldest);
        let (mut done, mut left) = (Vec::new(), Vec::new());
        for entry in mem::take(&mut standing.entries) {
            let has_more = entry.lives.as_ref().is_none_or(|lives| lives.iter().any(|life| is_there(*life)));
            if !has_more && entry.at < oldest {
                // A dial that was given up, and lands all the same, is none of those.
                standing.too_late = standing.too_late.max(entry.at);
                done.push(entry.predicate);
            } else {
                left.push(entry);
            }
        }
        standing.entries = left;
        done
    }

    /// Whether the caller is to judge those that lie idle, and say when it has.
    pub(super) fn begin_judging(&self) -> bool {
        // Relaxed: it bounds the threads; what is to be judged has its note.
        !self.judging.swap(true, Ordering::Relaxed)
    }

    pub(super) fn end_judging(&self) {
        // Relaxed: as above.
        self.judging.store(false, Ordering::Relaxed);
    }
}

/// While it lives, something arrives.
pub(super) struct Arriving<'a, M: Manager> {
    predicates: &'a Predicates<M>,
    begun: u64,
}

impl<M: Manager> Drop for Arriving<'_, M> {
    fn drop(&mut self) {
        let arriving = &mut lock(&self.predicates.standing).arriving;
        if let Some(place) = arriving.iter().position(|begun| *begun == self.begun) {
            arriving.swap_remove(place);
        }
    }
}

impl<M: Manager> fmt::Debug for Entry<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lives = self.lives.as_ref().map(HashSet::len);
        f.debug_struct("Entry").field("at", &self.at).field("lives", &lives).finish_non_exhaustive()
    }
}
