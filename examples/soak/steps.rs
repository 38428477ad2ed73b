//! What callers and owners do with the pools, at random.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use corepool::{Conn, GetError, GetErrorKind, Lease, Opening, Pool, PoolMap, TcpManager, UseError};

use crate::checked::{Checked, Checking, Ledger, Nothing, ON_PURPOSE};
use crate::peers::{FRAME, GARBAGE, Peer};

pub(crate) type Net = Pool<Checking<TcpManager>>;
pub(crate) type Bare = Pool<Checking<Nothing>>;
pub(crate) type Map = PoolMap<usize, Checking<TcpManager>>;
type Talker = Checked<Conn>;
type Holding<'p> = Lease<'p, Checking<TcpManager>>;

const MS: Duration = Duration::from_millis(1);

/// Nobody waits for so long unless a wake-up was lost: an outage is over after half a second, and a pause after less.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(25);

/// The most connections that a pool is ever allowed.
pub(crate) const CAPACITY: usize = 8;

/// The keys of the map.
pub(crate) const KEYS: usize = 4;

/// What the callers of one pool know of what it should have counted, and what they did besides.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) leases: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) detached: AtomicU64,
    pub(crate) exchanges: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) forgotten: AtomicU64,
    pub(crate) drains: AtomicU64,
    pub(crate) stalled: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Everything that the threads share.
pub(crate) struct House {
    pub(crate) net: Net,
    pub(crate) bare: Bare,
    pub(crate) map: Map,
    pub(crate) net_tally: Tally,
    pub(crate) bare_tally: Tally,
    pub(crate) map_tally: Tally,
    pub(crate) peers: Arc<[Peer]>,
    pub(crate) ledger: Arc<Ledger>,
}

fn tcp(peers: &[Peer], which: usize, ledger: &Arc<Ledger>) -> Checking<TcpManager> {
    let manager = TcpManager::new(peers[which % peers.len()].address());
    Checking::new(manager.read_timeout(Some(250 * MS)).write_timeout(Some(250 * MS)), ledger, 4_096)
}

impl House {
    pub(crate) fn build(peers: Vec<Peer>, ledger: Arc<Ledger>) -> Result<House, corepool::BuildError> {
        let peers: Arc<[Peer]> = peers.into();
        let net = Pool::builder(tcp(&peers, 0, &ledger))
            .max_size(CAPACITY / 2)
            .capacity(CAPACITY)
            .shards(2)
            .dial_timeout(500 * MS)
            .fail_fast_after(200 * MS)
            .ping_interval(Some(20 * MS))
            .build()?;
        let bare =
            Pool::builder(Checking::new(Nothing, &ledger, 0)).max_size(3).capacity(CAPACITY).shards(2).build()?;
        let (made_for, known_to) = (Arc::clone(&peers), Arc::clone(&ledger));
        let map = PoolMap::with_idle_limit(
            move |key: &usize| {
                let builder = Pool::builder(tcp(&made_for, *key, &known_to)).max_size(2).shards(1);
                builder.dial_timeout(500 * MS).fail_fast_after(200 * MS).opening(Opening::Lazy)
            },
            300 * MS,
        );
        let (net_tally, bare_tally, map_tally) = Default::default();
        Ok(House { net, bare, map, net_tally, bare_tally, map_tally, peers, ledger })
    }

    fn scandal(&self, what: impl FnOnce() -> String) {
        self.ledger.fault(what);
    }

    /// Asks, and hears the answer to that very question, or an error.
    fn talk(&self, connection: &mut Talker, tally: &Tally) -> io::Result<()> {
        thread_local!(static ASKED: Cell<u64> = const { Cell::new(0) });
        static QUESTIONS: AtomicU64 = AtomicU64::new(0);
        if ASKED.get().is_multiple_of(1 << 20) {
            ASKED.set(QUESTIONS.fetch_add(1 << 20, Ordering::Relaxed));
        }
        ASKED.set(ASKED.get() + 1);
        connection.assert_owned();
        let mut request = [0; FRAME];
        request[..8].copy_from_slice(b"corepool");
        request[8..].copy_from_slice(&ASKED.get().to_be_bytes());
        let mut reply = [0; FRAME];
        let done = connection.write_all(&request).and_then(|()| connection.read_exact(&mut reply));
        connection.assert_owned();
        let done = done.and_then(|()| match reply {
            _ if reply == request => Ok(()),
            GARBAGE => Err(io::ErrorKind::InvalidData.into()),
            _ => {
                self.scandal(|| format!("the answer to somebody else's question: {reply:?} to {request:?}"));
                Err(io::ErrorKind::InvalidData.into())
            }
        });
        add(if done.is_ok() { &tally.exchanges } else { &tally.failures });
        done
    }

    /// A caller got nothing.
    fn without(&self, error: &GetError, limit: Option<Duration>, tally: &Tally) {
        match error.kind() {
            GetErrorKind::TimedOut => {
                add(&tally.timed_out);
                if limit == Some(FOR_EVER) && error.waited() > FOR_EVER + Duration::from_secs(1) {
                    // Not run for a second after its time was up: a machine that stands still wakes nobody.
                    add(&tally.stalled);
                } else if limit == Some(FOR_EVER) {
                    self.scandal(|| format!("nobody has woken a caller: {error}"));
                }
            }
            GetErrorKind::Refused | GetErrorKind::Down => add(&tally.refused),
            GetErrorKind::Busy if limit != Some(Duration::ZERO) => {
                self.scandal(|| format!("busy, for a caller who would wait: {error}"));
            }
            GetErrorKind::Closed => self.scandal(|| format!("closed, and nobody has closed it: {error}")),
            _ => {}
        }
    }

    fn limit() -> Duration {
        match fastrand::u32(0..8) {
            0 => Duration::ZERO,
            1..5 => Duration::from_micros(fastrand::u64(1..5_000)),
            _ => FOR_EVER,
        }
    }

    /// One caller's turn over sockets.
    pub(crate) fn step(&self) {
        let (pool, tally) = (&self.net, &self.net_tally);
        let begun = |connection: &mut Talker| {
            connection.begin("a use");
            add(&tally.leases);
            self.talk(connection, tally)
        };
        // Three turns in five are the simplest ones.
        match fastrand::u32(0..160).saturating_sub(96) {
            0..24 => self.used(pool.with(begun), None, tally),
            24..28 => {
                let limit = Self::limit();
                self.used(pool.with_timeout(limit, begun), Some(limit), tally);
            }
            28..30 => {
                let with = pool.with(|connection: &mut Talker| -> io::Result<()> {
                    begun(connection)?;
                    panic!("{ON_PURPOSE}")
                });
                self.used(with, None, tally);
            }
            30..34 => {
                let with = pool.with_lease(|lease| {
                    lease.begin("a use");
                    add(&tally.leases);
                    let done = self.talk(lease, tally);
                    if fastrand::u32(0..8) == 0 {
                        lease.end("a condemnation");
                        Lease::condemn(lease);
                    }
                    done
                });
                self.used(with, None, tally);
            }
            34..44 => {
                let limit = Self::limit();
                self.held(pool.get_timeout(limit), Some(limit), tally, false);
            }
            44..48 => self.held(pool.try_get(), Some(Duration::ZERO), tally, false),
            48..54 => self.held(pool.get(), None, tally, false),
            54..57 => self.held(pool.get_owned(), None, tally, true),
            57..59 => {
                let limit = Self::limit();
                self.held(pool.get_owned_timeout(limit), Some(limit), tally, true);
            }
            59 => self.held(pool.try_get_owned(), Some(Duration::ZERO), tally, true),
            60 => {
                let stats = pool.clone().stats();
                if stats.open + stats.opening > CAPACITY || stats.idle + stats.leased != stats.open {
                    self.scandal(|| format!("too many are open\n{stats}"));
                }
            }
            _ => self.map_step(),
        }
    }

    fn used<E: Display>(&self, done: Result<(), UseError<E>>, limit: Option<Duration>, tally: &Tally) {
        if let Err(UseError::Get(error)) = done {
            self.without(&error, limit, tally);
        }
    }

    /// After a failure of its own the connection says by itself that it is unfit. Where a reply makes no sense, its user has to.
    fn talk_and_say_nothing(&self, connection: &mut Talker, tally: &Tally) {
        if self.talk(connection, tally).is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            connection.mark_dirty();
        }
    }

    /// What a caller does with a lease.
    fn held(&self, lease: Result<Holding<'_>, GetError>, limit: Option<Duration>, tally: &Tally, owned: bool) {
        let mut lease = match lease {
            Ok(lease) => lease,
            Err(error) => return self.without(&error, limit, tally),
        };
        lease.begin("a lease");
        add(&tally.leases);
        match fastrand::u32(0..64) {
            0..36 => {
                if self.talk(&mut lease, tally).is_err() {
                    Lease::fail(&mut lease);
                }
            }
            36..44 => self.talk_and_say_nothing(&mut lease, tally),
            44..50 => thread::sleep(Duration::from_micros(fastrand::u64(0..3_000))),
            50..52 => panic!("{ON_PURPOSE}"),
            52..54 => Lease::fail(&mut lease),
            54..56 => {
                lease.end("a condemnation");
                Lease::condemn(&mut lease);
            }
            56..58 => {
                lease.end("a discard");
                Lease::discard(lease);
            }
            58 => {
                lease.end("a detachment");
                add(&tally.detached);
                drop(Lease::detach(lease));
            }
            59..61 => {
                while !Lease::is_leaving(&lease) && fastrand::u32(0..64) > 0 {
                    thread::sleep(Duration::from_micros(50));
                }
                let _ = Lease::stale(&lease);
            }
            _ if owned => self.talk_and_say_nothing(&mut lease, tally),
            // Given back by another thread.
            _ => thread::scope(|scope| drop(scope.spawn(|| drop(lease)))),
        }
    }

    /// One turn of a caller of the map, or of one who ends a pool of it.
    fn map_step(&self) {
        let (key, tally) = (fastrand::usize(0..KEYS), &self.map_tally);
        match fastrand::u32(0..64) {
            0..40 => {
                let done = self.map.with(&key, |connection| {
                    connection.begin("a use");
                    add(&tally.leases);
                    self.talk(connection, tally)
                });
                self.used_of_map(done.err());
            }
            40..56 => match self.map.get(&key) {
                Ok(lease) => self.held(Ok(lease), None, tally, true),
                Err(error) => self.used_of_map::<io::Error>(Some(UseError::Get(error))),
            },
            56..59 => {
                self.map.remove(&key);
            }
            59 => self.forget(key),
            _ => self.drain(key),
        }
    }

    fn used_of_map<E>(&self, error: Option<UseError<E>>) {
        if let Some(UseError::Get(error)) = error
            && error.kind() == GetErrorKind::Closed
        {
            self.scandal(|| format!("the map hands out what is closed: {error}"));
        }
    }

    /// A lease is leaked: its connection is the pool's no more, until the pool goes.
    fn forget(&self, key: usize) {
        let Ok(pool) = self.map.pool(&key) else { return };
        if let Ok(lease) = pool.get_timeout(20 * MS) {
            add(&self.map_tally.leases);
            add(&self.map_tally.forgotten);
            std::mem::forget(lease);
        }
        // It would have one connection less for good.
        self.map.remove(&key);
    }

    fn drain(&self, key: usize) {
        let Ok(pool) = self.map.pool(&key) else { return };
        self.map.remove(&key);
        add(&self.map_tally.drains);
        let report =
            if fastrand::bool() { pool.drain(FOR_EVER) } else { pool.drain_then_cut(Duration::ZERO, FOR_EVER) };
        let stats = pool.stats();
        // What somebody has forgotten never comes back.
        let forgotten = self.map_tally.forgotten.load(Ordering::Relaxed) as usize;
        if report.closing > 0 || report.opening > 0 || report.leased.len() > forgotten {
            self.scandal(|| format!("a drain has not ended: {report:?}\n{stats}"));
        }
        if stats.opened != stats.closed_in_all() + stats.detached + stats.open as u64 {
            self.scandal(|| format!("a drained pool does not balance\n{stats}"));
        }
    }

    /// One turn of a caller who does nothing with what is lent.
    pub(crate) fn bare_step(&self, uses: u64, gently: bool) {
        if gently {
            thread::sleep(MS);
        }
        let (pool, tally) = (&self.bare, &self.bare_tally);
        let mut leases = 0;
        for _ in 0..uses {
            match pool.with_timeout(FOR_EVER, |nothing| {
                nothing.begin("a use");
                Ok::<(), GetError>(())
            }) {
                Ok(()) => leases += 1,
                Err(UseError::Get(error) | UseError::Use(error)) => self.without(&error, Some(FOR_EVER), tally),
            }
        }
        tally.leases.fetch_add(leases, Ordering::Relaxed);
        if fastrand::u32(0..64) == 0
            && let Ok(lease) = pool.get_timeout(FOR_EVER)
        {
            lease.begin("a lease");
            add(&tally.leases);
            match fastrand::u32(0..4) {
                0 => {
                    lease.end("a discard");
                    Lease::discard(lease);
                }
                1 => thread::sleep(Duration::from_micros(fastrand::u64(0..200))),
                _ => thread::yield_now(),
            }
        }
    }

    /// One turn of the pools' owner.
    pub(crate) fn govern(&self) {
        let over = |longest| MS * fastrand::u32(0..longest);
        match fastrand::u32(0..40) {
            0..4 => self.net.retire(over(30)),
            4..7 => self.bare.retire(over(10)),
            7..10 => self.net.retire_where(|connection| connection.look("a judgement").is_multiple_of(3)),
            10..12 => self.bare.retire_where(|connection| connection.look("a judgement").is_multiple_of(2)),
            12..14 => {
                let manager = tcp(&self.peers, fastrand::usize(0..self.peers.len()), &self.ledger);
                self.net.replace_manager(manager, over(20));
            }
            14..18 => {
                self.net.pause();
                thread::sleep(over(20));
                self.net.resume();
            }
            18..20 => {
                self.bare.pause();
                thread::sleep(over(3));
                self.bare.resume();
            }
            20..24 => {
                let (size, optional) = (fastrand::usize(1..=CAPACITY), |least: u32| {
                    fastrand::bool().then(|| MS * fastrand::u32(least..200))
                });
                let changed = self.net.reconfigure(|settings| {
                    settings.max_size = size;
                    settings.min_open = fastrand::usize(0..=size);
                    settings.min_idle = fastrand::usize(0..=size);
                    settings.max_closing = fastrand::usize(1..=4);
                    settings.dials_at_once = fastrand::usize(1..=4);
                    settings.handoff_after = Duration::from_micros(fastrand::u64(0..2_000));
                    settings.wait_timeout = MS * fastrand::u32(1..500);
                    settings.max_lifetime = optional(20);
                    settings.idle_timeout = optional(10);
                    settings.ping_interval = optional(10);
                    settings.validate_after = optional(10);
                    settings.suspect_after = optional(10);
                    settings.hold_limit = optional(10);
                    settings.cut_held = fastrand::bool();
                });
                if let Err(error) = changed {
                    self.scandal(|| format!("settings within their limits are refused: {error}"));
                }
            }
            24..26 => {
                let size = fastrand::usize(1..=CAPACITY);
                let changed = self.bare.reconfigure(|settings| {
                    (settings.max_size, settings.min_open) = (size, fastrand::usize(0..=size));
                    settings.min_idle = 0;
                    settings.handoff_after = Duration::from_micros(fastrand::u64(0..2_000));
                });
                if let Err(error) = changed {
                    self.scandal(|| format!("settings within their limits are refused: {error}"));
                }
            }
            _ => thread::sleep(over(20)),
        }
    }
}
