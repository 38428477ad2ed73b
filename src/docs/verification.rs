//! Verification: what is proved of this crate, by what, and how far; what is only tested; and what is not covered.
//!
//! None of this runs in a user's build. `cargo test` runs the models, the worlds and the kept corpora; the gate (`.ci/run`) and the long
//! run before a release (`.ci/long`) run more of each.
//!
//! # What there is
//!
//! Counted from the files, by a test.
//!
//! | what | how many | where | how it is run |
//! |---|---|---|---|
//! | models of the bag, of a mux's line and of the policy, by loom | 148 | `loom-tests/src/` | `cargo test -p loom-tests` |
//! | mutations of what is modelled, each found by a model | 176 | `loom-tests/mutations/` | `loom-tests/mutations/run` |
//! | mutations of the policy, faults it once had or might have, each found by a world or a test | 58 | `loom-tests/worlds/` | `loom-tests/worlds/run` |
//! | storms under random schedules, by shuttle | 3 | `tests/shuttle/src/` | `cargo test -p shuttle-tests` |
//! | fuzz targets | 9 | `fuzz/fuzz_targets/` | `cargo +nightly fuzz run NAME` |
//! | inputs kept of them | 314 | `tests/corpus/` | `cargo test --all-features corpus`, `cargo test -p client-tests --test corpora` |
//!
//! Both `run`s take names of patches, and without any they run all. The first time they build a copy of the crate under `target/`, in some
//! minutes. The fuzzer is `cargo install cargo-fuzz`, with a nightly Rust. It runs until it is stopped; for a minute, and from the inputs
//! that are kept:
//!
//! ```text
//! mkdir -p fuzz/corpus-grown/bag_ops
//! cargo +nightly fuzz run bag_ops fuzz/corpus-grown/bag_ops tests/corpus/bag_ops -- -max_total_time=60
//! ```
//!
//! # The lock-free bag, and the line of a mux: proved within bounds
//!
//! The real files are compiled against [loom](https://docs.rs/loom), which runs every interleaving that the C11 memory model allows, up to
//! a bound: two threads without one, three threads with at most three preemptions, four with two; and one more of each before a release
//! (`.ci/long models`). So each memory ordering, each look before a sleep, each note against each removal is visited in all its orders at
//! that size. A model proves nothing that it cannot lose: each is broken by at least one mutation, which takes out an ordering, a look or a
//! step. The argument for sizes beyond is in `src/lockfree/README.md`, and is read by people only.
//!
//! Beyond that size the same files run under [shuttle](https://docs.rs/shuttle): six threads, three shards, four connections, all
//! operations, half of the schedules random, half with few preemptions at random places (PCT). These are samples: they prove nothing, and
//! are sequentially consistent, so they say nothing of orderings. A schedule that fails is printed, and `COREPOOL_SHUTTLE_REPLAY` runs it
//! again. On one thread, the bag is compared with a simple twin after each operation that a fuzzer makes up (`bag_ops`).
//!
//! # The policy: modelled where two threads meet
//!
//! The same way, the whole engine and the map of pools are compiled against loom, over a clock, threads and a reactor of the models' own: a
//! failed dial against a waiter, against another manager; a landing against a retirement, a predicate, the sweep; a lazy pool's first
//! caller against new settings; farewells against the threads that end them, against waiters, against their being given up; a drain against
//! a return; a call's deadline against its end; an order against the sweep; builds of a map against each other, against their removal or
//! rest, and in circles. Two threads and those that they start, with three or four preemptions. What only counts or sets something is std's
//! there, not loom's, so it is in no model.
//!
//! # The policy: simulated
//!
//! Hung dials, pings, and what an outage means as time goes by, have no models. All of the policy runs in a simulator: the whole engine,
//! unchanged, on a clock that is scripted and threads that take turns, against an endpoint that is up, slow, refuses, is a black hole,
//! denies, or opens what is no good; connections die, pings and farewells hang, an owner changes everything while callers call. A seed
//! decides all of it, and comes out the same each time. At every step it is checked that
//! - no more is open, dialed or being closed than allowed, and an endpoint that is down is dialed at its pace;
//! - no caller waits for three seconds, or is told of an outage, while nothing stands in its way;
//! - no connection is lent to two, lent after its end, lent after it was retired, or opened by a manager that was replaced;
//!
//! and at the end that every count is what the world knows, every connection was closed once, and nothing is kept.
//! What is promised of times is held to on the same clock by tests of its own, in `src/sim/times.rs`, to the millisecond.
//! `COREPOOL_SIM_SEEDS` and `COREPOOL_SIM_SECONDS` say how many worlds and how long; a fault ends the process with its seed, and
//! `COREPOOL_SIM_SEED` runs that one. The fuzz target `pool_ops` chooses by its bytes instead.
//!
//! What passes between two doors (a lock, a look at the clock, a sleep) runs in one piece there, so a fault that needs two threads between
//! two loads is not found. Nothing is watched there: a hang-up is told as the reactor would tell it, and the reactor itself, epoll, sockets
//! and the cutting of calls are tested with real ones only.
//!
//! # What is only tested
//!
//! - **The whole, for long**: `cargo run --release --example soak -- --minutes 30`. All operations and all faults at random against peers in
//!   the process. Each connection knows who has it, each answer its question; in between all comes to rest, and every permit, use and
//!   connection is counted; resident memory, descriptors and threads are sampled.
//! - **Storms** (`tests/storm.rs`, `tests/checker_storm/`), and each promise by a test of its name.
//! - **Whatever peers say**: Redis's frames and pushes (`resp`, `peek`), what a mux reads (`mux_replies`), HTTP/1 in the example (`http1`),
//!   each in any cuts; any combination of settings (`settings`).
//! - **What waits on an idle stream**: TLS records, whole, cut short, forged or with a bit turned, from a session's true peer (`idle_tls`);
//!   PostgreSQL's messages, whole, cut short or made up (`idle_postgres`). A pool, a peer in the process: after nothing but what may come
//!   unasked the same one is lent, and answers; after what cannot be due another is.
//! - **The clients**, in front of real servers (`tests/clients`). What records and messages mean is for their own crates to parse.
//! - **Memory**: nightly's address sanitizer with its leak check, over the unit tests (the simulator's among them) and all integration
//!   tests but those that read files, need the examples, or count instructions, system calls or memory; and valgrind's memcheck over the unit
//!   tests with all features, one after the other, without the simulator.
//! - **Races**: the thread sanitizer over the same tests, with a std that is instrumented too, so that nothing of std is left out. One
//!   suppression (`.ci/tsan.supp`): a test that closes descriptors under the reactors, on purpose. `.ci/long sanitizers` runs all three. The
//!   clients with their servers, telemetry, and what a child does after a fork run under none of them.
//! - **Lines**: 95.5 % of those of `src/` are run by the suite; the others are in `src/docs/coverage.md`, with reasons, as
//!   `.ci/coverage --write` writes it.
//!
//! # The last long runs
//!
//! On a virtual machine of two cores that had much other work to do; each figure is what the command printed.
//!
//! - The soak once more, 8 minutes: 733,208,141 leases of what is nothing, 3,453,655 over sockets, no fault; together with the one below
//!   more than 10⁹ and 10⁷.
//! - The soak, 30 minutes: 2,034,312,905 leases of what is nothing, 8,921,718 over sockets, 690,663 connections opened, 110,852 faults of peers,
//!   13,328 drains, 2,908 leases forgotten. No connection had two owners, no answer was somebody else's, no caller was left asleep (one wait
//!   outlasted its time on a machine that stood still), the books balanced at each of 322 rests. Descriptors and threads were flat; resident
//!   memory was 7.0 MiB on average in the second third and 7.5 MiB in the last, of which nothing is lost as valgrind has it.
//! - The simulator: 6,000 worlds of a minute without a fault, in 709 s of a debug build beside other work.
//! - The sanitizers: some 630 tests of 66 binaries under that of addresses and under that of threads, 132 tests under valgrind: nothing in the
//!   library. Two files of tests that leaked what they had tied into a circle were mended.
//! - The mutants: all 176 of what is modelled, in 12 minutes, and all 58 of the policy. No survivor is left: of the first, one had not been
//!   built for some time, and one that nothing found any more has a model of its own now. By hand, 103 slips more were made in what no
//!   mutant had touched: 51 went unseen, and are found by tests that were written for them.
//! - The storms: 100,000 schedules of each.
//! - The fuzz targets, of which none ran for an hour: a minute each, and then five more beside other work (`mux_replies` 82,497 inputs,
//!   `resp` 63,219, `peek` 61,139, `settings` 27,739, `idle_tls` 6,688, `bag_ops` 2,839, `idle_postgres` 1,808, `pool_ops` 264). They found two
//!   places at which a bare line's end from a peer made a parser of Redis's protocol panic.
//!
//! # What is not covered
//!
//! - **Weakly ordered hardware.** All of this ran on x86-64. Orderings rest on the models, which are of C11, not of a processor.
//! - **Load buffering**: loom does not run executions in which a load sees a store that comes after it in its own thread's cycle of
//!   dependencies. None of the edges rests on one, which is an argument and no check.
//! - **More cores than were there**: two. What goes wrong only with many (fairness, false sharing, very long stalls) was not seen.
//! - **More threads or preemptions than the bounds** above, other than by samples.
//! - **Slips that no test sees**: of the 103 made by hand, eight are left that no test finds and that change little: a ping that was cut and
//!   says yes all the same (its connection is found dead a moment later), which of two reasons is told of one that is both cut and suspected,
//!   which cause a `Down` names of two, hastening that is owed to a close that has ended by itself, a mux within more than four muxes.
//! - **The kernel**: epoll's and TCP's behaviour is taken as documented, and as the tests meet it.
#![forbid(unsafe_code)]
