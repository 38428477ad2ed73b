//! What the models of a mux's line stand on: a peer in memory that answers each byte with itself, and callers who say what they got.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Untracked, Ordering::SeqCst};

use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom::sync::{Condvar, Mutex};
use loom::thread::JoinHandle;

use crate::line::wire::{Look, Parts, Time, Wire};
use crate::line::{Call, Limits, Line, Lost};
use crate::rig::Patience;
use crate::sync::Nap;

/// A line and its world.
pub(crate) struct Mux {
    pub(crate) line: Line<World>,
    pub(crate) world: World,
}

/// Where connections come from. Its counts are no part of the model, so no points where threads switch.
#[derive(Default)]
pub(crate) struct World {
    /// The connection that is open, or was the last.
    pub(crate) current: std::sync::Mutex<Option<Arc<Connection>>>,
    opened: Untracked,
    given_up: Untracked,
    /// So many dials are refused first.
    pub(crate) refusals: Untracked,
    /// Replies that nobody waited for.
    pub(crate) forgotten: Untracked,
    /// The most replies that one read brings; none: no limit.
    pub(crate) cut: Untracked,
    /// What was written on all connections: each token is one call's.
    pub(crate) heard: std::sync::Mutex<Vec<u8>>,
    /// Not zero: replies come too late for whoever has limited time, if they read themselves.
    pub(crate) late: Untracked,
    /// The most bytes that a connection takes in all; none: no limit.
    pub(crate) takes: Untracked,
}

/// A connection to the peer.
pub(crate) struct Connection {
    pub(crate) leaving: AtomicBool,
    state: Mutex<State>,
    bell: Condvar,
    given_up: Untracked,
    /// All that was ever written on it.
    pub(crate) heard: std::sync::Mutex<Vec<u8>>,
}

#[derive(Default)]
struct State {
    /// Answers that nobody has read.
    answers: VecDeque<u8>,
    over: bool,
}

impl Connection {
    /// The peer goes, with all that it has not answered.
    pub(crate) fn hang_up(&self) {
        let mut state = self.state.lock().unwrap();
        state.answers.clear();
        state.over = true;
        self.bell.notify_all();
    }
}

/// A caller's time.
pub(crate) struct Clock {
    patience: Patience,
    looks: Untracked,
}

impl Clock {
    pub(crate) fn new(patience: Patience) -> Self {
        Clock { patience, looks: Untracked::new(0) }
    }
}

impl Time for Clock {
    fn left(&self) -> Option<Nap> {
        match self.patience {
            Patience::Endless => Some(Nap::UntilRung),
            // Enough for a first look; then it is up at any point, since others may run or not.
            Patience::Limited if self.looks.fetch_add(1, SeqCst) == 0 => Some(Nap::For(std::time::Duration::ZERO)),
            Patience::Limited => None,
        }
    }
}

impl Wire for World {
    type Reply = u8;
    type Lease = Arc<Connection>;
    type Input = Arc<Connection>;
    type Output = Arc<Connection>;
    type Refusal = ();
    type Cause = &'static str;
    type Time = Clock;

    fn open(&self, _time: &Clock) -> Result<Parts<Self>, ()> {
        if self.refusals.load(SeqCst) > 0 {
            self.refusals.fetch_sub(1, SeqCst);
            return Err(());
        }
        self.opened.fetch_add(1, SeqCst);
        let lease = Arc::new(Connection {
            leaving: AtomicBool::new(false),
            state: Mutex::new(State::default()),
            bell: Condvar::new(),
            given_up: Untracked::new(0),
            heard: std::sync::Mutex::new(Vec::new()),
        });
        *self.current.lock().unwrap() = Some(Arc::clone(&lease));
        Ok(Parts { input: Arc::clone(&lease), output: Arc::clone(&lease), lease })
    }

    fn is_leaving(lease: &Arc<Connection>) -> bool {
        lease.leaving.load(Relaxed)
    }

    fn give_up(&self, parts: Parts<Self>, _failed: bool) {
        assert!(Arc::ptr_eq(&parts.lease, &parts.input) && Arc::ptr_eq(&parts.lease, &parts.output), "halves of two");
        assert_eq!(parts.lease.given_up.fetch_add(1, SeqCst), 0, "given up twice");
        self.given_up.fetch_add(1, SeqCst);
    }

    fn send(&self, to: &mut Arc<Connection>, bytes: &[u8], _look: Look, _time: &Clock) -> Result<usize, &'static str> {
        let mut state = to.state.lock().unwrap();
        if state.over {
            return Err("over");
        }
        let mut heard = to.heard.lock().unwrap();
        let room = match self.takes.load(SeqCst) {
            0 => bytes.len(),
            takes => bytes.len().min(takes - heard.len()),
        };
        if room == 0 {
            // Of no concern to whoever reads.
            return Err("full");
        }
        let mut all = self.heard.lock().unwrap();
        for byte in &bytes[..room] {
            assert!(!all.contains(byte), "{byte} is written twice");
            all.push(*byte);
        }
        heard.extend(&bytes[..room]);
        state.answers.extend(&bytes[..room]);
        // A lock of std's must not be held where threads switch.
        drop((heard, all));
        to.bell.notify_all();
        Ok(room)
    }

    fn receive(
        &self,
        from: &mut Arc<Connection>,
        into: &mut Vec<u8>,
        look: Look,
        time: &Clock,
    ) -> Result<(), &'static str> {
        if self.late.load(SeqCst) > 0 && time.patience == Patience::Limited {
            return Ok(());
        }
        let mut state = from.state.lock().unwrap();
        while state.answers.is_empty() && !state.over {
            if look != Look::Long || time.patience == Patience::Limited {
                return Ok(());
            }
            state = from.bell.wait(state).unwrap();
        }
        let most = match self.cut.load(SeqCst) {
            0 => state.answers.len(),
            cut => cut.min(state.answers.len()),
        };
        into.extend(state.answers.drain(..most));
        if into.is_empty() { Err("over") } else { Ok(()) }
    }

    fn hang_up_input(&self, input: &Arc<Connection>) {
        input.hang_up();
    }

    fn hang_up_output(&self, output: &Arc<Connection>) {
        output.hang_up();
    }

    fn unasked(&self) -> &'static str {
        "unasked"
    }

    fn watches(&self) -> bool {
        true
    }

    fn stalled(&self, _since: u64) -> Option<&'static str> {
        None
    }

    /// Time stands still, so the peer is near, and batches are held back for it.
    fn now(&self) -> u64 {
        0
    }

    fn forget(&self, _reply: u8) {
        self.forgotten.fetch_add(1, SeqCst);
    }
}

/// What a caller got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Got {
    Answered,
    TimeUp,
    NotSent,
    NoRoom,
    Refused,
    Disconnected,
    Closed,
}

impl Mux {
    pub(crate) fn new() -> Arc<Mux> {
        Mux::with_room(8)
    }

    pub(crate) fn with_room(in_flight: usize) -> Arc<Mux> {
        Arc::new(Mux { line: Line::new(Limits { in_flight, queued: 64 }), world: World::default() })
    }

    /// With a connection open, and nothing under way.
    pub(crate) fn connected(in_flight: usize) -> Arc<Mux> {
        let mux = Mux::with_room(in_flight);
        assert_eq!(mux.call(b"0", Patience::Endless), Got::Answered);
        mux
    }

    pub(crate) fn connection(&self) -> Arc<Connection> {
        Arc::clone(self.world.current.lock().unwrap().as_ref().expect("there was one"))
    }

    /// One call: each of its replies must be its own.
    pub(crate) fn call(&self, token: &[u8], patience: Patience) -> Got {
        let call = Call { bytes: token, due: token.len(), patient: false };
        let (replies, how) = self.line.call(&self.world, call, &Clock::new(patience));
        let replies: Vec<u8> = replies.first.into_iter().chain(replies.rest).collect();
        assert!(token.starts_with(&replies), "{token:?} was answered by {replies:?}");
        match how {
            Ok(()) => {
                assert_eq!(replies, token, "an answered call has all of its replies");
                Got::Answered
            }
            Err(Lost::TimeUp { sent: true }) => Got::TimeUp,
            Err(Lost::TimeUp { sent: false }) => Got::NotSent,
            Err(Lost::NoRoom) => Got::NoRoom,
            Err(Lost::Refused(())) => Got::Refused,
            Err(Lost::Disconnected(_)) => {
                assert!(self.world.heard.lock().unwrap().contains(&token[0]), "{token:?} was never written");
                Got::Disconnected
            }
            Err(Lost::Closed) => Got::Closed,
        }
    }

    /// The same on a thread of its own.
    pub(crate) fn caller(self: &Arc<Self>, token: &'static [u8], patience: Patience) -> JoinHandle<Got> {
        let mux = Arc::clone(self);
        loom::thread::spawn(move || mux.call(token, patience))
    }

    /// All is quiet: nothing is left over.
    pub(crate) fn verify(&self) {
        self.line.at_rest().unwrap();
        let (opened, given_up) = (self.world.opened.load(SeqCst), self.world.given_up.load(SeqCst));
        assert!(opened - given_up <= 1, "{opened} opened, {given_up} given up");
    }
}
