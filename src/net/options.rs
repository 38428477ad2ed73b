//! What both managers do with each of their connections, whatever their kind of socket: checked before the dial, done after it.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use socket2::Socket;

use super::connect_error::{ConnectError, Step};

/// The options of a manager that its kind of socket makes no difference to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) timeouts: Timeouts,
    /// No reply is due for what is written.
    pub(crate) one_way: bool,
}

/// How long one call may block; `None`: for ever.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timeouts {
    pub(crate) read: Option<Duration>,
    pub(crate) write: Option<Duration>,
}

/// What the kernel counts in; anything less would round down to zero, which means no timeout.
pub(crate) const SHORTEST_TIMEOUT: Duration = Duration::from_micros(1);

impl Options {
    /// What a dial does first, since nobody hears a setter complain.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        for (name, timeout) in [("read_timeout", self.timeouts.read), ("write_timeout", self.timeouts.write)] {
            refuse_zero(timeout).map_err(|cause| {
                let given = format!("{:?}", timeout.unwrap_or_default());
                ConnectError::new(Step::Setting { name, given }, cause)
            })?;
        }
        Ok(())
    }
}

impl Timeouts {
    /// Writes both to the socket, `None` as well: a dial may have used the socket's timeouts for itself.
    pub(crate) fn set(self, socket: &Socket) -> io::Result<()> {
        socket.set_read_timeout(self.read)?;
        socket.set_write_timeout(self.write)
    }
}

pub(crate) fn refuse_zero(timeout: Option<Duration>) -> io::Result<()> {
    match timeout {
        Some(timeout) if timeout < SHORTEST_TIMEOUT => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "must be at least 1 µs, or None for no timeout"))
        }
        _ => Ok(()),
    }
}
