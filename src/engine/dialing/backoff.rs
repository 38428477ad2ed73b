//! When the next dial may begin: the pace of one pool's dialing, as a plain state machine over times.
//!
//! - *Up*: up to `dials_at_once` dials. A connection that was lost is dialed again at once.
//! - *Down*, since a dial failed: no dial during a pause, then one, the probe. Each failed probe doubles the pause's base from 50 ms to
//!   1 s, and the pause is drawn from its upper half, so that many clients of one endpoint spread out. Somebody who
//!   wants a connection cuts the pause to no less than 50 ms after the last dial began: at most 20 dials a second, and
//!   recovery within a fraction of one.
//! - *Ramp*, since a probe succeeded: 1 dial, 2, 4, …, doubling with each success, so that an endpoint that has just come up is not
//!   knocked down again.
//!
//! A connection whose peer hangs up at once, before anybody has used it, was no success: a server that has no room accepts and closes.
//!
//! Dials that were under way together when the endpoint went down fail together; they count as one failure, and none of them ends
//! the outage.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::error::Cause;
use crate::os::clock::{NEVER, nanos};

/// The shortest pause, and the least time between two dials while the endpoint is down.
pub(crate) const SHORTEST: Duration = Duration::from_millis(50);

/// The longest pause.
pub(crate) const LONGEST: Duration = Duration::from_secs(1);

/// The pace of a pool's dialing. All times are nanoseconds on the process's clock.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// Probes that have failed in a row. 0: up.
    failures: u32,
    /// When the first of them failed.
    down_since: u64,
    last_failure: u64,
    last_dial: u64,
    /// No dial before this.
    pause_ends: u64,
    /// Dials at once while up.
    ramp: usize,
    most: usize,
    cause: Option<Cause>,
    /// `failures` and `down_since` before the last outage ended, in case it has not.
    before: (u32, u64),
}

impl Backoff {
    pub(crate) fn new(most: usize) -> Self {
        Backoff {
            failures: 0,
            down_since: NEVER,
            last_failure: 0,
            last_dial: 0,
            pause_ends: 0,
            ramp: most,
            most,
            cause: None,
            before: (0, NEVER),
        }
    }

    /// A dial begins. Returns which attempt it is since the last success.
    pub(crate) fn begun(&mut self, now: u64) -> u32 {
        self.last_dial = now;
        self.failures + 1
    }

    /// A dial that began at `begun` has succeeded. If that ends an outage: since when it was.
    pub(crate) fn succeeded(&mut self, begun: u64) -> Option<u64> {
        if self.failures > 0 && begun <= self.last_failure {
            // Old news: something has failed since.
            return None;
        }
        let down_since = (self.failures > 0).then_some(self.down_since);
        self.ramp = if down_since.is_some() { 1 } else { (self.ramp * 2).min(self.most) };
        if down_since.is_some() {
            // Kept over further successes, until one is proven: connections that were opened together may all turn out to be none.
            self.before = (self.failures, self.down_since);
        }
        self.up();
        down_since
    }

    /// What was known of the endpoint is void: it is another one now.
    pub(crate) fn reset(&mut self) {
        self.ramp = self.most;
        self.up();
    }

    fn up(&mut self) {
        self.failures = 0;
        self.down_since = NEVER;
        self.pause_ends = 0;
        self.cause = None;
    }

    /// The most dials at once has changed.
    pub(crate) fn set_most(&mut self, most: usize) {
        self.ramp = if self.ramp == self.most { most } else { self.ramp.min(most) };
        self.most = most;
    }

    /// A dial that began at `begun` has failed. True if that begins an outage.
    pub(crate) fn failed(&mut self, begun: u64, now: u64, cause: Cause) -> bool {
        self.cause = Some(cause);
        if self.failures > 0 && begun <= self.last_failure {
            return false;
        }
        self.down_since = self.down_since.min(now);
        self.last_failure = now;
        let base = nanos(SHORTEST).saturating_mul(1 << self.failures.min(16)).min(nanos(LONGEST));
        self.failures += 1;
        self.pause_ends = now.saturating_add(fastrand::u64(base / 2..=base));
        self.failures == 1
    }

    /// Somebody wants a connection. True if that brings the next probe forward.
    pub(crate) fn hurry(&mut self, now: u64) -> bool {
        let soonest = self.last_dial.saturating_add(nanos(SHORTEST)).max(now);
        let sooner = self.failures > 0 && soonest < self.pause_ends;
        if sooner {
            self.pause_ends = soonest;
        }
        sooner
    }

    /// What a dial has opened died unused: it has failed after all. True if that begins an outage.
    pub(crate) fn stillborn(&mut self, now: u64, cause: Cause) -> bool {
        if self.failures == 0 {
            (self.failures, self.down_since) = std::mem::replace(&mut self.before, (0, NEVER));
        }
        self.failed(now, now, cause)
    }

    /// What a dial has opened did serve: the outages before it are over for good.
    pub(crate) fn proven(&mut self) {
        self.before = (0, NEVER);
    }

    /// How many dials may be under way.
    pub(crate) fn dials(&self, now: u64) -> usize {
        match self.failures {
            0 => self.ramp,
            _ if now < self.pause_ends => 0,
            _ => 1,
        }
    }

    /// When something changes by time alone: the end of the pause, or the moment from which callers are refused.
    pub(crate) fn due(&self, now: u64, fail_fast_after: u64) -> u64 {
        let refusal = self.down_since.saturating_add(fail_fast_after);
        [self.pause_ends, refusal].into_iter().filter(|due| self.failures > 0 && *due > now).min().unwrap_or(NEVER)
    }

    /// What to tell callers instead of letting them wait: the endpoint has been down for this long.
    pub(crate) fn refusal(&self, now: u64, fail_fast_after: u64) -> Option<Cause> {
        let down = self.failures > 0 && now >= self.down_since.saturating_add(fail_fast_after);
        down.then(|| self.cause.clone()).flatten()
    }

    /// The last dial's error, while the endpoint is down.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    const MS: u64 = 1_000_000;

    fn error() -> Cause {
        Arc::new(io::Error::other("refused"))
    }

    #[test]
    fn pauses_double_to_a_second_and_are_jittered() {
        let mut backoff = Backoff::new(4);
        let mut now = 0;
        for base in [50, 100, 200, 400, 800, 1_000, 1_000] {
            backoff.begun(now);
            backoff.failed(now, now + MS, error());
            now += MS;
            assert_eq!(backoff.dials(now), 0);
            let pause = backoff.due(now, NEVER) - now;
            assert!((base / 2 * MS..=base * MS).contains(&pause), "{pause} of {base} ms");
            now += pause;
            assert_eq!(backoff.dials(now), 1);
        }
    }

    #[test]
    fn dials_that_fail_together_count_once() {
        let mut backoff = Backoff::new(4);
        (0..4).for_each(|_| assert_eq!(backoff.begun(0), 1));
        let began: Vec<bool> = (1..=4).map(|n| backoff.failed(0, n * MS, error())).collect();
        assert_eq!(began, [true, false, false, false]);
        assert_eq!(backoff.begun(100 * MS), 2);
    }

    #[test]
    fn demand_cuts_the_pause_to_twenty_dials_a_second() {
        let mut backoff = Backoff::new(4);
        let (mut now, mut dials) = (0, 0);
        while now < 1_000 * MS {
            if backoff.dials(now) > 0 {
                backoff.begun(now);
                backoff.failed(now, now, error());
                dials += 1;
            }
            backoff.hurry(now);
            now += MS;
        }
        assert!((18..=21).contains(&dials), "{dials} dials");
    }

    #[test]
    fn a_connection_that_dies_unused_was_no_success() {
        let mut backoff = Backoff::new(4);
        let mut now = 0;
        let mut dials = 0;
        while now < 10_000 * MS {
            if backoff.dials(now) > 0 {
                backoff.begun(now);
                backoff.succeeded(now);
                now += MS;
                backoff.stillborn(now, error());
                dials += 1;
            }
            now += MS;
        }
        assert!(dials < 30, "{dials} dials in 10 s");
    }

    #[test]
    fn an_outage_that_a_connection_has_proved_over_is_not_taken_up_again() {
        let mut backoff = Backoff::new(1);
        backoff.failed(0, MS, error());
        backoff.succeeded(50 * MS);
        backoff.succeeded(60 * MS);
        backoff.stillborn(70 * MS, error());
        assert_eq!(backoff.begun(120 * MS), 3, "the same outage goes on");
        backoff.succeeded(120 * MS);
        backoff.proven();
        backoff.stillborn(5_000 * MS, error());
        assert_eq!(backoff.begun(5_050 * MS), 2);
        assert!(backoff.refusal(5_050 * MS, 1_000 * MS).is_none());
    }

    #[test]
    fn success_ramps_up() {
        let mut backoff = Backoff::new(4);
        backoff.failed(0, MS, error());
        let allowed = std::iter::repeat_with(|| {
            backoff.succeeded(2 * MS);
            backoff.dials(2 * MS)
        });
        assert_eq!(allowed.take(4).collect::<Vec<_>>(), [1, 2, 4, 4]);
    }

    #[test]
    fn callers_are_refused_once_it_has_been_down_for_long() {
        let mut backoff = Backoff::new(1);
        backoff.failed(0, 10 * MS, error());
        assert!(backoff.refusal(1_009 * MS, 1_000 * MS).is_none());
        assert!(backoff.refusal(1_010 * MS, 1_000 * MS).is_some());
        backoff.succeeded(1_500 * MS);
        assert!(backoff.refusal(2_000 * MS, 1_000 * MS).is_none());
    }
}
