//! A waiter's ways: into the queue, out of it, and back to its place.

use super::super::queue::Queue;
use super::{Bag, Barred, Claim, Duty, Fate, Seat};
use crate::sync::{Nap, nap};

impl<T, R: Clone> Bag<T, R> {
    /// Into the queue, at its end. The duty is to be done before [`wait`](Bag::wait).
    pub(crate) fn enqueue(&self, now: u64) -> Result<(Seat, Duty<T>), Barred<R>> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(Barred::Closed);
        }
        if let Some(reason) = &queue.refusal
            && self.none_open(&queue)
        {
            return Err(Barred::Refused(reason.clone()));
        }
        if queue.waiting.len() >= queue.limits.max_waiters {
            return Err(Barred::Crowded);
        }
        let seat = queue.seat(now);
        queue.sit(&seat);
        Ok((seat, self.finish(queue, None)))
    }

    /// Back to its old place: what it was granted could not be used, and was evicted.
    pub(crate) fn rejoin(&self, seat: &Seat) -> Duty<T> {
        let mut queue = self.lock();
        if queue.closed {
            queue.settled.insert(seat.number, Fate::Closed);
        } else {
            queue.sit(seat);
        }
        self.finish(queue, None)
    }

    /// Sleeps until the waiter's fate is settled. `left` says how long that may take: `None` once its time is up, and of the rest
    /// as [`nap`] has it. It runs under the lock and must not block.
    pub(crate) fn wait(&self, seat: &Seat, mut left: impl FnMut() -> Option<Nap>) -> (Fate<R>, Duty<T>) {
        let mut queue = self.lock();
        loop {
            if let Some(fate) = queue.settled.remove(&seat.number) {
                return (fate, Duty::none());
            }
            let left = left();
            let rung = queue.awake(seat);
            // Whoever was rung looks; anybody looks once more before they give up.
            if (rung || left.is_none())
                && queue.may_be_stirred()
                && let Some(claim) = self.scan(&mut queue)
            {
                queue.waiting.remove(&seat.number);
                return (Fate::Granted(claim), self.finish(queue, None));
            }
            match left {
                None => {
                    queue.waiting.remove(&seat.number);
                    return (Fate::TimedOut, self.finish(queue, None));
                }
                // Somebody was faster. What was idle stood against a dial for this waiter, which is due now; and nobody may be on
                // their way any more.
                Some(_) if rung => return (Fate::Open, self.finish(queue, None)),
                Some(left) => queue = nap(&seat.bell, queue, &self.queue, left),
            }
        }
    }

    fn scan(&self, queue: &mut Queue<R>) -> Option<Claim> {
        let slot = self.idle.take_any();
        queue.stirred = slot.is_some();
        slot.map(Claim::of)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }
}
