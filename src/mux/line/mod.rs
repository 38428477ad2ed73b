//! A line: one full-duplex connection that many blocking callers use at once.
//!
//! What it is for, its states, its rules and why they hold are in `README.md`. Memory only: the world comes through [`wire::Wire`], time
//! through [`wire::Time`], so that the models run this very code.
#![forbid(unsafe_code)]

mod desk;
mod jobs;
mod order;
mod pace;
mod place;
pub(crate) mod wire;

use self::desk::Desk;
use self::jobs::{Job, Pen, Phase, Wreck};
use self::place::{Delivery, Place, Round, Woken};
use self::wire::{Look, Time, Wire};
use crate::sync::{Condvar, Mutex, MutexGuard, lock, nap};

pub(crate) use self::jobs::{Call, Limits, Lost, Snapshot};
pub(crate) use self::place::{End, Replies};

pub(crate) struct Line<W: Wire> {
    desk: Mutex<Desk<W>>,
    /// Rung when there is room, and when there is no connection any more.
    news: Condvar,
    limits: Limits,
}

impl<W: Wire> Line<W> {
    pub(crate) fn new(limits: Limits) -> Self {
        Line { desk: Mutex::new(Desk::new()), news: Condvar::new(), limits }
    }

    /// What it has done so far, and what it looks like.
    pub(crate) fn look(&self) -> Snapshot {
        let desk = lock(&self.desk);
        Snapshot { tally: desk.tally, in_flight: desk.order.len(), is_leaving: desk.is_leaving() }
    }

    /// Has a call written, and waits for its replies. Returns those that have come, and what became of the rest.
    pub(crate) fn call(&self, wire: &W, call: Call<'_>, time: &W::Time) -> (Replies<W::Reply>, Result<(), Lost<W>>) {
        let mut desk = match self.enter(wire, call, time) {
            Ok(desk) => desk,
            Err(lost) => return (Replies::NONE, Err(lost)),
        };
        let (number, place) = desk.append(call.bytes, call.due, call.patient);
        loop {
            if !desk.order.has(number) {
                // Over: somebody is on the way to this caller's place with the end of it, or has been there.
                self.go(wire, desk, number);
            } else {
                match desk.next_job(wire) {
                    Job::Wait => drop(desk),
                    Job::Open => {
                        drop(desk);
                        desk = match self.open(wire, number, time) {
                            Ok(desk) => desk,
                            Err(refusal) => return (Replies::NONE, Err(Lost::Refused(refusal))),
                        };
                        continue;
                    }
                    job => {
                        let got_on = match self.work(wire, desk, job, number, &place, time) {
                            Worked::Over(replies) => return (replies, Ok(())),
                            Worked::Done(got_on, kept) => {
                                desk = kept.unwrap_or_else(|| lock(&self.desk));
                                got_on
                            }
                        };
                        if !got_on && time.left().is_none() {
                            return self.abandon(wire, desk, number, &place);
                        }
                        continue;
                    }
                }
            }
            match place.wait(time) {
                Woken::Over(replies, how) => return (replies, how.into_result()),
                Woken::Rung => desk = lock(&self.desk),
                Woken::TimeUp => return self.abandon(wire, lock(&self.desk), number, &place),
            }
        }
    }

    /// Comes to the desk with a call, when there is room for it. Until then it does what is to be done: those whose calls are in the way
    /// may all have gone.
    fn enter(&self, wire: &W, call: Call<'_>, time: &W::Time) -> Result<Desks<'_, W>, Lost<W>> {
        let mut desk = lock(&self.desk);
        loop {
            if desk.closed {
                return Err(Lost::Closed);
            }
            if desk.has_room(call.bytes.len(), self.limits) {
                return Ok(desk);
            }
            match (desk.next_duty(wire), time.left()) {
                (Job::Wait, Some(limit)) => {
                    desk.listening += 1;
                    desk = nap(&self.news, desk, &self.desk, limit);
                    desk.listening -= 1;
                }
                (Job::Wait, None) => {
                    self.go(wire, desk, NOBODY);
                    return Err(Lost::NoRoom);
                }
                (job, left) => {
                    drop(self.work(wire, desk, job, NOBODY, &Place::new(), time));
                    desk = lock(&self.desk);
                    // Once also without any time left: the replies of those in the way may be there, and nobody else has the time to look.
                    if left.is_none() && !desk.has_room(call.bytes.len(), self.limits) {
                        self.go(wire, desk, NOBODY);
                        return Err(Lost::NoRoom);
                    }
                }
            }
        }
    }

    /// Opens a connection for all.
    fn open(&self, wire: &W, number: u64, time: &W::Time) -> Result<Desks<'_, W>, W::Refusal> {
        let opened = wire.open(time);
        let mut desk = lock(&self.desk);
        match opened {
            Ok(parts) => {
                desk.install(parts);
                Ok(desk)
            }
            Err(refusal) => {
                desk.phase = Phase::Down;
                desk.leave(number);
                self.go(wire, desk, number);
                Err(refusal)
            }
        }
    }

    /// Does what is to be done, for all.
    fn work(
        &self,
        wire: &W,
        desk: Desks<'_, W>,
        job: Job<W>,
        number: u64,
        place: &Place<W::Reply, W::Cause>,
        time: &W::Time,
    ) -> Worked<'_, W> {
        drop(desk);
        match job {
            Job::Write(pen) => {
                let (whole, kept) = self.write(wire, pen, number, time);
                Worked::Done(whole, kept)
            }
            Job::Read(input, moment) => {
                let look = if moment { Look::Moment } else { Look::Long };
                self.read(wire, input, look, number, place, time)
            }
            Job::GiveUp(parts) => {
                wire.give_up(parts, false);
                Worked::Done(true, None)
            }
            Job::Open | Job::Wait => Worked::Done(true, None),
        }
    }

    /// Whether everything is written now, and the desk, if there was no reason to leave it.
    fn write(&self, wire: &W, mut pen: Pen<W::Output>, number: u64, time: &W::Time) -> (bool, Option<Desks<'_, W>>) {
        let look = if pen.full { Look::Moment } else { Look::AtOnce };
        let sent = wire.send(&mut pen.output, &pen.bytes[pen.done..], look, time);
        let written = *sent.as_ref().unwrap_or(&0);
        pen.done += written;
        pen.full = written == 0;
        // What is not written by now may be left to others.
        let whole = !pen.has_rest();
        let mut desk = lock(&self.desk);
        if let Err(cause) = sent {
            desk.fail(cause);
            drop(desk);
            wire.hang_up_output(&pen.output);
            desk = lock(&self.desk);
        }
        desk.lay_down_pen(pen);
        (whole, self.clear(wire, desk, number))
    }

    fn read(
        &self,
        wire: &W,
        mut input: W::Input,
        look: Look,
        number: u64,
        place: &Place<W::Reply, W::Cause>,
        time: &W::Time,
    ) -> Worked<'_, W> {
        let mut round = place.take_round();
        let received = wire.receive(&mut input, &mut round.replies, look, time);
        let replies = round.replies.len();
        let mut desk = lock(&self.desk);
        let answered = desk.answer(wire, replies, &mut round.deliveries);
        if round.ends_half_way() {
            // Before anybody else reads the rest of these replies, and delivers it.
            drop(desk);
            self.deliver_half(wire, &mut round);
            desk = lock(&self.desk);
        }
        if let Err(cause) = answered.and(received) {
            desk.fail(cause);
            drop(desk);
            wire.hang_up_input(&input);
            desk = lock(&self.desk);
        }
        desk.lay_down_input(input);
        let pen = desk.held_back(wire);
        // The lead first, then the replies: whoever leads next is on the way while the others are woken.
        drop(self.clear(wire, desk, number));
        if let Some(pen) = pen {
            drop(self.write(wire, pen, number, time));
        }
        let own = self.deliver(wire, &mut round, place);
        round.shrink();
        place.keep_round(round);
        own.map_or(Worked::Done(replies > 0, None), Worked::Over)
    }

    /// Takes a round of replies to their places. Returns those of the caller who does it, if these are the last of them.
    fn deliver(
        &self,
        wire: &W,
        round: &mut Round<W::Reply, W::Cause>,
        own: &Place<W::Reply, W::Cause>,
    ) -> Option<Replies<W::Reply>> {
        let mut finished = None;
        let mut replies = round.replies.drain(..);
        for Delivery { place, count, last } in round.deliveries.drain(..) {
            if last && std::ptr::eq(&*place, own) {
                finished = Some(own.finish(replies.by_ref().take(count)));
                continue;
            }
            if !place.put(replies.by_ref().take(count), last) {
                replies.by_ref().take(count).for_each(|reply| wire.forget(reply));
            }
        }
        replies.for_each(|reply| wire.forget(reply));
        finished
    }

    /// Takes the last replies of a round to their place, which is to get more.
    #[cold]
    fn deliver_half(&self, wire: &W, round: &mut Round<W::Reply, W::Cause>) {
        let Some(Delivery { place, count, last }) = round.deliveries.pop() else { return };
        let begin = round.deliveries.iter().map(|delivery| delivery.count).sum::<usize>();
        let mut replies = round.replies.drain(begin..begin + count);
        if !place.put(replies.by_ref(), last) {
            replies.for_each(|reply| wire.forget(reply));
        }
    }

    /// One of the halves is home. Clears away what is left of a connection that has failed, and calls others to the desk if this caller
    /// does not come back to it. Who comes back, and has nobody to tell of anything, is still there.
    fn clear<'a>(&'a self, wire: &W, desk: Desks<'a, W>, number: u64) -> Option<Desks<'a, W>> {
        if !desk.order.has(number) {
            self.leave_desk(wire, desk, number, true);
            return None;
        }
        if desk.is_quiet() {
            return Some(desk);
        }
        self.leave_desk(wire, desk, NOBODY, false);
        None
    }

    /// This caller goes: whoever has something to do here is called.
    fn go(&self, wire: &W, desk: Desks<'_, W>, number: u64) {
        self.leave_desk(wire, desk, number, true);
    }

    fn leave_desk(&self, wire: &W, mut desk: Desks<'_, W>, number: u64, for_good: bool) {
        let wreck = desk.take_wreck();
        let given_up = if for_good { desk.take_up() } else { None };
        let heirs = if for_good || wreck.is_some() { desk.heirs(number) } else { [None, None] };
        let listening = desk.listening > 0;
        drop(desk);
        heirs.into_iter().flatten().for_each(|heir| heir.ring());
        if listening {
            self.news.notify_all();
        }
        if let Some(Wreck { parts, cause, lost }) = wreck {
            lost.iter().for_each(|place| place.end(End::Disconnected(cause.clone())));
            wire.give_up(parts, true);
        }
        if let Some(parts) = given_up {
            wire.give_up(parts, false);
        }
    }

    /// Its time is up.
    fn abandon(
        &self,
        wire: &W,
        mut desk: Desks<'_, W>,
        number: u64,
        place: &Place<W::Reply, W::Cause>,
    ) -> (Replies<W::Reply>, Result<(), Lost<W>>) {
        let sent = desk.leave(number);
        self.go(wire, desk, number);
        let (replies, over) = place.abandon();
        let how = over.map_or(Err(Lost::TimeUp { sent }), End::into_result);
        (replies, how)
    }

    /// Takes nothing new: calls that are not written are turned away, those that are written are still answered, and then the connection is
    /// given up.
    pub(crate) fn close(&self, wire: &W) {
        let mut turned_away = Vec::new();
        let mut desk = lock(&self.desk);
        desk.close(&mut turned_away);
        self.go(wire, desk, NOBODY);
        turned_away.iter().for_each(|place| place.end(End::Closed));
        self.news.notify_all();
    }

    /// Whether nothing is left over when nothing is under way.
    pub(crate) fn at_rest(&self) -> Result<(), String> {
        lock(&self.desk).at_rest()
    }

    /// Sleeps until a closed line has no connection any more, or the time is up.
    pub(crate) fn wait_until_down(&self, time: &impl Time) {
        let mut desk = lock(&self.desk);
        while !matches!(desk.phase, Phase::Down) {
            let Some(limit) = time.left() else { return };
            desk.listening += 1;
            desk = nap(&self.news, desk, &self.desk, limit);
            desk.listening -= 1;
        }
    }
}

/// What came of a job.
enum Worked<'a, W: Wire> {
    /// This caller's call is over, and these are its replies.
    Over(Replies<W::Reply>),
    /// Whether it came to anything; and the desk, if there was no reason to leave it.
    Done(bool, Option<Desks<'a, W>>),
}

type Desks<'a, W> = MutexGuard<'a, Desk<W>>;

/// No call has this number.
const NOBODY: u64 = u64::MAX;

impl<C> End<C> {
    fn into_result<W: Wire<Cause = C>>(self) -> Result<(), Lost<W>> {
        match self {
            End::Answered => Ok(()),
            End::Disconnected(cause) => Err(Lost::Disconnected(cause)),
            End::Closed => Err(Lost::Closed),
        }
    }
}
