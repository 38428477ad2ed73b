//! The docs page `faults`: its table, made of records.

use std::collections::BTreeMap;

use super::record::Record;

const BEGIN: &str = "//! <!-- The table is written by tests/clients/examples/faults_page.rs -->\n";
const END: &str = "//! <!-- Its end -->\n";
const HEAD: &str = "//! | fault | server | pool | a caller was told | first success | whole | dead lent | left | dials/s |\n\
                    //! |---|---|---|---|---|---|---|---|---|\n";

/// The page with another table in it.
pub fn table(page: &str, records: &[Record]) -> String {
    let (before, rest) = page.split_once(BEGIN).expect("the marker before the table");
    let (_, after) = rest.split_once(END).expect("the marker behind the table");
    let rows: String = cells(records).iter().map(|cell| row(cell)).collect();
    format!("{before}{BEGIN}{HEAD}{rows}{END}{after}")
}

/// The records of each fault, server and pool together, in the order in which they were first met, the same fault together.
fn cells(records: &[Record]) -> Vec<Vec<&Record>> {
    let mut faults: Vec<&str> = Vec::new();
    let mut cells: BTreeMap<(usize, &str, &str), Vec<&Record>> = BTreeMap::new();
    for record in records {
        let fault = faults.iter().position(|fault| *fault == record.fault).unwrap_or_else(|| {
            faults.push(&record.fault);
            faults.len() - 1
        });
        cells.entry((fault, &record.server, &record.pool)).or_default().push(record);
    }
    cells.into_values().collect()
}

fn row(cell: &[&Record]) -> String {
    let one = cell[0];
    let fault = match one.lasted {
        Some(_) => format!("{}, {} s", one.fault, median(cell, |one| one.lasted.unwrap_or(0) as f64 / 1e3)),
        None => one.fault.clone(),
    };
    let sum = |count: fn(&Record) -> u64| cell.iter().map(|one| count(one)).sum::<u64>();
    let left = sum(|one| one.leaked_connections + one.leaked_sessions + one.leaked_descriptors + one.leaked_threads);
    let dead = one.lent_dead.map_or("–".to_owned(), |_| sum(|one| one.lent_dead.unwrap_or(0)).to_string());
    let dials = one
        .dials_per_second
        .map_or("–".to_owned(), |_| median(cell, |one| one.dials_per_second.unwrap_or(0.0)).to_string());
    let millis = |time: fn(&Record) -> u64| {
        let most = cell.iter().map(|one| time(one)).max().unwrap_or(0);
        format!("{} ms ({most})", median(cell, |one| time(one) as f64).round())
    };
    let (first, whole) = match one.figures.is_empty() {
        true => (millis(|one| one.first_success), millis(|one| one.whole)),
        // Nothing but figures of its own.
        false => (figures(cell), "–".to_owned()),
    };
    format!(
        "//! | {fault} | {} | {} | {} | {first} | {whole} | {dead} | {left} | {dials} |\n",
        one.server,
        one.pool,
        told(cell)
    )
}

/// How many of each error there were in a round, on average; what a caller was told most often first.
fn told(cell: &[&Record]) -> String {
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in cell.iter().flat_map(|one| &one.errors) {
        *kinds.entry(kind).or_default() += count;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let texts = kinds.iter().map(|(kind, count)| {
        let each = *count as f64 / cell.len() as f64;
        if each < 10.0 { format!("{each:.1} {kind}") } else { format!("{each:.0} {kind}") }
    });
    let all = texts.collect::<Vec<_>>().join(", ");
    if all.is_empty() { "nothing".to_owned() } else { all }
}

fn figures(cell: &[&Record]) -> String {
    let names = cell[0].figures.keys();
    let texts = names.map(|name| format!("{name}: {}", median(cell, |one| one.figures[name]).round()));
    texts.collect::<Vec<_>>().join("; ")
}

/// The middle one, to a tenth.
fn median(cell: &[&Record], of: impl Fn(&Record) -> f64) -> f64 {
    let mut all: Vec<f64> = cell.iter().map(|one| of(one)).collect();
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2] * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_old_one() {
        let page = format!("//! Before.\n{BEGIN}//! | old |\n{END}//! After.\n");
        let record = |pool: &str, whole| Record {
            fault: "restart".to_owned(),
            server: "Redis".to_owned(),
            pool: pool.to_owned(),
            lasted: Some(3_000),
            errors: [("Io".to_owned(), 8)].into(),
            whole,
            lent_dead: Some(0),
            dials_per_second: Some(4.0),
            ..Record::default()
        };
        let records = [record("r2d2", 9), record("corepool", 1), record("corepool", 5), record("corepool", 2)];
        let rows = "//! | restart, 3 s | Redis | corepool | 8.0 Io | 0 ms (0) | 2 ms (5) | 0 | 0 | 4 |\n\
                    //! | restart, 3 s | Redis | r2d2 | 8.0 Io | 0 ms (0) | 9 ms (9) | 0 | 0 | 4 |\n";
        assert_eq!(table(&page, &records), format!("//! Before.\n{BEGIN}{HEAD}{rows}{END}//! After.\n"));
    }
}
