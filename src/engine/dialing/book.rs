//! The book of dials: which are under way, which have outlasted their time, and how many threads may dial.
//!
//! A dial whose time is up has lost its permit, but its thread may hang in it for as long as the kernel tries to connect, which is
//! some 130 s, or for ever. Such a thread stands in the way of no other dial until very many of them hang. Meanwhile the pauses
//! between probes grow, so that the bound is reached only after the first of them must have come back.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Beside;
use crate::lockfree::bag::Permit;
use crate::os::clock::{NEVER, nanos};
use crate::watch::duplicate::Cut;

/// A dial under way, as its thread holds it.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) permit: Permit,
    /// When it began.
    pub(crate) begun: u64,
    pub(crate) deadline: u64,
    /// Which one it is since the last success.
    pub(crate) number: u32,
    /// The pool's retirements by then.
    pub(crate) retirements: u64,
    pub(crate) cut: Arc<Cut>,
}

/// The same as the book has it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) ticket: u64,
    pub(crate) begun: u64,
    deadline: u64,
    era: u64,
    slow: bool,
    pub(crate) cut: Arc<Cut>,
}

/// What a dial was when its thread came back from it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    InTime,
    /// It has counted as failed before.
    Overdue,
    /// Nobody wants it any more: the manager was replaced, or all connections retired, while it was under way.
    Disowned,
}

/// A dial whose time is up, and whose thread has not come back.
#[derive(Debug)]
struct Hung {
    ticket: u64,
    begun: u64,
    deadline: u64,
    era: u64,
    /// It was dialing what nobody wants any more.
    disowned: bool,
}

/// The dials of a pool that are under way.
#[derive(Debug, Default)]
pub(super) struct Book {
    running: Vec<Running>,
    hung: Vec<Hung>,
    /// How many managers there were before this one.
    era: u64,
}

/// So many times `dials_at_once` threads may hang.
const HUNG: usize = 4;

/// How long it takes until as many hang, at the least: for so long Linux tries to connect to who does not answer.
const KERNEL_GIVES_UP: Duration = Duration::from_secs(130);

/// A dial that is under way for longer than this will hardly serve the next caller.
const SLOW: Duration = Duration::from_secs(1);

impl Book {
    pub(super) fn enter(&mut self, attempt: &Attempt) {
        self.running.push(Running {
            ticket: attempt.permit.ticket,
            begun: attempt.begun,
            deadline: attempt.deadline,
            era: self.era,
            slow: false,
            cut: Arc::clone(&attempt.cut),
        });
    }

    /// Its thread is back.
    pub(super) fn leave(&mut self, ticket: u64) -> Ended {
        if let Some(place) = self.running.iter().position(|running| running.ticket == ticket) {
            self.running.swap_remove(place);
            return Ended::InTime;
        }
        let place = self.hung.iter().position(|hung| hung.ticket == ticket);
        match place.map(|place| self.hung.swap_remove(place)) {
            Some(hung) if !hung.disowned => Ended::Overdue,
            _ => Ended::Disowned,
        }
    }

    /// Those whose time is up by `now`.
    pub(super) fn take_overdue(&mut self, now: u64) -> Vec<Running> {
        let overdue: Vec<_> = self.running.extract_if(.., |running| running.deadline <= now).collect();
        self.hung.extend(overdue.iter().map(|running| Hung::from(running, false)));
        overdue
    }

    /// None of them is wanted any more.
    pub(super) fn disown(&mut self) -> Vec<Running> {
        self.hung.iter_mut().for_each(|hung| hung.disowned = true);
        self.hung.extend(self.running.iter().map(|running| Hung::from(running, true)));
        std::mem::take(&mut self.running)
    }

    /// From now on another manager dials.
    pub(super) fn begin_era(&mut self) {
        self.era += 1;
    }

    /// The tickets of those that have become slow.
    pub(super) fn take_slow(&mut self, now: u64) -> Vec<u64> {
        let turned = |running: &mut Running| {
            let slow = running.slow_from() <= now;
            slow && !std::mem::replace(&mut running.slow, slow)
        };
        self.running.iter_mut().filter_map(|running| turned(running).then_some(running.ticket)).collect()
    }

    pub(super) fn cuts(&self) -> Vec<Arc<Cut>> {
        self.running.iter().map(|running| Arc::clone(&running.cut)).collect()
    }

    /// By when all that are under way should be back, whether they are wanted or not.
    pub(super) fn last_deadline(&self) -> u64 {
        let hung = self.hung.iter().map(|hung| hung.deadline);
        self.running.iter().map(|running| running.deadline).chain(hung).max().unwrap_or(0)
    }

    /// Threads that have not come back.
    pub(super) fn threads(&self) -> usize {
        self.running.len() + self.hung.len()
    }

    /// Threads that may dial, of `most`.
    pub(super) fn free(&self, most: usize) -> usize {
        let free = most.min((HUNG * most).saturating_sub(self.hung.len()));
        // A new manager has its try, whatever hangs of those before.
        let has_tried = self.hung.iter().any(|hung| hung.era == self.era) || !self.running.is_empty();
        if has_tried { free } else { free.max(1) }
    }

    /// What those under way mean for the next dial.
    pub(super) fn beside(&self, most: usize) -> Beside {
        let bound = HUNG * most;
        let hung = self.hung.iter().filter(|hung| !hung.disowned).count();
        let pause = if self.free(most) == 0 { NEVER } else { pause_beside(hung.min(bound), bound) };
        Beside { running: !self.running.is_empty(), pause }
    }

    /// How many hang, and since when the first of them, if no more may.
    pub(super) fn full(&self, most: usize) -> Option<(usize, u64)> {
        let oldest = self.hung.iter().map(|hung| hung.begun).min()?;
        (self.free(most) == 0).then_some((self.hung.len(), oldest))
    }

    /// When the oldest of those within their time began.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.running.iter().map(|running| running.begun).min()
    }

    /// When one is overdue, or slow, next.
    pub(super) fn due(&self) -> u64 {
        let dues = self.running.iter().map(|running| match running.slow {
            true => running.deadline,
            false => running.deadline.min(running.slow_from()),
        });
        dues.min().unwrap_or(NEVER)
    }
}

impl Running {
    fn slow_from(&self) -> u64 {
        self.begun.saturating_add(nanos(SLOW))
    }
}

impl Hung {
    fn from(running: &Running, disowned: bool) -> Self {
        Hung { ticket: running.ticket, begun: running.begun, deadline: running.deadline, era: running.era, disowned }
    }
}

/// The pause while this many of `bound` hang: as the square of their number, so that all pauses together are what they have to be and
/// the first of them, in which an endpoint mostly comes back, are short.
fn pause_beside(hung: usize, bound: usize) -> u64 {
    let square = |n: usize| (n * n) as u64;
    let all: u64 = (1..bound).map(square).sum();
    nanos(KERNEL_GIVES_UP) / all.max(1) * square(hung)
}

#[cfg(all(test, not(corepool_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_bound_on_hung_dials_outlasts_the_kernel() {
        for most in [1, 2, 4, 64] {
            let bound = HUNG * most;
            let pauses: u64 = (1..bound).map(|hung| pause_beside(hung, bound)).sum();
            assert!(pauses > nanos(KERNEL_GIVES_UP) - nanos(SLOW), "{most}: {pauses}");
        }
        assert!(pause_beside(4, 16) < 2 * nanos(SLOW));
    }

    #[test]
    fn what_hangs_and_nobody_wants_any_more_makes_no_pause_longer() {
        let attempt = |ticket| Attempt {
            permit: Permit { ticket },
            begun: 0,
            deadline: 10,
            number: 1,
            retirements: 0,
            cut: Arc::default(),
        };
        let mut book = Book::default();
        let [hangs, runs] = [attempt(1), attempt(2)];
        book.enter(&hangs);
        assert_eq!(book.take_overdue(10).len(), 1);
        book.enter(&runs);
        assert!(book.beside(4).pause > 0 && book.beside(4).running);
        assert_eq!(book.disown().len(), 1);
        assert!(book.beside(4).pause == 0 && !book.beside(4).running, "{:?}", book.beside(4));
        assert_eq!(book.threads(), 2);
        assert_eq!([1, 2, 3].map(|ticket| book.leave(ticket)), [Ended::Disowned, Ended::Disowned, Ended::Disowned]);
        assert_eq!(book.threads(), 0);
    }
}
