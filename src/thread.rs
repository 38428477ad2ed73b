//! A small number for each thread, to say in a slot who uses it: one load of a thread-local without a destructor, so that a lease
//! may also be taken and dropped while a thread ends.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

/// This thread's number, from 1. Numbers come round after four thousand million threads; they only ever label.
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
    number
}
