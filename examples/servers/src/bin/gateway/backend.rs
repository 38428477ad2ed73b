//! The server behind the gateway, and how it plays an outage: it is asked, by a connection of the pool, to end all others.

use std::fmt;

use crate::cli::Failure;
use crate::outage::Window;
use crate::store::Store;

#[derive(Debug)]
pub(crate) struct Backend {
    /// What `--backend` says, without a user and a password.
    name: String,
    store: Store,
}

impl Backend {
    pub(crate) fn new(url: &str, store: Store) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        Backend { name: format!("{scheme}://{host}"), store }
    }

    /// Has every other connection ended, marks in `window` when that began and when it was done, then returns. New ones are welcome all the
    /// time.
    pub(crate) fn outage(&self, window: &Window) -> Result<(), Failure> {
        window.cut();
        let cut = self.store.cut();
        window.back();
        Ok(cut?)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
