//! A simulation's endpoint and its connections, and what must hold of a pool at every step.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::manager::{CloseReason, Dial, Manager, Outcome, Verdict};
use crate::os::clock;
use crate::sync::turns::{pick, sleep};

pub(super) const MS: u64 = 1_000_000;

/// What an endpoint does with a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Opens within 3 ms.
    Up,
    /// Opens within 100 ms.
    Slow,
    Refuses,
    /// Says nothing: a dial ends by itself after its time, or hangs for seconds beyond.
    BlackHole,
    /// A wrong password.
    Denies,
    /// Opens what is no good: it is discarded before anybody has used it.
    Stillborn,
}

/// What all of a simulation's threads share. Never locked while anybody sleeps.
pub(super) struct World {
    endpoint: Mutex<Endpoint>,
    pub(super) tally: Tally,
    /// Callers go home.
    pub(super) over: AtomicBool,
    /// So many have not.
    pub(super) callers: AtomicUsize,
    /// Farewells and pings take this long, in nanoseconds.
    pub(super) farewell: AtomicU64,
    pub(super) ping: AtomicU64,
    /// Pings fail.
    pub(super) ping_fails: AtomicBool,
    /// Nothing that is used may stay.
    pub(super) spoils: AtomicBool,
    /// Dials into a black hole hang on when it is none any more.
    pub(super) holds_on: AtomicBool,
    /// Until when callers stay at home.
    pub(super) quiet: AtomicU64,
    /// Until when there is something for which a caller may have to wait.
    hindered: AtomicU64,
    /// What is dialed before this, or by an older manager, is lent to nobody who asks from now on.
    pub(super) retired: AtomicU64,
    pub(super) generation: AtomicU64,
    /// The owner's last predicate means what was opened before this.
    pub(super) judged: AtomicU64,
}

/// What was known when a caller asked, or when the manager was asked for it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    retired: u64,
    generation: u64,
    judged: u64,
}

struct Endpoint {
    mood: Mood,
    since: u64,
    /// When each dial began, the last thousand.
    dials: Vec<u64>,
    /// When each of those began that have not come back.
    under_way: Vec<u64>,
    most_under_way: usize,
}

/// What the world has counted.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) leases: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) detached: AtomicU64,
    pub(super) dials: AtomicU64,
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) closing: AtomicUsize,
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

pub(super) fn told(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::SeqCst)
}

/// Up to so much, on the simulation's clock.
pub(super) fn up_to(nanos: u64) -> Duration {
    Duration::from_nanos(nanos / 1_000 * pick(1_000) as u64)
}

/// Why a dial has failed.
#[derive(Debug)]
pub(super) struct Down(Mood);

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the endpoint: {:?}", self.0)
    }
}

impl Error for Down {}

impl World {
    pub(super) fn new() -> Arc<World> {
        let (dials, since) = (Vec::new(), clock::now());
        Arc::new(World {
            endpoint: Mutex::new(Endpoint { mood: Mood::Up, since, dials, under_way: Vec::new(), most_under_way: 0 }),
            tally: Tally::default(),
            over: AtomicBool::new(false),
            callers: AtomicUsize::new(0),
            farewell: AtomicU64::new(0),
            ping: AtomicU64::new(0),
            ping_fails: AtomicBool::new(false),
            spoils: AtomicBool::new(false),
            holds_on: AtomicBool::new(false),
            quiet: AtomicU64::new(0),
            hindered: AtomicU64::new(0),
            retired: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            judged: AtomicU64::new(0),
        })
    }

    fn endpoint<R>(&self, look: impl FnOnce(&mut Endpoint) -> R) -> R {
        look(&mut self.endpoint.lock().expect("nobody panics with it"))
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        let now = clock::now();
        self.endpoint(|endpoint| {
            if mood != endpoint.mood {
                (endpoint.mood, endpoint.since) = (mood, now);
            }
        });
    }

    /// The mood, and since when it is so.
    pub(super) fn mood(&self) -> (Mood, u64) {
        self.endpoint(|endpoint| (endpoint.mood, endpoint.since))
    }

    /// There is something for which a caller may have to wait, for so long from now on.
    pub(super) fn hinder(&self, length: u64) {
        self.hindered.fetch_max(clock::now().saturating_add(length), Ordering::SeqCst);
    }

    /// A caller asks.
    pub(super) fn known(&self) -> Known {
        Known { retired: told(&self.retired), generation: told(&self.generation), judged: told(&self.judged) }
    }

    /// Whether there is nothing for which who came at `begun` has to wait, or be refused.
    pub(super) fn is_free_since(&self, begun: u64) -> bool {
        matches!(self.mood().0, Mood::Up) && self.hindered.load(Ordering::SeqCst) <= begun
    }

    /// Dials that began after `from`.
    pub(super) fn dials_since(&self, from: u64) -> usize {
        self.endpoint(|endpoint| endpoint.dials.iter().filter(|begun| **begun > from).count())
    }

    pub(super) fn most_under_way(&self) -> usize {
        self.endpoint(|endpoint| std::mem::take(&mut endpoint.most_under_way).max(endpoint.under_way.len()))
    }

    /// Of the dials under way, those that began after `from`, and the others.
    pub(super) fn under_way(&self, from: u64) -> (usize, usize) {
        self.endpoint(|endpoint| {
            let young = endpoint.under_way.iter().filter(|begun| **begun > from).count();
            (young, endpoint.under_way.len() - young)
        })
    }
}

/// A connection that knows who has it, and where it is in its life.
pub(super) struct Line {
    pub(super) world: Arc<World>,
    pub(super) born: u64,
    /// When its dial began, and by which manager.
    dialed: u64,
    generation: u64,
    used: AtomicBool,
    /// When the manager was asked for it last, with its consent.
    asked: Mutex<Known>,
    closed: bool,
}

impl Line {
    /// Somebody begins to use it, alone.
    pub(super) fn begin(&self) {
        assert!(!self.used.swap(true, Ordering::SeqCst), "two use one connection");
        assert!(!self.closed, "what is closed is used");
    }

    /// The same after a call by somebody who knew so much.
    pub(super) fn lent(&self, known: Known) {
        self.begin();
        assert!(self.generation >= known.generation, "opened by manager {}: {known:?}", self.generation);
        assert!(self.dialed >= known.retired, "dialed at {}: {known:?}", self.dialed);
        let asked = *self.asked.lock().expect("nobody panics with it");
        assert!(self.generation >= asked.generation, "replaced while it was checked: {asked:?}");
        assert!(self.dialed >= asked.retired, "retired while it was checked: {asked:?}");
        assert!(self.born >= asked.judged, "unwanted since it was checked, opened at {}: {asked:?}", self.born);
    }

    pub(super) fn end(&self) {
        assert!(self.used.swap(false, Ordering::SeqCst), "nobody uses it");
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        assert!(!self.used.load(Ordering::SeqCst), "dropped while it is in use");
        add(&self.world.tally.dropped);
    }
}

/// Opens [`Line`]s as the world's mood has it.
pub(super) struct Endpoints {
    pub(super) world: Arc<World>,
    pub(super) generation: u64,
}

impl Manager for Endpoints {
    type Connection = Line;
    type Error = Down;

    fn connect(&self, dial: &Dial<'_>) -> Result<Line, Down> {
        let (world, begun) = (&self.world, clock::now());
        add(&world.tally.dials);
        world.endpoint(|endpoint| {
            endpoint.dials.push(begun);
            if endpoint.dials.len() > 2_000 {
                endpoint.dials.drain(..1_000);
            }
            endpoint.under_way.push(begun);
            endpoint.most_under_way = endpoint.most_under_way.max(endpoint.under_way.len());
        });
        let cut = Arc::new(AtomicBool::new(false));
        let cuts = Arc::clone(&cut);
        if pick(2) == 0 {
            dial.at_deadline(move || cuts.store(true, Ordering::SeqCst));
        }
        let mut mood = world.mood().0;
        let holds_on = mood == Mood::BlackHole && world.holds_on.load(Ordering::SeqCst);
        let hangs_until = begun.saturating_add(if holds_on { 30_000 } else { 5_000 } * MS);
        while (mood == Mood::BlackHole || holds_on && !world.over.load(Ordering::SeqCst))
            && !cut.load(Ordering::SeqCst)
            && clock::now() < hangs_until
        {
            sleep(Duration::from_nanos(20 * MS));
            mood = world.mood().0;
        }
        sleep(match mood {
            Mood::Slow => up_to(100 * MS),
            Mood::Up | Mood::Stillborn => up_to(3 * MS),
            _ => up_to(MS / 2),
        });
        world.endpoint(|endpoint| {
            let place = endpoint.under_way.iter().position(|other| *other == begun);
            endpoint.under_way.swap_remove(place.expect("it is under way"));
        });
        if !matches!(mood, Mood::Up | Mood::Slow | Mood::Stillborn) {
            return Err(Down(mood));
        }
        add(&world.tally.opened);
        let (world, born) = (Arc::clone(world), clock::now());
        Ok(Line {
            world,
            born,
            dialed: begun,
            generation: self.generation,
            used: AtomicBool::new(false),
            asked: Mutex::default(),
            closed: false,
        })
    }

    fn is_permanent(&self, error: &Down) -> bool {
        error.0 == Mood::Denies
    }

    fn on_checkout(&self, line: &mut Line) -> Result<Verdict, Down> {
        line.begin();
        line.end();
        // What is discarded before anybody has used it is evidence that the endpoint is still down.
        if self.world.mood().0 == Mood::Stillborn {
            // That may take its time to be found, while others are dialed.
            sleep(if pick(2) == 0 { up_to(40 * MS) } else { Duration::ZERO });
            return Ok(Verdict::Discard);
        }
        let verdict = match pick(400) {
            1 => {
                self.world.hinder(2_500 * MS);
                Ok(Verdict::Discard)
            }
            2 => Err(Down(Mood::Refuses)),
            3 => {
                self.world.hinder(2_500 * MS);
                Ok(Verdict::refuse("no"))
            }
            4 => {
                sleep(up_to(20 * MS));
                // It may have been too late for its caller.
                self.world.hinder(2_500 * MS);
                Ok(Verdict::Keep)
            }
            _ => Ok(Verdict::Keep),
        };
        *line.asked.lock().expect("nobody panics with it") = self.world.known();
        verdict
    }

    fn ping(&self, line: &mut Line) -> Result<(), Down> {
        line.begin();
        sleep(up_to(self.world.ping.load(Ordering::SeqCst)));
        line.end();
        // One that fails or is cut short on what nobody has used is evidence too.
        if self.world.ping.load(Ordering::SeqCst) > 0 || self.world.ping_fails.load(Ordering::SeqCst) {
            self.world.hinder(2_500 * MS);
        }
        if self.world.ping_fails.load(Ordering::SeqCst) { Err(Down(Mood::BlackHole)) } else { Ok(()) }
    }

    fn on_return(&self, line: &mut Line, how: Outcome) -> Verdict {
        line.end();
        let spoils = self.world.spoils.load(Ordering::SeqCst);
        if how == Outcome::Done && !spoils && pick(200) != 1 { Verdict::Keep } else { Verdict::Discard }
    }

    fn close(&self, mut line: Line, _why: CloseReason) {
        line.begin();
        self.world.tally.closing.fetch_add(1, Ordering::SeqCst);
        sleep(up_to(self.world.farewell.load(Ordering::SeqCst)));
        line.end();
        line.closed = true;
        add(&self.world.tally.closed);
        self.world.tally.closing.fetch_sub(1, Ordering::SeqCst);
    }
}
