//! The system calls that have no safe form elsewhere. With `lockfree/`, the only place of the crate with `unsafe`.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

/// The core that this thread runs on just now; it may be on another by the time that the caller looks.
///
/// 1.3–1.9 ns with glibc 2.35 and later, which reads the thread's restartable-sequences area; the vDSO's `getcpu` before that.
#[inline]
pub(crate) fn current_core() -> usize {
    // SAFETY: takes no pointers and has no preconditions.
    let core = unsafe { libc::sched_getcpu() };
    // Negative where the kernel lacks it: then every thread shares the first shard and steals from the rest.
    usize::try_from(core).unwrap_or(0)
}

/// Spawns with all signals blocked in the new thread from its first instruction on: the application's handlers must never run on
/// a thread of ours. The new thread inherits the mask, which is therefore set here and restored after.
pub(crate) fn spawn_without_signals<F>(builder: std::thread::Builder, body: F) -> io::Result<()>
where
    F: FnOnce() + Send + 'static,
{
    let before = swap_signal_mask(&all_signals());
    let spawned = builder.spawn(body);
    swap_signal_mask(&before);
    // The thread is not joined: whoever needs to know its end has a flag for it.
    spawned.map(drop)
}

fn all_signals() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigfillset` initialises the whole set that it is given a valid pointer to.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: initialised by the line above, which cannot fail for a valid pointer.
    unsafe { set.assume_init() }
}

fn swap_signal_mask(to: &libc::sigset_t) -> libc::sigset_t {
    let mut before = *to;
    // SAFETY: both pointers are valid for the call. It fails only for an unknown `how`.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, to, &mut before) };
    before
}

/// Borrows a descriptor known only by number, for the time of `f`.
///
/// For mio's `Registry`, which is open as long as it is borrowed but says only `AsRawFd`.
pub(crate) fn with_borrowed<R>(owner: &impl std::os::fd::AsRawFd, f: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
    let number: RawFd = owner.as_raw_fd();
    // SAFETY: `owner` is borrowed for the whole call, and an `AsRawFd` owner keeps its descriptor open while it lives.
    f(unsafe { BorrowedFd::borrow_raw(number) })
}
