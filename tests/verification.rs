//! The page on verification says how much there is: counted here. In the package, which has no models, there is nothing to count.

use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../src/docs/verification.rs");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn with_extension(folder: &str, extension: &str) -> usize {
    files(&root().join(folder)).iter().filter(|path| path.extension().is_some_and(|other| other == extension)).count()
}

/// Tests in a folder's files.
fn tests(folder: &str) -> usize {
    let texts = files(&root().join(folder)).into_iter().map(|path| fs::read_to_string(path).unwrap());
    texts.map(|text| text.lines().filter(|line| line.trim() == "#[test]").count()).sum()
}

/// What the page says in the row that begins so.
fn said(row: &str) -> usize {
    let line = PAGE.lines().find_map(|line| line.strip_prefix(&format!("//! | {row}")));
    let line = line.unwrap_or_else(|| panic!("no row begins with {row:?}"));
    let count = line.split(" | ").nth(1).expect("a second cell");
    count.trim().parse().unwrap_or_else(|_| panic!("{count:?} in the row of {row:?}"))
}

#[test]
fn the_page_counts_what_there_is() {
    if !root().join("loom-tests").exists() {
        return;
    }
    assert_eq!(said("models of the bag"), tests("loom-tests/src"), "models");
    assert_eq!(said("mutations of what is modelled"), with_extension("loom-tests/mutations", "patch"), "mutations");
    assert_eq!(
        said("mutations of the policy"),
        with_extension("loom-tests/worlds", "patch"),
        "mutations of the policy"
    );
    assert_eq!(said("storms under random"), tests("tests/shuttle/src"), "storms");
    assert_eq!(said("fuzz targets"), with_extension("fuzz/fuzz_targets", "rs"), "fuzz targets");
    assert_eq!(said("inputs kept"), files(&root().join("tests/corpus")).len(), "kept inputs");
}

#[test]
fn every_mutant_is_in_the_table_and_none_survives() {
    let Ok(table) = fs::read_to_string(root().join("loom-tests/README.md")) else { return };
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), with_extension("loom-tests/mutations", "patch"), "rows, one for each mutant");
    for row in rows {
        let name = row.split('`').nth(1).expect("a name");
        let patch = root().join(format!("loom-tests/mutations/{name}.patch"));
        let patch = fs::read_to_string(&patch).unwrap_or_else(|error| panic!("{}: {error}", patch.display()));
        let (_, models) = patch.lines().next().unwrap().split_once("; fails: ").expect("models that find it");
        for model in models.split(' ') {
            assert!(row.contains(&format!("`{model}`")), "{name} survived {model}: {row}");
        }
    }
}

#[test]
fn what_the_page_names_is_there() {
    let in_package = !root().join("loom-tests").exists();
    let quoted = PAGE.split('`').skip(1).step_by(2).filter(|name| name.contains('/') && !name.contains(' '));
    let mut named = 0;
    for name in quoted.filter(|name| !in_package || name.starts_with("src/") || name.starts_with("tests/")) {
        if name.starts_with("tests/clients") && in_package {
            continue;
        }
        assert!(root().join(name).exists(), "{name} is not there");
        named += 1;
    }
    assert!(named >= 4, "{named} files are named");
}
