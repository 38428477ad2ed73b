//! What a pool allocates, counted by the allocator: for each slot, and for each open connection that lies idle under its watch.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::time::Duration;

use corepool::{Opening, Pool};

use crate::support::connections::{Endpoint, Framed, Tcp};
use crate::support::rivals::PATIENCE;
use crate::support::servers::Lot;

/// The system's allocator, which counts while it is asked to.
struct Counting;

/// Where nothing is counted, an allocation must cost what it costs with the system's: rivals that allocate are timed in this process.
static COUNTS: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: isize) {
    // Relaxed, both: read where nothing is under way.
    if COUNTS.load(Ordering::Relaxed) {
        BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
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

/// What `make` makes, and how many bytes more are allocated after it than before.
fn counted<R>(make: impl FnOnce() -> R) -> (R, f64) {
    // Relaxed, all: read where nothing is under way.
    BYTES.store(0, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    let made = make();
    COUNTS.store(false, Ordering::Relaxed);
    (made, BYTES.load(Ordering::Relaxed) as f64)
}

fn pool_of(endpoint: Tcp, size: usize) -> Pool<Framed<Tcp>> {
    let builder = Pool::builder(Framed { endpoint, watched: true });
    let builder = builder.max_size(size).min_open(0).opening(Opening::Lazy).wait_timeout(PATIENCE);
    builder.build().expect("the settings are within their limits")
}

/// Bytes for each slot, whether a connection lives in it or not: the difference of two sizes.
pub(crate) fn bytes_per_vacant_slot() -> f64 {
    const SMALL: usize = 1_000;
    const LARGE: usize = 9_000;
    let lot = Lot::open(0);
    // The first pool starts what all share.
    let first = pool_of(Tcp(lot.address), SMALL);
    let measured = [SMALL, LARGE].map(|size| counted(|| pool_of(Tcp(lot.address), size)).1);
    drop(first);
    (measured[1] - measured[0]) / (LARGE - SMALL) as f64
}

/// Bytes for each slot with a watched TCP connection idle in it, beyond the client's own connection.
pub(crate) fn bytes_per_idle_connection(connections: usize) -> f64 {
    let lot = Lot::open(connections);
    let pool = pool_of(Tcp(lot.address), connections);
    let mut leases = Vec::with_capacity(connections);
    // One more thread, one more buffer of the runtime's: not a connection's cost.
    leases.push(pool.get().expect("the lot is open"));
    let open_the_rest = || {
        leases.extend((1..connections).map(|_| pool.get().expect("the lot is open")));
        // Past the first sweep, which takes over what was noted at birth.
        std::thread::sleep(Duration::from_millis(1_500));
    };
    let ((), bytes) = counted(open_the_rest);
    drop(leases);
    let own = size_of::<<Tcp as Endpoint>::Connection>() as f64;
    // The slot's place for the connection is part of the slot.
    bytes_per_vacant_slot() + bytes / (connections - 1) as f64 - own
}
