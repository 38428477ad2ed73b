//! System calls, counted by strace, under which a test's binary runs a test of its own: the one named `trips`.

use std::collections::BTreeMap;
use std::process::Command;

/// Whether strace is here and may trace. If not, says that the test is skipped; its absence fails it where servers are required.
pub(crate) fn may_trace() -> bool {
    match Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).status() {
        Ok(status) if status.success() => return true,
        Ok(status) => println!("skipped: strace may trace nothing here: {status}"),
        Err(error) => {
            assert!(std::env::var_os("COREPOOL_REQUIRE_SERVERS").is_none(), "strace: {error}");
            println!("skipped: needs strace");
        }
    }
    false
}

/// Those of one round trip, by name, to a tenth: what its surroundings make once in a thousand trips, as a lock met twice or a look that
/// the sweep has asked for, is none. `tell` tells the traced process what to do, so many times.
pub(crate) fn calls_a_trip(mut tell: impl FnMut(&mut Command, usize)) -> BTreeMap<String, f64> {
    let (few, many) = (calls(|strace| tell(strace, 100)), calls(|strace| tell(strace, 1_100)));
    let more = many.into_iter().map(|(name, count)| {
        let before = few.get(&name).copied().unwrap_or(0);
        (name, ((count as f64 - before as f64) / 1e2).round() / 10.0)
    });
    more.filter(|(_, calls)| *calls != 0.0).collect()
}

/// Those of the thread that sends most, in all that `trips` does.
fn calls(tell: impl FnOnce(&mut Command)) -> BTreeMap<String, usize> {
    let log = std::env::temp_dir().join(format!("corepool-traced-{}", std::process::id()));
    let mut strace = Command::new("strace");
    strace.arg("-f").arg("-o").arg(&log).arg(std::env::current_exe().unwrap()).args(["--exact", "trips"]);
    tell(&mut strace);
    let output = strace.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let mut threads = BTreeMap::<&str, BTreeMap<String, usize>>::new();
    for line in text.lines() {
        // `1234 write(3, …`, and `1234 <... read resumed>` for the rest of one that was interrupted by another thread's.
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, _)) = call.trim_start().split_once('(').filter(|(name, _)| !name.contains(' ')) else {
            continue;
        };
        *threads.entry(thread).or_default().entry(name.to_owned()).or_default() += 1;
    }
    threads.into_values().max_by_key(|calls| calls.get("sendto").copied()).unwrap_or_default()
}
