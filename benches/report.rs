//! All that is claimed of corepool's speed, measured side by side in one process: `cargo bench --bench report`.
//!
//! Under three minutes. Each figure is a median over interleaved rounds, and a ratio the median of the rounds' own ratios, so that a busy
//! moment hits all sides alike. `-- --json` adds all named figures as one JSON object on the last line; `-- --write` writes
//! `benches/RESULTS.md`; `-- --quick` only tries whether everything runs, as `cargo test --benches` does. Names of sections
//! (`checkout`, `saturated`, …) run only these. A missed target is marked and fails nothing.

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
#[path = "report/uncontended.rs"]
mod uncontended;
#[path = "support/waiting.rs"]
mod waiting;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use effort::Effort;
use table::{Report, Section};

/// A section by its name on the command line.
type Measure = (&'static str, fn(Effort) -> Vec<Section>);

const SECTIONS: [Measure; 8] = [
    // First: what the other sections leave to do in the background allocates and frees as well.
    ("memory", |effort| vec![growing::memory(effort)]),
    ("checkout", |effort| vec![uncontended::checkout(effort)]),
    ("idle_set", |effort| vec![uncontended::idle_set(effort)]),
    ("scaling", |effort| vec![uncontended::scaling(effort)]),
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

    if write && let Err(error) = std::fs::write(results(), text(&report)) {
        eprintln!("{} could not be written: {error}", results().display());
        return ExitCode::FAILURE;
    }
    if json {
        println!("{}", report.json());
    }
    ExitCode::SUCCESS
}

fn results() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md"))
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

fn text(report: &Report) -> String {
    let (targets, met) = report.score();
    format!(
        "# Results\n\nWritten by `cargo bench --bench report -- --write`. {}.\n\n\
         All sides of a comparison ran in one process, by turns; each figure is the median of its rounds, each ratio the median of the\n\
         rounds' ratios. A wait is the time from asking for a connection to having it; where callers outnumber connections, pools of equal\n\
         throughput have the same mean wait, so a low median is paid for by those behind it. {met} of {targets} targets met.\n\n{}",
        machine(),
        report.markdown()
    )
}
