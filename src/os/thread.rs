//! A small number for each thread, to say in a slot who uses it and to a reactor whether it is its own thread that calls, and the
//! name that belongs to it.
//!
//! The number is one load of a thread-local without a destructor, so that a lease may also be taken and dropped while a thread ends.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sync::lock;

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
    /// Forgets the name when the thread ends.
    static FAREWELL: Cell<Option<Farewell>> = const { Cell::new(None) };
}

/// The names of the threads that have one and have used a pool.
static NAMES: Mutex<Option<HashMap<u32, String>>> = Mutex::new(None);

struct Farewell(u32);

impl Drop for Farewell {
    fn drop(&mut self) {
        if let Some(names) = &mut *lock(&NAMES) {
            names.remove(&self.0);
        }
    }
}

/// This thread's number, from 1. No other living thread has it before four thousand million threads have had one each.
///
/// Then numbers come round, and two threads may share one. Most of what asks for a number only labels with it: an error would count
/// the leases of both as held by either, a report name one for the other. But a reactor tells by it that a deadline is set by its own
/// thread, which need not be woken ([`Reactor::remind`](crate::watch::reactor::Reactor::remind)); set by the other thread of that
/// number, the deadline would be kept only when the reactor wakes up for something else.
#[inline]
pub(crate) fn number() -> u32 {
    match NUMBER.get() {
        0 => assign(),
        number => number,
    }
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
        lock(&NAMES).get_or_insert_default().insert(number, name.to_owned());
    }
    number
}

/// The name of the thread with this number, or "thread N".
pub(crate) fn name(number: u32) -> String {
    let known = lock(&NAMES).as_ref().and_then(|names| names.get(&number).cloned());
    known.unwrap_or_else(|| format!("thread {number}"))
}
