//! Why a dial of [`TcpManager`](crate::TcpManager) or [`UnixManager`](crate::UnixManager) failed.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why [`TcpManager`](crate::TcpManager) or [`UnixManager`](crate::UnixManager) could not connect.
///
/// Says where; the I/O error is the `source()`, of the last address when there were several; of a login, its own error.
#[derive(Debug)]
pub struct ConnectError {
    at: Step,
    cause: Box<dyn Error + Send + Sync>,
}

/// Where a dial ended.
#[derive(Debug)]
pub(crate) enum Step {
    /// Before anything was sent: a setter was given what the kernel would misread.
    Setting {
        name: &'static str,
        given: String,
    },
    /// What `new` was given has no port, or none that is a number.
    Parse {
        address: String,
    },
    Resolve {
        address: String,
    },
    /// Each address failed; `others` were tried beside the `last`.
    Tcp {
        address: String,
        last: SocketAddr,
        others: usize,
    },
    Unix {
        path: PathBuf,
    },
    /// What was to be said and heard on the open connection.
    Login {
        address: String,
        peer: Option<SocketAddr>,
    },
    /// TLS's, on the open connection.
    #[cfg(feature = "rustls")]
    Handshake {
        address: String,
    },
}

impl ConnectError {
    pub(crate) fn new(at: Step, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        ConnectError { at, cause: cause.into() }
    }

    /// The kind of the I/O error behind it: `ConnectionRefused`, `TimedOut`, `InvalidInput` for a setting or address, … `Other` if
    /// there is none, as when a login was refused.
    pub fn kind(&self) -> io::ErrorKind {
        self.io_error().map_or(io::ErrorKind::Other, io::Error::kind)
    }

    /// The first one of the chain.
    fn io_error(&self) -> Option<&io::Error> {
        let mut next = self.source();
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref() {
                return Some(error);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Step::Setting { name, given } => write!(f, "{name} cannot be {given}")?,
            Step::Parse { address } => write!(f, "{address:?} is not HOST:PORT")?,
            Step::Resolve { address } => write!(f, "could not resolve {address}")?,
            Step::Tcp { address, last, others } => {
                write!(f, "could not connect to {address}")?;
                at(f, address, *last)?;
                match others {
                    0 => {}
                    1 => f.write_str(" (and 1 other address)")?,
                    _ => write!(f, " (and {others} other addresses)")?,
                }
            }
            Step::Unix { path } => write!(f, "could not connect to {}", path.display())?,
            Step::Login { address, peer } => {
                write!(f, "could not log in to {address}")?;
                peer.map_or(Ok(()), |peer| at(f, address, peer))?;
            }
            #[cfg(feature = "rustls")]
            Step::Handshake { address } => write!(f, "the TLS handshake with {address} failed")?,
        }
        if matches!(self.io_error().and_then(io::Error::raw_os_error), Some(libc::EMFILE | libc::ENFILE)) {
            f.write_str(": out of file descriptors (a pooled connection takes two)")?;
        }
        Ok(())
    }
}

/// Which address of a name it was; nothing if the name is the address.
fn at(f: &mut fmt::Formatter<'_>, name: &str, address: SocketAddr) -> fmt::Result {
    if name.parse() == Ok(address) { Ok(()) } else { write!(f, " at {address}") }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
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
