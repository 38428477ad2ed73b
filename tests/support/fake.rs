//! A manager without I/O, whose dials do as they are told.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use corepool::{Dial, Manager};

use super::ON_PURPOSE;

/// Opens [`Thing`]s as its script says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fake {
    pub(crate) script: Arc<Script>,
}

/// What the dials do, and what they did.
#[derive(Debug, Default)]
pub(crate) struct Script {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    conduct: Conduct,
    /// Dials that succeed while the others hang.
    let_through: usize,
    /// When each dial began, and which attempt it was told it is.
    dials: Vec<(Instant, u32)>,
    under_way: usize,
    most_at_once: usize,
    opened: u64,
}

#[derive(Debug, Default, Clone, Copy)]
enum Conduct {
    #[default]
    Open,
    Fail(&'static str),
    /// Until told otherwise.
    Hang,
    Panic,
}

/// What it opens.
#[derive(Debug)]
pub(crate) struct Thing(pub(crate) u64);

/// Why it did not.
#[derive(Debug)]
pub(crate) struct FakeError(pub(crate) &'static str);

impl fmt::Display for FakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for FakeError {}

impl Script {
    /// From now on dials succeed, those that hang as well.
    pub(crate) fn open(&self) {
        self.conduct(Conduct::Open);
    }

    /// From now on dials fail, those that hang as well.
    pub(crate) fn fail(&self, why: &'static str) {
        self.conduct(Conduct::Fail(why));
    }

    /// From now on dials hang.
    pub(crate) fn hang(&self) {
        self.conduct(Conduct::Hang);
    }

    /// From now on dials panic, those that hang as well.
    pub(crate) fn panic(&self) {
        super::hush();
        self.conduct(Conduct::Panic);
    }

    /// This many of the dials that hang, or will, succeed.
    pub(crate) fn let_through(&self, dials: usize) {
        self.state.lock().unwrap().let_through += dials;
        self.bell.notify_all();
    }

    fn conduct(&self, conduct: Conduct) {
        self.state.lock().unwrap().conduct = conduct;
        self.bell.notify_all();
    }

    /// How many dials have begun.
    pub(crate) fn dials(&self) -> usize {
        self.state.lock().unwrap().dials.len()
    }

    /// When each began, and its number of attempt.
    pub(crate) fn attempts(&self) -> Vec<(Instant, u32)> {
        self.state.lock().unwrap().dials.clone()
    }

    /// Dials that have not returned.
    pub(crate) fn under_way(&self) -> usize {
        self.state.lock().unwrap().under_way
    }

    /// The most that were under way at a time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state.lock().unwrap().most_at_once
    }

    fn dial(&self, attempt: u32) -> Result<Thing, FakeError> {
        let mut state = self.state.lock().unwrap();
        state.dials.push((Instant::now(), attempt));
        state.under_way += 1;
        state.most_at_once = state.most_at_once.max(state.under_way);
        while let Conduct::Hang = state.conduct {
            if state.let_through > 0 {
                state.let_through -= 1;
                break;
            }
            state = self.bell.wait(state).unwrap();
        }
        state.under_way -= 1;
        match state.conduct {
            Conduct::Fail(why) => Err(FakeError(why)),
            Conduct::Panic => {
                drop(state);
                panic!("{ON_PURPOSE}: a dial")
            }
            Conduct::Open | Conduct::Hang => {
                state.opened += 1;
                Ok(Thing(state.opened))
            }
        }
    }
}

impl Manager for Fake {
    type Connection = Thing;
    type Error = FakeError;

    fn connect(&self, dial: &Dial<'_>) -> Result<Thing, FakeError> {
        self.script.dial(dial.attempt())
    }
}
