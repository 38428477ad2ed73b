//! What is known of a slot, and what comes of an operation, in the twin's terms.

#![forbid(unsafe_code)]

use crate::lockfree::bits::{Flag, Notes};

/// The flags with which a connection leaves, then the others.
pub(super) const FLAGS: [Flag; Notes::ALL.len()] = [
    Notes::DEAD,
    Notes::EXPIRED,
    Notes::RETIRED,
    Notes::SURPLUS,
    Notes::CUT,
    Notes::AGED,
    Notes::RESTED,
    Notes::PROBE,
    Notes::TIMED,
    Notes::FRESH,
    Notes::UNJUDGED,
    Notes::UNSURE,
    Notes::LAIN,
    Notes::SUSPECT,
];
/// How many of them are of the first kind.
pub(super) const LEAVING: usize = 5;

/// What a slot is known for: its generation, and which of the [`FLAGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) generation: u64,
    flags: [bool; FLAGS.len()],
}

impl Known {
    /// What a life begins with.
    pub(super) fn born(generation: u64) -> Self {
        let mut known = Known { generation, flags: [false; FLAGS.len()] };
        known.set(Notes::FRESH, true);
        known
    }

    /// What the bag's notes say, in the twin's terms.
    pub(super) fn by(notes: Notes) -> Self {
        Known { generation: notes.generation(), flags: FLAGS.map(|flag| notes.has(flag)) }
    }

    pub(super) fn is_leaving(self) -> bool {
        self.flags[..LEAVING].contains(&true)
    }

    pub(super) fn is_clean(self) -> bool {
        !self.flags.contains(&true)
    }

    /// Sets or clears `flag`, and returns what it was.
    pub(super) fn set(&mut self, flag: Flag, to: bool) -> bool {
        let place = FLAGS.iter().position(|listed| *listed == flag).expect("the list has all flags");
        std::mem::replace(&mut self.flags[place], to)
    }
}

/// How often a slot was used, whether it is not in use, and who has it: a caller's thread, or 0 for the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) count: u64,
    pub(super) in_hook: bool,
    pub(super) thread: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Granted(usize),
    Closed,
    Refused,
    TimedOut,
}

/// What is to be done outside: tickets to dial with, what is to be closed, with what is known of it, and how many closes to hasten.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ToDo {
    pub(super) dial: Vec<u64>,
    pub(super) close: Option<(usize, Known)>,
    pub(super) hasten: usize,
}
