//! A transaction on what is lent: [`MysqlTransaction`].
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{Deref, DerefMut};

use mysql::prelude::Queryable;
use mysql::{Result, TxOpts};

use super::connection::MysqlConnection;

/// A transaction, used as the [`MysqlConnection`] that it is on. Rolled back when it is dropped without having been committed.
pub struct MysqlTransaction<'a> {
    connection: &'a mut MysqlConnection,
    ended: bool,
}

impl MysqlConnection {
    /// Begins a transaction, which is rolled back when it is dropped without having been committed.
    ///
    /// # Errors
    /// The client's.
    pub fn start_transaction(&mut self, options: TxOpts) -> Result<MysqlTransaction<'_>> {
        // The client's own would hide the client's errors. It holds a borrow, and a handler for local files if there is one.
        self.call(|conn| conn.start_transaction(options).map(std::mem::forget))?;
        Ok(MysqlTransaction { connection: self, ended: false })
    }
}

impl MysqlTransaction<'_> {
    /// Commits it.
    ///
    /// # Errors
    /// The client's; then whether it was committed is not known.
    pub fn commit(mut self) -> Result<()> {
        self.end("COMMIT")
    }

    /// Rolls it back, as dropping it does, which keeps its errors to itself.
    pub fn rollback(mut self) -> Result<()> {
        self.end("ROLLBACK")
    }

    fn end(&mut self, how: &str) -> Result<()> {
        self.connection.query_drop(how)?;
        self.ended = true;
        Ok(())
    }
}

impl Drop for MysqlTransaction<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // One that fails has broken the connection, which notes that.
            let _ = self.connection.query_drop("ROLLBACK");
        }
    }
}

impl Deref for MysqlTransaction<'_> {
    type Target = MysqlConnection;

    fn deref(&self) -> &MysqlConnection {
        self.connection
    }
}

impl DerefMut for MysqlTransaction<'_> {
    fn deref_mut(&mut self) -> &mut MysqlConnection {
        self.connection
    }
}

impl fmt::Debug for MysqlTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MysqlTransaction").field(&self.connection).finish()
    }
}
