//! Dials: from a permit to a connection in the pool, on a background thread, under a deadline.
//!
//! Whoever ends up with a permit (a [`Duty`](crate::lockfree::bag::Duty) of the core) starts a dial with it and goes on; a caller
//! that waits takes whichever comes first, a return or the new connection. A dial that outlasts `dial_timeout` loses its permit
//! and counts as failed; should it still succeed, its connection is parked under a permit that is free by then, or closed. Its thread
//! counts against `dials_at_once` until it returns, so that a black hole cannot gather threads.
#![forbid(unsafe_code)]

pub(crate) mod backoff;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;

use crate::engine::dialing::backoff::{Backoff, LONGEST};
use crate::engine::resident::Resident;
use crate::engine::{Shared, count};
use crate::error::Cause;
use crate::lockfree::bag::{Claim, Permit};
use crate::lockfree::bits::{Life, Notes};
use crate::manager::{CloseReason, Dial, Manager, Watch};
use crate::observe::Event;
use crate::os::background;
use crate::os::clock::{self, NEVER, nanos};
use crate::sync::lock;
use crate::watch::duplicate::Cut;
use crate::watch::source::Interest;

/// The dials of a pool that are under way.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    running: Vec<Running>,
    /// The tickets of those whose time is up and whose thread has not returned.
    overdue: Vec<u64>,
    /// Threads that have not returned from what nobody wants any more.
    disowned: usize,
}

/// So many times `dials_at_once` may be disowned and under way, before they stand in the way of others.
const DISOWNED: usize = 4;

impl Dials {
    /// Threads that may dial, of `most`: one that hangs counts until it returns.
    fn free(&self, most: usize) -> usize {
        let spare = (DISOWNED * most).saturating_sub(self.disowned);
        most.saturating_sub(self.overdue.len()).min(spare)
    }
}

/// What a dial was when its thread came back from it.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    InTime,
    /// It has counted as failed before.
    Overdue,
    /// Nobody wants it any more: the manager was replaced, or all connections retired, while it was under way.
    Disowned,
}

/// A connection that was opened just now. Whether it is of any use is not known yet.
#[derive(Debug)]
pub(crate) struct Newborn {
    life: Life,
    at: u64,
    /// How often its slot had been used by then.
    uses: u64,
}

#[derive(Debug)]
struct Running {
    ticket: u64,
    begun: u64,
    deadline: u64,
    cut: Arc<Cut>,
}

/// What a dial failed with when its manager did not say.
#[derive(Debug)]
pub(crate) enum DialError {
    Overdue(Duration),
    Panicked(String),
    NoThread,
    Stillborn,
    NoDescriptor(io::Error),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Overdue(limit) => write!(f, "the dial took longer than {} ms", limit.as_millis()),
            DialError::Panicked(message) => write!(f, "the manager panicked: {message}"),
            DialError::NoThread => f.write_str("no background thread could be started for the dial"),
            DialError::Stillborn => f.write_str("the peer accepted the connection and hung up at once"),
            DialError::NoDescriptor(error) if error.raw_os_error().is_some_and(out_of_descriptors) => {
                f.write_str("no descriptor is left to watch the connection with (each pooled connection takes two)")
            }
            DialError::NoDescriptor(_) => f.write_str("the connection's descriptor could not be duplicated"),
        }
    }
}

fn out_of_descriptors(code: i32) -> bool {
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].iter().any(|errno| errno.raw_os_error() == code)
}

impl std::error::Error for DialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DialError::NoDescriptor(error) => Some(error),
            DialError::Overdue(_) | DialError::Panicked(_) | DialError::NoThread | DialError::Stillborn => None,
        }
    }
}

/// A dial under way, as its thread holds it. Dropped without an end, it has failed: no exit loses the permit.
struct Attempt<M: Manager> {
    pool: Weak<Shared<M>>,
    opening: Option<Permit>,
    begun: u64,
    /// The pool's retirements by then.
    retirements: u64,
    cut: Arc<Cut>,
}

impl<M: Manager> Attempt<M> {
    fn failed(&mut self, cause: Cause) {
        if let Some(opening) = self.opening.take()
            && let Some(pool) = self.pool.upgrade()
        {
            pool.dial_failed(opening, self.begun, cause);
        }
    }
}

impl<M: Manager> Drop for Attempt<M> {
    fn drop(&mut self) {
        // Its job was never run.
        self.failed(Arc::new(DialError::NoThread));
    }
}

impl<M: Manager> Shared<M> {
    /// Dials with a permit, in the background.
    pub(crate) fn begin_dial(&self, opening: Permit) {
        let settings = self.settings.load();
        let begun = clock::now();
        let deadline = begun.saturating_add(nanos(settings.dial_timeout));
        let cut = Arc::new(Cut::default());
        let attempt = lock(&self.backoff).begun(begun);
        count(&self.counts.dials);
        lock(&self.dials).running.push(Running { ticket: opening.ticket, begun, deadline, cut: Arc::clone(&cut) });
        self.reactor.remind(deadline);

        // Acquire: a manager that was put in place before this number was is loaded below.
        let retirements = self.retirements.load(Ordering::Acquire);
        let manager = self.manager.load_full();
        let mut run =
            Attempt { pool: self.me.clone(), opening: Some(opening), begun, retirements, cut: Arc::clone(&cut) };
        let job = move || {
            let dial = Dial::new(clock::instant(deadline), attempt, &cut);
            match catch_unwind(AssertUnwindSafe(|| open(&manager, &dial))) {
                Ok(Ok(resident)) => arrive(run, resident),
                Ok(Err(cause)) => run.failed(cause),
                Err(panic) => run.failed(Arc::new(DialError::Panicked(message(&*panic)))),
            }
        };
        // A job that no thread could be started for comes back and is dropped, and its attempt with it.
        drop(background::run(Box::new(job)));
    }

    fn dial_failed(&self, opening: Permit, begun: u64, cause: Cause) {
        let ended = self.end_dial(opening.ticket);
        if ended == Ended::InTime {
            self.slow_down(begun, Arc::clone(&cause));
        }
        // The pace before the permit: or the permit would be dialed with at once.
        self.perform(self.bag.dial_failed(opening));
        match ended {
            Ended::InTime => {}
            // Its thread is free for another.
            Ended::Overdue => self.pace(|_, _| {}),
            // Heard of, but no outage.
            Ended::Disowned => {
                self.tell_failed(cause);
                self.pace(|_, _| {});
            }
        }
        self.ring();
    }

    /// A dial has failed: back off.
    fn slow_down(&self, begun: u64, cause: Cause) {
        self.tell_failed(Arc::clone(&cause));
        self.back_off(|backoff, now| backoff.failed(begun, now, Arc::clone(&cause)), &cause);
    }

    fn tell_failed(&self, cause: Cause) {
        count(&self.counts.dials_failed);
        self.observing.tell(|| Event::DialFailed { cause });
    }

    fn back_off(&self, fail: impl FnOnce(&mut Backoff, u64) -> bool, cause: &Cause) {
        let mut began = false;
        self.pace(|backoff, now| {
            // Relaxed: ordered by the lock under which waiters are looked for.
            self.troubled.store(true, Ordering::Relaxed);
            began = fail(backoff, now);
            // Under the pace's lock: who joins the queue after this look hurries by himself, after us.
            if self.bag.waiting() > 0 {
                backoff.hurry(now);
            }
        });
        if began {
            self.observing.tell(|| Event::OutageBegan { cause: Arc::clone(cause) });
        }
    }

    /// A dial has succeeded: an outage is over.
    fn speed_up(&self, begun: u64) {
        let mut lasted = None;
        self.pace(|backoff, now| {
            lasted = backoff.succeeded(begun).map(|since| clock::until(now, since));
            // Relaxed: under the pace's lock, as where it is set.
            self.troubled.store(backoff.cause().is_some(), Ordering::Relaxed);
        });
        if let Some(lasted) = lasted {
            self.observing.tell(|| Event::OutageEnded { lasted });
        }
    }

    /// Its thread is back.
    fn end_dial(&self, ticket: u64) -> Ended {
        let mut dials = lock(&self.dials);
        if let Some(place) = dials.running.iter().position(|running| running.ticket == ticket) {
            dials.running.swap_remove(place);
            Ended::InTime
        } else if let Some(place) = dials.overdue.iter().position(|overdue| *overdue == ticket) {
            dials.overdue.swap_remove(place);
            Ended::Overdue
        } else {
            dials.disowned -= 1;
            Ended::Disowned
        }
    }

    /// What is being dialed is not wanted any more: whatever blocks on a socket that it named returns, its permit is free at once, its
    /// failure is no outage, and what it may still open is closed. Its thread counts no more, unless very many of them hang.
    pub(crate) fn disown_dials(&self) {
        let disowned = {
            let mut dials = lock(&self.dials);
            dials.disowned += dials.running.len() + dials.overdue.len();
            dials.overdue.clear();
            std::mem::take(&mut dials.running)
        };
        // The pace before the permits, which would be dialed with at once.
        self.pace(|_, _| {});
        for running in disowned {
            running.cut.cut();
            if let Some(duty) = self.bag.overdue(running.ticket) {
                self.perform(duty);
            }
        }
    }

    /// A peer has hung up. If that is at once, and nobody has used the connection, its dial was no success.
    pub(crate) fn note_stillborn(&self, life: Life) {
        let now = clock::now();
        let newborn = {
            let mut newborns = self.newborns(now);
            let place = newborns.iter().position(|newborn| newborn.life == life);
            place.map(|place| newborns.swap_remove(place))
        };
        if newborn.is_some() {
            let cause: Cause = Arc::new(DialError::Stillborn);
            self.observing.tell(|| Event::DialFailed { cause: Arc::clone(&cause) });
            self.back_off(|backoff, now| backoff.stillborn(now, Arc::clone(&cause)), &cause);
        }
    }

    /// The connections that have proved nothing yet. One that was used, or that lives for long, shows that the endpoint serves again.
    fn newborns(&self, now: u64) -> MutexGuard<'_, Vec<Newborn>> {
        let mut newborns = lock(&self.newborns);
        let before = newborns.len();
        newborns
            .retain(|born| clock::until(now, born.at) < LONGEST && self.bag.slot(born.life.slot).uses() == born.uses);
        if newborns.len() < before {
            lock(&self.backoff).proven();
        }
        newborns
    }

    /// Changes the pace of dialing, and tells the core what it allows now.
    pub(crate) fn pace(&self, change: impl FnOnce(&mut Backoff, u64)) {
        let fail_fast_after = nanos(self.settings.load().fail_fast_after);
        let most = self.settings.load().dials_at_once;
        let (limited, refused, due) = {
            let mut backoff = lock(&self.backoff);
            let now = clock::now();
            change(&mut backoff, now);
            let allowed = backoff.dials(now).min(lock(&self.dials).free(most));
            // Under the lock, so that an older pace cannot overtake a newer one.
            let refused = self.bag.refuse(backoff.refusal(now, fail_fast_after));
            let limited = self.bag.limit(|limits| limits.dials = allowed);
            (limited, refused, backoff.due(now, fail_fast_after))
        };
        self.reminded_of(due);
        self.perform(refused);
        self.perform(limited);
    }

    fn reminded_of(&self, due: u64) {
        if due != NEVER {
            self.reactor.remind(due);
        }
    }

    /// Somebody wants a connection: a pause that can be cut is cut.
    pub(crate) fn hurry(&self) {
        let due = {
            let mut backoff = lock(&self.backoff);
            let now = clock::now();
            if !backoff.hurry(now) {
                return;
            }
            backoff.due(now, NEVER)
        };
        if due == NEVER { self.pace(|_, _| {}) } else { self.reminded_of(due) }
    }

    /// What is due of the dials: overdue ones lose their permits, a pause that is over ends. Returns what is due next.
    pub(crate) fn tick_dials(&self, now: u64) -> u64 {
        let overdue: Vec<Running> = {
            let mut dials = lock(&self.dials);
            let overdue: Vec<_> = dials.running.extract_if(.., |running| running.deadline <= now).collect();
            dials.overdue.extend(overdue.iter().map(|running| running.ticket));
            overdue
        };
        let limit = self.settings.load().dial_timeout;
        for running in overdue {
            self.slow_down(running.begun, Arc::new(DialError::Overdue(limit)));
            if let Some(duty) = self.bag.overdue(running.ticket) {
                self.perform(duty);
            }
            // Last: what this makes its thread report has been counted by then.
            running.cut.cut();
            self.ring();
        }
        let fail_fast_after = nanos(self.settings.load().fail_fast_after);
        let paused = |backoff: &Backoff| backoff.cause().is_some();
        if paused(&lock(&self.backoff)) {
            self.pace(|_, _| {});
        }
        let next_dial = lock(&self.dials).running.iter().map(|running| running.deadline).min().unwrap_or(NEVER);
        next_dial.min(lock(&self.backoff).due(now, fail_fast_after))
    }

    /// Nobody wants what is being dialed any more: whatever blocks on a socket that it named returns.
    pub(crate) fn cut_dials(&self) {
        lock(&self.dials).running.iter().for_each(|running| running.cut.cut());
    }

    fn ring(&self) {
        drop(lock(&self.dialed.0));
        self.dialed.1.notify_all();
    }

    /// A connection is open: watched first, then into the pool.
    fn land(&self, mut claim: Claim, life: Life, begun: u64, retirements: u64) {
        self.observing.tell(|| Event::Opened { took: clock::until(clock::now(), begun) });
        let shard = life.slot.index() % self.bag.shards();
        // Before the watch, which may find that it was no success.
        self.speed_up(begun);
        self.watch(&mut claim, life, shard);
        // Relaxed: ordered by the core's lock, under which it was admitted.
        if self.retirements.load(Ordering::Relaxed) != retirements {
            self.bag.note(life, Notes::RETIRED);
        }
        self.perform(self.bag.land(claim, shard, clock::now));
        self.ring();
    }

    fn watch(&self, claim: &mut Claim, life: Life, shard: usize) {
        let resident = self.bag.slot(life.slot).resident_mut(claim);
        let now = clock::now();
        self.newborns(now).push(Newborn { life, at: now, uses: self.bag.slot(life.slot).uses() });
        self.born(life, now, Arc::downgrade(&resident.sockets));
        // Relaxed: see `turns_choosy`.
        if self.choosy.load(Ordering::Relaxed) {
            self.bag.note(life, Notes::TIMED);
        }
        let reactor = self.reactors.at(self.dispatch.home_core(shard)).unwrap_or(&self.reactor);
        // Exactly: a vector grows to four at once, and nearly all connections have one socket.
        resident.watches.reserve_exact(resident.sockets.len());
        for socket in resident.sockets.iter() {
            match reactor.watch(&socket.fd, socket.interest, self.me.clone(), life.to_word()) {
                Ok(watching) => resident.watches.push(watching),
                // A socket that nobody watches is looked at on every checkout.
                Err(_) if socket.interest == Interest::HangUp => {
                    self.bag.note(life, Notes::PROBE);
                }
                Err(_) => {}
            }
        }
    }
}

/// Opens a connection and duplicates what it wants watched. The manager's code: may block, fail and panic.
fn open<M: Manager>(manager: &Arc<M>, dial: &Dial<'_>) -> Result<Resident<M>, Cause> {
    let connection = manager.connect(dial).map_err(|error| Arc::new(error) as Cause)?;
    let mut watched = Ok(Vec::new());
    let watch = || manager.watch(&connection, &mut Watch::collect(&mut watched));
    let cause = match (catch_unwind(AssertUnwindSafe(watch)), watched) {
        (Ok(()), Ok(watched)) => {
            let (watches, sockets) = (Vec::new(), watched.into());
            return Ok(Resident { watches, connection, manager: Arc::clone(manager), sockets });
        }
        (Ok(()), Err(error)) => DialError::NoDescriptor(error),
        (Err(panic), _) => DialError::Panicked(message(&*panic)),
    };
    // Open, but no good to the pool: it ends as every connection does.
    manager.close(connection, CloseReason::Discarded);
    Err(Arc::new(cause))
}

/// A dial has succeeded: into the pool with its connection, or, if there is no pool or no permit any more, to its end.
fn arrive<M: Manager>(mut run: Attempt<M>, resident: Resident<M>) {
    let (Some(opening), Some(pool)) = (run.opening.take(), run.pool.upgrade()) else {
        resident.manager.close(resident.connection, CloseReason::PoolClosed);
        return;
    };
    let unwanted = match pool.end_dial(opening.ticket) {
        Ended::Disowned => Some(CloseReason::Retired),
        // Its socket is being shut down.
        Ended::Overdue if run.cut.is_armed() => Some(CloseReason::Surplus),
        Ended::InTime | Ended::Overdue => None,
    };
    // Before it can be closed, so that no more are ever closed than were opened.
    count(&pool.counts.opened);
    if let Some(why) = unwanted {
        // Its thread is free for another.
        pool.pace(|_, _| {});
        pool.perform(pool.bag.dial_failed(opening));
        pool.closer.close(resident, why);
        return;
    }
    let probe = pool.settings.load().probe_after.is_zero();
    match pool.bag.admit(opening, resident, probe) {
        Ok((claim, life)) => pool.land(claim, life, run.begun, run.retirements),
        Err(resident) => {
            pool.speed_up(run.begun);
            let why = if pool.bag.is_closed() { CloseReason::PoolClosed } else { CloseReason::Surplus };
            pool.closer.close(resident, why);
        }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}
