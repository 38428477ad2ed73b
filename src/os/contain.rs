//! A call of the user's code that must not take the pool's thread or state along when it panics.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The call panicked. What it said went to the panic hook, and nowhere else: it may hold secrets that are no caller's business.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Runs `call`, and ends a panic in it. The panic's payload is the user's too, so a panic in *its* drop ends here as well.
///
/// Under `panic = "abort"` nothing is contained.
#[inline(always)]
pub(crate) fn contain<R>(call: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(bury)
}

#[cold]
fn bury(payload: Box<dyn std::any::Any + Send>) -> Panicked {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Whoever panics twice may do so for ever.
        std::mem::forget(again);
    }
    Panicked
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Bomb);
        }
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_is_contained_too() {
        assert!(contain(|| std::panic::panic_any(Bomb)).is_err());
        assert_eq!(contain(|| 7).unwrap(), 7);
    }
}
