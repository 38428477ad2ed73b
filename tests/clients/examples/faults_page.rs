//! Writes the table of the docs page `faults`, between its markers, from the records of a run of the matrix.
//!
//! ```text
//! COREPOOL_RECORDS=$PWD/target/faults cargo test -p client-tests --test faults
//! cargo run -p client-tests --example faults_page target/faults
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use client_tests::matrix::page::table;
use client_tests::matrix::record::Record;

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("the folder with the records"));
    let page = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../src/docs/faults.rs"));
    let records = Record::read_all(&folder);
    let text = fs::read_to_string(page).unwrap();
    fs::write(page, table(&text, &records)).unwrap();
    println!("{} records of {} are on the page", records.len(), folder.display());
}
