//! The page about a manager of one's own keeps its word: each of its rules names a test that exists. Here, since what is published is
//! without these tests.

use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../../../src/docs/own_manager.rs");

#[test]
fn each_rule_names_a_test_that_exists() {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix("` |"));
    let mut named = 0;
    for row in rows {
        let test = row.rsplit('`').next().unwrap();
        let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{test} is no test"));
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(file).with_extension("rs");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.contains(&format!("#[test]\nfn {name}()")), "there is no test {name} in {}", path.display());
        named += 1;
    }
    assert!(named > 20, "only {named} rules");
    let rules = PAGE.lines().filter(|line| line.starts_with("//! | ") && !line.starts_with("//! | rule"));
    assert_eq!(rules.count(), named, "each rule names one");
}
