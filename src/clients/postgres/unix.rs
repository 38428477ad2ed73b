//! Finding the Unix socket of a client, on which it sets no option.
#![forbid(unsafe_code)]

use std::time::Duration;

use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;

use crate::clients::fdhunt::{self, Found};

/// So much that neither the client's own buffers nor the socket's (208 KiB by default) hold all of it: the rest waits until it is read.
const ROWS: &str = "SELECT $1 || pg_catalog.repeat('x', 500) FROM pg_catalog.generate_series(1, 1000)";

/// Has the server send more than the client reads at once, each row with a token that only this session was told, and finds the socket
/// on which it waits.
pub(super) fn find(client: &mut Client, within: Duration) -> Result<Option<Found>, postgres::Error> {
    let token = format!("corepool-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let text = postgres::types::Type::TEXT;
    let mut rows = client.query_typed_raw(ROWS, [(&token, text)])?;
    rows.next()?;
    let found = fdhunt::by_waiting_bytes(token.as_bytes(), within);
    while rows.next()?.is_some() {}
    Ok(found)
}
