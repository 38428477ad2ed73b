//! Why a call has no reply.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::line::Lost;
use super::line::wire::Wire;
use crate::error::{Cause, GetError, GetErrorKind};

/// The kinds of [`CallError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallErrorKind {
    /// Its time was up before its reply came, or before it was written.
    TimedOut,
    /// It was written, and the connection ended before its reply; why is the source.
    Disconnected,
    /// No connection can be opened: the endpoint has been down for `fail_fast_after`, or its error is permanent. The source is the pool's
    /// error, and the last dial's is that one's source. Or one was opened, and [has no halves](super::Duplex::halves): that error is the
    /// source.
    Down,
    /// The protocol refuses this request, or the pool this caller: the source says why.
    Refused,
    /// As many calls are in flight, or as many bytes queued, as the line takes on, and none was answered in time.
    Overloaded,
    /// The mux is closed.
    Closed,
}

/// Why a caller has opened no connection.
#[derive(Debug)]
pub(super) enum Unopened {
    /// The pool has none.
    Pool(GetError),
    /// It has, and that one has no halves.
    Whole(Cause),
}

/// Why a call has no reply. Clones share the cause.
#[derive(Debug, Clone)]
pub struct CallError {
    kind: CallErrorKind,
    sent: bool,
    waited: Duration,
    cause: Option<Cause>,
}

impl CallError {
    fn new(kind: CallErrorKind, sent: bool, waited: Duration, cause: Option<Cause>) -> Self {
        CallError { kind, sent, waited, cause }
    }

    pub(super) fn refused(cause: Box<dyn Error + Send + Sync>) -> Self {
        CallError::new(CallErrorKind::Refused, false, Duration::ZERO, Some(Cause::from(cause)))
    }

    #[cold]
    pub(super) fn lost<W: Wire<Refusal = Unopened, Cause = Cause>>(lost: Lost<W>, waited: Duration) -> Self {
        match lost {
            Lost::NoRoom => CallError::new(CallErrorKind::Overloaded, false, waited, None),
            Lost::TimeUp { sent } => CallError::new(CallErrorKind::TimedOut, sent, waited, None),
            Lost::Disconnected(cause) => CallError::new(CallErrorKind::Disconnected, true, waited, Some(cause)),
            Lost::Closed => CallError::new(CallErrorKind::Closed, false, waited, None),
            Lost::Refused(Unopened::Whole(cause)) => CallError::new(CallErrorKind::Down, false, waited, Some(cause)),
            Lost::Refused(Unopened::Pool(error)) => {
                let kind = match error.kind() {
                    GetErrorKind::Busy | GetErrorKind::TimedOut => CallErrorKind::TimedOut,
                    GetErrorKind::Down => CallErrorKind::Down,
                    GetErrorKind::Refused => CallErrorKind::Refused,
                    GetErrorKind::Closed => CallErrorKind::Closed,
                };
                CallError::new(kind, false, waited, Some(Arc::new(error)))
            }
        }
    }

    /// What went wrong, to match on.
    pub fn kind(&self) -> CallErrorKind {
        self.kind
    }

    /// Whether the request may have been carried out: it was written, or some of it was. If not, the peer has not seen it and never
    /// will: to call again is safe.
    pub fn was_sent(&self) -> bool {
        self.sent
    }

    /// How long the call took.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Why: also the `source()`, here in a form that can be kept.
    pub fn cause(&self) -> Option<Cause> {
        self.cause.clone()
    }
}

/// What a protocol must not do, and would spoil the line for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misuse {
    Empty,
    Shortened,
    Nested,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Misuse::Empty => "the protocol encodes nothing for this request, to which no reply would come",
            Misuse::Shortened => "the protocol has taken away what it had encoded before",
            Misuse::Nested => "the protocol calls the mux while it reads for it, and would wait for itself",
        })
    }
}

impl Error for Misuse {}

impl From<Misuse> for CallError {
    fn from(misuse: Misuse) -> Self {
        CallError::refused(Box::new(misuse))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = self.waited.as_millis();
        match (self.kind, self.sent) {
            (CallErrorKind::TimedOut, true) => write!(f, "timed out after {after} ms waiting for a reply"),
            (CallErrorKind::TimedOut, false) => write!(f, "timed out after {after} ms waiting to be sent"),
            (CallErrorKind::Disconnected, _) => f.write_str("the connection ended before the reply"),
            (CallErrorKind::Down, _) => f.write_str("the request was not sent: there is no connection"),
            (CallErrorKind::Refused, _) => f.write_str("the request was refused and not sent"),
            (CallErrorKind::Overloaded, _) => {
                write!(f, "not sent within {after} ms: too much is in flight already")
            }
            (CallErrorKind::Closed, _) => f.write_str("the mux is closed"),
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

impl From<CallError> for io::Error {
    /// TimedOut becomes `TimedOut`, Disconnected `ConnectionReset`, Down `NotConnected`, Refused `InvalidInput`, Overloaded
    /// `ResourceBusy`, Closed `BrokenPipe`.
    fn from(error: CallError) -> io::Error {
        let kind = match error.kind {
            CallErrorKind::TimedOut => io::ErrorKind::TimedOut,
            CallErrorKind::Disconnected => io::ErrorKind::ConnectionReset,
            CallErrorKind::Down => io::ErrorKind::NotConnected,
            CallErrorKind::Refused => io::ErrorKind::InvalidInput,
            CallErrorKind::Overloaded => io::ErrorKind::ResourceBusy,
            CallErrorKind::Closed => io::ErrorKind::BrokenPipe,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_words_and_its_own_as_an_io_error() {
        let kinds = [
            (CallErrorKind::TimedOut, true, "timed out after 20 ms waiting for a reply", io::ErrorKind::TimedOut),
            (CallErrorKind::TimedOut, false, "timed out after 20 ms waiting to be sent", io::ErrorKind::TimedOut),
            (
                CallErrorKind::Disconnected,
                true,
                "the connection ended before the reply",
                io::ErrorKind::ConnectionReset,
            ),
            (
                CallErrorKind::Down,
                false,
                "the request was not sent: there is no connection",
                io::ErrorKind::NotConnected,
            ),
            (CallErrorKind::Refused, false, "the request was refused and not sent", io::ErrorKind::InvalidInput),
            (
                CallErrorKind::Overloaded,
                false,
                "not sent within 20 ms: too much is in flight already",
                io::ErrorKind::ResourceBusy,
            ),
            (CallErrorKind::Closed, false, "the mux is closed", io::ErrorKind::BrokenPipe),
        ];
        for (kind, sent, text, io) in kinds {
            let cause: Cause = Arc::new(fmt::Error);
            let error = CallError::new(kind, sent, Duration::from_millis(20), Some(cause));
            assert_eq!((error.kind(), error.was_sent(), error.to_string()), (kind, sent, text.to_owned()));
            assert_eq!(error.waited(), Duration::from_millis(20));
            assert_eq!(error.cause().unwrap().to_string(), fmt::Error.to_string());
            assert_eq!(error.source().unwrap().to_string(), fmt::Error.to_string());
            let outside = io::Error::from(error);
            assert_eq!((outside.kind(), outside.to_string()), (io, text.to_owned()));
        }
    }

    #[test]
    fn what_a_protocol_must_not_do_is_refused_with_the_reason() {
        for (misuse, text) in [
            (Misuse::Empty, "the protocol encodes nothing for this request, to which no reply would come"),
            (Misuse::Shortened, "the protocol has taken away what it had encoded before"),
            (Misuse::Nested, "the protocol calls the mux while it reads for it, and would wait for itself"),
        ] {
            let error = CallError::from(misuse);
            assert_eq!((error.kind(), error.was_sent()), (CallErrorKind::Refused, false));
            assert_eq!(error.source().unwrap().to_string(), text);
        }
    }
}
