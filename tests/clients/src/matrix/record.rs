//! What a run has shown, as a line of JSON.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One fault, done once to one pool. Times are in milliseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Record {
    pub fault: String,
    pub server: String,
    pub pool: String,
    /// How long the fault lasted, if it is one that lasts.
    pub lasted: Option<u64>,
    /// Uses that got their answer.
    pub answered: u64,
    /// What the others were told, and how many.
    pub errors: BTreeMap<String, u64>,
    /// How long the slowest use took, whatever came of it.
    pub slowest: u64,
    /// From the end of the fault, or from its beginning if it does not last, to the end of the first use that succeeded.
    pub first_success: u64,
    /// From there to when all connections of the pool were had at once, and answered.
    pub whole: u64,
    /// Uses that got a connection which the kernel of this side knew to be dead. `None`: with this fault nobody can know.
    pub lent_dead: Option<u64>,
    /// Uses that read another one's answer.
    pub foreign: u64,
    /// What was left when the pool was gone.
    pub leaked_connections: u64,
    pub leaked_sessions: u64,
    pub leaked_descriptors: u64,
    pub leaked_threads: u64,
    /// Dials from the beginning of the fault to its end, or, if it does not last, to when the pool was whole.
    pub dials: u64,
    /// Of a fault that lasts.
    pub dials_per_second: Option<f64>,
    /// What is measured in this scenario only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
}

impl Record {
    /// Prints it, and appends it to a file in the folder that `COREPOOL_RECORDS` names, if it names one.
    pub fn write(&self) {
        let line = serde_json::to_string(self).unwrap();
        println!("{line}");
        let Some(folder) = std::env::var_os("COREPOOL_RECORDS") else { return };
        fs::create_dir_all(&folder).unwrap();
        // A process each, so that no two write to one file.
        let path = Path::new(&folder).join(format!("{}.jsonl", std::process::id()));
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// All records in the files of a folder, by the files' names.
    pub fn read_all(folder: &Path) -> Vec<Record> {
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
        paths.sort();
        let texts = paths.iter().map(|path| fs::read_to_string(path).unwrap());
        texts
            .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
            .collect()
    }
}
