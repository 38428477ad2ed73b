//! The system calls that have no safe form elsewhere, and the probes of feature `usdt`. With `lockfree/`, the only place of the crate with
//! `unsafe`.

use std::io;
#[cfg(feature = "fdhunt")]
use std::os::fd::FromRawFd;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
use std::sync::atomic::{AtomicUsize, Ordering};

/// The core that this thread runs on just now; it may be on another by the time that the caller looks.
///
/// 0.3 ns where glibc (2.35 and later) has registered the thread's restartable-sequences area with the kernel, which keeps the core's
/// number in it; elsewhere `sched_getcpu`, 2 ns and up. A stale answer is harmless: every shard may be used from every core.
#[inline]
pub(crate) fn current_core() -> usize {
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    {
        // Relaxed: one word that tells all there is to know.
        let place = RSEQ_CORE.load(Ordering::Relaxed);
        if place > ABSENT {
            let core: i32;
            // SAFETY: reads four bytes of this thread's own control block, where glibc says that the kernel keeps the core's number;
            // glibc allocated them with the thread. No memory is written and no stack used.
            unsafe {
                std::arch::asm!("mov {core:e}, fs:[{place}]", core = out(reg) core, place = in(reg) place,
                    options(nostack, readonly, preserves_flags));
            }
            if core >= 0 {
                return core as usize;
            }
        }
    }
    ask_core()
}

/// The same by a call, and, for the first of all calls, by finding out whether there is a faster way.
#[cold]
fn ask_core() -> usize {
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    // Relaxed, both: one word that tells all there is to know, the same whoever stores it.
    if RSEQ_CORE.load(Ordering::Relaxed) == UNKNOWN {
        RSEQ_CORE.store(find_rseq_core().unwrap_or(ABSENT), Ordering::Relaxed);
    }
    // SAFETY: takes no pointers and has no preconditions.
    let core = unsafe { libc::sched_getcpu() };
    // Negative where the kernel lacks it: then every thread shares the first shard and steals from the rest.
    usize::try_from(core).unwrap_or(0)
}

/// Where the core's number stands, from the thread pointer, or one of the two below.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
static RSEQ_CORE: AtomicUsize = AtomicUsize::new(UNKNOWN);
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
const UNKNOWN: usize = 0;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
const ABSENT: usize = 1;

/// Asks glibc where it has put the area, by name, since an older one does not know these names.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
fn find_rseq_core() -> Option<usize> {
    /// `cpu_id` in the kernel's `struct rseq`. Not `cpu_id_start` before it, which other libraries overlay with words of theirs.
    const CPU_ID: isize = 4;
    // SAFETY: a terminated name; an unknown one gives null.
    let size = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()) }.cast::<libc::c_uint>();
    // SAFETY: the same.
    let offset = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()) }.cast::<isize>();
    // SAFETY: null, or glibc's `unsigned int __rseq_size`, which is constant once the program runs.
    let size = unsafe { size.as_ref() }?;
    // SAFETY: null, or glibc's `ptrdiff_t __rseq_offset`, which is constant once the program runs.
    let offset = unsafe { offset.as_ref() }?;
    // Size 0: the kernel or a tunable has forbidden it.
    (*size != 0).then_some((offset + CPU_ID) as usize)
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

/// How often this thread has given its core up by itself, because it had to wait for something. 0.2 µs.
pub(crate) fn rests() -> i64 {
    #[cfg(any(test, fuzzing))]
    if let Some(rests) = crate::sync::turns::rests() {
        return rests;
    }
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for the call, which writes the whole structure. It fails only for an unknown `who`.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    // SAFETY: all of its fields are integers, for which zero, which it was, is a value.
    let usage = unsafe { usage.assume_init() };
    usage.ru_nvcsw
}

/// Borrows a descriptor known only by number, for the time of `f`.
///
/// For mio's `Registry`, which is open as long as it is borrowed but says only `AsRawFd`.
pub(crate) fn with_borrowed<R>(owner: &impl std::os::fd::AsRawFd, f: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
    let number: RawFd = owner.as_raw_fd();
    // SAFETY: `owner` is borrowed for the whole call, and an `AsRawFd` owner keeps its descriptor open while it lives.
    f(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Whoever blocks on this socket returns. Does not block.
pub(crate) fn shut_down(socket: &OwnedFd) {
    // Not a socket, or not connected any more: nobody blocks on it then.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

/// An option of whatever socket bears this number just now; `None` if there is none, or the option is not of this size. 0.1 µs.
///
/// By number and not by descriptor, since the caller owns none of those that it asks about: they may be closed, and their numbers given
/// to others, at any time. To read an option disturbs none of them.
#[cfg(feature = "fdhunt")]
pub(crate) fn socket_option<const SIZE: usize>(
    number: RawFd,
    level: libc::c_int,
    name: libc::c_int,
) -> Option<[u8; SIZE]> {
    let mut value = [0_u8; SIZE];
    let mut size = SIZE as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to `value`, and the size to `size`; both are valid for the call. A number that is
    // none of an open socket is an error.
    let failed = unsafe { libc::getsockopt(number, level, name, value.as_mut_ptr().cast(), &mut size) };
    (failed == 0 && size as usize == SIZE).then_some(value)
}

/// A descriptor of our own for whatever bears this number just now. It is closed on exec.
#[cfg(feature = "fdhunt")]
pub(crate) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers; a number that is none of an open file is an error.
    let duplicate = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if duplicate < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: new, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// Static probes: what a tracer can hook in to while a pool runs. Feature `usdt`; without it they are nothing.
///
/// With it each is one `nop`, whose address and whose arguments' registers a note in the binary tells; a tracer that is interested puts a
/// breakpoint there. The arguments are integers, worked out whether anybody listens or not, so they must be at hand.
/// [`telemetry::probes`](crate::telemetry::probes) says what they mean.
pub(crate) mod probes {
    macro_rules! probes {
        ($($name:ident($($argument:ident),*);)*) => {
            $(
                #[inline(always)]
                pub(crate) fn $name($($argument: usize),*) {
                    // The macro's own `asm!`: a `nop`, and notes in a section that is not loaded. It reads the arguments' registers only.
                    #[cfg(feature = "usdt")]
                    probe::probe!(corepool, $name, $($argument),*);
                    #[cfg(not(feature = "usdt"))]
                    let _ = ($($argument),*);
                }
            )*
        };
    }

    probes! {
        get(pool, shard, slot);
        put(pool, shard, slot);
        wait(pool, waited, served);
        steal(pool, shard, slot);
        dial(pool, took, opened);
        close(pool, reason, length);
        hang_up(pool, slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_core_is_the_one_that_the_thread_is_pinned_to() {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        for core in cores {
            std::thread::spawn(move || {
                assert!(core_affinity::set_for_current(core));
                // The first call finds the way, the second goes it.
                assert_eq!([current_core(), current_core()], [core.id; 2]);
                assert_eq!(ask_core(), core.id);
            })
            .join()
            .unwrap();
        }
    }
}
