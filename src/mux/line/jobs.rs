//! What a caller asks of a line and is told, and what lies on the desk.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::place::Place;
use super::wire::{Parts, Wire};

/// A caller's place.
pub(super) type Seat<W> = Arc<Place<<W as Wire>::Reply, <W as Wire>::Cause>>;

/// What a line is doing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase<C> {
    /// There is no connection, and nobody opens one.
    Down,
    /// A caller opens one.
    Opening,
    /// Calls are written and answered.
    Up,
    /// The connection is to be given up: what is in flight is still answered, and nothing new is written.
    Leaving,
    /// The connection has failed. Whoever has one of its halves brings it home.
    Ending(C),
}

/// The right to write, and what is being written.
pub(super) struct Pen<O> {
    pub(super) output: O,
    pub(super) bytes: Vec<u8>,
    /// So many of them are written.
    pub(super) done: usize,
    /// The connection took no more when it was tried last.
    pub(super) full: bool,
}

impl<O> Pen<O> {
    pub(super) fn has_rest(&self) -> bool {
        self.done < self.bytes.len()
    }
}

/// What a caller has to do now.
pub(super) enum Job<W: Wire> {
    /// Open a connection.
    Open,
    /// Give this one up.
    GiveUp(Parts<W>),
    /// Write.
    Write(Pen<W::Output>),
    /// Read; only for a moment, if something waits to be written.
    Read(W::Input, bool),
    /// Nothing: somebody else does it all.
    Wait,
}

/// What is left of a connection that has failed.
pub(super) struct Wreck<W: Wire> {
    pub(super) parts: Parts<W>,
    pub(super) cause: W::Cause,
    /// Those whose calls were written.
    pub(super) lost: Vec<Seat<W>>,
}

/// How much a line takes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Calls that are not answered.
    pub(crate) in_flight: usize,
    /// Bytes that wait to be written; one call may exceed it by itself.
    pub(crate) queued: usize,
}

/// What a line has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Calls taken.
    pub(crate) calls: u64,
    /// Replies delivered, or dropped because their callers had gone.
    pub(crate) replies: u64,
    /// Times that somebody wrote, or tried to.
    pub(crate) writes: u64,
    /// Times that somebody read.
    pub(crate) reads: u64,
    /// Callers that went without their replies.
    pub(crate) abandoned: u64,
    /// Connections that failed under the line.
    pub(crate) failed: u64,
    /// Connections that the line was given.
    pub(crate) opened: u64,
}

/// What a caller asks of a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// As it is written.
    pub(crate) bytes: &'a [u8],
    /// Replies to it.
    pub(crate) due: usize,
    /// It may take as long as it likes.
    pub(crate) patient: bool,
}

/// A line in numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot {
    pub(crate) tally: Tally,
    /// Calls that are not over.
    pub(crate) in_flight: usize,
    /// Its connection is to be given up.
    pub(crate) is_leaving: bool,
}

/// Why a call has no reply, or not all of them.
#[derive(Debug)]
pub(crate) enum Lost<W: Wire> {
    /// It was not written, since there was no room for it in time.
    NoRoom,
    /// Its time was up. `sent`: it may have been written.
    TimeUp { sent: bool },
    /// It was not written, since no connection was had.
    Refused(W::Refusal),
    /// It was written, and its connection has ended.
    Disconnected(W::Cause),
    /// It was not written, since the line was closed.
    Closed,
}
