//! The user's side of a mux: how requests are written and replies are read.
#![forbid(unsafe_code)]

use std::error::Error;

/// A protocol whose replies come in the order of its requests.
///
/// Its methods run on callers' threads, never under a lock. A panic in [`encode`](Protocol::encode) goes on to its caller and costs
/// nothing else; one in [`decode`](Protocol::decode) costs the connection.
pub trait Protocol: Send + Sync + 'static {
    /// What is asked.
    type Request: ?Sized;
    /// What is answered. Decoded on one thread, moved to the caller's.
    type Reply: Send + 'static;

    /// Appends the request, as it is written, to `into`, which may hold others before it. Exactly one reply answers it: what breaks that
    /// would give callers each other's replies, so it is the one promise that this trait cannot do without. A request of no bytes is
    /// refused here.
    ///
    /// An `Err` refuses it, for whatever must not be sent on a shared connection; the caller gets it as the source of a
    /// [`CallErrorKind::Refused`](super::CallErrorKind::Refused), and nothing is sent.
    ///
    /// Runs on the caller's thread, once a call. It may call this mux or another.
    fn encode(&self, request: &Self::Request, into: &mut Vec<u8>) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Reads one message at the beginning of `bytes`, which are never empty.
    ///
    /// Runs on whichever caller's thread reads for all, once for each message, and once more each time that as many bytes have come as
    /// [`More`](Decoded::More) wanted of one that is not whole. Must not block: all callers of the line wait. A call of this mux is
    /// refused here, also one that comes back by way of another mux whose protocol calls; so is any call within four such.
    fn decode(&self, bytes: &[u8]) -> Decoded<Self::Reply>;

    /// Is told of a message that answers nobody ([`Decoded::Push`]). The default drops it.
    ///
    /// Runs on whichever caller's thread reads for all. Must not block; a call of this mux is refused here. A panic is contained. Nobody
    /// reads while nobody calls: a push is then heard of with the next call.
    fn on_push(&self, push: Self::Reply) {
        drop(push);
    }

    /// Whether the reply to this request may take as long as it likes: the [`watchdog`](super::MuxBuilder::watchdog) does not count it as
    /// silence. The default says no.
    ///
    /// Runs on the caller's thread, once a call, if there is a watchdog.
    fn may_block(&self, request: &Self::Request) -> bool {
        let _ = request;
        false
    }
}

/// What [`Protocol::decode`] has found.
#[derive(Debug)]
#[non_exhaustive]
pub enum Decoded<R> {
    /// A reply, and how many bytes it took.
    Reply(R, usize),
    /// A message that answers nobody, and how many bytes it took.
    Push(R, usize),
    /// The message is not whole: at least so many bytes more are to come before it is worth looking again. 1 if that is not known; more
    /// saves looks at a long message.
    More(usize),
    /// This is not the protocol. The connection is given up.
    Broken(Box<dyn Error + Send + Sync>),
}
