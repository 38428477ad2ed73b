//! The README's figures are those of `benches/RESULTS.md`, which the report writes.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

const README: &str = include_str!("../README.md");
const RESULTS: &str = include_str!("../benches/RESULTS.md");

/// The numbers of a text, as they are written: `1,082`, `16.3`.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','));
    words.map(|word| word.trim_end_matches([',', '.'])).filter(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

#[test]
fn each_is_in_the_results() {
    let measured: HashSet<&str> = numbers(RESULTS).collect();
    let (_, chapter) = README.split_once("## Figures\n").expect("a chapter of figures");
    let table = chapter.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let mut figures = 0;
    for row in table.skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [what, values @ ..] = &cells[..] else { panic!("no cells in {row:?}") };
        // In the first cell those with a unit are figures; the others say how many threads.
        let with_unit = numbers(what)
            .filter(|number| what.contains(&format!("{number} ns")) || what.contains(&format!("{number} µs")));
        for figure in with_unit.chain(values.iter().flat_map(|value| numbers(value))) {
            // The length of what that server does is a setting of the benchmark.
            if figure != "500" {
                assert!(measured.contains(figure), "{figure}, of {row:?}, is not in the results");
                figures += 1;
            }
        }
    }
    assert!(figures > 20, "only {figures} figures");
}

#[test]
fn the_badges_say_what_the_manifest_says() {
    let manifest = include_str!("../Cargo.toml");
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(README.contains(&format!("badge/rust-{rust}+-blue")) && README.contains(&format!("Rust {rust}. Licensed")));
    assert!(
        manifest.contains("license = \"MIT OR Apache-2.0\"")
            && README.contains("badge/licence-MIT%20OR%20Apache--2.0-blue")
    );
}

/// What was measured, by its look: a number with a fraction or with thousands, and a unit of time. Round ones are settings, or say how
/// much something takes at all.
fn measured_in(text: &str) -> Vec<&str> {
    let with_unit = ["ns", "µs", "ms"].into_iter().flat_map(|unit| text.match_indices(unit));
    let before =
        with_unit.filter_map(|(at, _)| text[..at].strip_suffix(' ')).filter_map(|text| text.split(' ').next_back());
    before.filter(|word| word.contains(['.', ',']) && numbers(word).next() == Some(*word)).collect()
}

#[test]
fn a_page_of_the_docs_has_no_figure_that_is_not_in_the_results() {
    assert_eq!(measured_in("in 7.1 µs, or 1,082 ns; after 5 ms, 3 ns, and version 1.88"), ["1,082", "7.1"]);
    let measured: HashSet<&str> = numbers(RESULTS).collect();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let pages = ["docs", "docs/guide"].map(|folder| fs::read_dir(src.join(folder)).expect("it is there"));
    let pages = pages.into_iter().flatten().map(|page| page.expect("it can be read").path());
    let mut read = 0;
    for page in pages.filter(|page| page.is_file()).chain([src.join("lib.rs")]) {
        let text = fs::read_to_string(&page).expect("it is text");
        // What a report writes there itself is its own.
        let written = text
            .split_once("<!-- rivals -->")
            .and_then(|(before, rest)| Some(before.to_owned() + rest.split_once("<!-- end of rivals -->")?.1));
        for figure in measured_in(written.as_ref().unwrap_or(&text)) {
            assert!(measured.contains(figure), "{figure}, in {}, is not in the results", page.display());
        }
        read += 1;
    }
    assert!(read > 10, "only {read} pages");
}
