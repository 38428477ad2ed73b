//! Age: which connections have lain idle for long, reached their lifetime, or been held for too long.
//!
//! No clock is read where connections are taken and given. Instead a sweep, on a reactor, compares each slot's use counter and holder with
//! those of the sweep before: unchanged and idle means unused in between; unchanged and held means held by the same lease. What it
//! finds it writes into the notes, or reports to the pool. It runs only while something can age: once every connection that is idle,
//! or leased for long, has its *rested* and its *aged* note, nothing happens before the next expiry. A use that clears them, and the
//! opening of a connection, say so (see `Alarm`).
//!
//! So idle and held times are counted from the first sweep that sees them: late by one step at most, never early.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::lockfree::bag::{Bag, Use};
use crate::lockfree::bits::{Life, Notes};
use crate::os::clock::{self, NEVER, nanos};
use crate::settings::{PINGS_AT_ONCE, Settings};
use crate::watch::duplicate::Duplicate;

/// A connection that was opened, for the sweep to keep an eye on.
#[derive(Debug)]
pub(crate) struct Entrant {
    life: Life,
    pub(super) at: u64,
    /// What its slot said then.
    last_use: Use,
    /// When it reaches its lifetime. The jitter is drawn here, once, or connections opened together would expire together.
    pub(super) expires: u64,
    sockets: Weak<[Duplicate]>,
}

impl Entrant {
    pub(crate) fn new(life: Life, last_use: Use, max_lifetime: Option<Duration>, sockets: Weak<[Duplicate]>) -> Self {
        let at = clock::now();
        let lifetime = max_lifetime.map_or(NEVER, nanos);
        // Less up to a tenth, so that what the user set is never exceeded.
        let jitter = if lifetime == NEVER { 0 } else { fastrand::u64(0..=lifetime / 10) };
        Entrant { life, at, last_use, expires: at.saturating_add(lifetime - jitter), sockets }
    }
}

/// What the sweep remembers of one connection.
#[derive(Debug)]
struct Seen {
    life: Life,
    expires: u64,
    /// When it is to be retired.
    retires: u64,
    sockets: Weak<[Duplicate]>,
    /// What its slot said at the last sweep.
    last_use: Use,
    idle: bool,
    /// Since when it has been so.
    since: u64,
    pinged: u64,
    /// It has been reported as held for too long.
    reported: bool,
}

/// What the pool has to do about a connection.
#[derive(Debug)]
pub(crate) enum Finding {
    /// It must leave, wherever it is: its lifetime is over, or the time to retire it has come.
    Leave(Life, bool),
    /// It has been idle for `idle_timeout`, if this is its last use still once it is taken out.
    Idle(Life, Use),
    /// It is to be pinged, on the same terms.
    Ping(Life, Use),
    /// One use of it, or one hook on it, has taken too long, since then.
    Held(Life, Use, u64, Weak<[Duplicate]>),
    /// What has taken too long has ended.
    Ended(Life),
    /// One lies idle that is still to be judged.
    Unjudged,
}

/// The sweep's memory.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    seen: Vec<Seen>,
    /// Where to go on: a sweep over very many takes several goes.
    next: usize,
    /// Which slots looked idle when it began, where a look at each by itself would touch very many shards.
    idle: Option<Vec<bool>>,
    /// While it begins: the next shard to look at, and how many are idle in those before.
    begun: Option<(usize, usize)>,
    /// Those to be retired, for the sweep that is under way or the next, and the same for the one after.
    orders: Vec<Order>,
    later: Vec<Order>,
    /// When to look again, as far as this sweep has found.
    due: u64,
    /// How many may still go for having been idle for long.
    spare: usize,
    /// Those to be pinged: since when, and where they are.
    to_ping: Vec<(u64, usize)>,
}

/// These are to be retired, the first at once and the last after some time.
#[derive(Debug)]
pub(crate) struct Order {
    places: HashMap<Life, usize>,
    now: u64,
    over: u64,
}

/// One go, in nanoseconds: other pools have their deadlines on the same reactor.
const GO: u64 = 2_000_000;

/// So many are looked at before a look at the clock, a fraction of a go whatever they cost.
const LOOKS: usize = 16;

/// With more shards than these, one look at all of them is cheaper than one for each connection.
const FEW_SHARDS: usize = 4;

/// Sweeps of all pools on a reactor fall together: it wakes up so many times in a step at most, however many there are.
const WAKEUPS: u64 = 8;

/// The longest time from sweep to sweep while anything is in use.
const USUAL: Duration = Duration::from_secs(1);

impl Sweep {
    /// The time from sweep to sweep while any connection is in use, and how long one is unused before it counts as rested.
    pub(crate) fn step(settings: &Settings) -> u64 {
        const SHORTEST: Duration = Duration::from_millis(5);
        let parts = [
            Some(USUAL),
            Some(settings.probe_after).filter(|probe| !probe.is_zero()),
            settings.validate_after.map(|idle| idle / 2),
            settings.suspect_after.map(|idle| idle / 2),
            settings.idle_timeout.map(|idle| idle / 2),
            settings.ping_interval.map(|ping| ping / 2),
            settings.hold_limit.map(|hold| hold / 4),
            // A hook that overruns the caller's deadline is found by half of it.
            Some((settings.wait_timeout / 2).max(SHORTEST * 10)),
        ];
        nanos(parts.into_iter().flatten().min().unwrap_or(USUAL).max(SHORTEST))
    }

    /// When to look again at what was in use just now, at `now`: within a step, and at the same times as other pools do.
    pub(crate) fn next_look(now: u64, settings: &Settings) -> u64 {
        let step = Self::step(settings);
        with_others(now.saturating_add(step - step / WAKEUPS), step)
    }

    /// Takes these under watch.
    pub(crate) fn extend(&mut self, entrants: impl IntoIterator<Item = Entrant>) {
        self.seen.extend(entrants.into_iter().map(|entrant| Seen {
            life: entrant.life,
            expires: entrant.expires,
            retires: NEVER,
            sockets: entrant.sockets,
            last_use: entrant.last_use,
            idle: true,
            since: entrant.at,
            pinged: entrant.at,
            reported: false,
        }));
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = (Life, Arc<[Duplicate]>)> {
        self.seen.iter().filter_map(|seen| Some((seen.life, seen.sockets.upgrade()?)))
    }

    /// Has these retired by the sweeps that follow. Cheap, since a sweep may wait for it.
    pub(crate) fn retire(&mut self, order: Order) {
        if self.next == 0 { &mut self.orders } else { &mut self.later }.push(order);
    }

    /// Looks at all connections, and tells `found` what has to be done; at most `pings` are to be pinged. Returns when to look again:
    /// at once, if there were too many for one go. And, where it began, how many were idle.
    pub(crate) fn run<T, R: Clone>(
        &mut self,
        now: u64,
        bag: &Bag<T, R>,
        settings: &Settings,
        pings: usize,
        mut found: impl FnMut(Finding),
    ) -> (u64, Option<usize>) {
        let until = clock::now().saturating_add(GO);
        let mut idle = None;
        if self.next == 0 {
            idle = self.begin(bag, settings, pings, until);
            if idle.is_none() {
                return (now, None);
            }
        }
        let mut looks = 0;
        while self.next < self.seen.len() {
            if looks >= LOOKS {
                looks = 0;
                if clock::now() >= until {
                    return (now, idle);
                }
            }
            looks += 1;
            let seen = &self.seen[self.next];
            if bag.slot(seen.life.slot).notes().generation() != seen.life.generation {
                // The last one comes here instead, and has not been looked at either.
                let gone = self.seen.swap_remove(self.next);
                if gone.reported {
                    found(Finding::Ended(gone.life));
                }
                continue;
            }
            if let Some(finding) = self.look(self.next, now, bag, settings) {
                found(finding);
                looks = LOOKS;
            }
            self.next += 1;
        }
        (self.next, self.idle) = (0, None);
        self.orders = std::mem::take(&mut self.later);
        if !self.orders.is_empty() {
            self.due = now;
        }
        // Those that have gone without for longest; the rest have their turn when these are done.
        self.to_ping.sort_unstable();
        for (_, place) in self.to_ping.drain(..).take(pings) {
            let seen = &mut self.seen[place];
            seen.pinged = now;
            self.due = self.due.min(Self::next_look(now, settings));
            found(Finding::Ping(seen.life, seen.last_use));
        }
        (self.due, idle)
    }

    /// Begins a sweep. Returns how many are idle; `None`: there are so many shards that the go is over, and the next one goes on.
    fn begin<T, R: Clone>(&mut self, bag: &Bag<T, R>, settings: &Settings, pings: usize, until: u64) -> Option<usize> {
        let shards = bag.shards();
        let (mut shard, mut idle) = self.begun.take().unwrap_or_else(|| {
            self.due = NEVER;
            self.to_ping.clear();
            self.idle = (shards > FEW_SHARDS).then(|| vec![false; bag.capacity()]);
            (0, 0)
        });
        while shard < shards {
            idle += match &mut self.idle {
                Some(looks) => bag.idle().looks_of(shard, looks),
                None => bag.idle().count(shard),
            };
            shard += 1;
            if shard < shards && self.idle.is_some() && clock::now() >= until {
                self.begun = Some((shard, idle));
                return None;
            }
        }
        // Idle ones that may go for having been so for long. Those that are out for a ping are none the less idle.
        // Not by those seen, of which some have left.
        let idle_or_pinged = idle + PINGS_AT_ONCE.saturating_sub(pings);
        let spare = idle_or_pinged.saturating_sub(settings.min_idle);
        self.spare = spare.min(bag.open().saturating_sub(settings.min_open));
        Some(idle)
    }

    /// Looks at one.
    fn look<T, R: Clone>(&mut self, place: usize, now: u64, bag: &Bag<T, R>, settings: &Settings) -> Option<Finding> {
        let Sweep { seen, due, spare, to_ping, idle, orders, .. } = self;
        let seen = &mut seen[place];
        for Order { places, now, over } in orders {
            if let Some(place) = places.get(&seen.life) {
                let turn = (u128::from(*over) * *place as u128 / places.len() as u128) as u64;
                seen.retires = seen.retires.min(now.saturating_add(turn));
            }
        }
        let mut look_again = |at: u64| *due = at.min(*due);
        let step = Self::step(settings);
        let slot = bag.slot(seen.life.slot);
        if slot.notes().is_leaving() {
            // Whoever holds it will read the note.
            return None;
        }
        if seen.expires.min(seen.retires) <= now {
            return Some(Finding::Leave(seen.life, seen.retires <= now));
        }
        look_again(seen.expires.min(seen.retires));
        // The uses before the idle word: a use that ends between the two is a change to the next look.
        let last_use = slot.last_use();
        let is_idle = match idle {
            // Older than the uses: it may have been taken since, and have come back.
            Some(idle) => !last_use.is_callers() && (idle[seen.life.slot.index()] || bag.is_idle(seen.life.slot)),
            None => bag.is_idle(seen.life.slot),
        };
        if !is_idle && !last_use.is_callers() {
            // Between two owners, parked, or out for a ping, which resets no age.
            look_again(Self::next_look(now, settings));
            return None;
        }
        if is_idle && slot.notes().has(Notes::UNJUDGED) {
            look_again(now.saturating_add(step));
            return Some(Finding::Unjudged);
        }
        if (last_use, is_idle) != (seen.last_use, seen.idle) {
            // The clock after the look: `now` may be older than what was seen, and nothing may end before its time.
            (seen.last_use, seen.idle, seen.since) = (last_use, is_idle, clock::now());
            look_again(Self::next_look(now, settings));
            return std::mem::take(&mut seen.reported).then_some(Finding::Ended(seen.life));
        }
        // A connection may be younger than this tick.
        let lasted = now.saturating_sub(seen.since);
        // Zero needs no note: those that are looked at on every checkout have one from birth.
        // Two looks that follow each other, at the times of other pools', may lie less than a step apart.
        let rested_after = step - step / WAKEUPS;
        let aged_after = if settings.probe_after.is_zero() { rested_after } else { nanos(settings.probe_after) };
        // Also when leased: its return clears the notes, and says so, and until then nothing can age.
        for (after, flag) in [(rested_after, Notes::RESTED), (aged_after, Notes::AGED)] {
            if lasted >= after {
                bag.note(seen.life, flag);
            } else {
                look_again(with_others(seen.since.saturating_add(after), step));
            }
        }
        if !is_idle {
            let limit = match last_use.is_in_hook() {
                // A pool whose callers do not wait says nothing of how long a hook may take.
                true if settings.wait_timeout.is_zero() => nanos(USUAL),
                true => nanos(settings.wait_timeout),
                false => settings.hold_limit.map_or(NEVER, nanos),
            };
            if lasted >= limit && !seen.reported {
                seen.reported = true;
                return Some(Finding::Held(seen.life, last_use, seen.since, seen.sockets.clone()));
            }
            if !seen.reported {
                look_again(seen.since.saturating_add(limit));
            }
            return None;
        }
        for (after, flag) in [(settings.validate_after, Notes::UNSURE), (settings.suspect_after, Notes::LAIN)] {
            match after.map(nanos) {
                Some(after) if lasted >= after => drop(bag.note(seen.life, flag)),
                Some(after) => look_again(seen.since.saturating_add(after)),
                None => {}
            }
        }
        let idle_timeout = settings.idle_timeout.map_or(NEVER, nanos);
        if *spare > 0 && lasted >= idle_timeout {
            *spare -= 1;
            return Some(Finding::Idle(seen.life, last_use));
        }
        if *spare > 0 {
            look_again(seen.since.saturating_add(idle_timeout));
        }
        if let Some(interval) = settings.ping_interval.map(nanos) {
            let ping_due = seen.since.max(seen.pinged).saturating_add(interval);
            if ping_due <= now { to_ping.push((ping_due, place)) } else { look_again(with_others(ping_due, step)) }
        }
        None
    }
}

impl Order {
    pub(crate) fn new(lives: &[Life], now: u64, over: u64) -> Self {
        Order { places: lives.iter().copied().zip(0..).collect(), now, over }
    }
}

/// The same time or a little later, an eighth of a step at most: when other pools of the same step are looked at, too.
fn with_others(at: u64, step: u64) -> u64 {
    let grain = (step / WAKEUPS).max(1);
    at.checked_next_multiple_of(grain).unwrap_or(NEVER)
}

#[cfg(all(test, not(corepool_loom)))]
mod tests;
