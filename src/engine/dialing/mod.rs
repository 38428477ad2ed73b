//! Dialing: which dials are under way, when the next may begin, and what is known of those that have succeeded just now.
//!
//! Whoever ends up with a permit (a [`Duty`] of the bag) has it dialed with and goes on; a caller that waits takes whichever
//! comes first, a return or the new connection. A dial that outlasts `dial_timeout` loses its permit and counts as failed; should
//! it still succeed, its connection enters the pool under a permit that is free by then, or is closed. Its thread counts against
//! `dials_at_once` until it returns, so that a black hole cannot gather threads.
//!
//! The pace decides *before* a permit comes free, or the permit would be dialed with at once. So each method that changes the
//! pace tells the bag what it allows now, and returns the duties that this has led to.
#![forbid(unsafe_code)]

pub(crate) mod backoff;
mod book;
mod error;
mod job;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use self::backoff::{Backoff, LONGEST};
use self::book::Book;
pub(crate) use self::book::{Attempt, Ended, Running};
pub(crate) use self::error::DialError;
pub(crate) use self::job::{Landing, dial};
use super::birth::Birth;
use crate::error::Cause;
use crate::lockfree::bag::{Bag, Duty, Permit};
use crate::lockfree::bits::Life;
use crate::observe::{Event, Observing};
use crate::os::clock::{self, NEVER, nanos};
use crate::settings::Settings;
use crate::sync::lock;
use crate::watch::reactor::Reactor;

/// The dialing of one pool.
#[derive(Debug)]
pub(crate) struct Dialing {
    backoff: Mutex<Backoff>,
    book: Mutex<Book>,
    /// Connections opened within the last second and not seen to be used since.
    newborns: Mutex<Vec<Birth>>,
    /// How often all connections were retired. One whose dial began before the last time is retired too.
    retirements: AtomicU64,
    /// `Opening::Lazy` before the first caller: `min_idle` is not kept yet.
    lazy: AtomicBool,
    /// The last dial has failed.
    troubled: AtomicBool,
    /// Rung whenever a dial has ended, for a build that waits.
    ended: (Mutex<()>, Condvar),
    /// Keeps its deadlines.
    reactor: Arc<Reactor>,
    observing: Arc<Observing>,
}

impl Dialing {
    pub(crate) fn new(dials_at_once: usize, lazy: bool, reactor: Arc<Reactor>, observing: Arc<Observing>) -> Self {
        Dialing {
            backoff: Mutex::new(Backoff::new(dials_at_once)),
            book: Mutex::default(),
            newborns: Mutex::default(),
            retirements: AtomicU64::new(0),
            lazy: AtomicBool::new(lazy),
            troubled: AtomicBool::new(false),
            ended: (Mutex::new(()), Condvar::new()),
            reactor,
            observing,
        }
    }

    // ---- one dial ----------------------------------------------------------------------------------------------------------

    /// A dial begins with this permit. The manager to dial with is to be read after this.
    pub(crate) fn begin(&self, permit: Permit, dial_timeout: Duration) -> Attempt {
        let begun = clock::now();
        let deadline = begun.saturating_add(nanos(dial_timeout));
        let number = lock(&self.backoff).begun(begun);
        // Acquire: a manager that was put in place before this number was is the one that is read after it.
        let retirements = self.retirements.load(Ordering::Acquire);
        let attempt = Attempt { permit, begun, deadline, number, retirements, cut: Arc::default() };
        lock(&self.book).enter(&attempt);
        self.reactor.remind(deadline);
        attempt
    }

    /// Its thread is back.
    pub(crate) fn end(&self, attempt: &Attempt) -> Ended {
        lock(&self.book).leave(attempt.permit.ticket)
    }

    /// Whether all connections were retired since a dial began, `retirements` being their number then.
    pub(crate) fn is_retired(&self, retirements: u64) -> bool {
        // Relaxed: ordered by the bag's lock, under which its connection was admitted.
        self.retirements.load(Ordering::Relaxed) != retirements
    }

    /// Those whose time is up, which count as failed from now on.
    pub(crate) fn take_overdue(&self, now: u64) -> Vec<Running> {
        lock(&self.book).take_overdue(now)
    }

    /// Nobody wants what is being dialed any more. Their threads count no more, unless very many of them hang.
    pub(crate) fn disown(&self) -> Vec<Running> {
        lock(&self.book).disown()
    }

    /// The pool is closed: whatever blocks on a socket that a dial named returns.
    pub(crate) fn cut_all(&self) {
        lock(&self.book).cut_all();
    }

    /// Has every connection whose dial has begun by now retired once it is open.
    pub(crate) fn retire_all(&self) {
        // Release: the manager that was replaced before this; and it comes before the look at what is open. What is admitted
        // before that look is found by it; what is admitted after it reads the new number.
        self.retirements.fetch_add(1, Ordering::Release);
    }

    // ---- the pace ----------------------------------------------------------------------------------------------------------

    /// A dial that began at `begun` has failed: back off.
    pub(crate) fn failed<T>(
        &self,
        bag: &Bag<T, Cause>,
        settings: &Settings,
        begun: u64,
        cause: &Cause,
    ) -> [Duty<T>; 2] {
        self.back_off(bag, settings, cause, |backoff, now| backoff.failed(begun, now, Arc::clone(cause)))
    }

    /// A dial that began at `begun` has succeeded.
    pub(crate) fn succeeded<T>(&self, bag: &Bag<T, Cause>, settings: &Settings, begun: u64) -> [Duty<T>; 2] {
        let mut lasted = None;
        let duties = self.change_pace(bag, settings, |backoff, now| {
            lasted = backoff.succeeded(begun).map(|since| clock::until(now, since));
            // Relaxed: under the pace's lock, as where it is set.
            self.troubled.store(backoff.cause().is_some(), Ordering::Relaxed);
        });
        if let Some(lasted) = lasted {
            self.observing.tell(|| Event::OutageEnded { lasted });
        }
        duties
    }

    /// Whatever the endpoint's troubles were, they are not those of the one that is dialed from now on.
    pub(crate) fn forget_outage<T>(&self, bag: &Bag<T, Cause>, settings: &Settings) -> [Duty<T>; 2] {
        self.change_pace(bag, settings, |backoff, _| {
            // Relaxed: under the pace's lock, as where it is set.
            self.troubled.store(false, Ordering::Relaxed);
            backoff.reset();
        })
    }

    /// `dials_at_once` may have changed.
    pub(crate) fn set_most<T>(&self, bag: &Bag<T, Cause>, settings: &Settings) -> [Duty<T>; 2] {
        self.change_pace(bag, settings, |backoff, _| backoff.set_most(settings.dials_at_once))
    }

    /// A pause may be over, or a thread free for another dial.
    pub(crate) fn look_again<T>(&self, bag: &Bag<T, Cause>, settings: &Settings) -> [Duty<T>; 2] {
        self.change_pace(bag, settings, |_, _| {})
    }

    /// Somebody wants a connection: a pause that can be cut is cut.
    pub(crate) fn hurry<T>(&self, bag: &Bag<T, Cause>, settings: &Settings) -> [Duty<T>; 2] {
        let due = {
            let mut backoff = lock(&self.backoff);
            let now = clock::now();
            if !backoff.hurry(now) {
                return [Duty::none(), Duty::none()];
            }
            backoff.due(now, NEVER)
        };
        if due == NEVER {
            return self.look_again(bag, settings);
        }
        self.reactor.remind(due);
        [Duty::none(), Duty::none()]
    }

    fn back_off<T>(
        &self,
        bag: &Bag<T, Cause>,
        settings: &Settings,
        cause: &Cause,
        fail: impl FnOnce(&mut Backoff, u64) -> bool,
    ) -> [Duty<T>; 2] {
        let mut began = false;
        let duties = self.change_pace(bag, settings, |backoff, now| {
            // Relaxed: ordered by the lock under which waiters are looked for.
            self.troubled.store(true, Ordering::Relaxed);
            began = fail(backoff, now);
            // Under the pace's lock: whoever joins the queue after this look hurries by itself, after us.
            if bag.waiting() > 0 {
                backoff.hurry(now);
            }
        });
        if began {
            self.observing.tell(|| Event::OutageBegan { cause: Arc::clone(cause) });
        }
        duties
    }

    /// Changes the pace of dialing, and tells the bag what it allows now.
    fn change_pace<T>(
        &self,
        bag: &Bag<T, Cause>,
        settings: &Settings,
        change: impl FnOnce(&mut Backoff, u64),
    ) -> [Duty<T>; 2] {
        let fail_fast_after = nanos(settings.fail_fast_after);
        let mut backoff = lock(&self.backoff);
        let now = clock::now();
        change(&mut backoff, now);
        let allowed = backoff.dials(now).min(lock(&self.book).free(settings.dials_at_once));
        // Under the lock, so that an older pace cannot overtake a newer one.
        let refused = bag.refuse(backoff.refusal(now, fail_fast_after));
        let limited = bag.limit(|limits| limits.dials = allowed);
        let due = backoff.due(now, fail_fast_after);
        drop(backoff);
        if due != NEVER {
            self.reactor.remind(due);
        }
        [refused, limited]
    }

    /// When something of the dials changes by time alone.
    pub(crate) fn due(&self, now: u64, settings: &Settings) -> u64 {
        let next_overdue = lock(&self.book).next_deadline();
        next_overdue.min(lock(&self.backoff).due(now, nanos(settings.fail_fast_after)))
    }

    /// The last dial's error, while the endpoint is down.
    pub(crate) fn cause(&self) -> Option<Cause> {
        lock(&self.backoff).cause()
    }

    /// Whether the last dial has failed, so that whoever begins to wait should [`hurry`](Dialing::hurry).
    pub(crate) fn is_troubled(&self) -> bool {
        // Relaxed: set before a failed dial looks for waiters, under the queue's lock; so it finds the waiter, or the waiter
        // finds this set.
        self.troubled.load(Ordering::Relaxed)
    }

    // ---- newborns ----------------------------------------------------------------------------------------------------------

    /// A connection is in the pool. Whether it is of any use is not known yet.
    pub(crate) fn note_birth<T>(&self, bag: &Bag<T, Cause>, birth: Birth) {
        self.newborns(bag, birth.at).push(birth);
    }

    /// The peer of this one has hung up. If that is at once, and nobody has used the connection, its dial was no success.
    pub(crate) fn note_hang_up<T>(&self, bag: &Bag<T, Cause>, settings: &Settings, life: Life) -> [Duty<T>; 2] {
        let newborn = {
            let mut newborns = self.newborns(bag, clock::now());
            let place = newborns.iter().position(|newborn| newborn.life == life);
            place.map(|place| newborns.swap_remove(place))
        };
        if newborn.is_none() {
            return [Duty::none(), Duty::none()];
        }
        let cause: Cause = Arc::new(DialError::Stillborn);
        self.observing.tell(|| Event::DialFailed { cause: Arc::clone(&cause) });
        self.back_off(bag, settings, &cause, |backoff, now| backoff.stillborn(now, Arc::clone(&cause)))
    }

    /// The connections that have proved nothing yet. One that was used, or that lives for long, shows that the endpoint serves again.
    fn newborns<T>(&self, bag: &Bag<T, Cause>, now: u64) -> MutexGuard<'_, Vec<Birth>> {
        let mut newborns = lock(&self.newborns);
        let before = newborns.len();
        newborns.retain(|birth| clock::until(now, birth.at) < LONGEST && birth.is_unused(bag));
        if newborns.len() < before {
            lock(&self.backoff).proven();
        }
        newborns
    }

    // ---- beginnings --------------------------------------------------------------------------------------------------------

    /// Whether no caller has come yet to a pool that is lazy.
    pub(crate) fn is_lazy(&self) -> bool {
        // Relaxed: whoever is first sets the floor, under the bag's lock.
        self.lazy.load(Ordering::Relaxed)
    }

    /// A caller has come. True if it is the first of a lazy pool.
    pub(crate) fn awaken(&self) -> bool {
        // Relaxed: as above.
        self.is_lazy() && self.lazy.swap(false, Ordering::Relaxed)
    }

    /// A dial has ended, for better or worse: whoever waits for that looks again.
    pub(crate) fn ring(&self) {
        drop(lock(&self.ended.0));
        self.ended.1.notify_all();
    }

    /// Sleeps until `done`, which is asked after each dial, or until `limit` has passed.
    pub(crate) fn wait_until(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let begun = Instant::now();
        let mut gate = lock(&self.ended.0);
        while !done() {
            let Some(left) = limit.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else { return false };
            let woken = self.ended.1.wait_timeout(gate, left);
            gate = woken.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        true
    }
}
