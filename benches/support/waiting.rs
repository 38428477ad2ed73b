//! What waiting costs beside the sleep itself: an announcement in every word of every shard, and a place in the queue. Measured on the
//! real bag, compiled into the benchmark.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::lockfree::bag::{Bag, Claim, Fate, Limits, Seat};
use crate::support::rounds::{cores, pin};

const LIMITS: Limits = Limits {
    max_size: 1,
    max_closing: 1,
    min_open: 0,
    min_idle: 0,
    dials: 0,
    max_waiters: usize::MAX,
    handoff_after: 0,
};

/// What the first waiter of an exhausted pool pays before it may sleep, so many times, in µs.
///
/// Another core has written all the words just before, as it has in a pool whose connections are all out: each line has to be fetched.
pub(crate) fn announce(shards: usize, slots: usize, times: usize) -> Vec<f64> {
    let bag: Bag<u64, ()> = Bag::new(shards, slots, LIMITS);
    // Even: the other core's turn; odd: the waiter's.
    let turn = AtomicU32::new(0);
    let await_turn = |mine: u32| {
        // Acquire: what the other did on its turn. Release, below: what this one did.
        while turn.load(Ordering::Acquire) % 2 != mine {
            std::thread::yield_now();
        }
    };
    // Before anybody is pinned: see there.
    cores();
    let pass = || turn.fetch_add(1, Ordering::Release);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            for _ in 0..times {
                await_turn(0);
                // Nobody waits, so this changes nothing but whose the lines are.
                bag.idle().retract();
                pass();
            }
        });
        let waiter = scope.spawn(|| {
            pin(0);
            let measured = (0..times).map(|_| {
                await_turn(1);
                let begun = Instant::now();
                let (seat, duty) = bag.enqueue(0).expect("the bag is open");
                let took = begun.elapsed();
                assert!(duty.is_none(), "nothing may be dialed");
                give_up(&bag, &seat);
                pass();
                took.as_nanos() as f64 / 1e3
            });
            measured.collect()
        });
        waiter.join().expect("nothing panics")
    })
}

fn give_up(bag: &Bag<u64, ()>, seat: &Seat) {
    let (fate, duty) = bag.wait(seat, || None);
    assert!(matches!(fate, Fate::TimedOut) && duty.is_none(), "there is nothing to be had");
}

/// One connection that goes from caller to caller through a queue of so many.
pub(crate) struct Carousel {
    bag: Bag<u64, ()>,
    claim: Option<Claim>,
    seats: VecDeque<Seat>,
}

impl Carousel {
    /// With `waiters` in the queue, all played by one thread: nobody sleeps.
    pub(crate) fn new(waiters: usize) -> Self {
        let bag = Bag::new(1, 1, Limits { dials: 1, ..LIMITS });
        let duty = bag.demand().expect("the bag is open");
        for permit in duty.dial {
            let (claim, _) = bag.admit(permit, 0, false).expect("there is a permit");
            assert!(bag.land(claim, 0, || 0).is_none(), "it only becomes idle");
        }
        let claim = bag.take(0);
        let mut carousel = Carousel { bag, claim, seats: VecDeque::new() };
        (0..waiters).for_each(|_| carousel.join());
        carousel
    }

    fn join(&mut self) {
        let (seat, duty) = self.bag.enqueue(0).expect("the bag is open");
        assert!(duty.is_none(), "there is no permit");
        self.seats.push_back(seat);
    }

    /// The connection comes back, goes to the head, and whoever had it joins the queue again.
    pub(crate) fn turn(&mut self) {
        let claim = self.claim.take().expect("somebody has it");
        assert!(self.bag.give(claim, 0, || 0).is_none(), "it goes to the head");
        let head = self.seats.pop_front().expect("somebody waits");
        match self.bag.wait(&head, || None) {
            (Fate::Granted(claim), _) => self.claim = Some(black_box(claim)),
            (fate, _) => unreachable!("the head was passed over: {fate:?}"),
        }
        self.join();
    }
}
