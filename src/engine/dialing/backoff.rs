//! When the next dial may begin: the pace of one pool's dialing, as a plain state machine over times.
//!
//! - *Up*: up to `dials_at_once` dials. A connection that was lost is dialed again at once.
//! - *Down*, since a dial failed: no dial during a pause, then one, the probe. Each failed probe doubles the pause's base from 50 ms
//!   to 1 s, and the pause is drawn from its upper half, so that many clients of one endpoint spread out. Demand ends the pause
//!   early, but not before a floor has passed since the last dial began. The floor grows with each failure from 50 to 250 ms, so a
//!   thousand processes make no more than four thousand dials a second together, and recovery takes a fraction of one.
//! - *Down for good*, since the manager calls the failure permanent: the pause's base doubles up to `backoff_max`, and demand ends
//!   nothing.
//! - *Ramp*, since a probe succeeded: 1 dial, 2, 4, …, doubling with each success, so that an endpoint that has just come up is
//!   not knocked down again.
//!
//! A success that seems to end an outage is in doubt until its connection is used, for a second at most: until then no other dial
//! begins. A dial that turns out to be no success (its connection was discarded before anybody used it) has failed after all: the outage
//! that it seemed to have ended goes on.
//!
//! **Refusing callers needs evidence, not memory.** They are refused only while the endpoint has been failing for
//! `fail_fast_after`, and only as long as that is *fresh*: a dial is under way, or the pause since the last one is not over. Once it
//! is stale, the next caller's own dial decides.
//!
//! Dials that were under way together when the endpoint went down fail together; they count as one failure, and none of them ends
//! the outage.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::engine::told::Told;
use crate::os::clock::{NEVER, nanos};

/// The shortest pause, and the least time between two dials after the first failure.
const SHORTEST: Duration = Duration::from_millis(50);

/// The longest pause, unless the failure is permanent; and how long a success stays in doubt.
const LONGEST: Duration = Duration::from_secs(1);

/// Demand brings the next dial forward to no less than this after the last one, however long the outage.
const FLOOR: Duration = Duration::from_millis(250);

/// After its pause an outage is fresh for so long, in which a dial that is wanted begins.
const GRACE: Duration = Duration::from_millis(20);

/// What the dials that are under way mean for the next one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside {
    /// One of them is within its time.
    pub(super) running: bool,
    /// Some hang beyond their time: so long a pause must be, whatever the demand.
    pub(super) pause: u64,
}

/// The pace of a pool's dialing. All times are nanoseconds on the process's clock.
#[derive(Debug)]
pub(super) struct Backoff {
    /// Probes that have failed in a row. 0: up.
    failures: u32,
    /// Since when there is unbroken evidence of that.
    down_since: u64,
    last_failure: u64,
    last_dial: u64,
    /// No dial before this.
    pause_ends: u64,
    /// The last failure will not go away by itself.
    permanent: bool,
    /// Dials at once while up.
    ramp: usize,
    most: usize,
    cause: Option<Told>,
    /// The outage that the last success has ended, unless that turns out to have been none.
    ended: Option<EndedOutage>,
}

#[derive(Clone, Copy, Debug)]
struct EndedOutage {
    failures: u32,
    down_since: u64,
    at: u64,
}

impl Backoff {
    pub(super) fn new(most: usize) -> Self {
        Backoff {
            failures: 0,
            down_since: NEVER,
            last_failure: 0,
            last_dial: 0,
            pause_ends: 0,
            permanent: false,
            ramp: most,
            most,
            cause: None,
            ended: None,
        }
    }

    // ---- what has happened -------------------------------------------------------------------------------------------------

    /// A dial begins. Returns which attempt it is since the last success.
    pub(super) fn begun(&mut self, now: u64, beside: Beside) -> u32 {
        if self.failures > 0 && !self.is_fresh(now, beside) {
            // Nobody has tried for a while: whether it is down is not known any more.
            self.down_since = NEVER;
        }
        self.last_dial = now;
        self.failures + 1
    }

    /// A dial that began at `begun` has succeeded. If that ends an outage: since when it was.
    pub(super) fn succeeded(&mut self, begun: u64, now: u64) -> Option<u64> {
        if self.failures > 0 && begun <= self.last_failure {
            // Old news: something has failed since.
            return None;
        }
        if self.failures == 0 {
            self.ramp = if self.is_in_doubt(now) { 1 } else { (self.ramp * 2).min(self.most) };
            return None;
        }
        let since = self.down_since.min(self.last_failure);
        self.ramp = 1;
        self.ended = Some(EndedOutage { failures: self.failures, down_since: self.down_since, at: now });
        self.up();
        Some(since)
    }

    /// A dial that began at `begun` has failed. True if that begins an outage.
    pub(super) fn failed(&mut self, begun: u64, now: u64, cause: Told, permanent: bool, longest: Duration) -> bool {
        self.cause = Some(cause);
        self.permanent |= permanent;
        if self.failures > 0 && begun <= self.last_failure {
            return false;
        }
        self.permanent = permanent;
        self.down_since = self.down_since.min(now);
        self.last_failure = now;
        let most = if permanent { longest } else { longest.min(LONGEST) };
        let base = nanos(SHORTEST).saturating_mul(1 << self.failures.min(20)).min(nanos(most));
        self.failures += 1;
        self.pause_ends = now.saturating_add(fastrand::u64(base / 2..=base));
        self.failures == 1
    }

    /// What a dial has opened is of no use to anybody: it has failed after all. True if that begins an outage.
    pub(super) fn came_to_nothing(&mut self, now: u64, cause: Told, longest: Duration) -> bool {
        if let Some(ended) = self.ended.filter(|_| self.failures == 0 && self.is_in_doubt(now)) {
            (self.failures, self.down_since) = (ended.failures, ended.down_since);
        }
        // As old as the last dial: those that were opened together count once.
        self.failed(self.last_dial, now, cause, false, longest)
    }

    /// What a dial has opened did serve: the outages before it are over for good. True if that was in doubt.
    pub(super) fn proven(&mut self) -> bool {
        self.ended.take().is_some()
    }

    fn is_in_doubt(&self, now: u64) -> bool {
        self.ended.is_some_and(|ended| now < ended.at.saturating_add(nanos(LONGEST)))
    }

    /// It is another endpoint now.
    pub(super) fn reset(&mut self) {
        self.ramp = self.most;
        self.ended = None;
        self.up();
    }

    fn up(&mut self) {
        self.failures = 0;
        self.down_since = NEVER;
        self.pause_ends = 0;
        self.permanent = false;
        self.cause = None;
    }

    /// The most dials at once, or the longest pause, has changed.
    pub(super) fn set_limits(&mut self, most: usize, longest: Duration) {
        self.pause_ends = self.pause_ends.min(self.last_failure.saturating_add(nanos(longest)));
        self.ramp = if self.ramp == self.most { most } else { self.ramp.min(most) };
        self.most = most;
    }

    /// Somebody wants a connection. True if that brings the next probe forward.
    pub(super) fn hurry(&mut self, now: u64) -> bool {
        let floor = nanos(SHORTEST).saturating_mul(u64::from(self.failures)).min(nanos(FLOOR));
        let soonest = self.last_dial.saturating_add(floor).max(now);
        let sooner = self.failures > 0 && !self.permanent && soonest < self.pause_ends;
        if sooner {
            self.pause_ends = soonest;
        }
        sooner
    }

    // ---- what follows ------------------------------------------------------------------------------------------------------

    /// How many dials may be under way.
    pub(super) fn dials(&self, now: u64, beside: Beside) -> usize {
        match self.failures {
            0 if self.is_in_doubt(now) => 0,
            0 => self.ramp,
            _ if now < self.pause_over(beside) => 0,
            _ => 1,
        }
    }

    fn pause_over(&self, beside: Beside) -> u64 {
        self.pause_ends.max(self.last_failure.saturating_add(beside.pause))
    }

    /// Whether what is known of an outage is more than a memory.
    fn is_fresh(&self, now: u64, beside: Beside) -> bool {
        // A permanent failure is no evidence against the caller for whom the next dial is made.
        beside.running && !self.permanent || now < self.stale_from(beside)
    }

    fn stale_from(&self, beside: Beside) -> u64 {
        self.pause_over(beside).saturating_add(nanos(GRACE))
    }

    /// When something changes by time alone: the end of the pause, that of the evidence, or the moment from which callers are refused.
    pub(super) fn due(&self, now: u64, fail_fast_after: u64, beside: Beside) -> u64 {
        let times = [self.pause_over(beside), self.stale_from(beside), self.down_since.saturating_add(fail_fast_after)];
        let doubt = self.ended.map_or(NEVER, |ended| ended.at.saturating_add(nanos(LONGEST)));
        let down = times.into_iter().filter(|_| self.failures > 0);
        down.chain([doubt]).filter(|due| *due > now).min().unwrap_or(NEVER)
    }

    /// What to tell callers instead of letting them wait.
    pub(super) fn refusal(&self, now: u64, fail_fast_after: u64, beside: Beside) -> Option<Told> {
        let for_long = self.permanent || now >= self.down_since.saturating_add(fail_fast_after);
        let down = self.failures > 0 && for_long && self.is_fresh(now, beside);
        down.then(|| self.cause.clone()).flatten()
    }

    /// The last dial's error, while the endpoint is down.
    pub(super) fn cause(&self) -> Option<&Told> {
        self.cause.as_ref()
    }

    pub(super) fn is_down(&self) -> bool {
        self.failures > 0
    }

    /// Whether the pace changes by time alone.
    pub(super) fn is_paced(&self) -> bool {
        self.failures > 0 || self.ended.is_some()
    }

    /// Whether that will not go away by itself.
    pub(super) fn is_permanent(&self) -> bool {
        self.permanent
    }
}

#[cfg(all(test, not(corepool_loom)))]
mod tests;
