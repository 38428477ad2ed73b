//! What fuzzing has found, and what it began with: kept in `tests/corpus`, and run by `cargo test`.

/// The files of one target, of which there are so many at least.
pub(crate) fn kept(target: &str, least: usize) -> Vec<Vec<u8>> {
    let folder = format!("{}/tests/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(&folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let files: Vec<_> = files.collect();
    assert!(files.len() >= least, "{} files are kept in {folder}", files.len());
    files
}
