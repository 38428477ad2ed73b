//! The structure that HikariCP publishes for its idle connections (`ConcurrentBag`), rendered in Rust.
//!
//! Not HikariCP: that runs on the JVM, reads a clock at each borrow, and wraps each connection in a proxy. What is rendered is how the
//! connections are found and handed over: a list of each thread's own of what it used last, a shared list that everybody scans, a
//! compare-exchange on a connection's state to take it and a plain store to give it back, and a rendezvous with whoever waits.
//! Connections do not come and go here, so the shared list, which is copied on each write there, is fixed.

use std::cell::{RefCell, UnsafeCell};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::utils::CachePadded;

use super::connections::Endpoint;
use super::rivals::{PATIENCE, Rival};

const FREE: u8 = 0;
const IN_USE: u8 = 1;

/// A thread remembers no more than this.
const REMEMBERED: usize = 16;

struct Entry<C> {
    state: AtomicU8,
    connection: UnsafeCell<C>,
}

impl<C> Entry<C> {
    fn take(&self) -> bool {
        // Acquire: the user before. Release: none needed, but that is what Java's `compareAndSet` has.
        self.state.compare_exchange(FREE, IN_USE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// The bag.
pub(crate) struct HikariLike<C> {
    shared: Box<[CachePadded<Entry<C>>]>,
    waiters: CachePadded<AtomicUsize>,
    give: Sender<usize>,
    taken: Receiver<usize>,
}

// SAFETY: an entry's connection is touched only by the thread that has turned its state to IN_USE, until it turns it back with Release.
unsafe impl<C: Send> Sync for HikariLike<C> {}

thread_local! {
    /// The bag, and the place in it, of what this thread used last.
    static OWN: RefCell<Vec<(usize, usize)>> = const { RefCell::new(Vec::new()) };
}

impl<C> HikariLike<C> {
    /// Full.
    pub(crate) fn new<E: Endpoint<Connection = C>>(endpoint: &E, size: usize) -> Self {
        let dial = |_| endpoint.dial().expect("every endpoint of a benchmark is up");
        let entry = |connection| Entry { state: AtomicU8::new(FREE), connection: UnsafeCell::new(connection) };
        let (give, taken) = bounded(0);
        HikariLike {
            shared: (0..size).map(dial).map(|connection| CachePadded::new(entry(connection))).collect(),
            waiters: CachePadded::default(),
            give,
            taken,
        }
    }

    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn borrow(&self) -> usize {
        let own = || loop {
            let (bag, place) = OWN.with_borrow_mut(Vec::pop)?;
            if bag == self.id() && self.shared[place].take() {
                return Some(place);
            }
        };
        own().unwrap_or_else(|| {
            // As there: Java's atomics are sequentially consistent.
            self.waiters.fetch_add(1, Ordering::SeqCst);
            let place = self.shared.iter().position(|entry| entry.take()).unwrap_or_else(|| self.wait());
            self.waiters.fetch_sub(1, Ordering::SeqCst);
            place
        })
    }

    fn wait(&self) -> usize {
        loop {
            let place = self.taken.recv_timeout(PATIENCE).expect("nobody gives up");
            if self.shared[place].take() {
                return place;
            }
        }
    }

    fn requite(&self, place: usize) {
        let entry = &self.shared[place];
        entry.state.store(FREE, Ordering::SeqCst);
        let mut turn = 0_u32;
        while self.waiters.load(Ordering::SeqCst) > 0 {
            if entry.state.load(Ordering::SeqCst) != FREE || self.give.try_send(place).is_ok() {
                return;
            }
            turn += 1;
            if turn.is_multiple_of(256) {
                thread::park_timeout(Duration::from_micros(10));
            } else {
                thread::yield_now();
            }
        }
        OWN.with_borrow_mut(|own| {
            if own.len() < REMEMBERED {
                own.push((self.id(), place));
            }
        });
    }
}

impl<C: Send> Rival<C> for HikariLike<C> {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut C) -> R) -> R {
        let place = self.borrow();
        // SAFETY: this thread has turned the state to IN_USE, and turns it back below.
        let connection = unsafe { &mut *self.shared[place].connection.get() };
        let result = f(connection);
        self.requite(place);
        result
    }
}
