//! The user's side of the pool: [`Manager`] says how a connection is opened, watched, judged and closed.
//!
//! Each method's doc states its budget: the thread it runs on, whether it may block, how often it runs. None of them ever runs
//! under a lock of the pool or on a reactor; a panic in any of them costs that one connection and nothing else.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::Cell;
use std::error::Error;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::error::Cause;
use crate::watch::duplicate::Cut;
pub use crate::watch::naming::Watch;

/// How connections of one kind are opened, watched, judged and closed. Only [`connect`](Manager::connect) is required.
///
/// The counterpart of NimblePool's behaviour; the [guide](crate::guide) has the table of its callbacks and what they are here.
pub trait Manager: Send + Sync + 'static {
    /// What callers borrow. It moves between threads, but only one at a time ever touches it.
    type Connection: Send + 'static;
    /// What a failed dial says. It is shared with every caller that waited for the dial.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Opens a connection, ready for use: greeting read, login done.
    ///
    /// Runs on a background thread, several at a time, and may block, but should keep to [`Dial::remaining`]: a dial that
    /// outlasts it counts as failed and gives its permit back. Its thread cannot be taken back: one that hangs is left alone, and at
    /// most four times `dials_at_once` of them may hang, after which no dial begins until one returns. A client without a
    /// timeout of its own for the login can have its dial ended by [`Dial::cut_at_deadline`] or [`Dial::at_deadline`].
    fn connect(&self, dial: &Dial<'_>) -> Result<Self::Connection, Self::Error>;

    /// Whether this error of [`connect`](Manager::connect) will not go away by itself: a wrong password, a database that does not
    /// exist. The default says no.
    ///
    /// Such an error fails [`build`](crate::Builder::build) at once, and all callers while no connection is open. Demand does not
    /// hasten the next dial, and the pauses grow up to [`backoff_max`](crate::Builder::backoff_max), so that no account gets locked
    /// by its own pool. [`Pool::replace_manager`](crate::Pool::replace_manager) begins anew at once.
    ///
    /// Runs on a background thread, after each failed dial. Must not block.
    fn is_permanent(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }

    /// Names the streams and descriptors whose closing means that the connection is dead. The default names none: unwatched.
    ///
    /// Runs after `connect` on the background thread; then at every return on the returning thread, after `on_return`, and at each
    /// checkout that looks at a socket on the caller's. What is named there is compared with what was in the beginning: a client
    /// that reconnected by itself has a socket that nobody watches and is discarded; so is one whose [`Stream`](crate::Stream) is
    /// not fit to be lent again, whatever `on_return` said. So it must be quick, must not block, and must name the same in the same
    /// order each time.
    fn watch(&self, connection: &Self::Connection, on: &mut Watch<'_>) {
        let _ = (connection, on);
    }

    /// Judges bytes that wait on a connection that nobody uses; `peeked` holds the first of them, still unread.
    ///
    /// Runs on the caller's thread at checkout, when a peek (see [`probe_after`](Manager::probe_after)) found something. May read
    /// from the connection what it keeps. The default discards: a reply that nobody asked for would answer the next request.
    fn on_idle_data(&self, connection: &mut Self::Connection, peeked: &[u8]) -> Verdict {
        let _ = (connection, peeked);
        Verdict::Discard
    }

    /// Judges a connection that a caller is about to get: `Keep` hands it over; `Discard` closes it, and the next one is tried within
    /// the same deadline; `Refuse` closes it, and the caller fails with the reason; `Err` refuses the caller, with this error, while
    /// the connection stays in the pool.
    ///
    /// One that is discarded before anybody has used it counts as a failed dial, with the reason that a
    /// [`DiscardFor`](Verdict::DiscardFor) gives: else a pool of which every connection is no good would dial for ever.
    ///
    /// Runs on the caller's thread at every checkout. May block until the caller's deadline (for one who does not wait: for the pool's
    /// `wait_timeout`): none starts after it, and one that overruns it has its sockets shut down under it. So it is at a
    /// connection's first checkout, and at all of them once a hook of this pool has blocked, discarded or refused; until then, one
    /// that suddenly hangs is found by a sweep, after `wait_timeout`. A stream that it leaves unfit is discarded on the same terms.
    /// The default costs nothing.
    fn on_checkout(&self, connection: &mut Self::Connection) -> Result<Verdict, Self::Error> {
        let _ = connection;
        Ok(Verdict::Keep)
    }

    /// Admits a caller that has found nothing idle and is about to wait, or refuses it with an error of yours; `waiting` callers wait
    /// before it. For shedding load by more than the number that `max_waiters` limits.
    ///
    /// Runs on the caller's thread, only when it would wait. Should not block.
    fn on_wait(&self, waiting: usize) -> Result<(), Self::Error> {
        let _ = waiting;
        Ok(())
    }

    /// Asks an idle connection for a sign of life; `Err` closes it. The default asks nothing and says `Ok`, and the pool
    /// knows that there is none (so a ping of your own should not end in a call of the default).
    ///
    /// After an `Ok`, [`watch`](Manager::watch) is asked again: one whose [`Stream`](crate::Stream) the ping has left unfit is discarded.
    ///
    /// Runs on a background thread every `ping_interval` that the connection lies idle, a few at a time, and may block for `ping_timeout`;
    /// then its watched sockets are shut down under it. Resets neither its idle time nor its age. With
    /// [`validate_after`](crate::Builder::validate_after) it also runs on the caller's thread, before
    /// [`on_checkout`](Manager::on_checkout), for a connection that has lain idle for so long; and so it does for one that is suspect
    /// ([`suspect_after`](crate::Builder::suspect_after)).
    fn ping(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        let _ = connection;
        ASKED_NOTHING.set(true);
        Ok(())
    }

    /// Judges a connection that comes back from a closure of [`with`](crate::Pool::with) which returned this error. Instead of
    /// [`on_return`](Manager::on_return), to which the default passes it on as [`Outcome::Failed`].
    ///
    /// For a client whose errors tell whether an exchange is half done: a duplicate key costs no connection, a broken pipe does.
    /// `error` is the closure's own error, of whatever type the caller has chosen (`error.downcast_ref::<E>()`); one that wraps
    /// the client's hides it. So where the *connection* can tell (`is_closed`, a dirty mark, a transaction status), ask it.
    ///
    /// Runs on the returning thread; should not block.
    #[inline]
    fn on_error(&self, connection: &mut Self::Connection, error: &dyn Any) -> Verdict {
        let _ = error;
        self.on_return(connection, Outcome::Failed)
    }

    /// Judges a connection that comes back.
    ///
    /// Runs on the returning thread at every return but that of a lease that was discarded or condemned, also while the thread
    /// unwinds; should not block. By default a use that ended well keeps the connection, a failed or panicked one discards it: a
    /// half-done exchange must not reach the next user. A manager that can tell that no exchange is half done (no request in flight,
    /// no transaction open) may keep it after a failure.
    fn on_return(&self, connection: &mut Self::Connection, how: Outcome) -> Verdict {
        let _ = connection;
        match how {
            Outcome::Done => Verdict::Keep,
            Outcome::Failed | Outcome::Panicked => Verdict::Discard,
        }
    }

    /// Ends a connection that leaves the pool. The default drops it.
    ///
    /// Runs on a background thread and may block for the pool's `close_timeout`; then its watched sockets are shut down under it,
    /// so that a farewell to a frozen peer returns. Its watch has ended before.
    fn close(&self, connection: Self::Connection, why: CloseReason) {
        let _ = why;
        drop(connection);
    }

    /// How long a connection may lie idle before a checkout peeks at its sockets for unexpected bytes (0.3 µs, and 0.2 µs more for
    /// a stream without an [`identity`](crate::Stream::identity)). Zero, the default: before every checkout. The pool's own
    /// `probe_after` setting overrides this. A connection that names no [`socket`](Watch::socket) is never looked at.
    ///
    /// Asked once when the pool is built. Anything but zero is hardly ever safe. It is where no peer ever sends what it was not
    /// asked for, *and* the connection's own type knows at each return that every reply has been read whole, *and* no client
    /// replaces its socket by itself.
    ///
    /// Zero is no proof either. A peek finds what has arrived, never what is still to come: the second half of a reply whose first
    /// was read, or a reply that nobody waited for. Only who knows the protocol's frames can tell that one is due, and says so by
    /// [`Stream::is_fit`](crate::Stream::is_fit), [`on_return`](Manager::on_return), or an `Err` from the use.
    fn probe_after(&self) -> Duration {
        Duration::ZERO
    }
}

thread_local! {
    /// The default ping has run, which asks nothing.
    static ASKED_NOTHING: Cell<bool> = const { Cell::new(false) };
}

/// Pings, and says whether that was the default, which asks nothing.
pub(crate) fn ask<R>(ping: impl FnOnce() -> R) -> (R, bool) {
    ASKED_NOTHING.set(false);
    let said = ping();
    (said, ASKED_NOTHING.get())
}

/// What becomes of a connection.
///
/// Two verdicts are equal if they are of the same kind, whatever their reasons.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Verdict {
    /// It stays in the pool.
    Keep,
    /// It is closed, and another opened when one is needed.
    Discard,
    /// The same, for this reason: told to the observer ([`Event::Discarded`](crate::Event::Discarded)) and, where nobody has used the
    /// connection yet, to callers, as why no connection is to be had.
    DiscardFor(Cause),
    /// From [`on_checkout`](Manager::on_checkout): the same, and this caller is refused with the reason instead of being given
    /// another connection. From other hooks: as [`DiscardFor`](Verdict::DiscardFor).
    Refuse(Cause),
}

impl Verdict {
    /// [`DiscardFor`](Verdict::DiscardFor), with any error or text as the reason: `Verdict::discard("a read-only replica")`.
    pub fn discard(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Verdict {
        Verdict::DiscardFor(Cause::from(reason.into()))
    }

    /// [`Refuse`](Verdict::Refuse), with any error or text as the reason.
    pub fn refuse(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Verdict {
        Verdict::Refuse(Cause::from(reason.into()))
    }
}

impl PartialEq for Verdict {
    fn eq(&self, other: &Verdict) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl Eq for Verdict {}

/// How the use of a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The closure of `with` returned `Ok`, or the lease was dropped in the normal course.
    Done,
    /// The closure of `with` returned `Err`, or [`Lease::fail`](crate::Lease::fail) was called.
    Failed,
    /// The lease was dropped by a panic; or, if it is not one of `with`, while its thread was unwinding anyway.
    Panicked,
}

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it, or its socket failed: seen by the watch.
    PeerClosed,
    /// A hook discarded it, [`Manager::on_checkout`], or [`Manager::on_return`] after a use that ended well; or that use left a
    /// [`Stream`](crate::Stream) that is not fit to be lent again.
    Discarded,
    /// The closure failed, and [`Manager::on_return`] discarded it or a stream was left unfit.
    Failed,
    /// The use panicked, and [`Manager::on_return`] discarded it or a stream was left unfit; or a hook of its own panicked.
    Panicked,
    /// Its user called `Lease::discard` or `Lease::condemn`.
    Condemned,
    /// Unexpected bytes waited on it while it was idle.
    IdleData,
    /// Its client had replaced the socket that the pool watches: `watch` named another one.
    SocketReplaced,
    /// It reached `max_lifetime`.
    Expired,
    /// It lay idle for `idle_timeout`.
    IdleTimeout,
    /// Its ping failed.
    PingFailed,
    /// Its lease outlasted `hold_limit`, or a hook on it the caller's deadline, and its socket was shut down.
    HeldTooLong,
    /// The pool was told to [`retire`](crate::Pool::retire) it, or its manager was replaced.
    Retired,
    /// It lay idle for as long as another one whose next use then failed, and could not be pinged, or a ping of such a one failed too:
    /// see [`Builder::suspect_after`](crate::Builder::suspect_after).
    Suspect,
    /// There were more than `max_size`, which was lowered, or its dial was overdue and another had taken its place.
    Surplus,
    /// The pool was closed.
    PoolClosed,
}

impl CloseReason {
    /// All reasons, in the order of the statistics.
    pub const ALL: [CloseReason; 15] = [
        CloseReason::PeerClosed,
        CloseReason::Discarded,
        CloseReason::Failed,
        CloseReason::Panicked,
        CloseReason::Condemned,
        CloseReason::IdleData,
        CloseReason::SocketReplaced,
        CloseReason::Expired,
        CloseReason::IdleTimeout,
        CloseReason::PingFailed,
        CloseReason::HeldTooLong,
        CloseReason::Retired,
        CloseReason::Suspect,
        CloseReason::Surplus,
        CloseReason::PoolClosed,
    ];

    /// A short name for tables and metrics, `snake_case`.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::PeerClosed => "peer_closed",
            CloseReason::Discarded => "discarded",
            CloseReason::Failed => "failed",
            CloseReason::Panicked => "panicked",
            CloseReason::Condemned => "condemned",
            CloseReason::IdleData => "idle_data",
            CloseReason::SocketReplaced => "socket_replaced",
            CloseReason::Expired => "expired",
            CloseReason::IdleTimeout => "idle_timeout",
            CloseReason::PingFailed => "ping_failed",
            CloseReason::HeldTooLong => "held_too_long",
            CloseReason::Retired => "retired",
            CloseReason::Suspect => "suspect",
            CloseReason::Surplus => "surplus",
            CloseReason::PoolClosed => "pool_closed",
        }
    }
}

/// One attempt to open a connection, as [`Manager::connect`] sees it.
#[derive(Debug)]
pub struct Dial<'a> {
    deadline: Instant,
    attempt: u32,
    cut: &'a Cut,
}

impl<'a> Dial<'a> {
    pub(crate) fn new(deadline: Instant, attempt: u32, cut: &'a Cut) -> Self {
        Dial { deadline, attempt, cut }
    }

    /// What is left of `dial_timeout`; zero once it has run out.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Which attempt this is since the last connection was opened, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Lets the pool shut this socket down once the dial is overdue, so that a handshake which blocks on it returns.
    ///
    /// Costs a duplicate of the descriptor for the time of the dial. Fails when no descriptor is left (`EMFILE`).
    pub fn cut_at_deadline(&self, socket: impl AsFd) -> io::Result<()> {
        self.cut.add(socket.as_fd().try_clone_to_owned()?);
        Ok(())
    }

    /// Calls `end` once the dial is overdue, or not wanted any more (its pool is closed, or told to retire all), for a client
    /// that can be ended by means of its own only (a cancel handle, a child to be killed). Dropped uncalled when
    /// [`connect`](Manager::connect) returns in time.
    ///
    /// Runs on a background thread; may block. Called at once, on this thread, if the deadline has passed already.
    pub fn at_deadline(&self, end: impl FnOnce() + Send + 'static) {
        self.cut.add_call(end);
    }
}
