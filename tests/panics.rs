//! A panic in a use or in any hook costs that one connection: it is closed once, its permit comes back, the next caller is served.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use corepool::{CloseReason, GetErrorKind, Manager, Opening, Outcome, Pool, TcpManager, Verdict};
use support::{
    Census, Counting, Fake, HOPELESS, Hooked, ON_PURPOSE, Server, comes_to_rest, error_with_a_cause, eventually, hush,
    local_port, panics,
};

const MS: Duration = Duration::from_millis(1);

fn single<M: Manager>(manager: M) -> (Pool<Counting<M>>, Arc<Census>) {
    hush();
    let (manager, census) = Counting::new(manager);
    let pool = Pool::builder(manager).max_size(1).min_open(0).wait_timeout(HOPELESS).build().unwrap();
    (pool, census)
}

/// The first connection was closed once, because of a panic, and the pool serves the next caller with the second.
#[track_caller]
fn replaced<M: Manager>(pool: &Pool<Counting<M>>, census: &Census) {
    assert_eq!(pool.get().unwrap().id(), 1);
    eventually("its close", || census.fate(0) == Some(CloseReason::Panicked) && census.alive() == 1);
    assert_eq!((pool.stats().closed(CloseReason::Panicked), pool.stats().closed_in_all()), (1, 1));
    comes_to_rest(pool);
    census.verify();
}

#[test]
fn in_the_closure() {
    let (pool, census) = single(Fake::default());
    panics(|| pool.with(|_| -> Result<(), corepool::GetError> { panic!("{ON_PURPOSE}") }));
    replaced(&pool, &census);
}

#[test]
fn while_a_lease_is_held() {
    let (pool, census) = single(Fake::default());
    panics(|| {
        let _lease = pool.get().unwrap();
        panic!("{ON_PURPOSE}");
    });
    replaced(&pool, &census);
}

#[test]
fn while_another_waits_who_is_served() {
    let (pool, census) = single(Fake::default());
    thread::scope(|scope| {
        let waiter = panics_with(&pool, |pool| {
            let waiter = scope.spawn(move || pool.get_timeout(HOPELESS).map(|lease| lease.id()));
            eventually("it waits", || pool.stats().waiting == 1);
            waiter
        });
        assert_eq!(waiter.join().unwrap().unwrap(), 1);
    });
    replaced(&pool, &census);
}

/// Panics with a lease in hand after `f` was run; returns what `f` did.
fn panics_with<'p, M: Manager, R>(pool: &'p Pool<M>, f: impl FnOnce(&'p Pool<M>) -> R) -> R {
    let mut result = None;
    panics(|| {
        let _lease = pool.get().unwrap();
        result = Some(f(pool));
        panic!("{ON_PURPOSE}");
    });
    result.unwrap()
}

#[test]
fn in_connect() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.panic();
    let pool = Pool::builder(fake).max_size(1).opening(Opening::Lazy).fail_fast_after(HOPELESS * 10).build().unwrap();
    let error = error_with_a_cause(&pool, 20 * MS);
    assert_eq!(error.kind(), GetErrorKind::TimedOut);
    assert_eq!(error.cause().unwrap().to_string(), "the manager's connect panicked", "what it said may hold secrets");
    script.open();
    assert!(pool.get_timeout(HOPELESS).is_ok());
    assert_eq!(pool.stats().open, 1);
    comes_to_rest(&pool);
}

#[test]
fn in_watch_at_connect() {
    let angry = Arc::new(AtomicBool::new(true));
    let armed = Arc::clone(&angry);
    let fake = Hooked::new(Fake::default()).before_watch(move |_| {
        assert!(!armed.swap(false, Ordering::SeqCst), "{ON_PURPOSE}");
    });
    // Not before `hush`, since `build` opens the first one.
    let (pool, census) = single(fake);
    eventually("the second dial", || pool.stats().open == 1);
    assert_eq!((census.opened(), census.alive()), (2, 1), "the first was dropped");
    assert_eq!((pool.stats().opened, pool.stats().dials_failed), (1, 1));
    assert_eq!(pool.get().unwrap().id(), 1);
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn in_watch_at_return() {
    let angry = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&angry);
    let fake = Hooked::new(Fake::default()).before_watch(move |_| {
        assert!(!armed.swap(false, Ordering::SeqCst), "{ON_PURPOSE}");
    });
    let (pool, census) = single(fake);
    let lease = pool.get().unwrap();
    angry.store(true, Ordering::SeqCst);
    drop(lease);
    replaced(&pool, &census);
}

#[test]
fn in_on_return() {
    let angry = AtomicBool::new(true);
    let fake = Hooked::new(Fake::default()).on_return(move |_, _| {
        assert!(!angry.swap(false, Ordering::SeqCst), "{ON_PURPOSE}");
        Verdict::Keep
    });
    let (pool, census) = single(fake);
    assert_eq!(pool.with(|_| Ok::<_, corepool::GetError>(7)).unwrap(), 7, "the use itself went well");
    replaced(&pool, &census);
}

#[test]
fn in_on_return_while_the_thread_unwinds() {
    let angry = AtomicBool::new(true);
    let fake = Hooked::new(Fake::default()).on_return(move |_, _| {
        assert!(!angry.swap(false, Ordering::SeqCst), "{ON_PURPOSE}");
        Verdict::Keep
    });
    let (pool, census) = single(fake);
    panics_with(&pool, drop);
    replaced(&pool, &census);
}

#[test]
fn in_close() {
    let fake = Hooked::new(Fake::default()).before_close(|_, _| panic!("{ON_PURPOSE}"));
    let (pool, census) = single(fake);
    for _ in 0..20 {
        corepool::Lease::discard(pool.get().unwrap());
    }
    eventually("every close", || census.alive() == 0);
    assert_eq!(census.closed(CloseReason::Condemned), 20);
    assert!(pool.get().is_ok());
    comes_to_rest(&pool);
    census.verify();
}

#[test]
fn in_on_idle_data() {
    let server = Server::echo();
    let angry = AtomicBool::new(true);
    let manager = Hooked::new(TcpManager::new(server.address())).on_idle_data(move |_, _| {
        assert!(!angry.swap(false, Ordering::SeqCst), "{ON_PURPOSE}");
        Verdict::Keep
    });
    let (pool, census) = single(manager);
    let port = local_port(&*pool.get().unwrap());
    server.push(port, b"surprise");
    eventually("another one", || pool.get().unwrap().id() == 1);
    replaced(&pool, &census);
}

#[test]
fn of_a_use_that_begins_in_an_unwinding_thread_only_with_can_tell_that_it_ended_well() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let fake = Hooked::new(Fake::default()).on_return(move |_, how| {
        hears.lock().unwrap().push(how);
        if how == Outcome::Done { Verdict::Keep } else { Verdict::Discard }
    });
    let (pool, census) = single(fake);

    /// Writes a last word to the database when it goes.
    struct Logger<'p, M: Manager>(&'p Pool<M>);
    impl<M: Manager> Drop for Logger<'_, M> {
        fn drop(&mut self) {
            assert!(thread::panicking());
            self.0.with(|_| Ok::<_, corepool::GetError>(())).unwrap();
            let _ = self.0.with(|_| Err::<(), _>(std::io::Error::other("of no importance")));
            drop(self.0.get().unwrap());
        }
    }
    panics(|| {
        let _logger = Logger(&pool);
        panic!("{ON_PURPOSE}");
    });
    assert_eq!(*heard.lock().unwrap(), [Outcome::Done, Outcome::Failed, Outcome::Panicked]);
    assert_eq!(pool.stats().closed(CloseReason::Failed), 1);
    assert_eq!(pool.stats().closed(CloseReason::Panicked), 1);
    comes_to_rest(&pool);
    census.verify();
}
