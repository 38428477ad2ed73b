//! The calls of a line that are not answered, in their order: first those that were handed to the connection, then those that wait in the
//! batch.
//!
//! Each has a number, by which its caller finds it: numbers follow one another without a gap. So a call that goes is only emptied where
//! it stands, and leaves with its neighbours: a *tombstone* among those that were handed over, whose replies still come, a *hollow* in the
//! batch, which owes nothing.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::place::{Delivery, Place};

/// One call.
#[derive(Debug)]
pub(super) struct Ticket<R, C> {
    pub(super) place: Arc<Place<R, C>>,
    /// Its length, written.
    bytes: usize,
    /// Replies that are still to come.
    due: usize,
    /// Some have come.
    answered: bool,
    /// Its caller is still there.
    living: bool,
    /// It may take as long as it likes: the watchdog does not look at it.
    patient: bool,
}

#[derive(Debug)]
pub(super) struct Order<R, C> {
    tickets: VecDeque<Ticket<R, C>>,
    /// The number of the first ticket.
    first: u64,
    /// How many of them were handed to the connection.
    sent: usize,
    /// Places that no call has, or will not have for long.
    spare: VecDeque<Arc<Place<R, C>>>,
}

/// Places kept for calls to come; more callers than this at a time allocate.
const SPARE: usize = 1_024;

impl<R, C> Order<R, C> {
    pub(super) fn new() -> Self {
        Order { tickets: VecDeque::new(), first: 0, sent: 0, spare: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.tickets.len()
    }

    /// The number of the first call that is not over.
    pub(super) fn begin(&self) -> u64 {
        self.first
    }

    /// The number of the next call.
    pub(super) fn end(&self) -> u64 {
        self.first + self.tickets.len() as u64
    }

    /// Calls that were handed to the connection.
    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// A call for the batch, with its number.
    pub(super) fn append(&mut self, bytes: usize, due: usize, patient: bool) -> (u64, Arc<Place<R, C>>) {
        let place = self.spare_place();
        let number = self.first + self.tickets.len() as u64;
        self.tickets.push_back(Ticket {
            place: Arc::clone(&place),
            bytes,
            due,
            answered: false,
            living: true,
            patient,
        });
        (number, place)
    }

    /// A place that nobody has. One whose last caller has not quite let go of it goes to the back.
    fn spare_place(&mut self) -> Arc<Place<R, C>> {
        for _ in 0..2 {
            let Some(mut place) = self.spare.pop_front() else { break };
            if let Some(own) = Arc::get_mut(&mut place) {
                own.reset();
                return place;
            }
            self.spare.push_back(place);
        }
        Arc::new(Place::new())
    }

    fn keep(&mut self, place: Arc<Place<R, C>>) {
        if self.spare.len() < SPARE {
            self.spare.push_back(place);
        }
    }

    fn index(&self, number: u64) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (index < self.tickets.len()).then_some(index)
    }

    /// Whether it waits for its replies.
    pub(super) fn has(&self, number: u64) -> bool {
        self.index(number).is_some_and(|index| self.tickets[index].living)
    }

    /// All that are in the batch have been handed over.
    pub(super) fn hand_over(&mut self) {
        self.sent = self.tickets.len();
        self.trim();
    }

    /// So many replies have come: where they belong. Says how many belong nowhere.
    pub(super) fn answer(&mut self, mut replies: usize, into: &mut Vec<Delivery<R, C>>) -> usize {
        while replies > 0 && self.sent > 0 {
            let ticket = &mut self.tickets[0];
            let count = ticket.due.min(replies);
            (ticket.due, replies) = (ticket.due - count, replies - count);
            let last = ticket.due == 0;
            ticket.answered = true;
            into.push(Delivery { place: Arc::clone(&ticket.place), count, last });
            self.trim();
        }
        replies
    }

    /// Lets go of what owes nothing, at both ends.
    fn trim(&mut self) {
        while self.tickets.front().is_some_and(|ticket| ticket.due == 0) {
            if let Some(ticket) = self.tickets.pop_front() {
                self.keep(ticket.place);
            }
            self.first += 1;
            self.sent = self.sent.saturating_sub(1);
        }
        while self.tickets.len() > self.sent && self.tickets.back().is_some_and(|ticket| ticket.due == 0) {
            if let Some(ticket) = self.tickets.pop_back() {
                self.keep(ticket.place);
            }
        }
    }

    /// Its caller goes. If it was still in the batch: where its bytes are there.
    pub(super) fn leave(&mut self, number: u64) -> Left {
        let Some(index) = self.index(number) else { return Left::Over };
        let begin = self.tickets.range(self.sent.min(index)..index).map(|ticket| ticket.bytes).sum::<usize>();
        let ticket = &mut self.tickets[index];
        ticket.living = false;
        if index < self.sent {
            return Left::Tombstone;
        }
        let bytes = std::mem::take(&mut ticket.bytes);
        ticket.due = 0;
        self.trim();
        Left::Withdrawn(begin..begin + bytes)
    }

    /// The first caller of all that are handed over and not answered, or of all.
    pub(super) fn first_living(&self, but: u64) -> Option<&Arc<Place<R, C>>> {
        self.living_from(0, but)
    }

    /// The first caller of the batch.
    pub(super) fn first_unsent(&self, but: u64) -> Option<&Arc<Place<R, C>>> {
        self.living_from(self.sent, but)
    }

    fn living_from(&self, index: usize, but: u64) -> Option<&Arc<Place<R, C>>> {
        let mut rest = self.tickets.range(index.min(self.tickets.len())..).zip(self.first + index as u64..);
        rest.find(|(ticket, number)| ticket.living && *number != but).map(|(ticket, _)| &ticket.place)
    }

    /// Whether anybody waits for what was handed over.
    pub(super) fn is_awaited(&self) -> bool {
        self.tickets.range(..self.sent).any(|ticket| ticket.living)
    }

    /// What was handed over is answered no more, and nobody waits for it.
    pub(super) fn forget_sent(&mut self) {
        self.first += self.sent as u64;
        self.tickets.drain(..self.sent);
        self.sent = 0;
        self.trim();
    }

    /// Whether the watchdog looks at the oldest call.
    pub(super) fn is_watched(&self) -> bool {
        self.tickets.front().is_some_and(|oldest| self.sent > 0 && !oldest.patient)
    }

    /// The connection has ended. Of the last bytes that it was handed, `written` of `handed` were written: calls that begin after these
    /// are in the batch again, if their callers are still there, and `rescued` says where in those bytes they stand. The callers of all
    /// the others are `lost`: among them whose call got a reply before it was written, as the peer's last word may come. On the next
    /// connection it would be owed one more than it waits for.
    pub(super) fn break_off(
        &mut self,
        handed: usize,
        written: usize,
        rescued: &mut Vec<Range<usize>>,
        lost: &mut Vec<Arc<Place<R, C>>>,
    ) {
        let (mut begin, mut kept) = (handed, self.sent);
        while kept > 0 {
            let ticket = &mut self.tickets[kept - 1];
            let is_hollow = ticket.due == 0;
            if !is_hollow && (ticket.bytes == 0 || ticket.answered || begin < written + ticket.bytes) {
                break;
            }
            begin -= ticket.bytes;
            kept -= 1;
            if ticket.living {
                rescued.push(begin..begin + ticket.bytes);
            } else {
                (ticket.bytes, ticket.due) = (0, 0);
            }
        }
        rescued.reverse();
        for ticket in self.tickets.drain(..kept) {
            self.first += 1;
            if ticket.living {
                lost.push(ticket.place);
            }
        }
        self.sent = 0;
        self.trim();
    }

    /// The callers of the batch, which is given up.
    pub(super) fn dissolve(&mut self, into: &mut Vec<Arc<Place<R, C>>>) {
        for ticket in self.tickets.drain(self.sent..).filter(|ticket| ticket.living) {
            into.push(ticket.place);
        }
    }
}

/// What a caller that goes leaves behind.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Its call was over.
    Over,
    /// Its replies will still come, and belong to nobody.
    Tombstone,
    /// Nothing: these bytes of the batch are not to be written.
    Withdrawn(Range<usize>),
}

#[cfg(all(test, not(any(corepool_loom, corepool_shuttle))))]
mod tests {
    use super::*;

    /// What becomes of two calls of three replies, six bytes each, when the connection that was handed them has taken none of their bytes,
    /// and so many replies have come all the same: where they are in the next batch, and how many are lost.
    fn broken_off(replies: usize) -> (Vec<(usize, usize)>, usize) {
        let mut order = Order::<(), ()>::new();
        order.append(6, 3, false);
        order.append(6, 3, false);
        order.hand_over();
        order.answer(replies, &mut Vec::new());
        let (mut rescued, mut lost) = (Vec::new(), Vec::new());
        order.break_off(12, 0, &mut rescued, &mut lost);
        assert_eq!(order.len(), rescued.len());
        (rescued.iter().map(|bytes| (bytes.start, bytes.end)).collect(), lost.len())
    }

    #[test]
    fn a_call_that_got_a_reply_before_it_was_written_is_not_written_again() {
        assert_eq!(broken_off(0), (vec![(0, 6), (6, 12)], 0));
        assert_eq!(broken_off(1), (vec![(6, 12)], 1));
        assert_eq!(broken_off(3), (vec![(6, 12)], 0));
        assert_eq!(broken_off(4), (vec![], 1));
    }
}
