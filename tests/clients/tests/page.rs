//! The pages about a manager of one's own and about more than one machine keep their word: each of their rules names a test that exists.
//! Here, since what is published is without these tests.

use std::fs;
use std::path::Path;

const BEYOND: &str = include_str!("../../../src/docs/beyond.rs");
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

#[test]
fn each_pair_beyond_one_machine_names_a_test_that_exists() {
    let text = BEYOND.replace("\n//! ", " ");
    let mut named = 0;
    for list in text.split("Test: ").chain(text.split("Tests: ")).skip(1) {
        let list = list.split('.').next().unwrap();
        for test in list.split('`').filter(|word| word.contains("::") && !word.contains('[')) {
            let (file, name) = test.split_once("::").unwrap();
            let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).join("faults").join(file);
            let text = fs::read_to_string(path.with_extension("rs")).unwrap_or_else(|error| panic!("{test}: {error}"));
            assert!(text.contains(&format!("#[test]\nfn {name}()")), "there is no test {test}");
            named += 1;
        }
    }
    assert!(named >= 6, "only {named} tests");
}
