//! Ten thousand waits that timed out, 64 at a time, leave no memory behind. Alone in its binary, since it counts every byte of the process.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Barrier;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::thread;
use std::time::Duration;

use corepool::{GetErrorKind, Pool};
use support::{Fake, comes_to_rest};

/// The system's allocator, and how many bytes are allocated by it.
struct Counted;

static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

// SAFETY: it allocates as the system does; counting changes nothing of that.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const THREADS: usize = 64;

#[test]
fn ten_thousand_timeouts_leave_no_memory() {
    let pool = Pool::builder(Fake::default()).max_size(1).wait_timeout(Duration::from_millis(1)).build().unwrap();
    let lease = pool.get().unwrap();
    let meet = Barrier::new(THREADS + 1);
    let mut sizes = Vec::with_capacity(16);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // The first ones fill what stays: this thread's number, a map's first nodes, the allocations of the test harness.
                for waits in [20, 160] {
                    meet.wait();
                    for _ in 0..waits {
                        assert_eq!(pool.get().unwrap_err().kind(), GetErrorKind::TimedOut);
                    }
                    meet.wait();
                }
                meet.wait();
            });
        }
        for _ in 0..2 {
            meet.wait();
            meet.wait();
            // The holder is still out: nobody has swept up after those who left.
            assert_eq!(pool.stats().waiting, 0);
            sizes.push(ALLOCATED.load(Ordering::SeqCst));
        }
        meet.wait();
    });
    assert_eq!(pool.stats().timed_out, 64 * 180);
    let grown = sizes[1] - sizes[0];
    assert!(grown < 4_096, "10,240 timeouts left {grown} bytes: {sizes:?}");
    drop(lease);
    comes_to_rest(&pool);
}
