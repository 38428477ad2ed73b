//! A line's world: a pool that its connections come from, their sockets, and the protocol.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::error::Unopened;
use super::line::wire::{Look, Parts, Time, Wire};
use super::protocol::{Decoded, Protocol};
use crate::error::Cause;
use crate::lease::Lease;
use crate::manager::Manager;
use crate::net::duplex::{Duplex, ReadHalf, SLICE, WriteHalf};
use crate::os::clock::{self, nanos, until};
use crate::os::contain::contain;
use crate::pool::Pool;
use crate::sync::Nap;

/// What all lines of a mux share.
pub(super) struct Feed<M: Manager, P> {
    pub(super) pool: Pool<M>,
    pub(super) protocol: P,
    /// The longest message.
    pub(super) max_reply: usize,
    /// How long a line may owe a reply without a sign of life.
    pub(super) watchdog: Option<u64>,
}

/// A caller's deadline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until {
    pub(super) begun: u64,
    at: u64,
}

impl Until {
    pub(super) fn after(limit: Duration) -> Self {
        let begun = clock::now();
        Until { begun, at: begun.saturating_add(nanos(limit)) }
    }

    pub(super) fn remaining(self) -> Duration {
        until(self.at, clock::now())
    }
}

impl Time for Until {
    fn left(&self) -> Option<Nap> {
        let left = self.remaining();
        (!left.is_zero()).then_some(Nap::For(left))
    }
}

/// The half that is read, and what has been read of it.
pub(super) struct Input<R> {
    half: R,
    buffer: Vec<u8>,
    /// What is not decoded yet: from here
    begin: usize,
    /// to here.
    end: usize,
    /// It is not worth a look before there are so many.
    worth: usize,
}

/// Muxes whose protocols call each other: a call deeper than this is refused.
const DEPTH: usize = 4;

thread_local! {
    /// The muxes that this thread reads for, by their addresses, from the first on; 0: no more. What is called meanwhile is the protocol's,
    /// which may try to call; and in a call of another mux this thread may read for that, too. Nothing that needs a drop: a thread may call
    /// while it ends.
    static READS_FOR: Cell<[usize; DEPTH]> = const { Cell::new([0; DEPTH]) };
}

impl<M: Manager, P> Feed<M, P> {
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether this thread is inside [`Protocol::decode`] or [`Protocol::on_push`] of this mux: a call would wait for itself. Or of as many
    /// others as it keeps in mind.
    pub(super) fn is_read_by_this_thread(&self) -> bool {
        let muxes = READS_FOR.get();
        muxes.contains(&self.address()) || muxes[DEPTH - 1] != 0
    }
}

/// Why a connection ended, where its own I/O does not say so.
#[derive(Debug)]
enum Broken {
    HungUp,
    Unasked,
    TooLong(usize),
    Panicked,
    Miscounted,
    Stalled(Duration),
}

/// What a buffer has room for when nothing long is on its way.
const BUFFER: usize = 16 * 1024;

/// So much memory is taken for what a peer has only announced. The rest comes with what arrives: a length costs a peer nothing.
const AHEAD: usize = 1 << 20;

/// A caller that has something else to do waits so long at most.
const MOMENT: Duration = Duration::from_millis(2);

impl<R: ReadHalf> Input<R> {
    pub(super) fn new(half: R) -> Self {
        Input { half, buffer: vec![0; BUFFER], begin: 0, end: 0, worth: 1 }
    }

    /// Reads what is there, and adds the replies that are whole now to `into`. Returns how many bytes have come.
    pub(super) fn read<P: Protocol>(
        &mut self,
        protocol: &P,
        into: &mut Vec<P::Reply>,
        max_reply: usize,
        wait: Duration,
    ) -> Result<usize, Cause> {
        self.make_room(max_reply).map_err(|broken| Arc::new(broken) as Cause)?;
        let length = self.fill(wait)?;
        if length > 0 {
            self.decode(protocol, into, max_reply)?;
        }
        Ok(length)
    }

    /// Whether a message is not whole yet.
    #[cfg(any(test, fuzzing))]
    pub(super) fn is_waiting(&self) -> bool {
        self.end > self.begin
    }

    /// How large its buffer is.
    #[cfg(any(test, fuzzing))]
    pub(super) fn room(&self) -> usize {
        self.buffer.len()
    }

    /// Makes room for more, and for the whole of a message whose length is known, if it is not very long.
    fn make_room(&mut self, max_reply: usize) -> Result<(), Broken> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
            if self.buffer.len() > 4 * BUFFER && self.worth <= BUFFER {
                self.buffer.truncate(BUFFER);
                self.buffer.shrink_to_fit();
            }
        }
        let waiting = self.end - self.begin;
        if waiting.max(self.worth) > max_reply {
            return Err(Broken::TooLong(max_reply));
        }
        let wanted = self.worth.min(waiting + AHEAD);
        if self.end == self.buffer.len() || self.begin + wanted > self.buffer.len() {
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, waiting);
        }
        if self.end == self.buffer.len() || wanted > self.buffer.len() {
            let length = (2 * self.buffer.len()).max(wanted);
            self.buffer.resize(length, 0);
        }
        Ok(())
    }

    /// Reads what is there. Returns how many bytes.
    fn fill(&mut self, wait: Duration) -> Result<usize, Cause> {
        let Input { half, buffer, end, .. } = self;
        match contain(|| half.receive(&mut buffer[*end..], wait)) {
            Ok(Ok(0)) => Err(Arc::new(Broken::HungUp)),
            Ok(Ok(length)) => {
                *end = (*end + length).min(buffer.len());
                Ok(length)
            }
            Ok(Err(error)) => not_now(error).map(|()| 0),
            Err(_) => Err(Arc::new(Broken::Panicked)),
        }
    }

    /// Takes out what is whole.
    fn decode<P: Protocol>(&mut self, protocol: &P, into: &mut Vec<P::Reply>, max_reply: usize) -> Result<(), Cause> {
        while self.end - self.begin >= self.worth {
            let bytes = &self.buffer[self.begin..self.end];
            let (message, taken, push) = match contain(|| protocol.decode(bytes)) {
                Ok(Decoded::Reply(reply, taken)) => (reply, taken, false),
                Ok(Decoded::Push(push, taken)) => (push, taken, true),
                Ok(Decoded::More(more)) => {
                    self.worth = bytes.len().saturating_add(more.max(1));
                    return Ok(());
                }
                Ok(Decoded::Broken(cause)) => return Err(Cause::from(cause)),
                Err(_) => return Err(Arc::new(Broken::Panicked)),
            };
            let broken = match taken {
                0 => Some(Broken::Miscounted),
                _ if taken > bytes.len() => Some(Broken::Miscounted),
                // It came at once, and would not have been let in a piece at a time.
                _ if taken > max_reply => Some(Broken::TooLong(max_reply)),
                _ => None,
            };
            if let Some(broken) = broken {
                let _ = contain(|| drop(message));
                return Err(Arc::new(broken));
            }
            if push {
                let _ = contain(|| protocol.on_push(message));
            } else {
                into.push(message);
            }
            self.begin += taken;
            self.worth = 1;
        }
        Ok(())
    }
}

/// Whether this error only says that nothing was moved.
fn not_now(error: io::Error) -> Result<(), Cause> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(Arc::new(error)),
    }
}

/// How long a look may take.
fn wait(look: Look, time: &Until) -> Duration {
    match look {
        Look::AtOnce => Duration::ZERO,
        Look::Moment => MOMENT.min(time.remaining()),
        Look::Long => SLICE.min(time.remaining()),
    }
}

impl<M, P> Wire for Feed<M, P>
where
    M: Manager,
    M::Connection: Duplex,
    P: Protocol,
{
    type Reply = P::Reply;
    type Lease = Lease<'static, M>;
    type Input = Input<<M::Connection as Duplex>::Reader>;
    type Output = <M::Connection as Duplex>::Writer;
    type Refusal = Unopened;
    type Cause = Cause;
    type Time = Until;

    fn open(&self, time: &Until) -> Result<Parts<Self>, Unopened> {
        let mut lease = self.pool.get_owned_timeout(time.remaining()).map_err(Unopened::Pool)?;
        let cause: Cause = match contain(|| lease.halves()) {
            Ok(Ok((reader, output))) => return Ok(Parts { lease, input: Input::new(reader), output }),
            Ok(Err(error)) => Arc::new(error),
            Err(_) => Arc::new(Broken::Panicked),
        };
        Lease::discard(lease);
        Err(Unopened::Whole(cause))
    }

    fn is_leaving(lease: &Self::Lease) -> bool {
        Lease::is_leaving(lease)
    }

    fn give_up(&self, parts: Parts<Self>, failed: bool) {
        let Parts { mut lease, input, output } = parts;
        let _ = contain(|| drop((input, output)));
        if Lease::is_leaving(&lease) {
            // For the reason that is noted.
            if failed {
                Lease::fail(&mut lease);
            }
            drop(lease);
        } else {
            // Whatever its manager would say: it has been used from both sides.
            Lease::discard(lease);
        }
    }

    fn send(&self, to: &mut Self::Output, bytes: &[u8], look: Look, time: &Until) -> Result<usize, Cause> {
        match contain(|| to.send(bytes, wait(look, time))) {
            Ok(Ok(written)) => Ok(written.min(bytes.len())),
            Ok(Err(error)) => not_now(error).map(|()| 0),
            Err(_) => Err(Arc::new(Broken::Panicked)),
        }
    }

    fn receive(&self, from: &mut Self::Input, into: &mut Vec<P::Reply>, look: Look, time: &Until) -> Result<(), Cause> {
        let before = READS_FOR.get();
        let mut muxes = before;
        if let Some(next) = muxes.iter_mut().find(|mux| **mux == 0) {
            *next = self.address();
        }
        READS_FOR.set(muxes);
        let read = from.read(&self.protocol, into, self.max_reply, wait(look, time));
        READS_FOR.set(before);
        read.map(drop)
    }

    fn hang_up_input(&self, input: &Self::Input) {
        let _ = contain(|| input.half.hang_up());
    }

    fn hang_up_output(&self, output: &Self::Output) {
        let _ = contain(|| output.hang_up());
    }

    fn unasked(&self) -> Cause {
        Arc::new(Broken::Unasked)
    }

    fn watches(&self) -> bool {
        self.watchdog.is_some()
    }

    fn stalled(&self, since: u64) -> Option<Cause> {
        let silent = clock::now().saturating_sub(since);
        let stalled = self.watchdog.is_some_and(|limit| silent >= limit);
        stalled.then(|| Arc::new(Broken::Stalled(Duration::from_nanos(silent))) as Cause)
    }

    fn now(&self) -> u64 {
        clock::now()
    }

    fn forget(&self, reply: P::Reply) {
        let _ = contain(|| drop(reply));
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::HungUp => f.write_str("the peer hung up"),
            Broken::Unasked => f.write_str("the peer has answered what nobody asked"),
            Broken::TooLong(limit) => write!(f, "a reply is longer than max_reply, {limit} bytes"),
            Broken::Panicked => f.write_str("the protocol or the connection panicked"),
            Broken::Miscounted => {
                f.write_str("the protocol says that a message took no bytes, or more than there were")
            }
            Broken::Stalled(silent) => write!(f, "the peer has been silent for {} ms", silent.as_millis()),
        }
    }
}

impl Error for Broken {}
