//! A use by turns of two cores: what it costs to have a connection come over from another one's shard.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam::utils::CachePadded;

use crate::effort::Effort;
use crate::support::connections::Nowhere;
use crate::support::rivals::{self, Rival};
use crate::support::rounds::{Contender, cores, interleave, pin};
use crate::table::{Section, Target};

/// Of each core, in a round.
const TURNS: usize = 10_000;

const TURN: &str = "the turn itself, one line";
const LINE: &str = "and one line more";
const OWN: &str = "and a use, two connections: each core its own";
const STOLEN: &str = "and a use, one connection: stolen each time";

/// Nanoseconds a turn.
fn by_turns(turns: usize, operation: impl Fn() + Sync) -> f64 {
    let turn = CachePadded::new(AtomicU64::new(0));
    let play = |core: usize| {
        pin(core);
        let mut begun = Instant::now();
        for round in 0..turns {
            // Acquire and Release: whatever the other has done on its turn.
            while turn.load(Ordering::Acquire) != (2 * round + core) as u64 {
                spin_loop();
            }
            if round == turns / 8 {
                begun = Instant::now();
            }
            operation();
            turn.store((2 * round + core + 1) as u64, Ordering::Release);
        }
        begun.elapsed()
    };
    let took = std::thread::scope(|scope| {
        let play = &play;
        let threads = [0, 1].map(|core| scope.spawn(move || play(core)));
        threads.map(|thread| thread.join().expect("no turn panics"))[1]
    });
    took.as_nanos() as f64 / (2 * (turns - turns / 8)) as f64
}

/// Nothing on a machine of one core: nobody can steal from it, and turns would be the scheduler's.
pub(crate) fn stolen(effort: Effort) -> Vec<Section> {
    if cores() < 2 {
        return Vec::new();
    }
    let turns = effort.count(TURNS);
    let line = CachePadded::new(AtomicU64::new(0));
    let (own, shared) = (rivals::corepool_sharded(Nowhere, 2, 2), rivals::corepool_sharded(Nowhere, 1, 2));
    let using = |pool| {
        move || {
            Rival::with(pool, |connection| {
                black_box(connection);
            });
        }
    };
    let contenders = vec![
        Contender::new(TURN, || by_turns(turns, || {})),
        Contender::new(LINE, || {
            by_turns(turns, || {
                // Relaxed: only who has the line counts.
                line.fetch_add(1, Ordering::Relaxed);
            })
        }),
        Contender::new(OWN, || by_turns(turns, using(&own))),
        Contender::new(STOLEN, || by_turns(turns, using(&shared))),
    ];
    let rounds = interleave(effort.rounds(31), contenders);
    let mut section = Section::new("By turns of two cores", &["ns a turn", "least"]);
    for name in rounds.names() {
        section.line(name, vec![rounds.median(name, 0), rounds.least(name, 0)]);
    }
    section.disturbed(&rounds);
    let names = [TURN, LINE, OWN, STOLEN];
    section.row(
        "stolen_ns",
        rounds.median_of(&names, |of| of(STOLEN) - of(OWN)),
        Target::None,
        "what a use costs more if its connection comes over from another core's shard, ns",
    );
    section.row(
        "stolen_vs_line",
        rounds.median_of(&names, |of| (of(STOLEN) - of(OWN)) / (of(LINE) - of(TURN))),
        Target::None,
        "the same in lines: the other shard's word and the slot come over, the thief's count and the first line of the shard that is \
         empty are its own",
    );
    vec![section]
}
