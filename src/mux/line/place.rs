//! A caller's place: where its replies are put, and where it sleeps until they are there.
//!
//! A place is used by one call after another. It is the line's, which takes one for a call when nobody else holds it, so that a call
//! allocates nothing. Its lock is held for a few moves; nothing of a user's runs under it.
#![forbid(unsafe_code)]

use std::sync::{Arc, PoisonError};

use crate::sync::{Condvar, Mutex, lock, nap};

use super::wire::Time;

/// How a call is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End<C> {
    /// All of its replies are here.
    Answered,
    /// Its connection has ended, after it was written.
    Disconnected(C),
    /// The line was closed before it was written.
    Closed,
}

/// The replies of one call. The first one has its own place: most calls have no other, and so allocate nothing.
#[derive(Debug)]
pub(crate) struct Replies<R> {
    pub(crate) first: Option<R>,
    pub(crate) rest: Vec<R>,
}

impl<R> Replies<R> {
    pub(crate) const NONE: Self = Replies { first: None, rest: Vec::new() };

    fn push(&mut self, reply: R) {
        if self.first.is_none() { self.first = Some(reply) } else { self.rest.push(reply) }
    }
}

/// Why a caller is awake.
#[derive(Debug)]
pub(super) enum Woken<R, C> {
    /// Its call is over, and these are its replies.
    Over(Replies<R>, End<C>),
    /// There is something to be done at the desk.
    Rung,
    /// Its time is up.
    TimeUp,
}

#[derive(Debug)]
pub(super) struct Place<R, C> {
    state: Mutex<State<R, C>>,
    bell: Condvar,
}

#[derive(Debug)]
struct State<R, C> {
    replies: Replies<R>,
    over: Option<End<C>>,
    /// Somebody wants it at the desk. Stays until it looks.
    rung: bool,
    /// It sleeps, so the bell wakes it.
    asleep: bool,
    /// It has gone without its replies.
    abandoned: bool,
    /// For when it reads for all. Kept here, so that to lead allocates nothing.
    round: Round<R, C>,
}

/// What a caller has read for all, on its way to their places.
#[derive(Debug)]
pub(super) struct Round<R, C> {
    pub(super) replies: Vec<R>,
    pub(super) deliveries: Vec<Delivery<R, C>>,
}

/// Replies that a round has room for from one lead to the next. Every place has a round of its own.
const ROUND: usize = 256;

impl<R, C> Round<R, C> {
    const fn new() -> Self {
        Round { replies: Vec::new(), deliveries: Vec::new() }
    }

    /// Gives back what a great many replies at once have taken.
    pub(super) fn shrink(&mut self) {
        self.replies.shrink_to(ROUND);
        self.deliveries.shrink_to(ROUND);
    }

    /// Whether the call that was answered last has more replies to come.
    pub(super) fn ends_half_way(&self) -> bool {
        self.deliveries.last().is_some_and(|delivery| !delivery.last)
    }
}

/// Replies for one place.
#[derive(Debug)]
pub(super) struct Delivery<R, C> {
    pub(super) place: Arc<Place<R, C>>,
    pub(super) count: usize,
    pub(super) last: bool,
}

impl<R, C> Place<R, C> {
    pub(super) fn new() -> Self {
        let state = State {
            replies: Replies::NONE,
            over: None,
            rung: false,
            asleep: false,
            abandoned: false,
            round: Round::new(),
        };
        Place { state: Mutex::new(state), bell: Condvar::new() }
    }

    /// For another call. Nobody else has it.
    pub(super) fn reset(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        debug_assert!(state.replies.first.is_none(), "a place is left empty");
        (state.over, state.rung, state.abandoned) = (None, false, false);
    }

    /// Puts replies here, the last ones if `last`, and wakes the caller then. False if it has gone: then none is taken.
    pub(super) fn put(&self, replies: impl Iterator<Item = R>, last: bool) -> bool {
        let mut state = lock(&self.state);
        if state.abandoned {
            return false;
        }
        replies.for_each(|reply| state.replies.push(reply));
        if !last {
            return true;
        }
        state.over = Some(End::Answered);
        let asleep = state.asleep;
        drop(state);
        if asleep {
            self.bell.notify_one();
        }
        true
    }

    /// The last replies of its own caller, who has read them by itself, with those that were here.
    pub(super) fn finish(&self, replies: impl Iterator<Item = R>) -> Replies<R> {
        let mut state = lock(&self.state);
        replies.for_each(|reply| state.replies.push(reply));
        std::mem::replace(&mut state.replies, Replies::NONE)
    }

    /// A round that is empty.
    pub(super) fn take_round(&self) -> Round<R, C> {
        std::mem::replace(&mut lock(&self.state).round, Round::new())
    }

    /// The same round back, empty again.
    pub(super) fn keep_round(&self, round: Round<R, C>) {
        lock(&self.state).round = round;
    }

    /// Its call is over like this.
    pub(super) fn end(&self, how: End<C>) {
        let mut state = lock(&self.state);
        state.over = Some(how);
        drop(state);
        self.bell.notify_one();
    }

    /// It is wanted at the desk.
    pub(super) fn ring(&self) {
        let mut state = lock(&self.state);
        // Once is enough.
        let asleep = !std::mem::replace(&mut state.rung, true) && state.asleep;
        drop(state);
        if asleep {
            self.bell.notify_one();
        }
    }

    /// Sleeps until the call is over, somebody rings, or the time is up.
    pub(super) fn wait(&self, time: &impl Time) -> Woken<R, C> {
        let mut state = lock(&self.state);
        loop {
            if let Some(how) = state.over.take() {
                return Woken::Over(std::mem::replace(&mut state.replies, Replies::NONE), how);
            }
            if std::mem::take(&mut state.rung) {
                return Woken::Rung;
            }
            let Some(limit) = time.left() else { return Woken::TimeUp };
            state.asleep = true;
            state = nap(&self.bell, state, &self.state, limit);
            state.asleep = false;
        }
    }

    /// Goes without the replies, unless they are here. What has come of them is returned in either case.
    pub(super) fn abandon(&self) -> (Replies<R>, Option<End<C>>) {
        let mut state = lock(&self.state);
        let over = state.over.take();
        state.abandoned = over.is_none();
        (std::mem::replace(&mut state.replies, Replies::NONE), over)
    }
}
