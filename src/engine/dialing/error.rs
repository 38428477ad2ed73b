//! What a dial failed with when its manager did not say.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::time::Duration;

/// What a dial failed with when its manager did not say.
#[derive(Debug)]
pub(crate) enum DialError {
    Overdue(Duration),
    Panicked(String),
    NoThread,
    Stillborn,
    NoDescriptor(io::Error),
}

impl DialError {
    /// A hook panicked with this.
    pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        DialError::Panicked(text.unwrap_or_else(|| "without a message".to_owned()))
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Overdue(limit) => write!(f, "the dial took longer than {} ms", limit.as_millis()),
            DialError::Panicked(message) => write!(f, "the manager panicked: {message}"),
            DialError::NoThread => f.write_str("no background thread could be started for the dial"),
            DialError::Stillborn => f.write_str("the peer accepted the connection and hung up at once"),
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
            DialError::NoDescriptor(error) => Some(error),
            DialError::Overdue(_) | DialError::Panicked(_) | DialError::NoThread | DialError::Stillborn => None,
        }
    }
}
