//! What a pool's owner changes while eight threads use it as fast as they can: no request fails that the change does not make fail by its
//! definition, and nothing is lost.

mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use corepool::{CloseReason, GetError, GetErrorKind, Pool, TcpManager};
use support::{Census, Counting, HOPELESS, Server, Watchdog, comes_to_rest, eventually, exchange};

const MS: Duration = Duration::from_millis(1);
const THREADS: usize = 8;

type Echo = Counting<TcpManager>;

/// Eight threads make requests while `change` runs and for some requests more. `forgive` says which failures are right.
fn under_load(pool: &Pool<Echo>, forgive: impl Fn(&io::Error) -> bool + Sync, change: impl FnOnce(&dyn Fn(usize))) {
    let (done, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    let shown = pool.clone();
    let watchdog = Watchdog::new(THREADS, move || format!("{:?}\n{}", shown.at_rest(), shown.stats()));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (pool, done, requests, forgive, watchdog) = (pool, &done, &requests, &forgive, &watchdog);
            scope.spawn(move || {
                let mut turn = 0;
                while !done.load(Ordering::SeqCst) {
                    turn += 1;
                    let request = format!("{thread} {turn}");
                    let talk = |conn: &mut support::Counted<corepool::Conn>| {
                        conn.hold(|conn| exchange(conn, request.as_bytes()))
                    };
                    if let Err(failure) = pool.with(talk).map_err(corepool::UseError::flatten) {
                        assert!(forgive(&failure), "request {turn} of thread {thread}: {failure}");
                    }
                    requests.fetch_add(1, Ordering::SeqCst);
                    watchdog.alive(thread);
                }
            });
        }
        let stop = Stop(&done);
        // So many requests more: each change shall meet some.
        let go_on = |more: usize| {
            let so_far = requests.load(Ordering::SeqCst);
            eventually("requests", || requests.load(Ordering::SeqCst) >= so_far + more);
        };
        go_on(100);
        change(&go_on);
        go_on(100);
        drop(stop);
    });
}

/// Ends the load, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn none(_: &io::Error) -> bool {
    false
}

fn echo_pool(server: &Server, max_size: usize) -> (Pool<Echo>, Arc<Census>) {
    let (manager, census) = Counting::new(TcpManager::new(server.address()));
    let builder = Pool::builder(manager).max_size(max_size).capacity(16).wait_timeout(HOPELESS).shards(2);
    (builder.build().unwrap(), census)
}

#[track_caller]
fn nothing_is_lost(pool: &Pool<Echo>, censuses: &[&Census]) {
    comes_to_rest(pool);
    let stats = pool.stats();
    let opened: usize = censuses.iter().map(|census| census.opened()).sum();
    assert_eq!((stats.leased, stats.waiting, stats.opening), (0, 0, 0), "\n{stats}");
    assert_eq!((stats.opened, stats.opened - stats.closed_in_all()), (opened as u64, stats.open as u64), "\n{stats}");
    eventually("each close", || censuses.iter().map(|census| census.alive()).sum::<usize>() == pool.stats().open);
    censuses.iter().for_each(|census| census.verify());
}

#[test]
fn reconfigure() {
    let server = Server::echo();
    let (pool, census) = echo_pool(&server, 4);
    under_load(&pool, none, |go_on| {
        for round in 0..60 {
            pool.reconfigure(|settings| {
                settings.max_size = [1, 16, 2, 8, 3][round % 5];
                settings.min_open = [0, 8, 1, 2, 3][round % 5];
                settings.handoff_after = [Duration::ZERO, MS][round % 2];
                settings.idle_timeout = [None, Some(10 * MS)][round % 2];
                settings.max_lifetime = [Some(20 * MS), None][round % 2];
                settings.probe_after = [Duration::ZERO, 10 * MS][round % 2];
                settings.ping_interval = [Some(10 * MS), None][round % 2];
                settings.hold_limit = [None, Some(HOPELESS)][round % 2];
                settings.dials_at_once = 1 + round % 4;
            })
            .unwrap();
            go_on(20);
        }
        pool.reconfigure(|settings| {
            (settings.max_size, settings.min_open, settings.ping_interval) = (2, 2, None);
            settings.max_lifetime = None;
        })
        .unwrap();
        eventually("no more than two", || pool.stats().open <= 2);
    });
    // Those with a short life, which they keep, may still leave.
    nothing_is_lost(&pool, &[&census]);
}

#[test]
fn replace_manager() {
    let servers = [Server::echo(), Server::echo()];
    let (pool, first) = echo_pool(&servers[0], 4);
    let mut censuses = vec![first];
    under_load(&pool, none, |go_on| {
        for round in 1..=30 {
            let (manager, census) = Counting::new(TcpManager::new(servers[round % 2].address()));
            censuses.push(census);
            pool.replace_manager(manager, [Duration::ZERO, 5 * MS][round / 2 % 2]);
            go_on(20);
        }
        eventually("none of an older one is left", || censuses[..30].iter().all(|census| census.alive() == 0));
    });
    assert_eq!(pool.stats().closed_in_all(), pool.stats().closed(CloseReason::Retired), "\n{}", pool.stats());
    nothing_is_lost(&pool, &censuses.iter().map(|census| &**census).collect::<Vec<_>>());
    eventually("the last one's endpoint has all", || servers[1].open() == 0 && servers[0].open() == pool.stats().open);
}

#[test]
fn retire() {
    let server = Server::echo();
    let (pool, census) = echo_pool(&server, 4);
    under_load(&pool, none, |go_on| {
        for round in 0..60 {
            let before = census.opened();
            pool.retire([Duration::ZERO, 5 * MS][round % 2]);
            go_on(20);
            eventually("those of before are gone", || (0..before).all(|id| census.fate(id).is_some()));
        }
    });
    assert_eq!(pool.stats().closed_in_all(), pool.stats().closed(CloseReason::Retired));
    nothing_is_lost(&pool, &[&census]);
}

#[test]
fn pause_and_resume() {
    let server = Server::echo();
    let (pool, census) = echo_pool(&server, 4);
    under_load(&pool, none, |go_on| {
        for round in 0..40 {
            pool.pause();
            // What was taken just before comes back; from then on nobody has any.
            eventually("all is given back", || pool.stats().leased == 0);
            let leases = pool.stats().leases;
            eventually("everybody waits", || pool.stats().waiting == THREADS);
            if round % 4 == 0 {
                pool.retire(Duration::ZERO);
            }
            assert_eq!((pool.stats().leases, pool.stats().leased), (leases, 0));
            pool.resume();
            go_on(20);
        }
    });
    nothing_is_lost(&pool, &[&census]);
}

#[test]
fn drain() {
    let server = Server::echo();
    let closed = |failure: &io::Error| {
        let error = failure.get_ref().and_then(|error| error.downcast_ref::<GetError>());
        error.is_some_and(|error| error.kind() == GetErrorKind::Closed)
    };
    for round in 0..10 {
        let (pool, census) = echo_pool(&server, 4);
        under_load(&pool, closed, |_| {
            if round % 2 == 0 {
                pool.pause();
            }
            assert!(pool.drain(HOPELESS).is_complete());
        });
        assert_eq!(pool.stats().closed(CloseReason::PoolClosed) as usize, census.opened());
        eventually("each is closed", || census.alive() == 0);
        census.verify();
    }
}
