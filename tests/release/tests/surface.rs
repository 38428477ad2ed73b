//! The public list of the crate, with all features, is the one in `surface.txt`: who changes it sees so in the change.
//!
//! It is made from the JSON of one rustdoc, which has another form in each version. Where neither the toolchain in use nor another one that
//! is installed has that version, it says so and passes.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The version whose JSON the package's `public-api` reads.
const VERSION: &str = "1.95";

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/surface.txt");

const RENEW: &str = "COREPOOL_RENEW_SURFACE";

/// What the compiler keeps for itself.
const INTERNAL: [&str; 3] = ["core::marker::Freeze", "core::marker::StructuralPartialEq", "core::marker::UnsafeUnpin"];

/// How that version's cargo is called, if there is one: as the one in use, or by the name of a toolchain.
fn toolchain() -> Option<Option<String>> {
    let named = Some(format!("+{VERSION}.0"));
    [None, named].into_iter().find(|toolchain| {
        let mut cargo = Command::new("cargo");
        cargo.args(toolchain).arg("--version").env_remove("RUSTUP_TOOLCHAIN");
        let said = cargo.output().ok().and_then(|output| String::from_utf8(output.stdout).ok());
        said.is_some_and(|said| said.starts_with(&format!("cargo {VERSION}.")))
    })
}

/// A line for each item that a user can name and for each trait that a type has, by module and type.
fn surface(toolchain: Option<String>) -> Vec<String> {
    let house = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = house.join("target");
    let mut cargo = Command::new("cargo");
    cargo.args(toolchain);
    cargo.args(["rustdoc", "--quiet", "--package", "corepool", "--lib", "--all-features", "--target-dir"]);
    cargo.arg(&target).args(["--", "-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"]);
    cargo.env("RUSTDOC", Path::new(env!("CARGO_MANIFEST_DIR")).join("rustdoc")).current_dir(&house);
    // Those of the cargo that runs this test name its own compiler.
    cargo.env_remove("RUSTC").env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    assert!(cargo.status().expect("cargo is here").success(), "rustdoc failed");
    let list = public_api::Builder::from_rustdoc_json(target.join("doc/corepool.json"))
        .omit_blanket_impls(true)
        .build()
        .expect("its JSON is of the version that is read here");
    let lines = list.items().map(ToString::to_string);
    lines.filter(|line| !INTERNAL.iter().any(|internal| line.contains(internal))).collect()
}

/// What only the first of two lists has, a line each.
fn only_in(these: &[String], those: &[String], sign: char) -> String {
    let those: HashSet<&String> = those.iter().collect();
    these.iter().filter(|line| !those.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
}

#[test]
fn the_public_list_is_the_one_that_is_written_down() {
    let Some(toolchain) = toolchain() else {
        println!("skipped: needs a toolchain of version {VERSION}");
        return;
    };
    let now = surface(toolchain);
    if std::env::var_os(RENEW).is_some() {
        fs::write(LIST, now.join("\n") + "\n").expect("the list can be written");
    }
    let listed: Vec<String> = fs::read_to_string(LIST).expect("there is a list").lines().map(str::to_owned).collect();
    let (new, gone) = (only_in(&now, &listed, '+'), only_in(&listed, &now, '-'));
    assert!(
        new.is_empty() && gone.is_empty(),
        "the public list has changed. If that is meant, say in CHANGELOG.md what it means to users, and renew the file:\n\
         {RENEW}=1 cargo test -p release-tests --test surface\n{gone}{new}"
    );
    assert!(now.len() > 300, "only {} items", now.len());
}
