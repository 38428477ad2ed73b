//! What the pools of a comparison hold: something that costs nothing, or a connection that speaks a small framed protocol.
//!
//! An [`Endpoint`] says how to open one; [`Framed`] makes it a corepool manager and [`Tested`] an r2d2 manager, so that all
//! rivals run the same client code over the same sockets.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use corepool::{Dial, Manager, Outcome, Verdict, Watch};

use super::rounds;

/// Where connections of one kind come from.
pub(crate) trait Endpoint: Clone + Send + Sync + 'static {
    /// The connection.
    type Connection: Send + 'static;

    /// Opens one.
    fn dial(&self) -> io::Result<Self::Connection>;

    /// Its socket, for a pool that watches it.
    fn socket(_connection: &Self::Connection) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Whether a request has no reply yet, so that the connection must not be used again.
    fn is_half_done(_connection: &Self::Connection) -> bool {
        false
    }

    /// A round trip that asks whether the peer is there.
    fn ping(_connection: &mut Self::Connection) -> io::Result<()> {
        Ok(())
    }
}

/// Connections to nowhere, for what a pool costs by itself.
#[derive(Clone, Copy)]
pub(crate) struct Nowhere;

impl Endpoint for Nowhere {
    type Connection = u64;

    fn dial(&self) -> io::Result<u64> {
        Ok(0)
    }
}

/// Bytes of a frame, both ways.
pub(crate) const FRAME: usize = 64;

/// In a frame's first byte: the client is pinned to no core.
pub(crate) const ANYWHERE: u8 = u8::MAX;

/// A client of the servers in `servers`: each exchange is one frame there and one back, one `write` and one `read`. The first byte says
/// which core the client is pinned to.
pub(crate) struct Client<S> {
    stream: S,
    in_flight: bool,
}

impl<S: Read + Write> Client<S> {
    /// A round trip.
    pub(crate) fn exchange(&mut self) -> io::Result<()> {
        let mut frame = [rounds::pinned().unwrap_or(ANYWHERE); FRAME];
        self.in_flight = true;
        self.stream.write_all(&frame)?;
        self.stream.read_exact(&mut frame)?;
        self.in_flight = false;
        Ok(())
    }
}

/// Servers over TCP.
#[derive(Clone, Copy)]
pub(crate) struct Tcp(pub(crate) SocketAddr);

impl Endpoint for Tcp {
    type Connection = Client<TcpStream>;

    fn dial(&self) -> io::Result<Self::Connection> {
        let stream = TcpStream::connect(self.0)?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, in_flight: false })
    }

    fn socket(connection: &Self::Connection) -> Option<BorrowedFd<'_>> {
        Some(connection.stream.as_fd())
    }

    fn is_half_done(connection: &Self::Connection) -> bool {
        connection.in_flight
    }

    fn ping(connection: &mut Self::Connection) -> io::Result<()> {
        connection.exchange()
    }
}

/// Servers over Unix stream sockets.
#[derive(Clone)]
pub(crate) struct Unix(pub(crate) PathBuf);

impl Endpoint for Unix {
    type Connection = Client<UnixStream>;

    fn dial(&self) -> io::Result<Self::Connection> {
        Ok(Client { stream: UnixStream::connect(&self.0)?, in_flight: false })
    }

    fn socket(connection: &Self::Connection) -> Option<BorrowedFd<'_>> {
        Some(connection.stream.as_fd())
    }

    fn is_half_done(connection: &Self::Connection) -> bool {
        connection.in_flight
    }

    fn ping(connection: &mut Self::Connection) -> io::Result<()> {
        connection.exchange()
    }
}

/// The corepool manager of an endpoint: one that frames its protocol, so that it knows at return whether a reply is due. Its sockets are
/// looked at before each use, as by default.
pub(crate) struct Framed<E> {
    /// What it dials.
    pub(crate) endpoint: E,
    /// Whether its sockets are watched, which is always but where the watch itself is measured.
    pub(crate) watched: bool,
}

impl<E: Endpoint> Manager for Framed<E> {
    type Connection = E::Connection;
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<E::Connection> {
        self.endpoint.dial()
    }

    fn watch(&self, connection: &E::Connection, on: &mut Watch<'_>) {
        if let Some(socket) = E::socket(connection)
            && self.watched
        {
            on.socket(socket);
        }
    }

    fn on_return(&self, connection: &mut E::Connection, how: Outcome) -> Verdict {
        if how == Outcome::Done && !E::is_half_done(connection) { Verdict::Keep } else { Verdict::Discard }
    }
}

/// The r2d2 manager of an endpoint. Its test is a round trip, as with every client that has a wire.
pub(crate) struct Tested<E>(pub(crate) E);

impl<E: Endpoint> r2d2::ManageConnection for Tested<E> {
    type Connection = E::Connection;
    type Error = io::Error;

    fn connect(&self) -> io::Result<E::Connection> {
        self.0.dial()
    }

    fn is_valid(&self, connection: &mut E::Connection) -> io::Result<()> {
        E::ping(connection)
    }

    fn has_broken(&self, connection: &mut E::Connection) -> bool {
        E::is_half_done(connection)
    }
}

impl<S> fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}
