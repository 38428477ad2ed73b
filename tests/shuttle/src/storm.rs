//! The storms.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::AtomicBool;
use shuttle::thread;

use crate::explore::schedules;
use crate::lockfree::bag::{Claim, Limits, Place};
use crate::lockfree::bits::Notes;
use crate::mux_rig::{Got as Heard, Mux};
use crate::rig::{AT_ONCE, Got, NEVER_DUE, NO_DIALS, Patience, Rig, SOON};

const THREADS: usize = 6;
const SHARDS: usize = 3;
const CONNECTIONS: usize = 4;
const TURNS: usize = 5;

fn pick(below: usize) -> usize {
    thread_rng().gen_range(0..below)
}

/// A bag, and who owns each of its slots.
struct House {
    rig: Arc<Rig>,
    owned: Vec<AtomicBool>,
    granted: AtomicUsize,
}

impl House {
    fn new() -> Arc<House> {
        let handoff_after = [AT_ONCE, SOON, NEVER_DUE][pick(3)];
        let limits = Limits { max_size: CONNECTIONS, dials: 1 + pick(2), handoff_after, ..NO_DIALS };
        let rig = Rig::new(SHARDS, pick(CONNECTIONS + 1), limits);
        let owned = (0..CONNECTIONS).map(|_| AtomicBool::new(false)).collect();
        Arc::new(House { rig, owned, granted: AtomicUsize::new(0) })
    }

    /// A use of a connection, during which others may run.
    fn hold(&self, claim: &mut Claim) {
        let slot = claim.slot().index();
        assert!(!self.owned[slot].swap(true, Ordering::SeqCst), "two own slot {slot}");
        self.rig.touch(claim);
        (0..pick(3)).for_each(|_| thread::yield_now());
        assert!(self.owned[slot].swap(false, Ordering::SeqCst), "nobody owns slot {slot}");
        self.granted.fetch_add(1, Ordering::Relaxed);
    }

    /// As the hot path does.
    fn hit(&self, shard: usize) {
        match self.rig.take_top(shard) {
            Some((claim, place)) => self.used(claim, Some(place), shard),
            None => self.call(shard),
        }
    }

    fn call(&self, shard: usize) {
        // Now and then somebody has no time; the others are served, or the storm has a deadlock.
        let patience = if pick(3) == 0 { Patience::Limited } else { Patience::Endless };
        match self.rig.get(shard, patience) {
            Ok(claim) => self.used(claim, None, shard),
            Err(got) => assert!(got != Got::TimedOut || patience == Patience::Limited, "{got:?}"),
        }
    }

    fn used(&self, mut claim: Claim, place: Option<Place<'_>>, shard: usize) {
        self.hold(&mut claim);
        match (pick(6), place) {
            (0, _) => self.rig.carry(self.rig.bag.evict(claim)),
            (_, Some(place)) => self.rig.give_back(claim, place),
            (_, None) => self.rig.give(claim, shard),
        }
    }

    /// What a reactor, a sweep or an owner does.
    fn meddle(&self) {
        let rig = &self.rig;
        let lives = rig.bag.lives();
        let life = (!lives.is_empty()).then(|| lives[pick(lives.len())].0);
        match (pick(9), life) {
            (0..3, Some(life)) => {
                let why = [Notes::DEAD, Notes::EXPIRED, Notes::RETIRED, Notes::SURPLUS][pick(4)];
                rig.bag.dismiss(life, why).into_iter().for_each(|duty| rig.carry(duty));
            }
            (3, Some(life)) => {
                rig.bag.note(life, [Notes::RESTED, Notes::TIMED, Notes::AGED, Notes::PROBE][pick(4)]);
            }
            (4, _) => {
                rig.bag.pause();
                (0..pick(3)).for_each(|_| thread::yield_now());
                rig.resume();
            }
            (5, _) => rig.carry(rig.bag.limit(|limits| limits.max_size = 1 + pick(CONNECTIONS))),
            (6, _) => rig.bag.demand().into_iter().for_each(|duty| rig.carry(duty)),
            (7, Some(life)) => {
                if let Some(claim) = rig.bag.remove(life.slot) {
                    self.used(claim, None, pick(SHARDS));
                }
            }
            _ => rig.carry(rig.bag.look_after()),
        }
    }

    fn live(&self, thread: usize) {
        for _ in 0..TURNS {
            match pick(4) {
                0 => self.meddle(),
                1 => self.call(thread % SHARDS),
                _ => self.hit(thread % SHARDS),
            }
        }
    }
}

/// Six threads do all that can be done with a bag of three shards and four connections: nobody owns what another one does, nobody sleeps
/// beside an idle connection, and in the end all permits are there.
#[test]
fn six_threads_on_four_connections() {
    schedules(|| {
        let house = House::new();
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let house = Arc::clone(&house);
                thread::spawn(move || house.live(thread))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        house.rig.at_rest();
        assert!(house.granted.load(Ordering::Relaxed) > 0);
    });
}

/// The same, and one of them closes the bag in the midst of it: all are let go, and nothing stays.
#[test]
fn six_threads_and_a_closure() {
    schedules(|| {
        let house = House::new();
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let house = Arc::clone(&house);
                thread::spawn(move || match thread {
                    0 => {
                        (0..pick(20)).for_each(|_| thread::yield_now());
                        house.rig.shut();
                    }
                    _ => house.live_until_closed(thread),
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        house.rig.at_rest();
        assert_eq!(house.rig.open(), 0);
    });
}

impl House {
    /// Without demands, which a closed bag answers by nothing.
    fn live_until_closed(&self, thread: usize) {
        for _ in 0..TURNS {
            if pick(3) == 0 { self.call(thread % SHARDS) } else { self.hit(thread % SHARDS) }
        }
    }
}

/// Six callers share one connection, some without time, while it is hung up on: each reply is its own caller's, and nobody sleeps for ever.
#[test]
fn six_callers_on_a_line() {
    const TOKENS: [&[u8]; THREADS] = [b"a", b"bc", b"d", b"efg", b"h", b"ij"];
    schedules(|| {
        let mux = Mux::connected(2 + pick(4));
        let callers: Vec<_> = TOKENS
            .iter()
            .map(|token| {
                let patience = if pick(3) == 0 { Patience::Limited } else { Patience::Endless };
                (patience, mux.caller(token, patience))
            })
            .collect();
        let hangs_up = pick(2) == 0;
        if hangs_up {
            (0..pick(12)).for_each(|_| thread::yield_now());
            mux.connection().hang_up();
        }
        for (patience, caller) in callers {
            let got = caller.join().unwrap();
            let excused = match got {
                Heard::Answered => true,
                Heard::TimeUp | Heard::NotSent | Heard::NoRoom => patience == Patience::Limited,
                Heard::Disconnected => hangs_up,
                Heard::Refused | Heard::Closed => false,
            };
            assert!(excused, "{got:?} of a caller with {patience:?}");
        }
        mux.verify();
    });
}
