//! One fault, done to one pool.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::census::Census;
use super::record::Record;
use super::subject::{FOREIGN, Subject, Use, WAIT};
use crate::scenario::Peer;
use crate::server::{AMPLE, eventually};

/// What is done to a server, or on the way to it.
pub struct Fault<'a> {
    pub name: &'a str,
    pub server: &'a str,
    /// The port that the pool dials.
    pub port: u16,
    /// What callers do when it begins.
    pub meets: Meets,
    /// The fault. It has happened when this returns.
    pub begin: &'a dyn Fn(),
    /// How long it lasts, if it lasts; else it is over when it has happened.
    pub lasts: Option<Duration>,
    /// All is as before when this returns. Called when the fault is over, or, of one that does not last, when the pool is whole.
    pub end: &'a dyn Fn(),
    /// Whether the dead can be told from the living, so that this pool promises to lend none.
    pub dead_are_known: bool,
}

/// What a fault meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    /// Connections that lie idle. Callers come when the kernel of this side has heard of the end of all of them.
    Idle,
    /// The same, but nobody hears of anything.
    IdleUnheard,
    /// Callers who use a connection, and another one.
    Callers,
}

/// How long a caller pauses between two uses: there are as many callers as connections, and the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(1);
/// How long the news of a fault may take to the kernel of this side. What is lent within it is lent in good faith.
const NEWS: Duration = Duration::from_millis(100);
/// No use takes longer than this, whatever happens: a caller that hangs is a fault of the pool, one that is slow is not.
const HANGS: Duration = Duration::from_secs(20);

/// The callers, and what has happened to them.
struct Callers<'a> {
    subject: &'a dyn Subject,
    begun: Instant,
    stop: AtomicBool,
    answered: AtomicU64,
    /// When the last use that was answered had begun, in nanoseconds since `begun`.
    last_answered: AtomicU64,
    uses: Mutex<Vec<Use>>,
}

impl Callers<'_> {
    fn call(&self) {
        let mut uses = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            let one = self.subject.use_one();
            if one.error.is_none() {
                let began = one.began.duration_since(self.begun).as_nanos() as u64;
                self.last_answered.fetch_max(began, Ordering::SeqCst);
                self.answered.fetch_add(1, Ordering::SeqCst);
            }
            uses.push(one);
            thread::sleep(PAUSE);
        }
        self.uses.lock().unwrap().append(&mut uses);
    }

    fn has_answered_since(&self, since: Instant) -> bool {
        self.last_answered.load(Ordering::SeqCst) > since.duration_since(self.begun).as_nanos() as u64
    }
}

/// When what happened.
struct Times {
    begun: Instant,
    happened: Instant,
    over: Instant,
    /// The first success was seen, and all callers have gone.
    left: Instant,
    whole: Instant,
    dials: u64,
}

/// Does the fault, and tells what has come of it. Panics if a promise was not kept.
pub fn run(fault: &Fault<'_>, make: impl FnOnce() -> Box<dyn Subject>) -> Record {
    eprintln!("{}: {} ...", fault.server, fault.name);
    let before = Census::take(fault.port);
    let subject = make();
    let (times, uses) = suffer(fault, &*subject);
    let mut record = tell(fault, &*subject, &times, &uses);
    let ours = subject.is_ours();
    subject.end();
    let after = Census::settled(fault.port, &before, if ours { AMPLE } else { AMPLE / 10 });
    let more = |after: usize, before: usize| after.saturating_sub(before) as u64;
    record.leaked_connections = more(after.connections, before.connections);
    record.leaked_sessions = more(after.sessions, before.sessions);
    record.leaked_descriptors = more(after.descriptors, before.descriptors);
    record.leaked_threads = more(after.threads, before.threads);
    record.write();
    if ours {
        assert_kept(fault, &record);
    }
    record
}

fn suffer(fault: &Fault<'_>, subject: &dyn Subject) -> (Times, Vec<Use>) {
    eventually("the pool to be whole at first", || subject.use_all().is_ok());
    let callers = Callers {
        subject,
        begun: Instant::now(),
        stop: AtomicBool::new(false),
        answered: AtomicU64::new(0),
        last_answered: AtomicU64::new(0),
        uses: Mutex::default(),
    };
    let times = thread::scope(|scope| {
        let call = || (0..subject.size().min(8)).for_each(|_| drop(scope.spawn(|| callers.call())));
        // Whatever happens here, the callers end.
        let _stop = Stop(&callers.stop);
        if fault.meets == Meets::Callers {
            call();
            eventually("uses before the fault", || callers.answered.load(Ordering::SeqCst) >= 50);
        }
        let begun = Instant::now();
        let connected = Peer::Tcp(fault.port).connected();
        (fault.begin)();
        if fault.meets == Meets::Idle || fault.dead_are_known {
            let peer = Peer::Tcp(fault.port);
            eventually("the kernel to know", || connected.is_disjoint(&peer.connected()));
        }
        // Until then a server may have gone on as ever, and closed connections as it does.
        let (happened, before) = (Instant::now(), subject.dials());
        if fault.meets != Meets::Callers {
            call();
        }
        let mut dials = None;
        let mut over = happened;
        if let Some(lasts) = fault.lasts {
            thread::sleep(lasts);
            dials = Some(subject.dials() - before);
            (fault.end)();
            over = Instant::now();
        }
        eventually("a use to succeed", || callers.has_answered_since(over));
        callers.stop.store(true, Ordering::SeqCst);
        let left = Instant::now();
        eventually("the pool to be whole", || subject.use_all().is_ok());
        let dials = dials.unwrap_or_else(|| subject.dials() - before);
        Times { begun, happened, over, left, whole: Instant::now(), dials }
    });
    if fault.lasts.is_none() {
        (fault.end)();
    }
    let uses = callers.uses.into_inner().unwrap();
    (times, uses)
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn tell(fault: &Fault<'_>, subject: &dyn Subject, times: &Times, uses: &[Use]) -> Record {
    let millis = |duration: Duration| duration.as_millis() as u64;
    let mut record = Record {
        fault: fault.name.to_owned(),
        server: fault.server.to_owned(),
        pool: subject.name().to_owned(),
        lasted: fault.lasts.map(|_| millis(times.over - times.begun)),
        lent_dead: fault.dead_are_known.then_some(0),
        ..Record::default()
    };
    // Those that were under way when it began are the fault's own.
    let after: Vec<&Use> = uses.iter().filter(|one| one.ended >= times.begun).collect();
    let known = times.happened + if fault.meets == Meets::Idle { Duration::ZERO } else { NEWS };
    for one in &after {
        record.slowest = record.slowest.max(millis(one.ended - one.began));
        let Some(error) = &one.error else {
            record.answered += 1;
            continue;
        };
        *record.errors.entry(error.clone()).or_default() += 1;
        record.foreign += u64::from(error == FOREIGN);
        let dead = one.had.is_some_and(|had| had >= known);
        record.lent_dead = record.lent_dead.map(|count| count + u64::from(dead));
    }
    let answered = after.iter().filter(|one| one.error.is_none() && one.began >= times.happened);
    let first = answered.map(|one| one.ended).min().expect("one has succeeded");
    record.first_success = millis(first.saturating_duration_since(times.over));
    // Without what the callers took who had to leave first.
    record.whole = record.first_success + millis(times.whole - times.left);
    record.dials = times.dials;
    let per_second = times.dials as f64 / (times.over - times.happened).as_secs_f64();
    record.dials_per_second = fault.lasts.map(|_| (per_second * 10.0).round() / 10.0);
    record
}

fn assert_kept(fault: &Fault<'_>, record: &Record) {
    assert_eq!(record.foreign, 0, "{record:?}");
    assert!(record.lent_dead.unwrap_or(0) == 0, "a dead connection was lent: {record:?}");
    let leaked = [record.leaked_connections, record.leaked_sessions, record.leaked_descriptors, record.leaked_threads];
    assert_eq!(leaked, [0; 4], "connections, sessions, descriptors, threads: {record:?}");
    assert!(Duration::from_millis(record.slowest) < WAIT + HANGS, "a caller hung: {record:?}");
    if let Some(lasted) = record.lasted.filter(|_| fault.dead_are_known) {
        // Every connection is missed once; then a dial each 50 ms at most, and less and less often.
        let most = 8 + 4 + lasted / 50;
        assert!(record.dials <= most, "{most} dials at most: {record:?}");
    }
}
