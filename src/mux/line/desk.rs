//! The desk of a line: everything that its callers share, behind one lock, and what a caller finds there to do.
//!
//! The two halves of the connection are tokens. Whoever takes the pen writes, whoever takes the input reads, for all; both lie on the
//! desk when nobody does. `README.md` has the states and the rules.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::jobs::{Job, Limits, Pen, Phase, Seat, Tally, Wreck};
use super::order::{Left, Order};
use super::pace::Pace;
use super::place::Delivery;
use super::wire::{Parts, Wire};

/// A buffer that has grown beyond this for one large call shrinks again.
const BUFFER: usize = 64 * 1024;

/// While somebody reads and so many calls are handed over, the peer is busy, and what comes then may wait for the reader. With fewer the
/// peer would wait for us: at 1 instead of 8, eight callers on two cores lost a fifth of what they gain by sharing; at 16, 32 callers made
/// 0.8
/// socket calls a reply instead of 0.45.
///
/// In the models a batch is held back behind a single call: whether anybody comes back for it is what they are for.
const BUSY: usize = if cfg!(corepool_loom) { 1 } else { 8 };

/// More bytes than this do not wait: they are worth a system call of their own.
const HELD_BACK: usize = 16 * 1024;

pub(super) struct Desk<W: Wire> {
    pub(super) phase: Phase<W::Cause>,
    lease: Option<W::Lease>,
    input: Option<W::Input>,
    pen: Option<Pen<W::Output>>,
    /// Calls that nobody has begun to write.
    batch: Vec<u8>,
    pub(super) order: Order<W::Reply, W::Cause>,
    /// Nothing new is taken any more.
    pub(super) closed: bool,
    /// Threads that sleep for news of the line: for room, or for its end.
    pub(super) listening: usize,
    /// When the line was last seen to get on, if it is watched.
    since: u64,
    pace: Pace,
    pub(super) tally: Tally,
}

impl<W: Wire> Desk<W> {
    pub(super) fn new() -> Self {
        Desk {
            phase: Phase::Down,
            lease: None,
            input: None,
            pen: None,
            batch: Vec::new(),
            order: Order::new(),
            closed: false,
            listening: 0,
            since: 0,
            pace: Pace::default(),
            tally: Tally::default(),
        }
    }

    /// Whether one more call may come, of so many bytes.
    pub(super) fn has_room(&self, bytes: usize, limits: Limits) -> bool {
        let queued = self.batch.len();
        self.order.len() < limits.in_flight && (queued == 0 || queued + bytes <= limits.queued)
    }

    /// A call joins the batch.
    pub(super) fn append(&mut self, bytes: &[u8], due: usize, patient: bool) -> (u64, Seat<W>) {
        self.tally.calls += 1;
        self.batch.extend_from_slice(bytes);
        self.order.append(bytes.len(), due, patient)
    }

    /// Whether the connection, if there is one, is to be given up.
    pub(super) fn is_leaving(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| self.closed || W::is_leaving(lease))
    }

    /// What the caller who asks has to do.
    pub(super) fn next_job(&mut self, wire: &W) -> Job<W> {
        match self.phase {
            Phase::Down => {
                self.phase = Phase::Opening;
                return Job::Open;
            }
            Phase::Opening | Phase::Ending(_) => return Job::Wait,
            Phase::Up => {
                if self.is_leaving() {
                    self.phase = Phase::Leaving;
                } else if !self.holds_back() {
                    self.begin_batch(wire);
                }
            }
            Phase::Leaving => {}
        }
        if matches!(self.phase, Phase::Leaving)
            && let Some(parts) = self.take_up()
        {
            return Job::GiveUp(parts);
        }
        if let Some(pen) = self.pen.take_if(|pen| pen.has_rest()) {
            return self.write_or_read(pen);
        }
        if self.order.sent() == 0 {
            return Job::Wait;
        }
        self.input.take().map_or(Job::Wait, |input| Job::Read(input, false))
    }

    /// What somebody has to do who has no call here: all but to open a connection.
    pub(super) fn next_duty(&mut self, wire: &W) -> Job<W> {
        if matches!(self.phase, Phase::Down) { Job::Wait } else { self.next_job(wire) }
    }

    /// A connection that takes no more may be one whose peer waits for us to read.
    fn write_or_read(&mut self, mut pen: Pen<W::Output>) -> Job<W> {
        if pen.full
            && let Some(input) = self.input.take()
        {
            pen.full = false;
            self.pen = Some(pen);
            return Job::Read(input, true);
        }
        Job::Write(pen)
    }

    /// Whether the batch is left to whoever reads: they come back as soon as anything is answered, and until then the peer is busy with
    /// what it has.
    fn holds_back(&self) -> bool {
        let somebody_reads = self.input.is_none() && self.order.sent() >= BUSY;
        somebody_reads && self.batch.len() < HELD_BACK && self.pace.is_near()
    }

    /// What was left to whoever reads, who is back.
    pub(super) fn held_back(&mut self, wire: &W) -> Option<Pen<W::Output>> {
        if !matches!(self.phase, Phase::Up) || self.is_leaving() {
            return None;
        }
        self.begin_batch(wire);
        self.pen.take_if(|pen| pen.has_rest())
    }

    /// The batch goes to the pen, if that lies here with nothing left to write.
    fn begin_batch(&mut self, wire: &W) {
        let Some(pen) = self.pen.as_mut().filter(|pen| !pen.has_rest() && !self.batch.is_empty()) else { return };
        let now = (self.pace.is_due() || wire.watches()).then(|| wire.now());
        pen.bytes.clear();
        pen.bytes.shrink_to(BUFFER);
        pen.done = 0;
        let alone = self.order.sent() == 0;
        std::mem::swap(&mut pen.bytes, &mut self.batch);
        self.order.hand_over();
        let Some(now) = now else { return };
        if alone {
            self.since = now;
        }
        self.pace.sent(self.order.end() - 1, now);
    }

    /// The whole connection, if it is to be given up and nobody waits for anything from it.
    pub(super) fn take_up(&mut self) -> Option<Parts<W>> {
        let rests = matches!(self.phase, Phase::Up | Phase::Leaving) && self.input.is_some() && self.pen.is_some();
        if !rests || !self.is_leaving() || self.order.is_awaited() {
            return None;
        }
        self.phase = Phase::Down;
        self.order.forget_sent();
        Some(Parts { lease: self.lease.take()?, input: self.input.take()?, output: self.pen.take()?.output })
    }

    /// A connection is open.
    pub(super) fn install(&mut self, parts: Parts<W>) {
        debug_assert!(matches!(self.phase, Phase::Opening), "one caller opens");
        let Parts { lease, input, output } = parts;
        self.phase = Phase::Up;
        self.tally.opened += 1;
        self.pace.forget();
        self.lease = Some(lease);
        self.input = Some(input);
        self.pen = Some(Pen { output, bytes: Vec::new(), done: 0, full: false });
    }

    /// The pen comes home.
    pub(super) fn lay_down_pen(&mut self, pen: Pen<W::Output>) {
        self.tally.writes += 1;
        self.pen = Some(pen);
    }

    /// The input comes home.
    pub(super) fn lay_down_input(&mut self, input: W::Input) {
        self.input = Some(input);
    }

    /// So many replies have been read: whose they are. Fails if there are more than were asked for, or none for too long.
    pub(super) fn answer(
        &mut self,
        wire: &W,
        replies: usize,
        into: &mut Vec<Delivery<W::Reply, W::Cause>>,
    ) -> Result<(), W::Cause> {
        self.tally.reads += 1;
        if replies == 0 {
            let stalled = self.order.is_watched().then(|| wire.stalled(self.since)).flatten();
            return stalled.map_or(Ok(()), Err);
        }
        let unasked = self.order.answer(replies, into);
        if wire.watches() || self.pace.awaits(self.order.begin()) {
            self.since = wire.now();
            self.pace.answered(self.order.begin(), self.since);
        }
        self.tally.replies += (replies - unasked) as u64;
        if unasked == 0 { Ok(()) } else { Err(wire.unasked()) }
    }

    /// The connection has failed. Who says so has one of its halves; whoever brings the last one home finds the wreck.
    pub(super) fn fail(&mut self, cause: W::Cause) {
        if matches!(self.phase, Phase::Up | Phase::Leaving) {
            self.tally.failed += 1;
            self.phase = Phase::Ending(cause);
        }
    }

    /// Whether a caller who has brought a half home may go on without a look round: nobody has to be told of anything.
    pub(super) fn is_quiet(&self) -> bool {
        self.listening == 0 && !matches!(self.phase, Phase::Ending(_))
    }

    /// What is left of a failed connection, once both halves are here.
    pub(super) fn take_wreck(&mut self) -> Option<Wreck<W>> {
        if self.input.is_none() || self.pen.is_none() {
            return None;
        }
        let Phase::Ending(cause) = &self.phase else { return None };
        let cause = cause.clone();
        self.phase = Phase::Down;
        let pen = self.pen.take()?;
        let (mut rescued, mut lost) = (Vec::new(), Vec::new());
        self.order.break_off(pen.bytes.len(), pen.done, &mut rescued, &mut lost);
        if !rescued.is_empty() {
            let mut batch: Vec<u8> = rescued.into_iter().flat_map(|range| &pen.bytes[range]).copied().collect();
            batch.append(&mut self.batch);
            self.batch = batch;
        }
        let parts = Parts { lease: self.lease.take()?, input: self.input.take()?, output: pen.output };
        Some(Wreck { parts, cause, lost })
    }

    /// A caller goes: its time is up, or it was refused.
    pub(super) fn leave(&mut self, number: u64) -> bool {
        match self.order.leave(number) {
            Left::Over => true,
            Left::Tombstone => {
                self.tally.abandoned += 1;
                true
            }
            Left::Withdrawn(bytes) => {
                self.batch.drain(bytes);
                false
            }
        }
    }

    /// Nothing new from now on. Those whose calls are not written are told.
    pub(super) fn close(&mut self, turned_away: &mut Vec<Seat<W>>) {
        self.closed = true;
        self.batch.clear();
        self.order.dissolve(turned_away);
    }

    /// Who is to come to the desk when this caller goes: one to read or to open, one to write.
    pub(super) fn heirs(&self, but: u64) -> [Option<Seat<W>>; 2] {
        let (any, unsent) = (self.order.first_living(but), self.order.first_unsent(but));
        let (reader, writer) = match self.phase {
            Phase::Down => (any, None),
            Phase::Opening | Phase::Ending(_) => (None, None),
            Phase::Up | Phase::Leaving => {
                let reads = self.input.is_some() && self.order.sent() > 0;
                let rest = self.pen.as_ref().is_some_and(|pen| pen.has_rest());
                let writes = rest || self.pen.is_some() && !self.batch.is_empty();
                (any.filter(|_| reads), unsent.or(any).filter(|_| writes))
            }
        };
        let writer = writer.filter(|writer| reader.is_none_or(|reader| !Arc::ptr_eq(reader, writer)));
        [reader.cloned(), writer.cloned()]
    }

    /// Whether nothing is left over when nothing is under way.
    pub(super) fn at_rest(&self) -> Result<(), String> {
        let halves = (self.lease.is_some(), self.input.is_some(), self.pen.is_some());
        let whole = match self.phase {
            Phase::Down => halves == (false, false, false),
            Phase::Up | Phase::Leaving => halves == (true, true, true),
            Phase::Opening | Phase::Ending(_) => false,
        };
        if whole && self.batch.is_empty() && self.order.len() == self.order.sent() && self.listening == 0 {
            return Ok(());
        }
        let (batch, calls, sent) = (self.batch.len(), self.order.len(), self.order.sent());
        let listening = self.listening;
        Err(format!("halves {halves:?}, {batch} bytes queued, {calls} calls, {sent} sent, {listening} listening"))
    }
}
