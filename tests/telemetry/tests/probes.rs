//! Feature `usdt`: each probe is noted in the binary, and a debugger that stops there finds the arguments that the docs promise.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use corepool::{GetError, Opening, Pool, TcpManager};
use telemetry_tests::{Numbers, until};

const SCENE: &str = "COREPOOL_PROBES_SCENE";

/// How many arguments each has.
const PROBES: [(&str, usize); 7] =
    [("get", 3), ("put", 3), ("wait", 3), ("steal", 3), ("dial", 3), ("close", 3), ("hang_up", 2)];

/// What runs under the debugger: each probe at least once. Without its variable, nothing.
#[test]
fn scene() {
    if std::env::var_os(SCENE).is_none() {
        return;
    }
    // A dial that fails, one that opens, a wait that is served, one in vain, and a close.
    let manager = Numbers::default();
    let down = manager.down.clone();
    down.store(true, Relaxed);
    let pool =
        Pool::builder(manager).max_size(1).shards(1).opening(Opening::Background).build().expect("in the background");
    until("a dial has failed", || pool.stats().dials_failed > 0);
    down.store(false, Relaxed);
    until("open", || pool.with(|number| Ok::<_, GetError>(*number)).is_ok());
    let lease = pool.get().expect("one");
    assert!(pool.get_timeout(Duration::from_millis(5)).is_err(), "there is but one");
    thread::scope(|scope| {
        scope.spawn(|| drop(pool.get_timeout(Duration::from_secs(60)).expect("it is served")));
        until("waiting", || pool.stats().waiting == 1);
        drop(lease);
    });
    pool.close();

    // A connection in each of two shards: who holds both has one that was stolen.
    let stolen = Pool::builder(Numbers::default()).max_size(2).min_open(2).shards(2).build().expect("it opens");
    until("stolen", || {
        let held: Vec<_> = (0..2).filter_map(|_| stolen.try_get().ok()).collect();
        drop(held);
        stolen.stats().shards.iter().any(|shard| shard.stolen > 0)
    });

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let manager = TcpManager::new(listener.local_addr().expect("its address").to_string());
    let watched = Pool::builder(manager).max_size(1).shards(1).build().expect("it opens");
    drop(listener.accept().expect("its connection"));
    until("the hang-up is heard", || watched.stats().closed(corepool::CloseReason::PeerClosed) > 0);
}

fn has(tool: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok();
    assert!(there || std::env::var_os("COREPOOL_REQUIRE_SERVERS").is_none(), "{tool} is not installed");
    if !there {
        println!("skipped: needs {tool}");
    }
    there
}

#[test]
fn each_probe_is_noted_in_the_binary_with_its_arguments() {
    if !has("readelf") {
        return;
    }
    let notes =
        Command::new("readelf").arg("-nW").arg(std::env::current_exe().expect("this one")).output().expect("notes");
    let notes = String::from_utf8_lossy(&notes.stdout);
    // Three lines each: provider, name, and arguments as `-8@%rax -8@%rbx`.
    let mut noted: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for note in notes.split("Provider: corepool").skip(1) {
        let after = |key: &str| note.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_default().trim();
        noted.entry(after("Name:")).or_default().push(after("Arguments:").split_whitespace().count());
    }
    for (name, arguments) in PROBES {
        let counts = noted.remove(name).unwrap_or_default();
        assert!(!counts.is_empty() && counts.iter().all(|count| *count == arguments), "{name}: {counts:?}");
    }
    assert!(noted.is_empty(), "not in the docs: {noted:?}");
}

/// The debugger's script: at each probe a line with its name and its arguments, and for `close` its text.
fn script() -> String {
    // In C, whose expressions can show a text without an end. `char` alone is the four bytes of Rust.
    let mut script = String::from("set pagination off\nset confirm off\nset language c\nset width 0\n");
    for (name, arguments) in PROBES {
        let values: String = (0..arguments).map(|argument| format!(", $_probe_arg{argument}")).collect();
        let text = if name == "close" { "output *(unsigned char *)$_probe_arg1@(int)$_probe_arg2\n" } else { "" };
        let format = format!("\\nprobe {name}{} ", " %lu".repeat(arguments));
        script += &format!("break -probe-stap corepool:{name}\ncommands\nsilent\nprintf \"{format}\"{values}\n{text}");
        script += "printf \"\\n\"\ncontinue\nend\n";
    }
    script + "run\n"
}

/// A stop at a probe: its arguments, and its text.
type Stop = (Vec<u64>, String);

#[test]
fn a_debugger_that_stops_at_a_probe_finds_what_the_docs_promise() {
    if !has("gdb") {
        return;
    }
    let file = std::env::temp_dir().join(format!("corepool-probes-{}.gdb", std::process::id()));
    fs::write(&file, script()).expect("there is room");
    let output = Command::new("timeout")
        .args(["300", "gdb", "--batch", "-nx", "-x"])
        .arg(&file)
        .arg("--args")
        .arg(std::env::current_exe().expect("this one"))
        .args(["--exact", "scene", "--test-threads=1"])
        .env(SCENE, "1")
        .env_remove("DEBUGINFOD_URLS")
        .output()
        .expect("gdb runs");
    let _ = fs::remove_file(file);
    let said = String::from_utf8_lossy(&output.stdout);
    let why = || format!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let mut stops: BTreeMap<&str, Vec<Stop>> = BTreeMap::new();
    for line in said.lines().filter_map(|line| line.strip_prefix("probe ")) {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let (numbers, text): (Vec<_>, Vec<_>) = words.partition(|word| word.parse::<u64>().is_ok());
        let numbers = numbers.iter().filter_map(|number| number.parse().ok()).collect();
        stops.entry(name).or_default().push((numbers, text.concat().trim_matches('"').to_owned()));
    }
    let of = |name: &str| stops.get(name).unwrap_or_else(|| panic!("never at {name}: {}", why())).clone();

    // Three pools, and each probe says of which.
    let mut pools: Vec<u64> = stops.values().flatten().map(|(arguments, _)| arguments[0]).collect();
    pools.sort_unstable();
    pools.dedup();
    assert_eq!(pools.len(), 3, "{}", why());

    assert!(of("get").iter().all(|(arguments, _)| arguments[1] < 2 && arguments[2] < 2), "shards and slots: {}", why());
    assert_eq!(of("get").len(), of("put").len(), "all are given back: {}", why());
    let waits = of("wait");
    let in_vain = waits.iter().find(|(arguments, _)| arguments[2] == 0).unwrap_or_else(|| panic!("none: {}", why()));
    assert!((5_000_000..60_000_000_000).contains(&in_vain.0[1]), "5 ms and no more than it took: {}", why());
    assert!(waits.iter().any(|(arguments, _)| arguments[2] == 1), "one was served: {}", why());
    let dials = of("dial");
    assert!(dials.iter().any(|(arguments, _)| arguments[2] == 0), "one failed: {}", why());
    assert!(dials.iter().filter(|(arguments, _)| arguments[2] == 1).count() >= 4, "four opened: {}", why());
    assert!(of("steal").iter().all(|(arguments, _)| arguments[1] < 2 && arguments[2] < 2), "{}", why());
    let reasons: Vec<String> = of("close").into_iter().map(|(_, text)| text).collect();
    for reason in ["pool_closed", "peer_closed"] {
        assert!(reasons.iter().any(|text| text == reason), "{reason} is not among {reasons:?}: {}", why());
    }
    assert!(of("hang_up").iter().all(|(arguments, _)| arguments[1] == 0), "there is one slot: {}", why());
}
