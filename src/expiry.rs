//! Age: which connections have lain idle for long, and which have reached their lifetime.
//!
//! No clock is read where connections are taken and given. Instead a sweep, on a reactor, compares each slot's use counter with that of
//! the sweep before: unchanged and idle means unused in between. What it finds it writes into the notes, or, where an idle connection
//! must go, takes that out. It runs only while something can age: once every connection that is idle has its *aged* note, nothing
//! happens before the next expiry. A use that clears the note, and the opening of a connection, say so (see `Alarm`).
//!
//! So idle time is counted from the first sweep that sees a connection idle: late by one step at most, never early.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::clock::{NEVER, nanos};
use crate::lockfree::bits::{Life, Notes};
use crate::lockfree::core::Core;
use crate::settings::Settings;

/// A connection that was opened, for the sweep to keep an eye on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Birth {
    pub(crate) life: Life,
    pub(crate) at: u64,
    /// When it reaches its lifetime. The jitter is drawn here, once, or connections opened together would expire together.
    pub(crate) expires: u64,
}

impl Birth {
    pub(crate) fn new(life: Life, now: u64, max_lifetime: Option<Duration>) -> Self {
        let lifetime = max_lifetime.map_or(NEVER, nanos);
        // Less up to a tenth, so that what the user set is never exceeded.
        let jitter = if lifetime == NEVER { 0 } else { fastrand::u64(0..=lifetime / 10) };
        Birth { life, at: now, expires: now.saturating_add(lifetime - jitter) }
    }
}

/// What the sweep remembers of one connection.
#[derive(Debug, Clone, Copy)]
struct Seen {
    life: Life,
    expires: u64,
    uses: u64,
    /// Since when it has been seen idle with this many uses.
    idle_since: u64,
}

/// What is to be done about a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It has reached its lifetime: it must leave, wherever it is.
    Expired(Life),
    /// It has been idle for `idle_timeout`, if it is the same one with this many uses once it is taken out.
    Idle(Life, u64),
}

/// The sweep's memory.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    seen: Vec<Seen>,
}

impl Sweep {
    /// How long a connection is unused before it counts as aged; the time from sweep to sweep while any is in use.
    pub(crate) fn step(settings: &Settings) -> u64 {
        const USUAL: Duration = Duration::from_secs(1);
        let probe = if settings.probe_after.is_zero() { USUAL } else { settings.probe_after };
        nanos(settings.idle_timeout.map_or(probe, |idle| probe.min(idle / 2)).max(Duration::from_millis(5)))
    }

    /// Looks at all connections. Returns when to look again; `found` is told what has to be done.
    pub(crate) fn run<T, R: Clone>(
        &mut self,
        now: u64,
        births: impl IntoIterator<Item = Birth>,
        core: &Core<T, R>,
        settings: &Settings,
        mut found: impl FnMut(Finding),
    ) -> u64 {
        let step = Self::step(settings);
        let idle_timeout = settings.idle_timeout.map_or(NEVER, nanos);
        self.seen.extend(births.into_iter().map(|birth| Seen {
            life: birth.life,
            expires: birth.expires,
            uses: core.slot(birth.life.slot).uses(),
            idle_since: birth.at,
        }));
        self.seen.retain(|seen| core.slot(seen.life.slot).notes().generation() == seen.life.generation);
        let idle: Vec<u64> = (0..core.idle().words()).map(|word| core.idle().look(word)).collect();
        let mut spare = self.seen.len().saturating_sub(settings.min_idle);
        let mut due = NEVER;
        for seen in &mut self.seen {
            let slot = core.slot(seen.life.slot);
            if seen.expires <= now {
                // Once noted, a leased one needs no more of the sweep: its return reads the note.
                if !slot.notes().has(Notes::EXPIRED) {
                    found(Finding::Expired(seen.life));
                }
                continue;
            }
            due = due.min(seen.expires);
            let is_idle = idle[seen.life.slot.word()] & seen.life.slot.mask() != 0;
            let uses = slot.uses();
            if !is_idle || uses != seen.uses {
                (seen.uses, seen.idle_since) = (uses, now);
                due = due.min(now + step);
                continue;
            }
            let idle_for = now - seen.idle_since;
            if idle_for >= step {
                core.note(seen.life, Notes::AGED);
            } else {
                due = due.min(seen.idle_since + step);
            }
            if spare == 0 {
                continue;
            }
            if idle_for >= idle_timeout {
                spare -= 1;
                found(Finding::Idle(seen.life, uses));
            } else {
                due = due.min(seen.idle_since.saturating_add(idle_timeout));
            }
        }
        due
    }
}
