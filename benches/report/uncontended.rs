//! What costs nanoseconds: a checkout, the idle set under it, and both when a second core joins.

use std::hint::black_box;
use std::sync::Mutex;
use std::time::Duration;

use corepool::Pool;
use crossbeam::queue::{ArrayQueue, SegQueue};

use crate::effort::Effort;
use crate::lockfree::idle::IdleStacks;
use crate::stacks::{self, Epoch, IdleSet, Tagged};
use crate::support::connections::{Framed, Nowhere};
use crate::support::hikari::HikariLike;
use crate::support::rivals::{self, Leasing, Locked, Owning, Queued, Rival, ThreadLocal, Trying, TwoRmws};
use crate::support::rounds::{Contender, Crew, interleave};
use crate::table::{Section, Target};

/// Of an operation that takes nanoseconds: shorter than the scheduler's slice.
const ROUND: Duration = Duration::from_millis(3);

const FLOOR: &str = "two bare locked RMWs";
const COREPOOL: &str = "corepool";
const SITES: &str = "corepool, from three places in the program";
const LEASE: &str = "corepool, `get` and drop";
const TRY: &str = "corepool, `try_get` and drop";
const OWNED: &str = "corepool, `get_owned` and drop";
const OPOOL: &str = "opool";
const R2D2: &str = "r2d2 without test";
const HIKARI: &str = "a bag like HikariCP's";

fn using<'a>(name: &str, effort: Effort, threads: usize, pool: &'a impl Rival<u64>) -> Contender<'a> {
    Contender::operation(name, Crew::pinned(threads), effort.time(ROUND), move |_| {
        move || {
            pool.with(|connection| {
                black_box(connection);
            });
        }
    })
}

/// A place in a program that uses the pool: with a single one the compiler would inline there what is a call in a server.
#[inline(never)]
fn place<const NUMBER: u64>(pool: &Pool<Framed<Nowhere>>) {
    Rival::with(pool, |connection| {
        // Or the three would be one function.
        black_box(*connection + NUMBER);
    });
}

/// One thread, nothing else.
pub(crate) fn checkout(effort: Effort) -> Section {
    let (floor, own) = (TwoRmws::new(), ThreadLocal);
    let corepool = rivals::corepool(Nowhere, 4);
    let (leasing, trying, owning) = (Leasing(&corepool), Trying(&corepool), Owning(&corepool));
    let (opool, queue, locked) = (rivals::opool(Nowhere, 4), Queued::new(&Nowhere, 4), Locked::new(&Nowhere, 4));
    let (r2d2, tested) = (rivals::r2d2(Nowhere, 4, false), rivals::r2d2(Nowhere, 4, true));
    let hikari = HikariLike::new(&Nowhere, 4);
    let sites = Contender::operation(SITES, Crew::pinned(1), effort.time(ROUND), |_| {
        let (pool, mut turn) = (&corepool, 0_u32);
        move || {
            turn += 1;
            match turn % 3 {
                0 => place::<0>(pool),
                1 => place::<1>(pool),
                _ => place::<2>(pool),
            }
        }
    });
    let contenders = vec![
        using("thread-local take and put", effort, 1, &own),
        using(FLOOR, effort, 1, &floor),
        using(COREPOOL, effort, 1, &corepool),
        sites,
        using(LEASE, effort, 1, &leasing),
        using(TRY, effort, 1, &trying),
        using(OWNED, effort, 1, &owning),
        using(OPOOL, effort, 1, &opool),
        using("ArrayQueue as a pool", effort, 1, &queue),
        using("Mutex<Vec> + Condvar", effort, 1, &locked),
        using(HIKARI, effort, 1, &hikari),
        using(R2D2, effort, 1, &r2d2),
        using("r2d2 with an empty test", effort, 1, &tested),
    ];
    let rounds = interleave(effort.rounds(101), contenders);
    let mut section = Section::new("A checkout and its return, one thread", &["ns", "least ns", "× floor"]);
    for name in rounds.names() {
        section.line(name, vec![rounds.median(name, 0), rounds.least(name, 0), rounds.ratio(name, FLOOR, 0)]);
    }
    section.disturbed(&rounds);
    let ratio = |to| rounds.ratio(COREPOOL, to, 0);
    section.row(
        "with_vs_floor",
        ratio(FLOOR),
        Target::AtMost(1.4),
        "a checkout costs little more than agreeing with other cores at all does",
    );
    section.row(
        "with_sites_vs_floor",
        rounds.ratio(SITES, FLOOR, 0),
        Target::None,
        "the same from three functions by turns, with a call of each and the choice between them",
    );
    section.row(
        "get_vs_floor",
        rounds.ratio(LEASE, FLOOR, 0),
        Target::AtMost(2.3),
        "nor does a lease, which may travel, and whose end finds its own way",
    );
    section.row(
        "with_vs_r2d2",
        ratio(R2D2),
        Target::AtMost(0.05),
        "calls that only take and return a connection, beside r2d2's",
    );
    section.row(
        "with_vs_opool",
        ratio(OPOOL),
        Target::AtMost(0.9),
        "an object pool that watches nothing and cannot wait costs more",
    );
    section.row(
        "floor_vs_opool",
        rounds.ratio(FLOOR, OPOOL, 0),
        Target::None,
        "what that could be at best on this processor: two bare locked instructions beside opool",
    );
    section.row(
        "floor_vs_r2d2",
        rounds.ratio(FLOOR, R2D2, 0),
        Target::None,
        "and beside r2d2, whose lock costs this little where nobody else wants it",
    );
    section
}

fn pairing<'a, S: IdleSet + 'a>(name: &str, effort: Effort, threads: usize) -> Contender<'a> {
    let set = stacks::filled::<S>(8);
    let crew = Crew::pinned(threads);
    let operations = crew.calibrate(effort.time(ROUND), |_| || stacks::pair(&set));
    Contender::new(name, move || crew.time(operations, |_| || stacks::pair(&set)))
}

/// What the idle set could have been made of.
pub(crate) fn idle_set(effort: Effort) -> Section {
    const EPOCH: &str = "crossbeam-epoch stack";
    let measured = |threads| {
        let contenders = vec![
            pairing::<IdleStacks>(COREPOOL, effort, threads),
            pairing::<Tagged>("tagged-index stack", effort, threads),
            pairing::<ArrayQueue<u32>>("ArrayQueue", effort, threads),
            pairing::<SegQueue<u32>>("SegQueue", effort, threads),
            pairing::<Epoch>(EPOCH, effort, threads),
            pairing::<Mutex<Vec<u32>>>("Mutex<Vec>", effort, threads),
        ];
        interleave(effort.rounds(41), contenders)
    };
    let (alone, shared) = (measured(1), measured(2));
    let mut section =
        Section::new("A take and a give on the idle set, one shared by all", &["ns, 1 thr.", "ns, 2 thr."]);
    for name in alone.names() {
        section.line(name, vec![alone.median(name, 0), shared.median(name, 0)]);
    }
    [&alone, &shared].into_iter().for_each(|rounds| section.disturbed(rounds));
    let ratio = alone.ratio(COREPOOL, EPOCH, 0);
    section.row(
        "idle_set_vs_epoch",
        ratio,
        Target::None,
        "why the idle stack is built on crossbeam's padded words, not on its epoch",
    );
    section
}

/// A second core joins.
pub(crate) fn scaling(effort: Effort) -> Section {
    let (floors, pools) = ([TwoRmws::new(), TwoRmws::new()], rivals::corepool_sharded(Nowhere, 2, 2));
    let bare = |threads, name| {
        let floors = &floors;
        Contender::operation(name, Crew::pinned(threads), effort.time(ROUND), move |thread| {
            move || {
                floors[thread].with(|word| {
                    black_box(word);
                });
            }
        })
    };
    let contenders = vec![
        bare(1, "two bare locked RMWs, 1 thread"),
        bare(2, "two bare locked RMWs, 2 threads"),
        using("corepool, 1 thread", effort, 1, &pools),
        using("corepool, 2 threads, own connections", effort, 2, &pools),
    ];
    let own = interleave(effort.rounds(61), contenders);

    let corepool = rivals::corepool(Nowhere, 4);
    let (opool, queue, locked) = (rivals::opool(Nowhere, 4), Queued::new(&Nowhere, 4), Locked::new(&Nowhere, 4));
    let (r2d2, hikari) = (rivals::r2d2(Nowhere, 4, false), HikariLike::new(&Nowhere, 4));
    let contenders = vec![
        using("corepool, 2 threads share 4 connections", effort, 2, &corepool),
        using("opool, 2 threads share 4", effort, 2, &opool),
        using("ArrayQueue, 2 threads share 4", effort, 2, &queue),
        using("Mutex<Vec> + Condvar, 2 threads share 4", effort, 2, &locked),
        using("a bag like HikariCP's, 2 threads share 4", effort, 2, &hikari),
        using("r2d2 without test, 2 threads share 4", effort, 2, &r2d2),
    ];
    let shared = interleave(effort.rounds(61), contenders);

    let mut section = Section::new("A checkout and its return, two threads", &["ns/thread", "least"]);
    for rounds in [&own, &shared] {
        rounds.names().for_each(|name| section.line(name, vec![rounds.median(name, 0), rounds.least(name, 0)]));
        section.disturbed(rounds);
    }
    let names: Vec<_> = own.names().collect();
    let scaling = own.median_of(&names, |of| {
        let lost = of("two bare locked RMWs, 2 threads") / of("two bare locked RMWs, 1 thread");
        of("corepool, 2 threads, own connections") / of("corepool, 1 thread") / lost
    });
    section.row(
        "scaling_2",
        scaling,
        Target::AtMost(1.1),
        "a second core costs the first one nothing that the machine does not",
    );
    let faster = shared.ratio("r2d2 without test, 2 threads share 4", "corepool, 2 threads share 4 connections", 0);
    section.row(
        "shared_2_vs_r2d2",
        faster,
        Target::AtLeast(30.0),
        "throughput of two cores on one small pool, beside r2d2's, whose lock takes 250 to 800 ns from run to run on a virtual machine; \
         corepool's side does not move, so this is 20 to 60",
    );
    section
}
