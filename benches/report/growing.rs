//! What grows with the pool: with its idle connections, its shards, its waiters, its slots.

use std::hint::black_box;
use std::time::Duration;

use crate::effort::Effort;
use crate::memory;
use crate::support::connections::Nowhere;
use crate::support::rivals::{self, Rival};
use crate::support::rounds::{Contender, Crew, interleave, median};
use crate::support::watching;
use crate::table::{Section, Target};
use crate::waiting::{self, Carousel};

const ROUND: Duration = Duration::from_millis(3);

/// A checkout beside ever more of everything.
pub(crate) fn growth(effort: Effort) -> Section {
    let idle = [10, 100, 1_000, 10_000];
    let shards = [1, 2, 8, 64];
    let waiters = [1, 8, 64, 512];
    let pools: Vec<_> =
        idle.map(|idle| (format!("checkout beside {idle} idle"), rivals::corepool(Nowhere, idle))).into();
    let sharded =
        shards.map(|shards| (format!("checkout, {shards} shards"), rivals::corepool_sharded(Nowhere, 64, shards)));
    let round = effort.time(ROUND);
    let others = idle.map(|idle| (format!("r2d2 without test beside {idle} idle"), rivals::r2d2(Nowhere, idle, false)));
    let mut contenders: Vec<_> = pools
        .iter()
        .chain(&sharded)
        .map(|(name, pool)| {
            Contender::operation(name, Crew::pinned(1), round, move |_| {
                move || {
                    Rival::with(pool, |connection| {
                        black_box(connection);
                    });
                }
            })
        })
        .collect();
    contenders.extend(waiters.map(|waiters| {
        let crew = Crew::pinned(1);
        let turns = crew.calibrate(round, |_| turning(waiters));
        Contender::new(format!("hand-over beside {waiters} waiters"), move || crew.time(turns, |_| turning(waiters)))
    }));
    contenders.extend(others.iter().map(|(name, pool)| {
        Contender::operation(name, Crew::pinned(1), round, move |_| {
            move || {
                Rival::with(pool, |connection| {
                    black_box(connection);
                });
            }
        })
    }));
    let rounds = interleave(effort.rounds(31), contenders);

    let mut section = Section::new("Growth", &["ns", "least ns"]);
    rounds.names().for_each(|name| section.line(name, vec![rounds.median(name, 0), rounds.least(name, 0)]));
    section.disturbed(&rounds);
    for idle in idle {
        let names = [
            ("corepool", format!("checkout beside {idle} idle")),
            ("r2d2 without test", format!("r2d2 without test beside {idle} idle")),
        ];
        for (line, name) in names {
            section.point(
                "A checkout and its return in ns: idle connections",
                line,
                idle as f64,
                rounds.median(&name, 0),
            );
        }
    }
    let growth = rounds.ratio("checkout beside 10000 idle", "checkout beside 10 idle", 0);
    section.row(
        "growth_idle",
        growth,
        Target::AtMost(1.5),
        "a checkout beside 10,000 idle connections, beside one beside 10",
    );
    let growth = rounds.ratio("checkout, 64 shards", "checkout, 2 shards", 0);
    section.row("growth_shards", growth, Target::None, "the same with 64 shards, beside 2");
    let growth = rounds.ratio("hand-over beside 512 waiters", "hand-over beside 1 waiters", 0);
    section.row("growth_waiters", growth, Target::None, "a hand-over beside 512 waiters, beside one with 1");
    let announced = median(waiting::announce(64, 1_024, effort.count(1_000)));
    let meaning = "what the first waiter of an exhausted pool of 64 shards and 1,024 slots pays before it sleeps, µs";
    section.row("announce_us", announced, Target::AtMost(20.0), meaning);
    section
}

fn turning(waiters: usize) -> impl FnMut() {
    let mut carousel = Carousel::new(waiters);
    move || carousel.turn()
}

/// Bytes.
pub(crate) fn memory(effort: Effort) -> Section {
    let connections = watching::connections_within_limit(effort.count(2_000));
    let mut section = Section::new("Memory, counted by the allocator", &[]);
    let slot = memory::bytes_per_vacant_slot();
    section.row(
        "bytes_per_slot",
        slot,
        Target::AtMost(256.0),
        "what room for one more connection takes, beyond the connection itself",
    );
    let idle = memory::bytes_per_idle_connection(connections);
    section.row(
        "bytes_per_idle_connection",
        idle,
        Target::None,
        "the same with a connection idle in it under its watch, beyond the connection itself",
    );
    section
}
