//! What a pool leaves in memory when it is gone: nothing. Counted by the allocator, in a test binary of its own.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use corepool::{Opening, Pool, PoolMap, Reactors};
use support::{Fake, eventually};

/// The system's allocator, which counts.
struct Counting;

static BYTES: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: isize) {
    // Relaxed: read where nothing is under way.
    BYTES.fetch_add(bytes, Ordering::Relaxed);
}

fn bytes() -> isize {
    // Relaxed: as above.
    BYTES.load(Ordering::Relaxed)
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's own promise about `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's own promise: `block` came from here, which is from the system's, with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's own promise, as above.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Pools built and dropped. What each leaves, if it leaves anything, is some hundred bytes at the least.
const POOLS: usize = 20_000;

/// What all of them together may leave: a list that has grown, a thread that lingers.
const BOUND: isize = 64 << 10;

fn lazy() -> Pool<Fake> {
    Pool::builder(Fake::default()).max_size(2).opening(Opening::Lazy).build().unwrap()
}

/// One test, since nothing else may allocate beside it.
#[test]
fn pools_that_are_gone_leave_nothing() {
    // What all share is there before: the reactors, the topology.
    (0..100).for_each(|_| drop(lazy()));

    let before = bytes();
    (0..POOLS).for_each(|_| drop(lazy()));
    let left = bytes() - before;
    assert!(left < BOUND, "{left} bytes after {POOLS} lazy pools");

    // Built, used, dropped: the background threads come to rest.
    let used = || {
        let pool = lazy();
        drop(pool.get_timeout(support::HOPELESS).unwrap());
    };
    (0..100).for_each(|_| used());
    let before = bytes();
    (0..POOLS / 20).for_each(|_| used());
    eventually("what they had is closed", || bytes() - before < BOUND);

    // By way of a map, whose pools go when nobody has used them for a while, and which goes itself.
    let before = bytes();
    for _ in 0..POOLS / 100 {
        let map = PoolMap::with_idle_limit(|_: &usize| Pool::builder(Fake::default()).opening(Opening::Lazy), LONG);
        (0..10).for_each(|key| drop(map.pool(&key).unwrap()));
    }
    eventually("maps and their pools are gone", || bytes() - before < BOUND);

    // Reactors of one's own: their threads end.
    let before = bytes();
    for _ in 0..100 {
        drop(Pool::builder(Fake::default()).reactors(Reactors::new(1)).opening(Opening::Lazy).build().unwrap());
    }
    eventually("their threads have ended", || bytes() - before < BOUND);
}

const LONG: Duration = Duration::from_secs(1_000);
