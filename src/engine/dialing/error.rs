//! What a dial failed with when its manager did not say.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::time::Duration;

use crate::manager::CloseReason;

/// What a dial failed with when its manager did not say.
#[derive(Debug)]
pub(crate) enum DialError {
    /// It took longer than this.
    Overdue(Duration),
    /// So many hang that no more may begin.
    Hanging {
        dials: usize,
        oldest: Duration,
    },
    /// So many closes hang that there is no room.
    ClosesHang {
        closes: usize,
    },
    /// Which hook.
    Panicked(&'static str),
    /// Why none could be started.
    NoThread(io::Error),
    /// The peer hung up on it before anybody used it.
    Stillborn,
    /// Bytes were there before anybody used it.
    SpeaksFirst,
    /// `on_checkout` discarded it before anybody used it, without a reason.
    Unfit,
    /// `on_checkout` took longer than the caller's time.
    HookOverran,
    /// Its stream is dirty, as `connect` left it.
    LeftUnfit,
    NoDescriptor(io::Error),
}

impl DialError {
    /// A connection left for this before anybody used it, and nobody said more.
    pub(crate) fn of_unused(why: CloseReason) -> Self {
        match why {
            CloseReason::Panicked => DialError::Panicked("hook"),
            CloseReason::IdleData => DialError::SpeaksFirst,
            CloseReason::PeerClosed => DialError::Stillborn,
            CloseReason::HeldTooLong => DialError::HookOverran,
            _ => DialError::Unfit,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Overdue(limit) => write!(f, "the dial took longer than {} ms", limit.as_millis()),
            DialError::Hanging { dials, oldest } => {
                write!(f, "{dials} dials hang, the oldest of them for {} s", oldest.as_secs())
            }
            DialError::ClosesHang { closes } => {
                write!(f, "{closes} closes hang, and leave no room to open connections")
            }
            DialError::Panicked(hook) => write!(f, "the manager's {hook} panicked"),
            DialError::NoThread(_) => f.write_str("no background thread could be started for the dial"),
            DialError::Stillborn => f.write_str("the peer accepted the connection and hung up at once"),
            DialError::SpeaksFirst => f.write_str("the peer sends before it is asked: read its greeting in `connect`"),
            DialError::Unfit => f.write_str("the manager's on_checkout discards what it has just opened"),
            DialError::LeftUnfit => {
                f.write_str("the manager's connect left the stream dirty: an exchange was half done")
            }
            DialError::HookOverran => f.write_str("the manager's on_checkout took longer than the caller's time"),
            DialError::NoDescriptor(error) if error.raw_os_error().is_some_and(out_of_descriptors) => {
                f.write_str("no descriptor is left to watch the connection with (each pooled connection takes two)")
            }
            DialError::NoDescriptor(_) => f.write_str("the connection's descriptor could not be duplicated"),
        }
    }
}

fn out_of_descriptors(code: i32) -> bool {
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].iter().any(|errno| errno.raw_os_error() == code)
}

impl std::error::Error for DialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DialError::NoDescriptor(error) | DialError::NoThread(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn each_failure_that_the_pool_finds_by_itself_has_its_words() {
        let no_more = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        let errors = [
            (DialError::Overdue(Duration::from_secs(3)), "the dial took longer than 3000 ms"),
            (
                DialError::Hanging { dials: 16, oldest: Duration::from_millis(130_700) },
                "16 dials hang, the oldest of them for 130 s",
            ),
            (DialError::ClosesHang { closes: 16 }, "16 closes hang, and leave no room to open connections"),
            (DialError::Panicked("connect"), "the manager's connect panicked"),
            (DialError::NoThread(io::Error::other("why")), "no background thread could be started for the dial"),
            (DialError::LeftUnfit, "the manager's connect left the stream dirty: an exchange was half done"),
            (
                DialError::NoDescriptor(no_more),
                "no descriptor is left to watch the connection with (each pooled connection takes two)",
            ),
        ];
        errors.into_iter().for_each(|(error, text)| assert_eq!(error.to_string(), text));
        let other = DialError::NoDescriptor(io::Error::other("why"));
        assert_eq!(other.to_string(), "the connection's descriptor could not be duplicated");
        assert_eq!(other.source().unwrap().to_string(), "why");
        assert_eq!(DialError::NoThread(io::Error::other("why")).source().unwrap().to_string(), "why");
    }

    #[test]
    fn what_leaves_before_its_first_use_is_told_by_why_it_leaves() {
        let reasons = [
            (CloseReason::Panicked, "the manager's hook panicked"),
            (CloseReason::IdleData, "the peer sends before it is asked: read its greeting in `connect`"),
            (CloseReason::PeerClosed, "the peer accepted the connection and hung up at once"),
            (CloseReason::HeldTooLong, "the manager's on_checkout took longer than the caller's time"),
            (CloseReason::Discarded, "the manager's on_checkout discards what it has just opened"),
        ];
        reasons.into_iter().for_each(|(why, text)| assert_eq!(DialError::of_unused(why).to_string(), text));
    }
}
