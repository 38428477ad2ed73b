//! What is to be said and heard on a connection before it is lent, for both managers.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::conn::Conn;
use super::connect_error::{ConnectError, Step};
use crate::manager::Dial;
use crate::watch::stream::Stream;

/// The user's login, if there is one.
#[derive(Clone, Default)]
pub(super) struct Login(Option<Arc<Run>>);

type Run = dyn Fn(&mut Conn, &Dial<'_>) -> Result<(), LoginError> + Send + Sync;

/// The user's own error.
type LoginError = Box<dyn Error + Send + Sync>;

impl Login {
    pub(super) fn new<E>(login: impl Fn(&mut Conn, &Dial<'_>) -> Result<(), E> + Send + Sync + 'static) -> Self
    where
        E: Into<LoginError>,
    {
        Login(Some(Arc::new(move |conn, dial| login(conn, dial).map_err(Into::into))))
    }

    /// What a dial does last. `to`: the endpoint's name, for the error.
    pub(super) fn pass(
        &self,
        mut conn: Conn,
        dial: &Dial<'_>,
        to: impl FnOnce() -> String,
    ) -> Result<Conn, ConnectError> {
        let Some(login) = &self.0 else { return Ok(conn) };
        match run(&**login, &mut conn, dial) {
            Ok(()) => Ok(conn),
            Err(cause) => Err(ConnectError::new(Step::Login { address: to(), peer: conn.peer() }, cause)),
        }
    }
}

fn run(login: &Run, conn: &mut Conn, dial: &Dial<'_>) -> Result<(), LoginError> {
    dial.cut_at_deadline(&*conn)?;
    login(conn, dial)?;
    // Its timeouts end with it, and if it ends with a write, nobody is owed a reply.
    conn.restore()?;
    if conn.is_fit() { Ok(()) } else { Err("the login has left the connection dirty".into()) }
}

/// A closure has nothing to show.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Login").field(&self.0.is_some()).finish()
    }
}
