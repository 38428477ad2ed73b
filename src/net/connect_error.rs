//! Why a dial of [`TcpManager`](crate::TcpManager) or [`UnixManager`](crate::UnixManager) failed.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Why [`TcpManager`](crate::TcpManager) or [`UnixManager`](crate::UnixManager) could not connect.
///
/// Says where; the I/O error is the `source()`, of the last address when there were several.
#[derive(Debug)]
pub struct ConnectError {
    at: Step,
    cause: io::Error,
}

/// Where a dial ended.
#[derive(Debug)]
pub(crate) enum Step {
    /// Before anything was sent: a setter was given what the kernel would misread.
    Setting {
        name: &'static str,
        given: Duration,
    },
    /// What `new` was given has no port, or none that is a number.
    Parse {
        address: String,
    },
    Resolve {
        address: String,
    },
    /// Each address failed; `others` were tried before the `last`.
    Tcp {
        address: String,
        last: SocketAddr,
        others: usize,
    },
    Unix {
        path: PathBuf,
    },
}

impl ConnectError {
    pub(crate) fn new(at: Step, cause: io::Error) -> Self {
        ConnectError { at, cause }
    }

    /// The kind of the I/O error behind it: `ConnectionRefused`, `TimedOut`, `InvalidInput` for a setting or address, …
    pub fn kind(&self) -> io::ErrorKind {
        self.cause.kind()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Step::Setting { name, given } => write!(f, "{name} cannot be {given:?}")?,
            Step::Parse { address } => write!(f, "{address:?} is not HOST:PORT")?,
            Step::Resolve { address } => write!(f, "could not resolve {address}")?,
            Step::Tcp { address, last, others } => {
                write!(f, "could not connect to {address}")?;
                if address.parse() != Ok(*last) {
                    write!(f, " at {last}")?;
                }
                match others {
                    0 => {}
                    1 => f.write_str(" (and 1 other address)")?,
                    _ => write!(f, " (and {others} other addresses)")?,
                }
            }
            Step::Unix { path } => write!(f, "could not connect to {}", path.display())?,
        }
        if matches!(self.cause.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
            f.write_str(": out of file descriptors (a pooled connection takes two)")?;
        }
        Ok(())
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

impl From<ConnectError> for io::Error {
    /// Keeps the kind, and the error itself as the payload.
    fn from(error: ConnectError) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_is_named() {
        for code in [libc::EMFILE, libc::ENFILE] {
            let at = Step::Unix { path: "/run/db.sock".into() };
            let error = ConnectError::new(at, io::Error::from_raw_os_error(code));
            assert_eq!(
                error.to_string(),
                "could not connect to /run/db.sock: out of file descriptors (a pooled connection takes two)"
            );
        }
    }
}
