//! What is lent: [`PostgresConnection`].
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, SimpleQueryMessage};
use rustix::net::{RecvFlags, recv};

use crate::clients::fdhunt::Found;
use crate::manager::Watch;

/// A `postgres::Client`, with the duplicate of its socket by which the pool watches it. Used as the client itself, to which it
/// dereferences.
pub struct PostgresConnection {
    // Dropped first: it says goodbye.
    client: Client,
    found: Option<Found>,
    /// Somebody has had the client since it was last judged.
    used: bool,
}

/// What is left in a session by its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// No transaction is open.
    Nothing,
    /// One is.
    Transaction,
}

/// A transaction is open if it began before this statement did. `SELECT` warns about nothing, here or in the server's log; a `ROLLBACK`
/// without a transaction does.
const IS_OPEN: &str = "SELECT pg_catalog.now() <> pg_catalog.statement_timestamp()";

/// All of `DISCARD ALL` but for the prepared statements: the client keeps some that ask for types, and does not ask whether they are
/// still there. In one string, which the server runs as one transaction.
const DISCARD: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
    SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES";

impl PostgresConnection {
    pub(super) fn new(client: Client, found: Option<Found>) -> Self {
        PostgresConnection { client, found, used: false }
    }

    /// Whether its socket was found, so that the pool watches it.
    pub fn is_watched(this: &Self) -> bool {
        this.found.is_some()
    }

    #[inline]
    pub(super) fn watch(&self, on: &mut Watch<'_>) {
        if let Some(found) = &self.found {
            on.socket(found);
        }
    }

    /// Whatever the client waits for ends.
    pub(super) fn shut_down(&self) {
        if let Some(found) = &self.found {
            found.shut_down();
        }
    }

    /// Whether somebody has had it since this was last asked.
    pub(super) fn was_used(&mut self) -> bool {
        std::mem::take(&mut self.used)
    }

    /// The first byte that waits on it. One look, which takes nothing.
    pub(super) fn waiting(&self) -> Option<u8> {
        let mut first = [0; 1];
        let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let looked = self.found.as_ref().map(|found| recv(found, &mut first, look));
        matches!(looked, Some(Ok((_, 1)))).then_some(first[0])
    }

    /// Whether the client may be given what begins with this byte: a notification, a notice, a parameter's new value; the end of an answer
    /// whose error has been read, which may come later; or, under TLS, a record that holds anything. Of what it does not expect,
    /// it closes.
    pub(super) fn may_be_due(first: u8) -> bool {
        const TLS_DATA: u8 = 0x17;
        matches!(first, b'A' | b'N' | b'S' | b'Z' | TLS_DATA)
    }

    /// Takes the messages that the server sends unasked, and whatever notifications were taken before. An error or the end, which wait
    /// behind them, close the client.
    pub(super) fn drain(&mut self) {
        let mut notifications = self.client.notifications();
        // The shortest time in which the client looks at its socket.
        let mut iter = notifications.timeout_iter(Duration::from_millis(1));
        while let Ok(Some(_)) = iter.next() {}
    }

    /// What the last user was told and did not take is not for the next one.
    pub(super) fn forget_notifications(&mut self) {
        let mut notifications = self.client.notifications();
        while !notifications.is_empty() && matches!(notifications.iter().next(), Ok(Some(_))) {}
    }

    /// Asks the server what was left. A round trip.
    pub(super) fn left(&mut self, discard: bool) -> Result<Left, postgres::Error> {
        let asked = if discard {
            self.client.simple_query(&format!("{IS_OPEN}; {DISCARD}"))
        } else {
            self.client.simple_query(IS_OPEN)
        };
        match asked {
            Ok(said) => Ok(if said.iter().find_map(first) == Some("t") { Left::Transaction } else { Left::Nothing }),
            // In a transaction that has failed, nothing else is answered.
            Err(error) if error.code() == Some(&postgres::error::SqlState::IN_FAILED_SQL_TRANSACTION) => {
                Ok(Left::Transaction)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the transaction that is open, and then what else is to be ended.
    pub(super) fn roll_back(&mut self, discard: bool) -> Result<(), postgres::Error> {
        self.client.batch_execute("ROLLBACK")?;
        if discard { self.client.batch_execute(DISCARD) } else { Ok(()) }
    }
}

fn first(message: &SimpleQueryMessage) -> Option<&str> {
    match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    }
}

impl Deref for PostgresConnection {
    type Target = Client;

    #[inline]
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for PostgresConnection {
    #[inline]
    fn deref_mut(&mut self) -> &mut Client {
        self.used = true;
        &mut self.client
    }
}

impl fmt::Debug for PostgresConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConnection")
            .field("closed", &self.client.is_closed())
            .field("found", &self.found)
            .finish_non_exhaustive()
    }
}
