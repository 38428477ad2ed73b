//! What an adversary found, each by a small program.

mod support;

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{BuildError, CloseReason, Conn, Dial, Manager, Opening, Pool, TcpManager, Verdict, Watch};
use support::{Fake, HOPELESS, Hooked, Server, comes_to_rest, eventually, hush};

const MS: Duration = Duration::from_millis(1);

/// In which hook a manager leaves half an exchange behind.
#[derive(Clone, Copy, PartialEq)]
enum Sloppy {
    Login,
    Check,
    Ping,
}

struct Slop(TcpManager, Sloppy, AtomicBool);

impl Slop {
    /// Once: a request whose answer is not waited for, and no trace of the timeout.
    fn slop(&self, conn: &mut Conn, here: Sloppy) {
        if here == self.1 && !self.2.swap(true, Ordering::SeqCst) {
            conn.set_read_timeout(Some(MS)).unwrap();
            conn.mark_dirty();
            let _ = conn.read(&mut [0; 4]);
            conn.set_read_timeout(None).unwrap();
        }
    }
}

impl Manager for Slop {
    type Connection = Conn;
    type Error = corepool::ConnectError;

    fn connect(&self, dial: &Dial<'_>) -> Result<Conn, Self::Error> {
        let mut conn = self.0.connect(dial)?;
        self.slop(&mut conn, Sloppy::Login);
        Ok(conn)
    }

    fn watch(&self, conn: &Conn, on: &mut Watch<'_>) {
        self.0.watch(conn, on);
    }

    fn on_checkout(&self, conn: &mut Conn) -> Result<Verdict, Self::Error> {
        self.slop(conn, Sloppy::Check);
        Ok(Verdict::Keep)
    }

    fn ping(&self, conn: &mut Conn) -> Result<(), Self::Error> {
        self.slop(conn, Sloppy::Ping);
        Ok(())
    }
}

#[test]
fn a_stream_that_a_hook_left_dirty_is_not_lent() {
    for hook in [Sloppy::Login, Sloppy::Check, Sloppy::Ping] {
        for probe_after in [Duration::ZERO, HOPELESS] {
            let server = Server::echo();
            let manager = Slop(TcpManager::new(server.address()), hook, AtomicBool::new(false));
            let builder = Pool::builder(manager).max_size(1).probe_after(probe_after);
            let pool = builder.ping_interval((hook == Sloppy::Ping).then_some(10 * MS)).build().unwrap();
            if hook == Sloppy::Ping {
                eventually("the ping costs it", || pool.stats().closed_in_all() == 1);
            }
            let clean = pool.get_timeout(HOPELESS).map(|conn| !conn.is_dirty()).unwrap();
            assert!(clean);
        }
    }
}

/// A replica that takes its time to say that it is read-only.
#[test]
fn a_slow_check_that_discards_what_was_just_opened_makes_no_more_dials_than_the_pace() {
    let manager = Hooked::new(Fake::default()).on_checkout(|_| {
        thread::sleep(20 * MS);
        Ok(Verdict::discard("a replica"))
    });
    let pool = Pool::builder(manager).max_size(32).min_open(0).opening(Opening::Lazy).build().unwrap();
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                while begun.elapsed() < 2_000 * MS {
                    let _ = pool.get_timeout(500 * MS);
                }
            });
        }
    });
    // As many as may be dialed at once to begin with; then one after another, 50 ms apart and more.
    let (dials, most) = (pool.stats().dials, 8 + begun.elapsed().as_millis() as u64 / 50);
    assert!(dials <= most, "{dials} dials, and no more than {most} should be");
}

/// An error whose drop panics, but not while its thread does already.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            std::panic::panic_any(Bomb);
        }
    }
}

impl std::fmt::Display for Bomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a bomb")
    }
}

impl std::error::Error for Bomb {}

#[test]
fn a_reason_whose_drop_panics_costs_no_place() {
    hush();
    let manager = Hooked::new(Fake::default()).on_return(|_, _| Verdict::discard(Bomb));
    let pool = Pool::builder(manager).max_size(2).min_open(0).opening(Opening::Background).build().unwrap();
    for _ in 0..20 {
        let used = catch_unwind(AssertUnwindSafe(|| pool.with_timeout(HOPELESS, |_| Ok::<_, io::Error>(()))));
        assert!(used.is_ok_and(|used| used.is_ok()));
    }
    comes_to_rest(&pool);
    assert_eq!(pool.stats().closed(CloseReason::Discarded), 20);
}

#[test]
fn a_drain_waits_for_a_dial_that_was_given_up_within_its_time() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let pool = Pool::builder(fake).max_size(1).dial_timeout(HOPELESS).opening(Opening::Background).build().unwrap();
    eventually("a dial", || script.under_way() == 1);
    pool.replace_manager(Fake::default(), Duration::ZERO);
    pool.wait_ready(1, HOPELESS).unwrap();
    thread::scope(|scope| {
        let drain = scope.spawn(|| pool.drain(HOPELESS));
        eventually("closed", || pool.is_closed());
        thread::sleep(20 * MS);
        assert!(!drain.is_finished());
        script.open();
        assert!(drain.join().unwrap().is_complete());
    });
}

#[test]
fn a_new_manager_is_dialed_whatever_hangs_of_those_before() {
    let scripts: Vec<_> = (0..12).map(|_| Fake::default()).collect();
    scripts.iter().for_each(|fake| fake.script.hang());
    let held: Vec<_> = scripts.iter().map(|fake| fake.script.clone()).collect();
    let mut managers = scripts.into_iter();
    let builder = Pool::builder(managers.next().unwrap()).max_size(4).min_open(4).dials_at_once(1);
    let pool = builder.dial_timeout(10 * MS).opening(Opening::Background).build().unwrap();
    for (manager, script) in managers.zip(&held) {
        eventually("it is dialed", || script.dials() > 0);
        pool.replace_manager(manager, Duration::ZERO);
    }
    pool.replace_manager(Fake::default(), Duration::ZERO);
    drop(pool.get_timeout(HOPELESS).unwrap());
    held.iter().for_each(|script| script.open());
}

#[test]
fn a_shorter_backoff_max_shortens_the_pause_under_way() {
    let healthy = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&healthy);
    struct Login(Arc<AtomicBool>);
    impl Manager for Login {
        type Connection = ();
        type Error = io::Error;
        fn connect(&self, _: &Dial<'_>) -> io::Result<()> {
            if self.0.load(Ordering::SeqCst) { Ok(()) } else { Err(io::Error::other("wrong password")) }
        }
        fn is_permanent(&self, _: &io::Error) -> bool {
            true
        }
    }
    let builder = Pool::builder(Login(mended)).max_size(1).backoff_max(HOPELESS * 100).opening(Opening::Background);
    let pool = builder.build().unwrap();
    eventually("seven have failed", || pool.stats().dials_failed >= 7);
    healthy.store(true, Ordering::SeqCst);
    pool.reconfigure(|settings| settings.backoff_max = 50 * MS).unwrap();
    pool.wait_ready(1, HOPELESS).ok();
    eventually("it is open", || pool.stats().open == 1);
}

#[test]
fn who_waits_for_a_pool_to_be_ready_is_told_that_it_was_closed() {
    let fake = Fake::default();
    let script = fake.script.clone();
    script.hang();
    let pool = Pool::builder(fake).max_size(1).opening(Opening::Background).build().unwrap();
    thread::scope(|scope| {
        let waits = scope.spawn(|| pool.wait_ready(1, HOPELESS * 100));
        eventually("a dial", || script.under_way() == 1);
        pool.close();
        assert!(matches!(waits.join().unwrap(), Err(BuildError::Closed)));
    });
    script.open();
}

#[test]
fn a_write_that_nobody_answers_does_not_hinder_the_next_user() {
    let server = Server::echo();
    let pool = Pool::builder(TcpManager::new(server.address())).max_size(1).build().unwrap();
    pool.with(|conn| conn.write_all(b"late")).unwrap();
    let answer = pool.with(|conn| {
        let mut answer = [0; 4];
        conn.write_all(b"mine")?;
        conn.read_exact(&mut answer)?;
        Ok::<_, io::Error>(answer)
    });
    assert_eq!(&answer.unwrap(), b"mine");
}

/// Its hooks are as slow as they are told to be.
struct Slow {
    ping: Duration,
    /// A check takes as long as this holds.
    check: Arc<AtomicBool>,
}

impl Manager for Slow {
    type Connection = u32;
    type Error = Bomb;

    fn connect(&self, _: &Dial<'_>) -> Result<u32, Bomb> {
        Ok(7)
    }

    fn on_checkout(&self, _: &mut u32) -> Result<Verdict, Bomb> {
        while self.check.load(Ordering::SeqCst) {
            thread::sleep(MS);
        }
        Ok(Verdict::Keep)
    }

    fn ping(&self, _: &mut u32) -> Result<(), Bomb> {
        thread::sleep(self.ping);
        Ok(())
    }
}

#[test]
fn a_drain_beside_a_ping_is_not_complete() {
    let manager = Slow { ping: HOPELESS / 4, check: Arc::default() };
    let pool = Pool::builder(manager).max_size(1).ping_interval(Some(10 * MS)).ping_timeout(HOPELESS).build().unwrap();
    eventually("the ping has it", || pool.stats().idle == 0);
    let report = pool.drain(50 * MS);
    assert!(!report.is_complete() && report.closing == 1, "{report:?}");
}

#[test]
fn none_is_lent_unjudged_that_was_being_checked_when_the_predicate_came() {
    let slow = Arc::new(AtomicBool::new(false));
    let pool = Pool::builder(Slow { ping: MS, check: Arc::clone(&slow) }).max_size(1).build().unwrap();
    drop(pool.get().unwrap());
    slow.store(true, Ordering::SeqCst);
    let asked = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let caller = scope.spawn(|| pool.get_timeout(HOPELESS).map(|_lease| asked.load(Ordering::SeqCst)));
        eventually("it is being checked", || pool.stats().idle == 0);
        let also = Arc::clone(&asked);
        pool.retire_where(move |_| {
            also.store(true, Ordering::SeqCst);
            true
        });
        slow.store(false, Ordering::SeqCst);
        assert!(caller.join().unwrap().unwrap(), "lent before it was judged");
    });
    assert_eq!(pool.stats().closed(CloseReason::Retired), 1);
}

struct Late;

impl Manager for Late {
    type Connection = ();
    type Error = Bomb;

    fn connect(&self, _: &Dial<'_>) -> Result<(), Bomb> {
        Ok(())
    }

    fn on_checkout(&self, _: &mut ()) -> Result<Verdict, Bomb> {
        thread::sleep(100 * MS);
        Err(Bomb)
    }
}

#[test]
fn an_error_that_panics_at_its_end_after_its_hook_overran_costs_no_place() {
    hush();
    let pool = Pool::builder(Late).max_size(1).build().unwrap();
    let caller = catch_unwind(AssertUnwindSafe(|| pool.get_timeout(20 * MS).map(drop)));
    assert!(caller.is_ok_and(|outcome| outcome.is_err()), "the caller is told, and does not unwind");
    eventually("nothing is leased", || pool.stats().leased == 0);
}

#[test]
fn a_predicate_that_panics_at_its_end_costs_no_place() {
    hush();
    let pool = Pool::builder(Fake::default()).max_size(1).build().unwrap();
    let lease = pool.get().unwrap();
    for _ in 0..20 {
        let bomb = Bomb;
        pool.retire_where(move |_| {
            let _ = &bomb;
            false
        });
    }
    drop(lease);
    drop(pool.get().unwrap());
    comes_to_rest(&pool);
}
