//! The house has storeys, and arrows point down: no file imports from above, none imports in a circle, and `unsafe` has two homes.
//!
//! Read as text: every `crate::`, `super::` and `self::` path of the code, inline ones too, and every call of a method whose type has
//! `impl` blocks in several files, since such a call is an arrow that no import shows.

#[path = "layers/source.rs"]
mod source;
#[path = "layers/words.rs"]
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use source::Source;

/// The storeys, from the ground up. A file belongs to the line with the longest prefix of its path. It may use its own line and those above
/// it in this list, which are beneath it in the house.
const LAYERS: [&[&str]; 17] = [
    // The one door to std or loom.
    &["sync.rs", "sync/"],
    // Memory only: no I/O, no clock, no user code.
    &["lockfree/", "mux/line/"],
    // The machine: system calls, cores, threads, the clock.
    &["os/"],
    // Reactors and what they register. Knows neither pool nor manager.
    &["watch/"],
    // What a user implements, sets and reads.
    &["error.rs", "error/", "manager.rs", "settings.rs", "observe.rs", "stats.rs"],
    // Ready-made connections.
    &["net/", "clients/"],
    // The engine's parts, which know neither the engine nor each other but for what stands here.
    &[
        "engine/counters.rs",
        "engine/live.rs",
        "engine/patience.rs",
        "engine/predicates.rs",
        "engine/resident.rs",
        "engine/told.rs",
        "engine/waits.rs",
    ],
    &["engine/dialing/", "engine/upkeep/", "engine/closing.rs"],
    // The engine, which has the parts.
    &["engine/mod.rs"],
    // Its verbs: what crosses parts.
    &["engine/duties.rs"],
    &["engine/demand.rs"],
    &["engine/"],
    // What a user holds.
    &["lease.rs", "pool.rs"],
    &["builder.rs", "map.rs", "map/"],
    // Metrics and traces of it.
    &["telemetry/"],
    // One connection for many callers, on top of a pool.
    &["mux.rs", "mux/"],
    // The front page, and the engine in a world of its own, for tests.
    &["lib.rs", "docs/", "sim/"],
];

/// The homes of `unsafe`.
const UNSAFE: [&str; 2] = ["lockfree/", "os/sys.rs"];

fn layer(file: &str) -> usize {
    let prefix = |names: &&&str| file.starts_with(**names);
    let places = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(layer, names)| names.iter().filter(prefix).map(move |name| (name.len(), layer)));
    places.max().unwrap_or_else(|| panic!("{file} has no place in the table of layers")).1
}

/// What is wrong with these files, a line each.
fn faults(sources: &[Source]) -> Vec<String> {
    let arrows = source::arrows(sources);
    let mut faults = Vec::new();
    for (from, to, why) in &arrows {
        if layer(to) > layer(from) {
            faults.push(format!("{from} reaches up to {to}: {why}"));
        }
    }
    let mut beneath: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to, _) in &arrows {
        beneath.entry(from).or_default().insert(to);
    }
    faults.extend(circle(&beneath).map(|files| format!("a circle: {}", files.join(" -> "))));
    for source in sources.iter().filter(|source| !UNSAFE.iter().any(|home| source.file.starts_with(home))) {
        if source.words().any(|word| word == "unsafe") {
            faults.push(format!("{} has `unsafe`", source.file));
        }
        if !source.file.ends_with("mod.rs")
            && source.file != "lib.rs"
            && source.file != "sync.rs"
            && !source.forbids_unsafe()
        {
            faults.push(format!("{} does not forbid unsafe code", source.file));
        }
    }
    faults
}

/// Some way from a file back to itself.
fn circle<'a>(beneath: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    fn walk<'a>(
        file: &'a str,
        beneath: &BTreeMap<&'a str, BTreeSet<&'a str>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(begin) = way.iter().position(|other| *other == file) {
            return Some(way[begin..].iter().copied().chain([file]).collect());
        }
        if done.contains(file) {
            return None;
        }
        way.push(file);
        let found = beneath.get(file).into_iter().flatten().find_map(|next| walk(next, beneath, way, done));
        way.pop();
        done.insert(file);
        found
    }
    let mut done = BTreeSet::new();
    beneath.keys().find_map(|file| walk(file, beneath, &mut Vec::new(), &mut done))
}

fn read(folder: &Path, prefix: &str, into: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        // The twin stands beside the core in its folder, and is a test of its own at the crate's root.
        if entry.path().is_dir() && name != "lockfree/twin" {
            read(&entry.path(), &format!("{name}/"), into);
        } else if name.ends_with(".rs") {
            into.push(Source::new(&name, &fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

fn house() -> Vec<Source> {
    let mut sources = Vec::new();
    read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), "", &mut sources);
    sources
}

#[test]
fn arrows_point_down() {
    let sources = house();
    assert!(sources.len() > 40, "{} files", sources.len());
    let faults = faults(&sources);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_file_is_read_in_ten_minutes() {
    let long = house().into_iter().filter(|source| source.lines > 400);
    let long: Vec<String> = long.map(|source| format!("{}: {} lines", source.file, source.lines)).collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

/// What is missing beside the code of all files.
fn unsaid(folder: &Path, prefix: &str) -> Vec<String> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(|entry| entry.file_name());
    let mut faults = Vec::new();
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        // Of tests nobody reads a page.
        if entry.path().is_dir() && name != "lockfree/twin" && name != "sim" {
            faults.extend(unsaid(&entry.path(), &format!("{name}/")));
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && !name.ends_with("twin.rs") {
            faults.extend(words::missing(&name, &fs::read_to_string(entry.path()).unwrap()));
        }
    }
    faults
}

#[test]
fn what_is_unsafe_ordered_or_may_fail_says_so() {
    let faults = unsaid(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), "");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn what_says_nothing_is_found() {
    let found = |file: &str, code: &str| words::missing(file, code).join("\n");
    assert_eq!(found("os/sys.rs", "fn f(p: *const u8) -> u8 {\n    // SAFETY: it lives.\n    unsafe { *p }\n}"), "");
    assert!(found("os/sys.rs", "fn f(p: *const u8) -> u8 {\n    unsafe { *p }\n}").contains("SAFETY"));
    let load =
        |comment: &str| format!("fn f(a: &AtomicU64) -> u64 {{\n    {comment}\n    a.load(Ordering::Acquire)\n}}");
    assert_eq!(found("engine/a.rs", &load("// Acquire: what was stored before.")), "");
    assert!(found("engine/a.rs", &load("// As above.")).contains("Ordering::Acquire"));
    assert_eq!(found("lockfree/a.rs", &load("// Acquire: the connection; edge E2.")), "");
    assert!(found("lockfree/a.rs", &load("// Acquire: the connection.")).contains("Ordering::Acquire"));
    assert!(found("a.rs", "/// Asks.\npub fn f() -> Result<(), E> {\n    g()\n}").contains("nothing of errors"));
    assert_eq!(found("a.rs", "/// Asks.\n///\n/// # Errors\n/// None.\npub fn f() -> Result<(), E> {\n    g()\n}"), "");
    assert!(found("a.rs", "/// Asks.\npub fn f() {\n    g().unwrap();\n}").contains("may panic"));
}

/// The house with this code at the end of one of its files.
fn planted(file: &str, code: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    // Above the tests, which are not looked at.
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    let text = text.split("#[cfg(all(test,").next().unwrap();
    let mut sources = house();
    sources.retain(|source| source.file != file);
    sources.push(Source::new(file, &format!("{text}\n{code}\n")));
    faults(&sources)
}

#[track_caller]
fn assert_found(faults: &[String], fault: &str) {
    assert!(faults.iter().any(|found| found.contains(fault)), "{fault} is not among {faults:?}");
}

#[test]
fn an_import_from_above_is_found() {
    let inline = planted("engine/dialing/backoff.rs", "fn up(_: &crate::engine::duties::Later) {}");
    assert_found(&inline, "engine/dialing/backoff.rs reaches up to engine/duties.rs");
    let grouped = planted("os/clock.rs", "use crate::{sync::lock, watch::{probe::{peek}, source}};");
    assert_found(&grouped, "os/clock.rs reaches up to watch/probe.rs");
    assert_found(&grouped, "os/clock.rs reaches up to watch/source.rs");
    let relative = planted("engine/dialing/book.rs", "use super::super::control;");
    assert_found(&relative, "engine/dialing/book.rs reaches up to engine/control.rs");
}

#[test]
fn a_circle_is_found() {
    let imports = planted("watch/source.rs", "use super::duplicate::Cut;");
    assert_found(&imports, "a circle: watch/duplicate.rs -> watch/source.rs -> watch/duplicate.rs");
    let methods =
        planted("engine/refusal.rs", "impl<M: Manager> Engine<M> { fn wait_again(&self) { self.settings(); } }");
    assert!(!methods.iter().any(|fault| fault.contains("a circle")), "{methods:?}");
    let methods = planted("engine/duties.rs", "impl<M: Manager> Engine<M> { fn more(&self) { self.ask(); } }");
    assert_found(&methods, "engine/duties.rs reaches up to engine/demand.rs: Engine::ask");
    let methods = planted("engine/snapshot.rs", "impl<M: Manager> Engine<M> { fn more(&self) { self.drain(LIMIT); } }");
    assert_found(&methods, "a circle: engine/control.rs -> engine/snapshot.rs -> engine/control.rs");
}

#[test]
fn unsafe_outside_its_homes_is_found() {
    let faults = planted("engine/counters.rs", "fn quick(p: *const u8) -> u8 { unsafe { *p } }");
    assert_found(&faults, "engine/counters.rs has `unsafe`");
    let faults = planted("engine/counters.rs", "// unsafe in a comment\nconst WORD: &str = \"unsafe\";");
    assert_eq!(faults, Vec::<String>::new());
}
