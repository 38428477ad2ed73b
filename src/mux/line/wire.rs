//! What a line needs of the world: a connection that is opened, written, read and given up. In the crate a pool and its sockets, in the
//! models memory.
#![forbid(unsafe_code)]

use crate::sync::Nap;

/// How much time a caller has left.
pub(crate) trait Time {
    /// How long it may sleep now; `None` once its time is up.
    fn left(&self) -> Option<Nap>;
}

/// How long one look at a connection may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Not at all.
    AtOnce,
    /// A moment: there is something else to be done.
    Moment,
    /// As long as the caller has, but not so long that nobody looks at the clock.
    Long,
}

/// The world, as a line sees it. None of these is called under the line's lock, but for [`is_leaving`](Wire::is_leaving).
pub(crate) trait Wire {
    /// What a call is answered with.
    type Reply;
    /// The hold on a connection.
    type Lease;
    /// Its half that is read.
    type Input;
    /// Its half that is written.
    type Output;
    /// Why no connection was had.
    type Refusal;
    /// Why a connection ended.
    type Cause: Clone;
    /// A caller's time.
    type Time: Time;

    /// Opens a connection, waiting for it as long as the caller may.
    fn open(&self, time: &Self::Time) -> Result<Parts<Self>, Self::Refusal>;

    /// Whether the connection must not be used for anything new. One load.
    fn is_leaving(lease: &Self::Lease) -> bool;

    /// Gives a connection up. `failed`: it broke.
    fn give_up(&self, parts: Parts<Self>, failed: bool);

    /// Writes some of `bytes`. None of them: not in this time.
    fn send(&self, to: &mut Self::Output, bytes: &[u8], look: Look, time: &Self::Time) -> Result<usize, Self::Cause>;

    /// Reads, and adds the replies that are complete now to `into`; also those before a failure. None: not in this time.
    fn receive(
        &self,
        from: &mut Self::Input,
        into: &mut Vec<Self::Reply>,
        look: Look,
        time: &Self::Time,
    ) -> Result<(), Self::Cause>;

    /// Whoever blocks on the other half returns.
    fn hang_up_input(&self, input: &Self::Input);

    /// The same, of one who writes.
    fn hang_up_output(&self, output: &Self::Output);

    /// Why a connection ends that has answered more than it was asked.
    fn unasked(&self) -> Self::Cause;

    /// Whether anybody asks [`stalled`](Wire::stalled): else a line need not look at the clock.
    fn watches(&self) -> bool;

    /// Whether a line that has been silent since `since`, as [`now`](Wire::now) told it, is to be given up, and why.
    fn stalled(&self, since: u64) -> Option<Self::Cause>;

    /// The time.
    fn now(&self) -> u64;

    /// Drops a reply that nobody waits for.
    fn forget(&self, reply: Self::Reply);
}

/// A connection in its parts.
pub(crate) struct Parts<W: Wire + ?Sized> {
    pub(crate) lease: W::Lease,
    pub(crate) input: W::Input,
    pub(crate) output: W::Output,
}
