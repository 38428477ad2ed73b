//! What grows with capacity, shards, connections and pools off the hot path: callers that get nothing, sweeps, retirement, upkeep. Printed
//! as rows: each is one figure, not a distribution.

use std::fs;
use std::hint::black_box;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use corepool::{CloseReason, GetErrorKind, Lease, Opening, Pool, Reactors};

use super::support::connections::{Endpoint, Framed, Nowhere, Tcp};

const MS: Duration = Duration::from_millis(1);

/// The most slots that a pool can have.
const SLOTS: usize = 64_512;

/// A full figure, or only a try whether it runs.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) quick: bool,
}

impl Effort {
    fn of(self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

pub(crate) fn print(effort: Effort) {
    type Part = (&'static str, fn(Effort));
    let parts: [Part; 4] =
        [("refusals", refusals), ("sweeps", sweeps), ("retirement", retirement), ("pools", many_pools)];
    let named = |name: &str| std::env::args().any(|given| given == name);
    let some = parts.iter().any(|(name, _)| named(name));
    parts.iter().filter(|(name, _)| !some || named(name)).for_each(|(_, part)| part(effort));
}

/// An endpoint that is down.
#[derive(Clone, Copy)]
struct Down;

impl Endpoint for Down {
    type Connection = u64;

    fn dial(&self) -> io::Result<u64> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

fn framed<E: Endpoint>(endpoint: E) -> corepool::Builder<Framed<E>> {
    Pool::builder(Framed { endpoint, watched: true })
}

/// The median of so many, in µs; of fewer, if they take too long.
fn median(times: usize, mut call: impl FnMut()) -> f64 {
    let mut taken = Vec::new();
    let first = Instant::now();
    while taken.is_empty() || taken.len() < times && first.elapsed() < 300 * MS {
        let begun = Instant::now();
        call();
        taken.push(begun.elapsed().as_nanos() as f64 / 1e3);
    }
    taken.sort_by(f64::total_cmp);
    taken[taken.len() / 2]
}

// ---- callers that get nothing ----------------------------------------------------------------------------------------------------

fn refusals(effort: Effort) {
    println!("a caller that gets nothing, µs (median), by capacity and shards");
    println!("  capacity  shards  idle words      busy   at the door   fail fast   timed out   the same beside others");
    let times = effort.of(2_000, 3);
    for (capacity, shards) in [(64, 1), (64, 8), (1_024, 64), (SLOTS, 1), (SLOTS, 8), (SLOTS, 1_024)] {
        let built = |max_waiters| {
            let builder = framed(Nowhere).max_size(1).capacity(capacity).shards(shards).max_waiters(max_waiters);
            builder.build().expect("the settings are within their limits")
        };
        let (pool, crowded) = (built(usize::MAX), built(1));
        let (lease, other) = (pool.get().expect("one is open"), crowded.get().expect("one is open"));
        let busy = median(times, || assert_eq!(pool.try_get().map(drop).unwrap_err().kind(), GetErrorKind::Busy));
        // No time at all to sleep: an announcement in each word, a look, a retraction.
        let nanosecond = Duration::from_nanos(1);
        let get = || pool.get_timeout(nanosecond).map(drop).unwrap_err().kind();
        let timed_out = median(times, || assert_eq!(get(), GetErrorKind::TimedOut));
        let beside = |pool: &Pool<Framed<Nowhere>>, kind, lease| {
            std::thread::scope(|scope| {
                scope.spawn(|| pool.get_timeout(Duration::from_secs(60)).map(drop).expect("it comes back"));
                while pool.stats().waiting == 0 {
                    std::thread::sleep(MS);
                }
                let get = || pool.get_timeout(nanosecond).map(drop).unwrap_err().kind();
                let taken = median(times, || assert_eq!(get(), kind));
                drop(lease);
                taken
            })
        };
        let door = beside(&crowded, GetErrorKind::Refused, other);
        let beside_others = beside(&pool, GetErrorKind::TimedOut, lease);
        let builder = framed(Down).max_size(1).capacity(capacity).shards(shards).min_open(0).opening(Opening::Lazy);
        let down = builder.fail_fast_after(MS).build().expect("the settings are within their limits");
        while down.get_timeout(100 * MS).map(drop).unwrap_err().kind() != GetErrorKind::Down {}
        let fail_fast = median(times, || drop(black_box(down.get_timeout(100 * MS).map(drop).unwrap_err())));
        let words = shards * capacity.div_ceil(63);
        let (first, second) = (format!("{busy:>10.2}{door:>14.2}{fail_fast:>12.2}"), format!("{timed_out:>12.2}"));
        println!("{capacity:>10}{shards:>8}{words:>12}{first}{second}{beside_others:>25.2}");
    }
    println!("    busy: has looked into each word; timed out: has announced its wait in each, and retracted that\n");
}

// ---- how long a reactor is held ----------------------------------------------------------------------------------------------------

/// A watched connection on a set of reactors, whose peer hangs up again and again: how late that is noticed says how long the reactor
/// was held by something else.
struct Canary {
    pool: Pool<Framed<Tcp>>,
    listener: TcpListener,
}

impl Canary {
    fn on(reactors: &Reactors) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let builder = framed(Tcp(listener.local_addr().expect("it is bound"))).max_size(1).min_open(0);
        let builder = builder.opening(Opening::Lazy).reactors(reactors.clone()).shards(1);
        Canary { pool: builder.build().expect("the settings are within their limits"), listener }
    }

    /// How late a hang-up of now is noticed.
    fn sings_after(&self) -> Duration {
        let lease = self.pool.get_timeout(Duration::from_secs(10)).expect("loopback is there");
        let peer: TcpStream = self.listener.accept().expect("it was dialed").0;
        let begun = Instant::now();
        drop(peer);
        while !Lease::stale(&lease) {
            std::hint::spin_loop();
        }
        let late = begun.elapsed();
        Lease::discard(lease);
        late
    }

    /// The latest of all while `busy` says so, in ms, and the median.
    fn latest(&self, mut busy: impl FnMut() -> bool) -> (f64, f64) {
        let mut late = vec![self.sings_after()];
        while busy() {
            late.push(self.sings_after());
        }
        late.sort_unstable();
        (late[late.len() - 1].as_secs_f64() * 1e3, late[late.len() / 2].as_secs_f64() * 1e3)
    }
}

/// CPU time of the reactors' threads so far.
fn reactors_cpu() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(|task| task.path());
    let ours =
        tasks.filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("corepool-s")));
    let spent = |task: &std::path::PathBuf| {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(ours.filter_map(|task| spent(&task)).sum())
}

fn full(connections: usize, shards: usize, reactors: &Reactors) -> Pool<Framed<Nowhere>> {
    let builder = framed(Nowhere).max_size(connections).min_open(connections).shards(shards).dials_at_once(64);
    let builder = builder.reactors(reactors.clone()).opening(Opening::Wait(Duration::from_secs(120)));
    builder.build().expect("nothing can fail")
}

fn sweeps(effort: Effort) {
    println!("a reactor that sweeps one pool in use, and how late it notices a hang-up in another");
    println!("  connections  shards   CPU a sweep ms   latest ms   median ms");
    for (connections, shards) in [(1_000, 1), (SLOTS, 1), (SLOTS, 64), (SLOTS, 1_024)] {
        if effort.quick && connections == SLOTS {
            continue;
        }
        let reactors = Reactors::new(1);
        let (canary, pool) = (Canary::on(&reactors), full(connections, shards, &reactors));
        let (begun, before) = (Instant::now(), reactors_cpu());
        let mut last = begun;
        let (latest, median) = canary.latest(|| {
            // Somebody uses all of it now and then, so that a sweep each second has all to look at.
            if last.elapsed() > 100 * MS {
                last = Instant::now();
                drop(pool.get());
            }
            begun.elapsed() < Duration::from_millis(effort.of(5_000, 10) as u64)
        });
        let sweeps = begun.elapsed().as_secs_f64();
        let cpu = (reactors_cpu() - before).as_secs_f64() * 1e3 / sweeps;
        println!("{connections:>13}{shards:>8}{cpu:>17.2}{latest:>12.2}{median:>12.3}");
    }
    println!("    CPU: of the reactor, a second, the hang-ups included\n");
}

// ---- retirement ----------------------------------------------------------------------------------------------------------------

fn retirement(effort: Effort) {
    println!("`retire(over)` of all connections of a pool, all idle, replaced as they go");
    println!("  connections   over ms   the call ms   until all left s   µs each   latest hang-up elsewhere ms");
    for (connections, over) in [(7_500, 0), (15_000, 0), (30_000, 0), (60_000, 0), (60_000, 1_000)] {
        let connections = if effort.quick { connections / 100 } else { connections };
        let reactors = Reactors::new(1);
        let (canary, pool) = (Canary::on(&reactors), full(connections, 2, &reactors));
        let over = Duration::from_millis(over);
        let done = Arc::new(AtomicBool::new(false));
        let begun = Instant::now();
        let (call, all) = std::thread::scope(|scope| {
            let retiring = scope.spawn(|| {
                pool.retire(over);
                let call = begun.elapsed();
                while pool.stats().closed(CloseReason::Retired) < connections as u64 {
                    std::thread::sleep(5 * MS);
                }
                // Release: nothing goes with it.
                done.store(true, Ordering::Release);
                (call, begun.elapsed())
            });
            // Acquire: as above.
            let (latest, _) = canary.latest(|| !done.load(Ordering::Acquire));
            let (call, all) = retiring.join().expect("nothing panics");
            ((call, latest), all)
        });
        let (call, latest) = call;
        let each = all.saturating_sub(over).as_secs_f64() * 1e6 / connections as f64;
        let (over, call, all) = (over.as_millis(), call.as_secs_f64() * 1e3, all.as_secs_f64());
        println!("{connections:>13}{over:>10}{call:>14.1}{all:>19.2}{each:>10.1}{latest:>31.2}");
    }
    println!();
}

// ---- many pools ------------------------------------------------------------------------------------------------------------------

/// CPU time of the process so far.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let main: u64 = text.split_whitespace().next().and_then(|spent| spent.parse().ok()).unwrap_or(0);
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let own = std::process::id().to_string();
    let others = tasks.filter(|task| task.file_name().to_str() != Some(&own)).filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(main + others.sum::<u64>())
}

fn many_pools(effort: Effort) {
    println!("many pools, each used once a second, all on the reactors of the process");
    println!("    pools   share of a core   reactors' share   wake-ups a second");
    for pools in [1, 200, 2_000] {
        let reactors = Reactors::shared();
        let made: Vec<_> = (0..pools)
            .map(|_| framed(Nowhere).max_size(2).build().expect("the settings are within their limits"))
            .collect();
        let seconds = effort.of(6, 1);
        let pause = Duration::from_secs(1) / pools as u32;
        // The first round does not count: it uses what is new.
        let mut counted = (Instant::now(), cpu(), reactors_cpu(), reactors.wakeups());
        let mut next = Instant::now();
        for round in 0..=seconds {
            if round == 1 {
                counted = (Instant::now(), cpu(), reactors_cpu(), reactors.wakeups());
            }
            for pool in &made {
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                next += pause;
                drop(pool.get().expect("one is idle"));
            }
        }
        let (begun, all, of_reactors, wakeups) = counted;
        let lasted = begun.elapsed().as_secs_f64();
        let share = (cpu() - all).as_secs_f64() / lasted * 100.0;
        let theirs = (reactors_cpu() - of_reactors).as_secs_f64() / lasted * 100.0;
        let wakeups = (reactors.wakeups() - wakeups) as f64 / lasted;
        println!("{pools:>9}{share:>16.2} %{theirs:>16.2} %{wakeups:>20.1}");
    }
    println!("    the share of a core is that of the loop which uses them, too\n");
}
