//! Every dependency, of whatever feature, test or benchmark, comes from crates.io and has a licence that `deny.toml` allows.
//!
//! `cargo deny` says the same and more (`.ci/long deny`), and takes minutes to build; this takes a second.

use std::process::Command;

use serde_json::Value;

const DENY: &str = include_str!("../../../deny.toml");

/// The list of strings under this key.
fn list(key: &str) -> Vec<&'static str> {
    let (_, rest) = DENY.split_once(&format!("\n{key} = [")).unwrap_or_else(|| panic!("no {key} in deny.toml"));
    let (list, _) = rest.split_once(']').expect("a list ends");
    list.split('"').skip(1).step_by(2).collect()
}

/// Whether a licence expression can be met with these alone. `WITH` adds permissions only.
fn is_met(expression: &str, allowed: &[&str]) -> bool {
    // An older custom writes `/` for OR.
    let text = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut rest = &words[..];
    let met = either(&mut rest, allowed);
    met && rest.is_empty()
}

fn either(words: &mut &[&str], allowed: &[&str]) -> bool {
    let mut met = both(words, allowed);
    while words.first() == Some(&"OR") {
        *words = &words[1..];
        met |= both(words, allowed);
    }
    met
}

fn both(words: &mut &[&str], allowed: &[&str]) -> bool {
    let mut met = one(words, allowed);
    while words.first() == Some(&"AND") {
        *words = &words[1..];
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut &[&str], allowed: &[&str]) -> bool {
    let Some((word, rest)) = words.split_first() else { return false };
    *words = rest;
    if *word == "(" {
        let met = either(words, allowed);
        let closed = words.first() == Some(&")");
        *words = words.get(1..).unwrap_or_default();
        return met && closed;
    }
    if words.first() == Some(&"WITH") {
        *words = words.get(2..).unwrap_or_default();
    }
    allowed.contains(word)
}

#[test]
fn an_expression_is_met_by_what_is_allowed() {
    let allowed = ["MIT", "Apache-2.0", "Zlib"];
    for met in ["MIT", "GPL-3.0 OR MIT", "MIT/Unlicense", "Apache-2.0 WITH LLVM-exception OR X", "(X OR MIT) AND Zlib"]
    {
        assert!(is_met(met, &allowed), "{met}");
    }
    for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR X) AND Y", "X WITH MIT", "(MIT", "MIT MIT"] {
        assert!(!is_met(unmet, &allowed), "{unmet:?}");
    }
}

#[test]
fn every_dependency_is_from_the_registry_and_under_a_licence_that_is_allowed() {
    let (allowed, registries) = (list("allow"), list("allow-registry"));
    let cargo = Command::new("cargo")
        .args(["metadata", "--format-version=1", "--all-features", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo is here");
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let metadata: Value = serde_json::from_slice(&cargo.stdout).expect("its answer is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let mut faults = Vec::new();
    for package in packages.iter().filter(|package| !package["source"].is_null()) {
        let (name, version) = (&package["name"], &package["version"]);
        let source = package["source"].as_str().unwrap_or_default();
        if !registries.iter().any(|registry| source.strip_prefix("registry+") == Some(registry)) {
            faults.push(format!("{name} {version} comes from {source}"));
        }
        let licence = package["license"].as_str().unwrap_or_default();
        if !is_met(licence, &allowed) {
            faults.push(format!("{name} {version} is under {licence:?}"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(packages.len() > 100, "only {} packages", packages.len());
}
