//! A small number for each thread, to say in a slot who uses it and to a reactor whether it is its own thread that calls, and the
//! name that belongs to it.
//!
//! The number is one load of a thread-local without a destructor, so that a lease may also be taken and dropped while a thread ends.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sync::lock;

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
    /// Forgets the name when the thread ends.
    static FAREWELL: Cell<Option<Farewell>> = const { Cell::new(None) };
}

/// The names of the threads that have one and have used a pool.
static NAMES: Mutex<Option<Names>> = Mutex::new(None);

#[derive(Default)]
struct Names {
    living: HashMap<u32, String>,
    /// The last that have ended: a lease may be reported whose thread has just gone.
    ended: VecDeque<(u32, String)>,
}

/// So many names are kept for a while.
const ENDED: usize = 64;

struct Farewell(u32);

impl Drop for Farewell {
    fn drop(&mut self) {
        if let Some(names) = &mut *lock(&NAMES) {
            let ended = names.living.remove(&self.0).map(|name| (self.0, name));
            names.ended.extend(ended);
            if names.ended.len() > ENDED {
                names.ended.pop_front();
            }
        }
    }
}

/// This thread's number, from 1. No other living thread has it before four thousand million threads have had one each.
///
/// Then numbers come round, and two threads may share one. Most of what asks for a number only labels with it: an error would count
/// the leases of both as held by either, a report name one for the other. But a reactor tells by it that a deadline is set by its own
/// thread, which need not be woken ([`Timer::remind`](crate::watch::reactor::Timer::remind)); set by the other thread of that
/// number, the deadline would be kept only when the reactor wakes up for something else.
#[inline]
pub(crate) fn number() -> u32 {
    known().unwrap_or_else(assign)
}

/// The same without a call: `None` as long as nobody has asked for it.
#[inline(always)]
pub(crate) fn known() -> Option<u32> {
    Some(NUMBER.get()).filter(|number| *number != 0)
}

#[cold]
fn assign() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    // Relaxed: only distinctness matters. At least 1, also after it has come round.
    let number = NEXT.fetch_add(1, Ordering::Relaxed).max(1);
    NUMBER.set(number);
    // A thread that is ending already keeps its number for a name, since nobody would forget the name.
    if FAREWELL.try_with(|farewell| farewell.set(Some(Farewell(number)))).is_ok()
        && let Some(name) = std::thread::current().name()
    {
        lock(&NAMES).get_or_insert_default().living.insert(number, name.to_owned());
    }
    number
}

/// The name of the thread with this number, or "thread N".
pub(crate) fn name(number: u32) -> String {
    let names = lock(&NAMES);
    let names = names.as_ref();
    let living = names.and_then(|names| names.living.get(&number));
    let ended = || names.and_then(|names| names.ended.iter().find(|(ended, _)| *ended == number)).map(|(_, name)| name);
    living.or_else(ended).cloned().unwrap_or_else(|| format!("thread {number}"))
}
