//! Making a pool: the settings' setters, and the build that checks them all.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Engine, Kept, Plan};
use crate::error::BuildError;
use crate::lockfree::bits::SlotId;
use crate::manager::Manager;
use crate::observe::{Observer, Observing};
use crate::os::topology::{Dispatch, Topology};
use crate::pool::Pool;
use crate::settings::{Opening, SHARDS_LIMIT, Settings, at_least, within};
use crate::watch::reactors::Reactors;

impl<M: Manager> Pool<M> {
    /// Begins a pool of this manager's connections, with the default of every setting.
    pub fn builder(manager: M) -> Builder<M> {
        Builder::new(manager)
    }
}

/// The settings of a pool to be. Setters only store; [`build`](Builder::build) checks them all.
pub struct Builder<M: Manager> {
    manager: M,
    shards: Option<usize>,
    reactors: Option<Reactors>,
    max_size: Option<usize>,
    capacity: Option<usize>,
    max_closing: Option<usize>,
    probe_after: Option<Duration>,
    opening: Opening,
    observer: Option<Arc<dyn Observer>>,
    /// All that has a default that needs nothing else to be known.
    settings: Settings,
}

impl<M: Manager> Builder<M> {
    fn new(manager: M) -> Self {
        let opening = Opening::Wait(Duration::from_secs(5));
        let (shards, reactors, max_size, capacity, max_closing) = (None, None, None, None, None);
        let (probe_after, observer) = (None, None);
        let settings = Settings::usual();
        Builder { manager, shards, reactors, max_size, capacity, max_closing, probe_after, opening, observer, settings }
    }

    /// The most connections, open and being opened, at a time: 1 to 64,512. Default: twice the shards, at least 8.
    ///
    /// A connection that is being closed is not counted, so a slow farewell keeps nobody waiting. An endpoint with a hard limit of
    /// its own should allow [`max_closing`](Builder::max_closing) more.
    pub fn max_size(mut self, connections: usize) -> Self {
        self.max_size = Some(connections);
        self
    }

    /// The most that `max_size` can be raised to while the pool runs, up to 64,512. Default: `max_size`. Costs a slot, 136 bytes
    /// and the size of a connection, each.
    pub fn capacity(mut self, connections: usize) -> Self {
        self.capacity = Some(connections);
        self
    }

    /// Connections that are kept open, used or not, up to `max_size`. Default: 1. A lost one is dialed anew at once, and
    /// `idle_timeout` never goes below.
    ///
    /// HikariCP, r2d2 and pgx have no such lever; their `min_idle` is [`min_idle`](Builder::min_idle).
    pub fn min_open(mut self, connections: usize) -> Self {
        self.settings.min_open = connections;
        self
    }

    /// Connections that are kept *idle*, ready for whoever comes next, beside those that are in use, up to `max_size` in all. Default: 0.
    ///
    /// The pool is as large as the greater of `min_open` and what is in use plus `min_idle`. Callers take without counting, so one that
    /// is missing is found by the next caller who misses one, or within a second. Keeping never hurries a backoff.
    pub fn min_idle(mut self, connections: usize) -> Self {
        self.settings.min_idle = connections;
        self
    }

    /// Shards, 1 to 1,024. Default: one for each core that the process may use, but at most half of `max_size`: a shard that
    /// cannot hold two connections is only somewhere to steal from.
    ///
    /// The cores are those of the process, less what its cgroup's quota takes away, not those of the calling thread, which may be pinned.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// How the first connections are opened. Default: [`Opening::Wait`] for up to 5 s.
    pub fn opening(mut self, opening: Opening) -> Self {
        self.opening = opening;
        self
    }

    /// How long `get` and `with` wait for a connection. Default: 1 s. Zero: not at all, as `try_get`.
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.settings.wait_timeout = limit;
        self
    }

    /// Callers that may wait at once; one more is refused at the door. Default: no limit. Zero: nobody may wait.
    pub fn max_waiters(mut self, callers: usize) -> Self {
        self.settings.max_waiters = callers;
        self
    }

    /// A connection that comes back goes straight to the caller that has waited longest, once that has waited this long; before,
    /// newcomers may be faster. So they may later, where a connection would rest instead of being used: while all others are on their
    /// way to callers that have still to wake up; when this one has gone to four waiting callers in a row, for a quarter of this time
    /// each; and while a caller that was woken for an idle one has still to get a core. Default: 1 ms. Zero: strict first come, first
    /// served, which costs throughput when callers come from more threads than there are cores, since each connection then rests
    /// while its next user wakes up (47 µs).
    pub fn handoff_after(mut self, wait: Duration) -> Self {
        self.settings.handoff_after = wait;
        self
    }

    /// How long a dial may take, name resolution and login included. Default: 3 s; at least 1 ms.
    ///
    /// A dial that takes longer counts as failed and gives its place to others. What its thread blocks on ends if it is a socket named to
    /// [`Dial::cut_at_deadline`](crate::Dial::cut_at_deadline), or by what was given to
    /// [`Dial::at_deadline`](crate::Dial::at_deadline); else the thread hangs until it returns by itself.
    pub fn dial_timeout(mut self, limit: Duration) -> Self {
        self.settings.dial_timeout = limit;
        self
    }

    /// Dials at a time, each on a background thread: 1 to 64. Default: 4. Beside them, four times as many that have outlasted their
    /// time may hang; at that bound no dial begins until one returns, and errors say so.
    pub fn dials_at_once(mut self, dials: usize) -> Self {
        self.settings.dials_at_once = dials;
        self
    }

    /// Once no dial has succeeded for this long and no connection is open, callers are told so at once instead of waiting. Default: 1 s.
    ///
    /// As long as that is fresh: a dial is under way, or the pause since the last one is not over. A caller that comes when nobody
    /// has tried for longer waits for a dial of its own.
    pub fn fail_fast_after(mut self, down: Duration) -> Self {
        self.settings.fail_fast_after = down;
        self
    }

    /// The longest pause between two dials after an error that the manager calls permanent ([`Manager::is_permanent`]), or while
    /// connections that nobody uses are lost as soon as they are opened. Default: 30 s; at least 50 ms. Other failures pause for a
    /// second at most, or for this if it is less.
    pub fn backoff_max(mut self, pause: Duration) -> Self {
        self.settings.backoff_max = pause;
        self
    }

    /// How long a connection's [`close`](Manager::close) may take, from when it leaves the pool, before its watched sockets are shut
    /// down under it. Default: 1 s; at least 1 ms.
    ///
    /// One that still has not ended after as long again hangs, and its place is free for others. Up to 16 of a pool's closes may hang
    /// so; any further one keeps its place until it ends (see [`max_closing`](Builder::max_closing)).
    pub fn close_timeout(mut self, limit: Duration) -> Self {
        self.settings.close_timeout = limit;
        self
    }

    /// Connections that may still be closing beside `max_size` open ones: 1 to 64,512. Default: a quarter of `max_size`, at least 4.
    /// So a pool never has more than both together at its endpoint, but for dials that had been given up and succeed after all, and
    /// for closes that hang, 16 at most.
    ///
    /// A connection that leaves makes room for the next at once, until there are so many; then the oldest farewell is cut short, and
    /// the next dial waits for its end.
    pub fn max_closing(mut self, connections: usize) -> Self {
        self.max_closing = Some(connections);
        self
    }

    /// How long a connection lies idle before a checkout peeks at its sockets for unexpected bytes. Default: what the manager says
    /// ([`Manager::probe_after`], which tells when anything but zero is safe). Zero, which managers say by default: at every checkout,
    /// for 0.3 to 0.5 µs each.
    pub fn probe_after(mut self, idle: Duration) -> Self {
        self.probe_after = Some(idle);
        self
    }

    /// How long a connection lies idle before it is pinged ([`Manager::ping`]) when it is lent, on the caller's thread and within the
    /// caller's time: one whose ping fails is closed, and the next one is tried. At least 10 ms. Default: `None`, never: the watch sees a
    /// peer that closes, and a connection that is lent again and again is asked nothing, whatever this is. HikariCP asks after 500 ms,
    /// pgx after 1 s.
    ///
    /// For a peer or a NAT that silently forgets a connection, where an error is worse than a round trip. The same method as in the
    /// background ([`ping_interval`](Builder::ping_interval)), so that there is one to write. It may take
    /// [`ping_timeout`](Builder::ping_timeout), but no more than half of the time that the caller has left: then its watched sockets are
    /// shut down under it, and there is time for another connection.
    ///
    /// Measured by a sweep, so that a checkout reads no clock: a connection counts as idle for this long never too early, and too late by
    /// half of this or a second, whichever is less. Changed while the pool runs, it holds for rests from then on: one that had been noted
    /// is still asked once.
    pub fn validate_after(mut self, idle: Option<Duration>) -> Self {
        self.settings.validate_after = idle;
        self
    }

    /// If the first use of a connection that lay idle for this long fails, and it is closed for that
    /// ([`CloseReason::Failed`](crate::CloseReason::Failed)), all that lie idle for as long just then are suspect. Default: 30 s. At least
    /// 10 ms. `None`: one failure says nothing of the others.
    ///
    /// What silently forgets one idle connection (a NAT, a firewall, a proxy) has forgotten the others as well, and no look at a
    /// socket can find that. A suspect one is pinged before it is lent, as by [`validate_after`](Builder::validate_after). If its ping
    /// fails too, or if its manager has none of its own, all that are suspect leave, and others are dialed
    /// ([`CloseReason::Suspect`](crate::CloseReason::Suspect)). Such a round is made once in this time at most. A failure on a connection
    /// that was in use a moment ago begins none. Measured as `validate_after` is; a checkout costs nothing.
    pub fn suspect_after(mut self, idle: Option<Duration>) -> Self {
        self.settings.suspect_after = idle;
        self
    }

    /// How long a connection may lie idle before it is closed, as long as more than `min_idle` are idle and more than `min_open` are open.
    /// Default: 10 min; at least 10 ms; `None`: for ever. Measured by a sweep, so it may be late by a second or half of the time, whichever
    /// is less.
    pub fn idle_timeout(mut self, idle: Option<Duration>) -> Self {
        self.settings.idle_timeout = idle;
        self
    }

    /// How old a connection may grow, less up to a tenth, drawn at its birth so that those opened together do not expire
    /// together. A leased one is closed when it is given back. Default: 30 min; at least 20 ms; `None`: for ever.
    pub fn max_lifetime(mut self, age: Option<Duration>) -> Self {
        self.settings.max_lifetime = age;
        self
    }

    /// How often an idle connection is pinged ([`Manager::ping`]), in the background, four at a time. Default: `None`, never: the watch
    /// sees a peer that goes, and a ping is for those that disappear without closing. At least 10 ms.
    pub fn ping_interval(mut self, interval: Option<Duration>) -> Self {
        self.settings.ping_interval = interval;
        self
    }

    /// How long a ping may take before its socket is shut down under it. Default: 1 s; at least 1 ms.
    pub fn ping_timeout(mut self, limit: Duration) -> Self {
        self.settings.ping_timeout = limit;
        self
    }

    /// How long a lease may be held before that is an [`Event::HoldExceeded`](crate::Event::HoldExceeded), which names the
    /// thread; its end is an [`Event::HoldEnded`](crate::Event::HoldEnded). Default: `None`, for ever. At least 10 ms. Measured by a
    /// sweep, so it may be seen late by a quarter. Unlike HikariCP's leak detection it costs a checkout nothing.
    pub fn hold_limit(mut self, limit: Option<Duration>) -> Self {
        self.settings.hold_limit = limit;
        self
    }

    /// Whether a lease that exceeds `hold_limit` has its watched sockets shut down, so that a call that is stuck in it returns.
    /// Default: no.
    pub fn cut_held(mut self, cut: bool) -> Self {
        self.settings.cut_held = cut;
        self
    }

    /// Who is told what happens. Default: nobody. See [`Observer`]; a closure that takes `&Event` is one, and so are two in a tuple.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// One more, beside whom the user has chosen.
    #[cfg(feature = "metrics")]
    pub(crate) fn also_observed(mut self, observer: impl Observer) -> Self {
        self.observer = Some(match self.observer.take() {
            Some(first) => Arc::new((first, observer)),
            None => Arc::new(observer),
        });
        self
    }

    /// The reactors that watch this pool's connections. Default: [`Reactors::shared`], those of the process.
    pub fn reactors(mut self, reactors: Reactors) -> Self {
        self.reactors = Some(reactors);
        self
    }

    /// For callers who share connections, so many a shard: all are kept open and none idle, and each is held for as long as it lives.
    pub(crate) fn for_lines(mut self, per_shard: usize) -> Result<(Self, usize), BuildError> {
        within("lines_per_shard", per_shard, 1, SHARDS_LIMIT)?;
        let shards = self.shards.unwrap_or_else(|| Topology::of_process().budget().min(SHARDS_LIMIT));
        within("shards", shards, 1, SHARDS_LIMIT)?;
        let lines = shards * per_shard;
        within("lines", lines, 1, SlotId::CAPACITY_LIMIT)?;
        (self.shards, self.max_size, self.capacity) = (Some(shards), Some(lines), Some(lines));
        (self.settings.min_open, self.settings.min_idle, self.settings.hold_limit) = (lines, 0, None);
        Ok((self, lines))
    }

    /// Builds the pool. Blocks only with [`Opening::Wait`] and [`Opening::Once`].
    ///
    /// # Errors
    /// [`BuildError::Setting`] names a setting outside its limits; [`BuildError::Opening`] says why no connection could be opened in time.
    pub fn build(self) -> Result<Pool<M>, BuildError> {
        let topology = Topology::of_process();
        let cores = topology.budget().min(SHARDS_LIMIT);
        let shards = match (self.shards, self.max_size) {
            (Some(shards), _) => shards,
            (None, Some(max_size)) => cores.min((max_size / 2).max(1)),
            (None, None) => cores,
        };
        within("shards", shards, 1, SHARDS_LIMIT)?;
        let mut settings = self.settings;
        settings.max_size = self.max_size.unwrap_or((2 * shards).max(8));
        settings.max_closing = self.max_closing.unwrap_or((settings.max_size / 4).max(4));
        settings.probe_after = self.probe_after.unwrap_or_else(|| self.manager.probe_after());
        let capacity = self.capacity.unwrap_or(settings.max_size.clamp(1, SlotId::CAPACITY_LIMIT));
        within("capacity", capacity, 1, SlotId::CAPACITY_LIMIT)?;
        settings.check(capacity)?;
        if let Opening::Wait(limit) | Opening::Once(limit) = self.opening {
            at_least("opening", Some(limit), Duration::from_millis(1))?;
        }
        let kept = Kept::by(&settings);
        let plan = Plan {
            settings,
            capacity,
            shards,
            dispatch: Dispatch::new(topology, shards),
            reactors: self.reactors.unwrap_or_else(Reactors::shared),
            observing: Observing::new(self.observer),
            lazy: self.opening == Opening::Lazy,
        };
        let engine = Engine::new(Arc::new(self.manager), plan).map_err(|error| BuildError::Reactor(Arc::new(error)))?;
        match self.opening {
            Opening::Lazy => {}
            Opening::Background => engine.keep(kept),
            Opening::Wait(limit) | Opening::Once(limit) => {
                let wanted = kept.min_open.max(kept.min_idle).max(1);
                if matches!(self.opening, Opening::Once(_)) {
                    engine.open_once(wanted, limit, kept)?;
                } else {
                    engine.keep(Kept { min_open: wanted, ..kept });
                    engine.wait_until_open(wanted, limit)?;
                }
                engine.keep(kept);
            }
        }
        Ok(Pool { engine })
    }
}

impl<M: Manager> fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the manager: it may hold credentials.
        f.debug_struct("Builder")
            .field("settings", &self.settings)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}
