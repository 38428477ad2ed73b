//! The kept corpora of the fuzz targets that use what is public, or an example: each file once.
//!
//! Those of the targets that look inside (`bag_ops`, `mux_replies`, `resp`, `peek`) are run by the tests of the library.

#[path = "twins/http1.rs"]
mod http1;
#[allow(dead_code, reason = "nothing is asked through a pool here")]
#[path = "../examples/http1/response.rs"]
mod response;
#[path = "twins/settings.rs"]
mod settings;

fn kept(name: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(&folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let files: Vec<_> = files.collect();
    assert!(files.len() >= 16, "{} files are kept in {folder}", files.len());
    files
}

#[test]
fn any_settings_are_built_or_named() {
    kept("settings").iter().for_each(|bytes| settings::settings(bytes));
}

#[test]
fn an_answer_is_read_the_same_in_any_cuts() {
    kept("http1").iter().for_each(|bytes| http1::http1(bytes));
}
