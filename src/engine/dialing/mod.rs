//! Dialing: which dials are under way, when the next may begin, and what is known of those that have succeeded just now.
//!
//! Whoever ends up with a permit (a [`Duty`] of the bag) has it dialed with and goes on; a caller that waits takes whichever
//! comes first, a return or the new connection. A dial that outlasts `dial_timeout` loses its permit and counts as failed; should
//! it still succeed, its connection enters the pool under a permit that is free by then, or is closed.
//!
//! The pace decides *before* a permit comes free, or the permit would be dialed with at once. So each method that changes the
//! pace tells the bag what it allows now, and returns the duties that this has led to.
#![forbid(unsafe_code)]

mod backoff;
mod book;
mod error;
mod job;
mod keeping;

use std::sync::Arc;
use std::time::Duration;

use self::backoff::Backoff;
use self::book::Book;
pub(crate) use self::book::{Attempt, Ended, Running};
pub(crate) use self::error::DialError;
pub(crate) use self::job::{Failure, Landing, dial};
use self::keeping::Keeping;
pub(crate) use self::keeping::Kept;
use super::told::Told;
use crate::error::Cause;
use crate::lockfree::bag::{Bag, Duty, Permit};
use crate::observe::{Event, Observing};
use crate::os::clock::{self, NEVER, nanos};
use crate::settings::Settings;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, Nap, lock, nap};
use crate::watch::reactor::Timer;

/// The dialing of one pool.
#[derive(Debug)]
pub(crate) struct Dialing {
    pace: Mutex<Pace>,
    book: Mutex<Book>,
    /// How often all connections were retired. One whose dial began before the last time is retired too.
    retirements: AtomicU64,
    /// `Opening::Lazy` before the first caller: nothing is kept yet.
    lazy: AtomicBool,
    /// The last dial has failed.
    troubled: AtomicBool,
    /// `Opening::Once`, while the build waits: a dial that fails is the last one.
    once: AtomicBool,
    /// Rung whenever a dial has ended, for a build that waits.
    ended: (Mutex<()>, Condvar),
    /// Keeps its deadlines.
    timer: Arc<Timer>,
    observing: Arc<Observing>,
}

/// What decides when the next dial begins.
#[derive(Debug)]
struct Pace {
    backoff: Backoff,
    keeping: Keeping,
    kept: Kept,
    /// Nothing is kept just now, because of a pause in the keeping.
    keeps_nothing: bool,
}

impl Dialing {
    pub(crate) fn new(dials_at_once: usize, lazy: bool, timer: Arc<Timer>, observing: Arc<Observing>) -> Self {
        Dialing {
            pace: Mutex::new(Pace {
                backoff: Backoff::new(dials_at_once),
                keeping: Keeping::default(),
                kept: Kept::NONE,
                keeps_nothing: false,
            }),
            book: Mutex::default(),
            retirements: AtomicU64::new(0),
            lazy: AtomicBool::new(lazy),
            troubled: AtomicBool::new(false),
            once: AtomicBool::new(false),
            ended: (Mutex::new(()), Condvar::new()),
            timer,
            observing,
        }
    }

    // ---- one dial ----------------------------------------------------------------------------------------------------------

    /// A dial begins with this permit. The manager to dial with is to be read after this.
    pub(crate) fn begin(&self, permit: Permit, settings: &Settings) -> Attempt {
        // Relaxed: ordered by the pace's lock, which whoever replaces the manager has had before; so who reads the number after that reads
        // the new manager, too.
        let retirements = self.retirements.load(Ordering::Relaxed);
        let attempt = {
            let mut pace = lock(&self.pace);
            let mut book = lock(&self.book);
            // Under the lock: a look at the book has either this dial, or an older time.
            let begun = clock::now();
            let deadline = begun.saturating_add(nanos(settings.dial_timeout));
            let number = pace.backoff.begun(begun, book.beside(settings.dials_at_once));
            let attempt = Attempt { permit, begun, deadline, number, retirements, cut: Arc::default() };
            book.enter(&attempt);
            attempt
        };
        self.timer.remind(lock(&self.book).due());
        attempt
    }

    /// Its thread is back.
    pub(crate) fn end(&self, attempt: &Attempt) -> Ended {
        lock(&self.book).leave(attempt.permit.ticket)
    }

    /// Whether all connections were retired since a dial began, `retirements` being their number then.
    pub(crate) fn is_retired(&self, retirements: u64) -> bool {
        // Relaxed: ordered by the bag's lock, under which its connection was admitted; see `retire_all`.
        self.retirements.load(Ordering::Relaxed) != retirements
    }

    /// Those whose time is up, which count as failed from now on.
    pub(crate) fn take_overdue(&self, now: u64) -> Vec<Running> {
        lock(&self.book).take_overdue(now)
    }

    /// The tickets of those that have turned out to be slow.
    pub(crate) fn take_slow(&self, now: u64) -> Vec<u64> {
        lock(&self.book).take_slow(now)
    }

    /// Nobody wants what is being dialed any more. Their threads hinder no other dial, unless very many of them hang.
    pub(crate) fn disown(&self) -> Vec<Running> {
        lock(&self.book).disown()
    }

    /// Threads that have not come back from a dial.
    pub(crate) fn threads(&self) -> usize {
        lock(&self.book).threads()
    }

    /// The pool is closed: whatever blocks on a socket that a dial named returns.
    pub(crate) fn cut_all(&self) {
        let cuts = lock(&self.book).cuts();
        cuts.iter().for_each(|cut| cut.cut());
    }

    /// Has every connection whose dial has begun by now retired once it is open.
    pub(crate) fn retire_all(&self) {
        // Relaxed: ordered by the bag's lock, under which what is open is looked at after this. What is admitted before that look is found
        // by it; what is admitted after it reads the new number.
        self.retirements.fetch_add(1, Ordering::Relaxed);
    }

    // ---- the pace ----------------------------------------------------------------------------------------------------------

    /// A dial that began at `begun` has failed: back off.
    pub(crate) fn failed<T>(
        &self,
        bag: &Bag<T, Told>,
        settings: &Settings,
        begun: u64,
        failure: &Failure,
    ) -> [Duty<T>; 2] {
        // Relaxed: set before the first dial.
        let once = self.once.load(Ordering::Relaxed);
        if once {
            lock(&self.pace).kept = Kept::NONE;
        }
        self.back_off(bag, settings, &failure.cause, |backoff, now, told| {
            backoff.failed(begun, now, told, failure.permanent || once, settings.backoff_max)
        })
    }

    /// A connection has left before anybody used it, and somebody would have: its dial was no success.
    pub(crate) fn came_to_nothing<T>(&self, bag: &Bag<T, Told>, settings: &Settings, cause: &Cause) -> [Duty<T>; 2] {
        self.back_off(bag, settings, cause, |backoff, now, told| {
            backoff.came_to_nothing(now, told, settings.backoff_max)
        })
    }

    /// A dial that began at `begun` has succeeded.
    pub(crate) fn succeeded<T>(&self, bag: &Bag<T, Told>, settings: &Settings, begun: u64) -> [Duty<T>; 2] {
        let mut lasted = None;
        let duties = self.change_pace(bag, settings, |pace, now| {
            lasted = pace.backoff.succeeded(begun, now).map(|since| clock::until(now, since));
            // Relaxed: under the pace's lock, as where it is set.
            self.troubled.store(pace.backoff.is_down(), Ordering::Relaxed);
        });
        if let Some(lasted) = lasted {
            self.observing.tell(|| Event::OutageEnded { lasted });
        }
        duties
    }

    /// A connection has left before anybody used it, and nobody wanted it: none is kept for a while.
    pub(crate) fn lost_unused<T>(&self, bag: &Bag<T, Told>, settings: &Settings) -> [Duty<T>; 2] {
        self.change_pace(bag, settings, |pace, now| pace.keeping.lost(now, settings.backoff_max))
    }

    /// A connection is used for the first time: its dial was a success.
    pub(crate) fn proven<T>(&self, bag: &Bag<T, Told>, settings: &Settings) -> [Duty<T>; 2] {
        let doubted = {
            let mut pace = lock(&self.pace);
            pace.keeping.used();
            pace.backoff.proven() || pace.keeps_nothing
        };
        if doubted { self.look_again(bag, settings) } else { [Duty::none(), Duty::none()] }
    }

    /// Whatever the endpoint's troubles were, they are not those of the one that is dialed from now on.
    pub(crate) fn forget_outage<T>(&self, bag: &Bag<T, Told>, settings: &Settings) -> [Duty<T>; 2] {
        self.change_pace(bag, settings, |pace, _| {
            // Relaxed: under the pace's lock, as where it is set.
            self.troubled.store(false, Ordering::Relaxed);
            lock(&self.book).begin_era();
            pace.backoff.reset();
            pace.keeping.used();
        })
    }

    /// `dials_at_once` or `backoff_max` may have changed.
    pub(crate) fn set_limits<T>(&self, bag: &Bag<T, Told>, settings: &Settings) -> [Duty<T>; 2] {
        self.change_pace(bag, settings, |pace, now| {
            pace.backoff.set_limits(settings.dials_at_once, settings.backoff_max);
            pace.keeping.set_longest(now, settings.backoff_max);
        })
    }

    /// So many connections are to be kept from now on.
    pub(crate) fn keep<T>(&self, bag: &Bag<T, Told>, settings: &Settings, kept: Kept) -> [Duty<T>; 2] {
        self.change_pace(bag, settings, |pace, _| pace.kept = kept)
    }

    /// A pause may be over, or a thread free for another dial.
    pub(crate) fn look_again<T>(&self, bag: &Bag<T, Told>, settings: &Settings) -> [Duty<T>; 2] {
        self.change_pace(bag, settings, |_, _| {})
    }

    /// Somebody wants a connection: a pause that can be cut is cut.
    pub(crate) fn hurry<T>(&self, bag: &Bag<T, Told>, settings: &Settings) -> [Duty<T>; 2] {
        // Relaxed: see `is_troubled`.
        if !self.is_troubled() || !lock(&self.pace).backoff.hurry(clock::now()) {
            return [Duty::none(), Duty::none()];
        }
        self.look_again(bag, settings)
    }

    fn back_off<T>(
        &self,
        bag: &Bag<T, Told>,
        settings: &Settings,
        cause: &Cause,
        fail: impl FnOnce(&mut Backoff, u64, Told) -> bool,
    ) -> [Duty<T>; 2] {
        let told = Told::new(Cause::clone(cause));
        let mut began = false;
        let duties = self.change_pace(bag, settings, |pace, now| {
            // Relaxed: ordered by the lock under which waiters are looked for.
            self.troubled.store(true, Ordering::Relaxed);
            began = fail(&mut pace.backoff, now, told);
            // Under the pace's lock: whoever joins the queue after this look hurries by itself, after us.
            if bag.waiting() > 0 {
                pace.backoff.hurry(now);
            }
        });
        if began {
            self.observing.tell(|| Event::OutageBegan { cause: Cause::clone(cause) });
        }
        duties
    }

    /// Changes the pace of dialing, and tells the bag what it allows now.
    fn change_pace<T>(
        &self,
        bag: &Bag<T, Told>,
        settings: &Settings,
        change: impl FnOnce(&mut Pace, u64),
    ) -> [Duty<T>; 2] {
        let mut pace = lock(&self.pace);
        let now = clock::now();
        change(&mut pace, now);
        let (beside, free) = {
            let book = lock(&self.book);
            (book.beside(settings.dials_at_once), book.free(settings.dials_at_once))
        };
        let keeps_nothing = pace.keeping.is_paused(now);
        pace.keeps_nothing = keeps_nothing;
        let Pace { backoff, keeping, .. } = &*pace;
        let fail_fast_after = nanos(settings.fail_fast_after);
        let dials = backoff.dials(now, beside).min(free);
        let kept = if keeps_nothing { Kept::NONE } else { pace.kept };
        // Under the lock, so that an older pace cannot overtake a newer one.
        let refused = bag.refuse(backoff.refusal(now, fail_fast_after, beside));
        let limited = bag.limit(|limits| {
            (limits.dials, limits.min_open, limits.min_idle) = (dials, kept.min_open, kept.min_idle);
        });
        let due = backoff.due(now, fail_fast_after, beside).min(keeping.due(now));
        drop(pace);
        if due != NEVER {
            self.timer.remind(due);
        }
        [refused, limited]
    }

    /// When something of the dials changes by time alone.
    pub(crate) fn due(&self, now: u64, settings: &Settings) -> u64 {
        let pace = lock(&self.pace);
        let book = lock(&self.book);
        let backoff = pace.backoff.due(now, nanos(settings.fail_fast_after), book.beside(settings.dials_at_once));
        book.due().min(backoff).min(pace.keeping.due(now))
    }

    /// Whether the pace changes by time alone just now.
    pub(crate) fn is_paced(&self) -> bool {
        let pace = lock(&self.pace);
        pace.backoff.is_paced() || pace.keeps_nothing
    }

    /// Whether the last dial has failed, so that whoever begins to wait should [`hurry`](Dialing::hurry).
    pub(crate) fn is_troubled(&self) -> bool {
        // Relaxed: set before a failed dial looks for waiters, under the queue's lock; so it finds the waiter, or the waiter finds
        // this set.
        self.troubled.load(Ordering::Relaxed)
    }

    // ---- what is told ------------------------------------------------------------------------------------------------------

    /// Why no connection can be opened: that no more dials may hang, or what the last one failed with.
    pub(crate) fn cause(&self, settings: &Settings) -> Option<Cause> {
        let full = lock(&self.book).full(settings.dials_at_once);
        if let Some((dials, since)) = full {
            let oldest = clock::until(clock::now(), since);
            return Some(Arc::new(DialError::Hanging { dials, oldest }));
        }
        lock(&self.pace).backoff.cause().map(Told::cause)
    }

    /// Whether dialing is of no use until something is changed.
    pub(crate) fn is_permanent(&self) -> bool {
        lock(&self.pace).backoff.is_permanent()
    }

    /// How long the oldest dial has been under way.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        lock(&self.book).oldest().map(|begun| clock::until(clock::now(), begun))
    }

    // ---- beginnings --------------------------------------------------------------------------------------------------------

    /// Whether a dial that fails is the last one, and its error for good, until this is taken back.
    pub(crate) fn try_once(&self, once: bool) {
        // Relaxed: dials begin under the pace's lock, after this.
        self.once.store(once, Ordering::Relaxed);
    }

    /// Whether no caller has come yet to a pool that is lazy.
    pub(crate) fn is_lazy(&self) -> bool {
        // Relaxed: whoever is first sets what is kept, under the pace's lock.
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

    /// When the oldest dial began that is within its time; `NEVER` if none is.
    pub(crate) fn oldest_begun(&self) -> u64 {
        lock(&self.book).oldest().unwrap_or(NEVER)
    }

    /// For how long those dials that are not wanted any more may still take that have not outlasted their time.
    pub(crate) fn pending(&self) -> Duration {
        let now = clock::now();
        clock::until(lock(&self.book).last_deadline(), now)
    }

    /// Sleeps until `done`, which is asked after each dial, or until `limit` has passed.
    pub(crate) fn wait_until(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let deadline = clock::now().saturating_add(nanos(limit));
        let (gate, bell) = &self.ended;
        let mut guard = lock(gate);
        while !done() {
            let left = clock::until(deadline, clock::now());
            if left.is_zero() {
                return false;
            }
            guard = nap(bell, guard, gate, Nap::For(left));
        }
        true
    }
}
