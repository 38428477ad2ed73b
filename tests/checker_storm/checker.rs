//! The manager that checks, and what it knows.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corepool::{Conn, Dial, Manager, Outcome, TcpManager, Verdict, Watch};

use crate::support::{HOPELESS, ON_PURPOSE, Server, local_port};

const MS: Duration = Duration::from_millis(1);

/// The longest `max_lifetime` that is ever set.
pub(crate) const LONGEST_LIFE: Duration = Duration::from_millis(80);

/// What is known for certain: each number is raised once the call that it counts has returned.
#[derive(Default, Clone)]
pub(crate) struct Known {
    pub(crate) retired: u64,
    pub(crate) managers: u64,
    /// Odd during a pause.
    pub(crate) pauses: u64,
    pub(crate) dead: Arc<Vec<u64>>,
    /// When the caller asked.
    at: Option<Instant>,
}

/// What the storm, the callers and the managers share.
#[derive(Default)]
pub(crate) struct Facts {
    /// Calls of `retire(0)` that have begun, and that have returned.
    pub(crate) retiring: AtomicU64,
    pub(crate) known: Mutex<Known>,
    /// Each connection that is open.
    pub(crate) open: Mutex<HashMap<u64, Place>>,
    pub(crate) born: AtomicU64,
    pub(crate) checked: AtomicU64,
    pub(crate) faults: Mutex<Vec<String>>,
    /// How late this machine wakes a thread, in nanoseconds.
    pub(crate) lag: AtomicU64,
}

/// Where a connection's peer finds it, and how often it was taken and given back: odd while it is in use.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) port: u16,
    pub(crate) uses: Arc<AtomicU64>,
}

impl Place {
    pub(crate) fn uses(&self) -> u64 {
        self.uses.load(Ordering::SeqCst)
    }
}

thread_local!(static ASKED: RefCell<Known> = RefCell::default());

/// This thread asks for a connection now, knowing what there is to know.
pub(crate) fn ask(facts: &Facts) {
    let known = facts.known.lock().unwrap().clone();
    ASKED.set(Known { at: Some(Instant::now()), ..known });
}

/// Opens connections, and checks what is to be handed out.
pub(crate) struct Checker {
    tcp: TcpManager,
    generation: u64,
    facts: Arc<Facts>,
}

/// A connection that knows what there is to know of it.
pub(crate) struct Checked {
    pub(crate) conn: Conn,
    id: u64,
    generation: u64,
    born: Instant,
    uses: Arc<AtomicU64>,
    /// How many retirements had begun when its dial did.
    retirements: u64,
    /// Its last user saw that its peer had hung up.
    pub(crate) stale: bool,
    facts: Arc<Facts>,
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.facts.open.lock().unwrap().remove(&self.id);
    }
}

impl Checked {
    /// Why it should not be handed out to somebody who knew this much when they asked.
    fn fault(&self, asked: &Known) -> Option<String> {
        let slack = 300 * MS + 3 * Duration::from_nanos(self.facts.lag.load(Ordering::SeqCst));
        let age = asked.at.map_or(Duration::ZERO, |at| at.saturating_duration_since(self.born));
        if self.retirements < asked.retired {
            Some(format!("dialed after {} retirements, of {}", self.retirements, asked.retired))
        } else if self.generation < asked.managers {
            Some(format!("opened by manager {}, of {}", self.generation, asked.managers))
        } else if age > LONGEST_LIFE + slack {
            Some(format!("expired: it was {age:?} old, slack {slack:?}"))
        } else if asked.dead.binary_search(&self.id).is_ok() {
            Some("dead".to_owned())
        } else if self.stale {
            Some("stale when it was given back".to_owned())
        } else if asked.pauses % 2 == 1 && self.facts.known.lock().unwrap().pauses == asked.pauses {
            Some("handed out in a pause".to_owned())
        } else {
            None
        }
    }
}

impl Checker {
    pub(crate) fn new(server: &Server, generation: u64, facts: &Arc<Facts>) -> Self {
        Checker { tcp: TcpManager::new(server.address()), generation, facts: Arc::clone(facts) }
    }
}

impl Manager for Checker {
    type Connection = Checked;
    type Error = io::Error;

    fn connect(&self, dial: &Dial<'_>) -> io::Result<Checked> {
        let (born, retirements) = (Instant::now(), self.facts.retiring.load(Ordering::SeqCst));
        let conn = self.tcp.connect(dial)?;
        let id = self.facts.born.fetch_add(1, Ordering::SeqCst);
        let (generation, facts, uses) = (self.generation, Arc::clone(&self.facts), Arc::default());
        facts.open.lock().unwrap().insert(id, Place { port: local_port(&conn), uses: Arc::clone(&uses) });
        Ok(Checked { conn, id, generation, born, uses, retirements, stale: false, facts })
    }

    fn watch(&self, checked: &Checked, on: &mut Watch<'_>) {
        self.tcp.watch(&checked.conn, on);
    }

    fn on_checkout(&self, checked: &mut Checked) -> io::Result<Verdict> {
        self.facts.checked.fetch_add(1, Ordering::SeqCst);
        if let Some(fault) = ASKED.with_borrow(|asked| checked.fault(asked)) {
            self.facts.faults.lock().unwrap().push(format!("connection {}: {fault}", checked.id));
        }
        match fastrand::u32(0..1_024) {
            0..2 => Ok(Verdict::Discard),
            2..8 => Err(io::Error::other("not now")),
            8 => panic!("{ON_PURPOSE}"),
            _ => {
                checked.uses.fetch_add(1, Ordering::SeqCst);
                Ok(Verdict::Keep)
            }
        }
    }

    fn on_return(&self, checked: &mut Checked, how: Outcome) -> Verdict {
        checked.uses.fetch_add(1, Ordering::SeqCst);
        self.tcp.on_return(&mut checked.conn, how)
    }

    fn ping(&self, checked: &mut Checked) -> io::Result<()> {
        // Its user may have left it in the middle of anything; a sign of life is enough.
        if checked.conn.is_dirty() { Err(io::Error::other("dirty")) } else { Ok(()) }
    }

    fn probe_after(&self) -> Duration {
        // Only the watch is to find the dead: no peek helps it.
        HOPELESS
    }
}
