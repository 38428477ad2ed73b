//! A client beside the socket that was found for it.
#![forbid(unsafe_code)]

use std::ops::{Deref, DerefMut};

use super::fdhunt::Found;
use crate::manager::Watch;

/// A client, with the duplicate of its socket by which the pool watches it. Used as the client itself, to which it dereferences.
///
/// Do not put another client in its place (`*watched = other`): the pool would go on watching the first one's socket.
#[derive(Debug)]
pub struct Watched<C> {
    // Dropped first: the peer sees its end when the duplicate has gone too.
    client: C,
    found: Option<Found>,
}

impl<C> Watched<C> {
    /// Of a client and what was found for it; `None` leaves it unwatched.
    pub fn new(client: C, found: Option<Found>) -> Self {
        Watched { client, found }
    }

    /// Whether its socket was found.
    pub fn is_watched(this: &Self) -> bool {
        this.found.is_some()
    }

    /// Names the socket, for the [`Manager::watch`](crate::Manager::watch) of a manager of your own.
    #[inline]
    pub fn watch(this: &Self, on: &mut Watch<'_>) {
        if let Some(found) = &this.found {
            on.socket(found);
        }
    }

    /// The client alone, not watched any more.
    pub fn into_client(this: Self) -> C {
        this.client
    }
}

impl<C> Deref for Watched<C> {
    type Target = C;

    #[inline]
    fn deref(&self) -> &C {
        &self.client
    }
}

impl<C> DerefMut for Watched<C> {
    #[inline]
    fn deref_mut(&mut self) -> &mut C {
        &mut self.client
    }
}
