//! A simulation's owner: builds the pool, plays what happens to it, and looks at the books at every step.
#![forbid(unsafe_code)]
// SeqCst, throughout: the threads take turns, and what is shared hangs on no ordering.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Report;
use super::callers;
use super::world::{Endpoints, MS, Mood, World, told, up_to};
use crate::os::clock::{self, nanos};
use crate::pool::Pool;
use crate::settings::{Opening, Settings};
use crate::sync::turns::{pick, sleep, spawn};
use crate::watch::handler::Handler;
use crate::watch::reactors::Reactors;

/// Farewells that may hang beyond all bounds.
const HUNG: usize = 16;

const CAPACITY: usize = 6;

/// No dial has more time.
const DIAL_TIMEOUT: u64 = 1_000 * MS;

fn time(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

/// Settings that make things happen within seconds.
fn choose(settings: &mut Settings) {
    let optional = |least: u64, most: u64| (pick(3) > 0).then(|| time(least * MS) + up_to((most - least) * MS));
    settings.max_size = 1 + pick(CAPACITY);
    settings.min_open = pick(settings.max_size + 1);
    settings.min_idle = pick(settings.max_size.min(3));
    settings.max_waiters = if pick(6) == 0 { 2 } else { usize::MAX };
    settings.handoff_after = if pick(3) == 0 { Duration::ZERO } else { time(MS) };
    settings.dial_timeout = time(100 * MS) + up_to(900 * MS);
    settings.dials_at_once = 1 + pick(4);
    settings.fail_fast_after = time(50 * MS) + up_to(1_500 * MS);
    settings.backoff_max = time(50 * MS) + up_to(5_000 * MS);
    settings.close_timeout = time(50 * MS) + up_to(1_000 * MS);
    settings.max_closing = 1 + pick(4);
    settings.validate_after = optional(20, 3_000);
    settings.suspect_after = optional(20, 10_000);
    settings.idle_timeout = optional(50, 10_000);
    settings.max_lifetime = optional(200, 20_000);
    settings.ping_interval = optional(50, 5_000);
    settings.ping_timeout = time(20 * MS) + up_to(500 * MS);
    settings.hold_limit = optional(50, 1_000);
}

/// One world, from its pool's building to its end.
pub(super) fn own(seconds: u64) -> Report {
    let world = World::new();
    let manager = Endpoints { world: Arc::clone(&world), generation: 0 };
    let builder = Pool::builder(manager).max_size(1).capacity(CAPACITY).shards(1 + pick(3)).reactors(Reactors::new(2));
    let pool = builder.opening(if pick(2) == 0 { Opening::Lazy } else { Opening::Background }).build();
    let pool = pool.expect("the settings are within their limits");
    pool.reconfigure(choose).expect("within their limits");
    for _ in 0..1 + pick(6) {
        let (pool, world) = (pool.clone(), Arc::clone(&world));
        world.callers.fetch_add(1, Ordering::SeqCst);
        let _ = spawn(Box::new(move || callers::live(&pool, &world)));
    }
    let mut owner = Owner { begun: clock::now(), changed: 0, world, pool };
    let ends = owner.begun.saturating_add(seconds * 1_000 * MS);
    while clock::now() < ends {
        sleep(if pick(4) == 0 { up_to(4_000 * MS) } else { up_to(200 * MS) });
        owner.look();
        owner.act();
        owner.look();
    }
    owner.end()
}

struct Owner {
    begun: u64,
    /// When the manager was replaced last, which forgets an outage, or a setting that the pace keeps to.
    changed: u64,
    world: Arc<World>,
    pool: Pool<Endpoints>,
}

impl Owner {
    /// What must hold at every moment.
    fn look(&mut self) {
        let (stats, settings) = (self.pool.stats(), self.pool.settings());
        let world = &self.world;
        assert!(stats.open + stats.opening <= CAPACITY, "too many are open\n{stats}");
        assert!(stats.idle + stats.leased == stats.open, "\n{stats}");
        // Only what has hung may come on top; a lowered bound lets those go on that have begun.
        let closing = world.tally.closing.load(Ordering::SeqCst);
        assert!(closing <= 4 + HUNG + CAPACITY, "{closing} farewells at a time\n{stats}");
        // Nor may those be many that wait for their farewell. What a dial opens that was given up comes on top.
        let alive = told(&world.tally.opened) - told(&world.tally.dropped);
        assert!(alive <= (CAPACITY + 4 + HUNG + 4 * 4) as u64, "{alive} connections are there\n{stats}");
        let under_way = world.most_under_way();
        // So many as may hang, so many within their time, and one for each new manager.
        let most = 5 * 4 + told(&world.generation) as usize;
        assert!(under_way <= most, "{under_way} dials at a time\n{stats}");
        self.look_at_permits();
        let world = &self.world;
        let gone = stats.closed_in_all() + stats.detached + stats.open as u64;
        assert!(stats.opened <= gone + 8 + CAPACITY as u64, "connections are lost\n{stats}");
        // While it is down, four dials a second in the end; the first of them may come in a burst of all that were under way.
        let (mood, since) = world.mood();
        let (now, window) = (clock::now(), 1_500 * MS);
        if matches!(mood, Mood::Refuses | Mood::Denies | Mood::Stillborn) && now.saturating_sub(since) > 2 * window {
            let dials = world.dials_since(now - window);
            // A pause is drawn from the upper half of its length, and demand has it end after 250 ms.
            let shortest = nanos(settings.backoff_max / 2).clamp(MS, 250 * MS);
            let most = (window / shortest) as usize + 8;
            assert!(
                dials <= most || self.changed > now - 2 * window,
                "{dials} dials in 1.5 s while it is {mood:?}\n{stats}\n{settings:?}"
            );
            // After so many the pauses of what is for good are as long as they get, and nobody hastens their end.
            let before = self.world.dials_since(since.max(self.changed)).saturating_sub(dials);
            let at_their_longest = mood == Mood::Denies && before >= 12 && nanos(settings.backoff_max) >= 4_000 * MS;
            assert!(
                dials <= 3 || !at_their_longest,
                "{dials} dials in 1.5 s while the password is wrong\n{stats}\n{settings:?}"
            );
        }
    }

    /// As many permits are out as dials are within their time: what comes and goes between two looks is looked at again.
    fn look_at_permits(&self) {
        let mut seen = (0, 0);
        let balanced = (0..40).any(|_| {
            let opening = self.pool.stats().opening;
            let (young, _) = self.world.under_way(clock::now().saturating_sub(DIAL_TIMEOUT + 100 * MS));
            seen = (opening, young);
            let balanced = opening <= young;
            if !balanced {
                sleep(time(3 * MS));
            }
            balanced
        });
        assert!(balanced, "{} permits for {} dials\n{}", seen.0, seen.1, self.pool.stats());
    }

    /// Something happens.
    fn act(&mut self) {
        // Before a mood ends, too.
        self.hinder();
        self.world.tally.events.fetch_add(1, Ordering::SeqCst);
        let world = &self.world;
        match pick(28) {
            0..4 => world.set_mood(Mood::Up),
            4 => world.set_mood(Mood::Slow),
            5 => world.set_mood(Mood::Refuses),
            6 => world.set_mood(Mood::BlackHole),
            7 => world.set_mood(Mood::Denies),
            8 => world.set_mood(Mood::Stillborn),
            9 => {
                // It goes, with all that was open.
                world.set_mood(Mood::Refuses);
                self.hang_up(usize::MAX);
            }
            10..13 => self.hang_up(1),
            13 => self.hang_up(usize::MAX),
            14 => self.pool.retire(up_to(500 * MS)),
            15 => {
                let at = clock::now();
                self.pool.retire(Duration::ZERO);
                world.retired.store(at, Ordering::SeqCst);
            }
            16 => {
                let born_before = clock::now();
                self.pool.retire_where(move |line| line.born < born_before);
                world.judged.store(born_before, Ordering::SeqCst);
            }
            17 => {
                self.changed = clock::now();
                self.pool.reconfigure(choose).expect("within their limits");
            }
            18 => {
                self.changed = clock::now();
                let generation = told(&world.generation) + 1;
                let manager = Endpoints { world: Arc::clone(world), generation };
                self.pool.replace_manager(manager, Duration::ZERO);
                world.generation.store(generation, Ordering::SeqCst);
            }
            19 => {
                self.pool.pause();
                sleep(up_to(800 * MS));
                self.pool.resume();
                world.hinder(0);
            }
            20 => world.farewell.store([0, 10, 500, 20_000][pick(4)] * MS, Ordering::SeqCst),
            21 => world.ping.store([0, 5, 300, 3_000][pick(4)] * MS, Ordering::SeqCst),
            22 => world.ping_fails.store(pick(3) == 0, Ordering::SeqCst),
            23 => world.quiet.store(clock::now() + up_to(12_000 * MS).as_nanos() as u64, Ordering::SeqCst),
            24 => {
                world.set_mood([Mood::Refuses, Mood::Denies, Mood::Denies, Mood::BlackHole][pick(4)]);
                self.wait(20_000 * MS);
            }
            25 => {
                world.spoils.store(true, Ordering::SeqCst);
                self.wait(3_000 * MS);
                self.world.spoils.store(false, Ordering::SeqCst);
            }
            26 if pick(4) == 0 => self.insist(),
            _ => {}
        }
        self.hinder();
    }

    /// Things stay as they are for a while.
    fn wait(&mut self, most: u64) {
        let ends = clock::now() + up_to(most).as_nanos() as u64;
        while clock::now() < ends {
            self.hinder();
            sleep(up_to(1_000 * MS));
            self.look();
        }
    }

    /// A black hole, whose dials hang on for long, is retired from again and again.
    fn insist(&mut self) {
        self.world.holds_on.store(true, Ordering::SeqCst);
        self.world.set_mood(Mood::BlackHole);
        for _ in 0..pick(16) {
            self.hinder();
            sleep(up_to(200 * MS));
            self.pool.retire(Duration::ZERO);
            self.look();
        }
        self.hinder();
        self.world.holds_on.store(false, Ordering::SeqCst);
    }

    /// For how long callers may have to wait because of how things are now.
    fn hinder(&self) {
        let world = &self.world;
        // A pause in dialing is a second at most; `backoff_max` where it is for good or for nothing; a hanging dial or ping lasts its time.
        world.hinder(match world.mood().0 {
            Mood::Up => 0,
            Mood::Slow | Mood::Refuses => 2_500 * MS,
            Mood::BlackHole | Mood::Denies | Mood::Stillborn => 7_000 * MS,
        });
        world.hinder(if world.ping_fails.load(Ordering::SeqCst) { 7_000 * MS } else { 0 });
        // The pauses beside those that hang grow with their number, until they come back.
        let (_, hang) = world.under_way(clock::now().saturating_sub(DIAL_TIMEOUT));
        world.hinder(if hang > 0 { 30_000 * MS } else { 0 });
        for slow in [&world.farewell, &world.ping] {
            world.hinder(slow.load(Ordering::SeqCst) * 3 / 2);
        }
    }

    /// So many of those that are open are hung up on, as the reactor would tell.
    fn hang_up(&self, most: usize) {
        let engine = &self.pool.engine;
        let lives = engine.lives();
        let begin = pick(lives.len().max(1));
        for life in lives.iter().cycle().skip(begin).take(most.min(lives.len())) {
            let (engine, key) = (Arc::clone(engine), life.to_word());
            let _ = spawn(Box::new(move || {
                engine.hung_up(key);
                engine.release();
            }));
        }
    }

    /// The endpoint recovers, the callers go home, and all comes to rest.
    fn end(self) -> Report {
        let Owner { world, pool, .. } = self;
        world.set_mood(Mood::Up);
        world.farewell.store(0, Ordering::SeqCst);
        world.ping.store(0, Ordering::SeqCst);
        world.ping_fails.store(false, Ordering::SeqCst);
        world.spoils.store(false, Ordering::SeqCst);
        world.quiet.store(0, Ordering::SeqCst);
        world.over.store(true, Ordering::SeqCst);
        let mut last = Err("not looked at".to_owned());
        for _ in 0..600 {
            sleep(time(100 * MS));
            last = pool.at_rest();
            let tally = &world.tally;
            let at_home = world.callers.load(Ordering::SeqCst) == 0;
            if at_home && last.is_ok() && tally.closing.load(Ordering::SeqCst) == 0 {
                break;
            }
        }
        let stats = pool.stats();
        assert!(last.is_ok(), "not at rest after a minute: {last:?}\n{stats}");
        let tally = &world.tally;
        assert_eq!(stats.leases, told(&tally.leases), "leases\n{stats}");
        assert_eq!(stats.timed_out, told(&tally.timed_out), "timed out\n{stats}");
        assert_eq!(stats.refused, told(&tally.refused), "refused\n{stats}");
        assert_eq!(stats.detached, told(&tally.detached), "detached\n{stats}");
        assert!(stats.dials >= told(&tally.dials), "dials\n{stats}");
        assert_eq!(stats.opened, stats.closed_in_all() + stats.detached + stats.open as u64, "the books\n{stats}");
        let report = pool.drain(time(10_000 * MS));
        assert!(report.is_complete(), "{report:?}\n{}", pool.stats());
        let engine = Arc::downgrade(&pool.engine);
        drop(pool);
        for _ in 0..100 {
            if engine.strong_count() == 0 {
                break;
            }
            sleep(time(100 * MS));
        }
        assert_eq!(engine.strong_count(), 0, "somebody keeps the pool");
        assert_eq!(told(&tally.opened), told(&tally.dropped), "connections are leaked");
        assert_eq!(told(&tally.opened), told(&tally.closed) + told(&tally.detached), "connections are not closed");
        Report { leases: told(&tally.leases), dials: told(&tally.dials), events: told(&tally.events), trace: 0 }
    }
}
