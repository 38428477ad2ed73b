//! The book of dials: which are under way, which have outlasted their time, and how many threads may dial.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::lockfree::bag::Permit;
use crate::os::clock::NEVER;
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

/// The dials of a pool that are under way.
#[derive(Debug, Default)]
pub(super) struct Book {
    running: Vec<Running>,
    /// The tickets of those whose time is up and whose thread has not returned.
    overdue: Vec<u64>,
    /// Threads that have not returned from what nobody wants any more.
    disowned: usize,
}

/// So many times `dials_at_once` may be disowned and under way, before they stand in the way of others.
const DISOWNED: usize = 4;

impl Book {
    pub(super) fn enter(&mut self, attempt: &Attempt) {
        self.running.push(Running {
            ticket: attempt.permit.ticket,
            begun: attempt.begun,
            deadline: attempt.deadline,
            cut: Arc::clone(&attempt.cut),
        });
    }

    /// Its thread is back.
    pub(super) fn leave(&mut self, ticket: u64) -> Ended {
        if let Some(place) = self.running.iter().position(|running| running.ticket == ticket) {
            self.running.swap_remove(place);
            Ended::InTime
        } else if let Some(place) = self.overdue.iter().position(|overdue| *overdue == ticket) {
            self.overdue.swap_remove(place);
            Ended::Overdue
        } else {
            self.disowned -= 1;
            Ended::Disowned
        }
    }

    /// Those whose time is up by `now`.
    pub(super) fn take_overdue(&mut self, now: u64) -> Vec<Running> {
        let overdue: Vec<_> = self.running.extract_if(.., |running| running.deadline <= now).collect();
        self.overdue.extend(overdue.iter().map(|running| running.ticket));
        overdue
    }

    /// None of them is wanted any more.
    pub(super) fn disown(&mut self) -> Vec<Running> {
        self.disowned += self.running.len() + self.overdue.len();
        self.overdue.clear();
        std::mem::take(&mut self.running)
    }

    /// Whatever blocks on a socket that one of them named returns.
    pub(super) fn cut_all(&self) {
        self.running.iter().for_each(|running| running.cut.cut());
    }

    /// Threads that may dial, of `most`: one that hangs counts until it returns.
    pub(super) fn free(&self, most: usize) -> usize {
        let spare = (DISOWNED * most).saturating_sub(self.disowned);
        most.saturating_sub(self.overdue.len()).min(spare)
    }

    /// When the next one is overdue.
    pub(super) fn next_deadline(&self) -> u64 {
        self.running.iter().map(|running| running.deadline).min().unwrap_or(NEVER)
    }
}
