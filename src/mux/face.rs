//! The mux's face.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::utils::CachePadded;

use super::error::{CallError, Misuse};
use super::feed::{Feed, Until};
use super::line::{Call, Limits, Line, Replies, Snapshot};
use super::protocol::Protocol;
use super::stats::{LineStats, MuxStats};
use crate::manager::Manager;
use crate::net::duplex::Duplex;
use crate::os::{clock, thread};
use crate::stats::DrainReport;

/// One full-duplex connection a core, shared by all blocking callers of that core. The [module](super) says what it is for.
///
/// Made by [`Mux::builder`]. Clones are handles to the same mux and cost an atomic increment. When the last handle is gone, it closes.
pub struct Mux<M, P>
where
    M: Manager,
    M::Connection: Duplex,
    P: Protocol,
{
    shared: Arc<Shared<M, P>>,
}

/// Those of the first shard first. On cache lines of their own: each is another core's.
type Lines<M, P> = Box<[CachePadded<Line<Feed<M, P>>>]>;

struct Shared<M, P>
where
    M: Manager,
    M::Connection: Duplex,
    P: Protocol,
{
    feed: Feed<M, P>,
    lines: Lines<M, P>,
    per_shard: usize,
    call_timeout: Duration,
}

thread_local! {
    /// Where this thread encodes its requests. Not there while one is encoded, which is the user's code and may call again.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A scratch that has grown beyond this for one large request is not kept.
const SCRATCH_KEPT: usize = 64 * 1024;

impl<M, P> Mux<M, P>
where
    M: Manager,
    M::Connection: Duplex,
    P: Protocol,
{
    pub(super) fn new(
        feed: Feed<M, P>,
        lines: usize,
        per_shard: usize,
        limits: Limits,
        call_timeout: Duration,
    ) -> Self {
        let lines = (0..lines).map(|_| CachePadded::new(Line::new(limits))).collect();
        Mux { shared: Arc::new(Shared { feed, lines, per_shard, call_timeout }) }
    }

    /// Sends a request and waits for its reply, up to the mux's `call_timeout`. Blocks.
    ///
    /// A lone caller costs one send and one receive. Many callers share both, and each of them sleeps until somebody has read its
    /// reply. No allocation, once the buffers have grown to what is usual.
    ///
    /// # Errors
    /// [`CallError`]: its [`kind`](CallError::kind), and whether it [was sent](CallError::was_sent).
    pub fn call(&self, request: &P::Request) -> Result<P::Reply, CallError> {
        self.call_timeout(self.shared.call_timeout, request)
    }

    /// The same, waiting up to `limit`. What is shorter than 50 ms costs one system call more. Zero: the request is sent if that can be
    /// done at once, and the reply is had only if it is there by then.
    ///
    /// # Errors
    /// As for [`call`](Mux::call).
    pub fn call_timeout(&self, limit: Duration, request: &P::Request) -> Result<P::Reply, CallError> {
        let (replies, how) = self.shared.exchange(limit, |bytes| {
            self.shared.feed.protocol.encode(request, bytes).map_err(CallError::refused)?;
            if bytes.is_empty() {
                return Err(Misuse::Empty.into());
            }
            Ok(Asked { due: 1, patient: self.shared.may_block(request) })
        })?;
        match (replies.first, how) {
            (_, Err(error)) => Err(error),
            (Some(reply), Ok(())) => Ok(reply),
            (None, Ok(())) => unreachable!("a call that is answered has its reply"),
        }
    }

    /// Sends these requests next to each other, with nobody else's in between, and waits for all replies, up to the mux's `call_timeout`.
    /// A result for each, in their order.
    ///
    /// One that the protocol refuses is refused alone, and the others are sent. If the connection ends or the time is up half way, those
    /// that were answered by then have their replies.
    pub fn pipeline<'r, I>(&self, requests: I) -> Vec<Result<P::Reply, CallError>>
    where
        I: IntoIterator<Item = &'r P::Request>,
        P::Request: 'r,
    {
        self.pipeline_timeout(self.shared.call_timeout, requests)
    }

    /// The same, waiting up to `limit`.
    pub fn pipeline_timeout<'r, I>(&self, limit: Duration, requests: I) -> Vec<Result<P::Reply, CallError>>
    where
        I: IntoIterator<Item = &'r P::Request>,
        P::Request: 'r,
    {
        let mut results = Vec::new();
        let exchanged = self.shared.exchange(limit, |bytes| {
            let mut patient = false;
            let mut requests = requests.into_iter();
            while let Some(request) = requests.next() {
                let before = bytes.len();
                let encoded = self.shared.feed.protocol.encode(request, bytes);
                if bytes.len() < before {
                    // Nobody knows what is left of those before it: none is sent.
                    results.push(None);
                    results.extend(requests.map(|_| None));
                    return Err(Misuse::Shortened.into());
                }
                match encoded {
                    Ok(()) if bytes.len() == before => {
                        results.push(Some(Misuse::Empty.into()));
                    }
                    Ok(()) => {
                        patient |= self.shared.may_block(request);
                        results.push(None);
                    }
                    Err(cause) => {
                        bytes.truncate(before);
                        results.push(Some(CallError::refused(cause)));
                    }
                }
            }
            let due = results.iter().filter(|refused| refused.is_none()).count();
            Ok(Asked { due, patient })
        });
        self::results(results, exchanged)
    }

    /// Sends requests that are encoded already, to which so many replies are due.
    #[cfg(feature = "redis")]
    pub(super) fn call_raw(&self, encoded: &P::Request, replies: usize) -> Vec<Result<P::Reply, CallError>>
    where
        P::Request: AsRef<[u8]>,
    {
        let exchanged = self.shared.exchange(self.shared.call_timeout, |bytes| {
            bytes.extend_from_slice(encoded.as_ref());
            Ok(Asked { due: replies, patient: self.shared.may_block(encoded) })
        });
        results((0..replies).map(|_| None), exchanged)
    }

    /// Whether the mux was closed. Takes the lock of the pool's waiters, for a moment.
    pub fn is_closed(&self) -> bool {
        self.shared.feed.pool.is_closed()
    }

    /// The mux in numbers, with the pool beneath. Takes each line's lock, and what [`Pool::stats`](crate::Pool::stats) takes: for a
    /// metrics page.
    pub fn stats(&self) -> MuxStats {
        let lines = self.shared.lines.iter().map(|line| {
            let Snapshot { tally, in_flight, is_leaving } = line.look();
            LineStats {
                in_flight,
                is_leaving,
                calls: tally.calls,
                replies: tally.replies,
                sends: tally.writes,
                receives: tally.reads,
                abandoned: tally.abandoned,
                connections: tally.opened,
                failed: tally.failed,
            }
        });
        MuxStats { lines: lines.collect(), pool: self.shared.feed.pool.stats() }
    }

    /// Has all lines change their connection, each once nobody waits for a reply on it: see [`Pool::retire`](crate::Pool::retire). A line
    /// on which nobody calls changes it with its next call.
    pub fn retire(&self) {
        self.shared.feed.pool.retire(Duration::ZERO);
    }

    /// The same, and opens all further connections by `manager`: see [`Pool::replace_manager`](crate::Pool::replace_manager).
    pub fn replace_manager(&self, manager: M) {
        self.shared.feed.pool.replace_manager(manager, Duration::ZERO);
    }

    /// Closes the mux: whoever calls later, or has not been written yet, gets [`Closed`](super::CallErrorKind::Closed); what was written is
    /// still answered, and then the connections are closed. Returns at once. Idempotent.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Ends the mux in good order: [`close`](Mux::close), then waits up to `limit` until everything in flight is answered and every
    /// connection is closed. Reports what has not ended by then. Blocks.
    pub fn drain(&self, limit: Duration) -> DrainReport {
        let time = Until::after(limit);
        self.shared.close();
        self.shared.lines.iter().for_each(|line| line.wait_until_down(&time));
        self.shared.feed.pool.drain(time.remaining())
    }

    /// Whether all that must hold when nothing is under way does hold. For tests, which make sure that nothing is.
    #[doc(hidden)]
    pub fn at_rest(&self) -> Result<(), String> {
        self.shared.lines.iter().try_for_each(|line| line.at_rest())
    }
}

/// A result for each request: refused at the door, answered, or lost with the call.
fn results<R>(
    requests: impl IntoIterator<Item = Option<CallError>>,
    exchanged: Result<Exchanged<R>, CallError>,
) -> Vec<Result<R, CallError>> {
    let (replies, how) = exchanged.unwrap_or_else(|error| (Replies::NONE, Err(error)));
    let mut replies = replies.first.into_iter().chain(replies.rest);
    let outcome = |refused: Option<CallError>| match (refused, &how) {
        (Some(error), _) => Err(error),
        (None, how) => match (replies.next(), how) {
            (Some(reply), _) => Ok(reply),
            (None, Err(error)) => Err(error.clone()),
            (None, Ok(())) => unreachable!("a call that is answered has its replies"),
        },
    };
    requests.into_iter().map(outcome).collect()
}

/// What was encoded: so many replies are due for it.
struct Asked {
    due: usize,
    patient: bool,
}

type Exchanged<R> = (Replies<R>, Result<(), CallError>);

impl<M, P> Shared<M, P>
where
    M: Manager,
    M::Connection: Duplex,
    P: Protocol,
{
    /// Encodes, and has it carried out by the line of this core.
    fn exchange(
        &self,
        limit: Duration,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<Asked, CallError>,
    ) -> Result<Exchanged<P::Reply>, CallError> {
        let time = Until::after(limit);
        // The thread's own may be gone: it is ending.
        let mut bytes = SCRATCH.try_with(Cell::take).unwrap_or_default();
        bytes.clear();
        let asked = encode(&mut bytes).and_then(|asked| {
            let nested = asked.due > 0 && self.feed.is_read_by_this_thread();
            if nested { Err(Misuse::Nested.into()) } else { Ok(asked) }
        });
        let exchanged = asked.map(|Asked { due, patient }| {
            if due == 0 {
                return (Replies::NONE, Ok(()));
            }
            let call = Call { bytes: &bytes, due, patient };
            let (replies, how) = self.line().call(&self.feed, call, &time);
            let waited = || clock::until(clock::now(), time.begun);
            (replies, how.map_err(|lost| CallError::lost(lost, waited())))
        });
        if bytes.capacity() <= SCRATCH_KEPT {
            let _ = SCRATCH.try_with(|scratch| scratch.set(bytes));
        }
        exchanged
    }

    /// That of the core that this thread runs on.
    fn line(&self) -> &Line<Feed<M, P>> {
        let first = self.feed.pool.engine.here() * self.per_shard;
        let turn = if self.per_shard == 1 { 0 } else { thread::number() as usize % self.per_shard };
        &self.lines[first + turn]
    }

    fn may_block(&self, request: &P::Request) -> bool {
        self.feed.watchdog.is_some() && self.feed.protocol.may_block(request)
    }

    fn close(&self) {
        self.feed.pool.close();
        self.lines.iter().for_each(|line| line.close(&self.feed));
    }
}

impl<M, P> Drop for Shared<M, P>
where
    M: Manager,
    M::Connection: Duplex,
    P: Protocol,
{
    fn drop(&mut self) {
        // Nobody calls any more, so every line gives its connection up.
        self.lines.iter().for_each(|line| line.close(&self.feed));
    }
}

impl<M, P> Clone for Mux<M, P>
where
    M: Manager,
    M::Connection: Duplex,
    P: Protocol,
{
    fn clone(&self) -> Self {
        Mux { shared: Arc::clone(&self.shared) }
    }
}

impl<M, P> fmt::Debug for Mux<M, P>
where
    M: Manager,
    M::Connection: Duplex,
    P: Protocol,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mux").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
