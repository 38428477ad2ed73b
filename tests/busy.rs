//! Neither a checkout that finds something nor a refusal to wait costs an allocation. A binary of its own, since it counts them.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use corepool::{GetError, GetErrorKind, Opening, Pool};
use support::{Fake, eventually};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's, counted for each thread.
struct Counted;

// SAFETY: everything is the system allocator's doing; counting touches a thread-local without a destructor and allocates nothing.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is the callee's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the callee's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// How many allocations this thread makes in `f`.
fn allocations(f: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

fn kind(pool: &Pool<Fake>) -> GetErrorKind {
    pool.try_get().map(drop).unwrap_err().kind()
}

#[test]
fn the_count_is_one() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(7)))), 1);
}

#[test]
fn busy_allocates_nothing() {
    let pool = Pool::builder(Fake::default()).max_size(1).build().unwrap();
    let lease = pool.get().unwrap();
    let cost = allocations(|| {
        for _ in 0..1_000 {
            assert_eq!(kind(&pool), GetErrorKind::Busy);
        }
    });
    assert_eq!(cost, 0);
    drop(lease);
}

#[test]
fn busy_with_a_dial_under_way_allocates_nothing() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let pool = Pool::builder(fake).max_size(8).min_open(0).opening(Opening::Lazy).build().unwrap();
    assert_eq!(kind(&pool), GetErrorKind::Busy);
    eventually("its dial", || script.under_way() == 1);
    let cost = allocations(|| {
        for _ in 0..1_000 {
            assert_eq!(kind(&pool), GetErrorKind::Busy);
        }
    });
    assert_eq!((cost, script.dials()), (0, 1));
    script.open();
}

#[test]
fn closed_allocates_nothing() {
    let pool = Pool::builder(Fake::default()).max_size(1).build().unwrap();
    pool.close();
    let cost = allocations(|| {
        assert_eq!(kind(&pool), GetErrorKind::Closed);
        assert_eq!(pool.get().map(drop).unwrap_err().kind(), GetErrorKind::Closed);
    });
    assert_eq!(cost, 0);
}

#[test]
fn a_use_of_an_idle_connection_allocates_nothing() {
    let pool = Pool::builder(Fake::default()).max_size(8).min_open(8).shards(8).build().unwrap();
    // Its number is given to the thread at its first use.
    drop(pool.get().unwrap());
    let cost = allocations(|| {
        for _ in 0..1_000 {
            pool.with(|thing| Ok::<_, GetError>(thing.0)).unwrap();
            // Of these at least six are stolen.
            let leases: [_; 8] = std::array::from_fn(|_| pool.try_get().unwrap());
            drop(leases);
        }
    });
    assert_eq!(cost, 0);
}
