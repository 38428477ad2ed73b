//! The store behind the gateway, embedded or real, and how each of them plays an outage.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::cli::Failure;
use crate::outage::Window;
use crate::resp::RespManager;
use crate::resp_server::RespServer;

/// How long the embedded backend stays away.
const OUTAGE: Duration = Duration::from_millis(300);
/// How long the connection that carries CLIENT KILL may take to open.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) enum Backend {
    Embedded(RespServer),
    Real(RespManager),
}

impl Backend {
    /// The real one if given, else a new embedded one. Does not connect.
    pub(crate) fn start(real: Option<&RespManager>) -> io::Result<Self> {
        Ok(match real {
            Some(manager) => Backend::Real(manager.clone()),
            None => Backend::Embedded(RespServer::start()?),
        })
    }

    /// What opens connections to it.
    pub(crate) fn manager(&self) -> RespManager {
        match self {
            Backend::Embedded(server) => RespManager::new(server.address()),
            Backend::Real(manager) => manager.clone(),
        }
    }

    /// Hangs up on every client, marks in `window` when that began and when new ones were welcome again, then returns.
    ///
    /// A real server is back as soon as it has answered.
    pub(crate) fn outage(&self, window: &Window) -> Result<(), Failure> {
        match self {
            Backend::Embedded(server) => {
                window.cut();
                server.outage(OUTAGE)?;
            }
            Backend::Real(manager) => {
                let mut connection = manager.open(DIAL_TIMEOUT, |_| Ok(()))?;
                window.cut();
                redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).exec(&mut connection)?;
            }
        }
        window.back();
        Ok(())
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Embedded(server) => write!(f, "{} (embedded)", server.address()),
            Backend::Real(manager) => write!(f, "{manager}"),
        }
    }
}
