//! A call allocates nothing, alone or among others, once the buffers have grown. In a process of its own: the allocator counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use corepool::mux::{Decoded, Mux, Protocol};
use corepool::{Pool, TcpManager};

struct Counting;

thread_local! {
    /// Whether this thread's allocations count. Without a destructor, so that the allocator may look at it at any time.
    static COUNTS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    if COUNTS.get() {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's own promise about `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's own promise: `block` came from here, which is from the system's, with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's own promise, as above.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A byte is answered by a byte.
struct Bytes;

impl Protocol for Bytes {
    type Request = u8;
    type Reply = u8;

    fn encode(&self, request: &u8, into: &mut Vec<u8>) -> Result<(), Box<dyn Error + Send + Sync>> {
        into.push(*request);
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<u8> {
        Decoded::Reply(bytes[0], 1)
    }
}

/// Allocations of so many callers in so many calls each, after as many to warm up.
fn allocations(callers: usize, calls: usize) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, mut bytes) = (listener.accept().unwrap().0, [0; 1024]);
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..length]).unwrap();
        }
    });
    let pool = Pool::builder(TcpManager::new(address)).shards(1);
    let mux = Mux::builder(pool, Bytes).call_timeout(Duration::from_secs(30)).build().unwrap();
    let warm = Barrier::new(callers);
    ALLOCATIONS.store(0, Ordering::SeqCst);
    thread::scope(|scope| {
        for caller in 0..callers as u8 {
            let (mux, warm) = (&mux, &warm);
            scope.spawn(move || {
                (0..calls).for_each(|_| assert_eq!(mux.call(&caller).unwrap(), caller));
                warm.wait();
                COUNTS.set(true);
                (0..calls).for_each(|_| assert_eq!(mux.call(&caller).unwrap(), caller));
                COUNTS.set(false);
            });
        }
    });
    ALLOCATIONS.load(Ordering::SeqCst)
}

#[test]
fn a_call_at_rest_allocates_nothing() {
    assert_eq!(allocations(1, 1_000), 0);
    // A queue or a place more, once in a while, when more callers than ever are somewhere at once; nothing for each call.
    let among_others = allocations(8, 2_000);
    // How often that is, the scheduler says; one for each call would be 16,000.
    assert!(among_others < 4_000, "{among_others} allocations in 16,000 calls");
}
