//! All that is claimed of corepool's speed, measured side by side in one process: `cargo bench --bench report`.
//!
//! Some three minutes. Each figure is a median over interleaved rounds, and a ratio the median of the rounds' own ratios, so that a busy
//! moment hits all sides alike; rounds in which the machine was not at its best are set apart (`support/calm.rs`). `-- --json` adds all
//! named figures as one JSON object on the last line; `-- --write` writes `benches/RESULTS.md`, and the plots beside it by
//! `benches/plots`, a program of its own; `-- --quick` only tries whether everything runs, as `cargo test --benches` does. Names of
//! sections (`checkout`, `saturated`, …) run only these. A missed target is marked and fails nothing.

#[path = "report/crowded.rs"]
mod crowded;
#[path = "report/effort.rs"]
mod effort;
#[path = "report/growing.rs"]
mod growing;
#[path = "../src/lockfree/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the pool needs more of it, and its tests run elsewhere")]
mod lockfree;
#[path = "support/memory.rs"]
mod memory;
#[path = "report/sockets.rs"]
mod sockets;
#[path = "support/stacks.rs"]
mod stacks;
mod support;
#[path = "../src/sync.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod sync;
#[path = "report/table.rs"]
mod table;
#[path = "report/turns.rs"]
mod turns;
#[path = "report/uncontended.rs"]
mod uncontended;
#[path = "support/waiting.rs"]
mod waiting;

use std::process::{Command, ExitCode};
use std::time::Instant;

use effort::Effort;
use support::rounds::{calm, median};
use table::{Report, Section};

/// A section by its name on the command line.
type Measure = (&'static str, fn(Effort) -> Vec<Section>);

const SECTIONS: [Measure; 9] = [
    // First: what the other sections leave to do in the background allocates and frees as well.
    ("memory", |effort| vec![growing::memory(effort)]),
    ("checkout", |effort| vec![uncontended::checkout(effort)]),
    ("idle_set", |effort| vec![uncontended::idle_set(effort)]),
    ("scaling", |effort| vec![uncontended::scaling(effort)]),
    ("stolen", turns::stolen),
    ("saturated", |effort| {
        let kinds = [crowded::without_io, crowded::echo, crowded::slow];
        kinds.into_iter().flat_map(|kind| [16, 64, 256].map(|threads| kind(effort, threads))).collect()
    }),
    ("roundtrip", |effort| vec![sockets::round_trips(effort)]),
    ("watch", |effort| vec![sockets::watch(effort)]),
    ("growth", |effort| vec![growing::growth(effort)]),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let (json, write) = (has("--json"), has("--write"));
    // `cargo bench` passes `--bench`; `cargo test` does not, and wants to know no more than whether it runs.
    let effort = if has("--quick") || has("--test") || !has("--bench") { Effort::QUICK } else { Effort::FULL };
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|name| !name.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|name| !SECTIONS.iter().any(|(section, _)| section == *name)) {
        let known = SECTIONS.map(|(section, _)| section).join(", ");
        eprintln!("there is no section {unknown}; there are {known}");
        return ExitCode::FAILURE;
    }

    println!("{}\n", machine());
    let begun = Instant::now();
    let mut report = Report { sections: Vec::new() };
    for (_, measure) in SECTIONS.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name)) {
        for section in measure(effort) {
            println!("{section}");
            report.sections.push(section);
        }
    }
    let (targets, met) = report.score();
    println!("{met} of {targets} targets met, in {:.0} s", begun.elapsed().as_secs_f64());

    println!("{}", calmness(&report));
    if write {
        let plots = serde_json::to_string(&report.plots()).expect("strings and numbers");
        for (file, text) in [(RESULTS, text(&report)), (POINTS, plots)] {
            if let Err(error) = std::fs::write(file, text) {
                eprintln!("{file} could not be written: {error}");
                return ExitCode::FAILURE;
            }
        }
        let drawn = Command::new("cargo").args(["run", "--release", "--quiet", "-p", "plots"]).status();
        if !drawn.is_ok_and(|drawn| drawn.success()) {
            eprintln!("the plots could not be drawn: try `cargo run --release -p plots`, which reads {POINTS}");
            return ExitCode::FAILURE;
        }
    }
    if json {
        println!("{}", report.json());
    }
    ExitCode::SUCCESS
}

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md");
/// What the plots are drawn from.
const POINTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/plots/points.json");

/// How the machine was.
fn calmness(report: &Report) -> String {
    let (disturbed, of) = report.disturbed();
    let steps = calm::steps();
    let slowest = steps.iter().copied().fold(0.0, f64::max);
    let (best, usual) = (calm::best(), median(steps));
    format!(
        "Before and after each round a loop of arithmetic was timed: {best:.2} ns a step at best, {usual:.2} in the median, {slowest:.2} at \
         worst.\nWhere it took a fifth more than at best, or others had a twentieth of the machine, the round was set apart: \
         {disturbed} of {of}."
    )
}

/// Cores, their model, the toolchain.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let compiler = Command::new("rustc").arg("--version").output();
    let compiler = compiler.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    format!("{cores} cores, {model}, {}", compiler.split(" (").next().unwrap_or_default().trim())
}

/// What is missed for a reason that is known.
const WHY: &str = "\
**What is missed, and why.** `with_vs_opool` and `with_vs_r2d2` can be no better than `floor_vs_opool` and `floor_vs_r2d2`: two locked
instructions are what it takes to agree with other cores, and on this processor they cost nearly what opool does, which has the same two.
`roundtrip_vs_dedicated*` are missed by the look at the socket before each use (a `recv`, and an `fstat` for a stream that has no identity of
its own), which finds what the watch cannot know of yet: the rows `*_unlooked_*` are the same pool without it (`probe_after`). Over loopback
a round trip is some 5 µs, over a network the look is lost in it. The same look is what the throughput of crowds lacks to 1.05 times r2d2's
(`saturated_echo_unlooked_thr_vs_r2d2*`). The tails of crowds are a trade: how soon a caller that waits goes before those that run is
`handoff_after`, 1 ms, which is the p99 of 16 threads; the rows `*_sooner_*` have it at 250 µs, with less throughput. r2d2 wakes one waiter for
each return and lets whoever runs take the connection, so its own throughput and tails depend on what the scheduler does; between runs they
differ by a factor of two, and all ratios to it with them: with 256 threads on two cores the throughput was 0.84 to 1.5 times r2d2's. The
longest wait of a crowd without I/O is the scheduler's: threads that never sleep run their slices out, some 3 ms each, before a woken one
gets a core. 64 on 2 cores are 90 ms, 256 are 360 ms, whatever the pool; behind a lock they sleep more often.
";

fn text(report: &Report) -> String {
    let (targets, met) = report.score();
    format!(
        "# Results\n\nWritten by `cargo bench --bench report -- --write`. {}.\n\n\
         All sides of a comparison ran in one process, by turns; each figure is the median of its rounds, each ratio the median of the\n\
         rounds' ratios. A wait is the time from asking for a connection to having it; where callers outnumber connections, pools of equal\n\
         throughput have the same mean wait, so a low median is paid for by those behind it. {met} of {targets} targets met.\n\n{}\n\n{WHY}\n{}",
        machine(),
        calmness(report),
        report.markdown()
    )
}
