//! The examples, as a user would run them: on their embedded peers, against a real one by its address, and with arguments that make no
//! sense.
//!
//! `cargo test` has built them by the time this runs; `cargo test --test examples` alone has not.
//! Nor has the gate's run without a watch, in which there is less to see.
#![cfg(not(corepool_unwatched))]

#[path = "../examples/support/resp_server.rs"]
#[allow(dead_code, reason = "no outage is played here")]
mod resp_server;
#[path = "../examples/http1/upstream.rs"]
#[allow(dead_code, reason = "as a peer only")]
mod upstream;

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use resp_server::RespServer;
use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};

const EXAMPLES: &[&str] = if cfg!(feature = "redis") {
    &["gateway", "http1", "port", "redis_blocking", "redis_shared", "soak", "top"]
} else {
    &["gateway", "http1", "port", "redis_blocking", "soak", "top"]
};
/// None of the runs here takes more than 3 s where it has a core to itself.
const HOPELESS: Duration = Duration::from_secs(60);

/// What a run of an example left behind.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(example: &str, arguments: &[&str]) -> Run {
    let test = std::env::current_exe().expect("the test knows where it is");
    let binaries = test.parent().and_then(|deps| deps.parent()).expect("it lies in target/PROFILE/deps");
    let path: PathBuf = [binaries, "examples".as_ref(), example.as_ref()].iter().collect();
    assert!(path.exists(), "{} is not there: build it first, by cargo test or cargo build --examples", path.display());

    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the example starts");
    let pid = Pid::from_child(&child);
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    let output: Output = match ended.recv_timeout(HOPELESS) {
        Ok(output) => output.expect("the example can be waited for"),
        Err(_) => {
            let _ = kill_process(pid, Signal::KILL);
            panic!("{example} {arguments:?} runs for ever: {:?}", ended.recv());
        }
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Run {
    /// It ended like this, and said nothing on stderr unless it failed.
    #[track_caller]
    fn ended(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self}");
        assert!(code != 0 || self.err.is_empty(), "{self}");
        self
    }

    /// The first word after `name` in the row that begins with it.
    #[track_caller]
    fn word(&self, name: &str) -> &str {
        let rest = self.out.lines().find_map(|line| line.trim_start().strip_prefix(name));
        rest.and_then(|rest| rest.split_whitespace().next()).unwrap_or_else(|| panic!("no {name:?} in {self}"))
    }

    #[track_caller]
    fn number(&self, name: &str) -> f64 {
        self.word(name).parse().unwrap_or_else(|_| panic!("{name:?} is no number in {self}"))
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {:?}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }
}

/// An address that refuses, for as long as the socket lives: bound, so that nobody else gets it, but not listening.
fn nobody() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let address = socket.local_addr().expect("it is bound").as_socket().expect("it has a port");
    (socket, address)
}

/// A peer that does with each connection what `serve` says. It lives as long as the process.
fn peer(serve: fn(BufReader<TcpStream>) -> io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // One that ends in an error ends like any other.
            thread::spawn(move || serve(BufReader::new(stream)));
        }
    });
    address
}

#[test]
fn every_example_explains_itself() {
    for example in EXAMPLES {
        for flag in ["--help", "-h"] {
            let run = run(example, &[flag]);
            run.ended(0);
            assert!(run.out.contains(&format!("Usage: {example} [OPTIONS]")), "{run}");
            assert!(run.out.contains("Exit status: 0"), "{run}");
            assert!(run.out.lines().all(|line| line.len() <= 120), "{run}");
        }
    }
}

#[test]
fn a_wrong_argument_is_named_and_ends_with_2() {
    let wrong = [
        ("gateway", "--seconds", "0"),
        ("gateway", "--backend", "http://127.0.0.1/"),
        ("gateway", "--clients", "65"),
        ("gateway", "--mode", "both"),
        ("http1", "--url", "https://127.0.0.1/"),
        ("http1", "--url", "http://127.0.0.1:http/"),
        ("http1", "--threads", "-1"),
        ("port", "--children", "none"),
        ("port", "--lines", ""),
        ("redis_blocking", "--backend", "redis+unix:///run/redis.sock"),
        ("redis_blocking", "--rounds", "1.5"),
        ("soak", "--minutes", "0"),
    ];
    let unknown = EXAMPLES.iter().map(|example| (*example, "--no-such-option", ""));
    for (example, option, value) in wrong.into_iter().chain(unknown) {
        let arguments =
            if value.is_empty() && option == "--no-such-option" { vec![option] } else { vec![option, value] };
        let run = run(example, &arguments);
        run.ended(2);
        assert!(run.err.starts_with(&format!("{example}: ")), "{run}");
        assert!(run.err.contains(option.trim_start_matches('-')), "{run}");
        assert!(run.err.contains(&format!("Try '{example} --help'.")), "{run}");
        assert!(run.out.is_empty(), "{run}");
    }
}

#[cfg(not(corepool_unwatched))]
#[test]
fn the_gateway_lives_through_an_outage() {
    for mode in ["pool", "mux"] {
        let run = run("gateway", &["--mode", mode, "--json", "--seconds", "2"]);
        run.ended(0);
        let result: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {run}"));
        let number = |name: &str| result[name].as_f64().unwrap_or_else(|| panic!("no {name}: {run}"));
        assert_eq!(result["mode"], mode, "{run}");
        assert!(number("requests") > 0.0, "{run}");
        assert_eq!(number("errors_outside_outage"), 0.0, "{run}");
        // A mux's lines are at work when the backend goes: it is they who notice.
        assert!(number("closed_by_watch") > 0.0 || mode == "mux", "{run}");
        assert!(number("outage_ms") >= 300.0, "{run}");
        assert!(number("recovery_ms") < 400.0, "{run}");
    }
}

#[test]
fn a_short_soak_leaves_nothing_behind() {
    let run = run("soak", &["--json", "--seconds", "3"]);
    run.ended(0);
    let result: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {run}"));
    let count = |name: &str| result["counts"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {run}"));
    assert!(count("leases_over_sockets") > 0 && count("leases_of_nothing") > 0 && count("exchanges") > 0, "{run}");
    assert_eq!(result["faults"], 0, "{run}");
}

#[test]
fn the_gateway_runs_on_a_backend_by_address() {
    let backend = RespServer::start().expect("a free port");
    let url = format!("redis://{}", backend.address());
    for mode in ["pool", "mux"] {
        let run = run("gateway", &["--mode", mode, "--backend", &url, "--no-outage", "--seconds", "1"]);
        run.ended(0);
        assert!(run.out.contains(&backend.address().to_string()), "{run}");
        assert!(run.out.contains(&format!("by a {mode} of at most")), "{run}");
        assert!(run.number("requests") > 0.0, "{run}");
        assert_eq!(run.number("errors"), 0.0, "{run}");
    }
}

#[track_caller]
fn children_were_replaced_and_reaped(run: &Run, lines: f64) {
    run.ended(0);
    assert_eq!(run.number("lines answered"), lines, "{run}");
    assert_eq!((run.number("wrongly"), run.number("lines not answered")), (0.0, 0.0), "{run}");
    assert_eq!(run.number("children started"), 3.0 + 1.0, "{run}");
    assert!(run.number("replaced after") >= 0.0 && run.number("reaped after") >= 0.0, "{run}");
    assert_eq!(run.word("children left at the end"), "none", "{run}");
    // The answers come through pipes that are watched, and wake nobody.
    assert!(run.number("wake-ups of the watch") < lines / 20.0, "{run}");
}

#[test]
fn port_replaces_a_killed_child() {
    children_were_replaced_and_reaped(&run("port", &["--lines", "500"]), 2000.0);
}

#[test]
fn port_does_sums_by_bc() {
    if Command::new("bc").stdin(Stdio::null()).stdout(Stdio::null()).status().is_err() {
        println!("skipped: bc is not installed here");
        return;
    }
    children_were_replaced_and_reaped(&run("port", &["--program", "bc", "--lines", "250"]), 1000.0);
}

#[test]
fn port_says_why_a_program_does_not_serve() {
    for (program, why) in [("no-such-program", "which is not installed here"), ("true", "could not talk to true")] {
        let run = run("port", &["--program", program]);
        run.ended(1);
        assert!(run.err.contains(program) && run.err.contains(why), "{run}");
    }
}

#[cfg(not(corepool_unwatched))]
#[test]
fn http1_reads_every_kind_of_body_and_sees_idle_connections_go() {
    let run = run("http1", &["--milliseconds", "300"]);
    run.ended(0);
    assert!(run.number("requests answered") > run.number("connections opened"), "{run}");
    assert_eq!((run.number("wrongly"), run.number("requests failed")), (0.0, 0.0), "{run}");
    assert!(run.number("asked again") >= 2.0, "{run}");
    assert_eq!(run.number("not asked again"), 2.0, "{run}");
    assert!(run.number("idle after the load") > 0.0, "{run}");
    assert!(run.number("hung up on by upstreams") >= run.number("idle after the load"), "{run}");
}

#[test]
fn http1_asks_an_upstream_by_url() {
    let address = upstream::start().expect("a free port");
    let url = format!("http://{address}/chunked");
    let answered = run("http1", &["--url", &url, "--milliseconds", "200"]);
    answered.ended(0);
    assert!(answered.number("over a kept connection") > 0.0, "{answered}");
    assert!(answered.number("connections opened") <= 4.0, "{answered}");

    let (_socket, address) = nobody();
    let refused = run("http1", &["--url", &format!("http://{address}/"), "--milliseconds", "200"]);
    refused.ended(1);
    assert!(refused.out.contains("Connection refused"), "{refused}");
}

#[test]
fn http1_gives_up_an_upstream_that_never_comes_to_its_answer() {
    let address = peer(|mut stream| {
        stream.read_line(&mut String::new())?;
        loop {
            stream.get_mut().write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")?;
        }
    });
    let run = run("http1", &["--url", &format!("http://{address}/"), "--milliseconds", "100"]);
    run.ended(1);
    assert!(run.out.contains("interim answers without end"), "{run}");
    assert_eq!((run.number("requests answered"), run.number("asked again")), (0.0, 0.0), "{run}");
}

#[test]
fn redis_blocking_never_takes_the_answer_to_another_command() {
    let address = peer(|mut stream| {
        loop {
            let mut lines = String::new();
            for _ in 0..5 {
                stream.read_line(&mut lines)?;
            }
            let word = lines.lines().last().unwrap_or_default();
            // Each answer twice, in one piece.
            stream.get_mut().write_all(format!("+{word}\r\n+{word}\r\n").as_bytes())?;
        }
    });
    let url = format!("redis://{address}");
    let run = run("redis_blocking", &["--milliseconds", "60", "--rounds", "1", "--backend", &url]);
    run.ended(0);
    assert!(run.number("a pool of 8") > 0.0, "{run}");
}

#[test]
fn redis_blocking_compares_the_ways() {
    let backend = RespServer::start().expect("a free port");
    let url = format!("redis://{}", backend.address());
    for arguments in [&["--milliseconds", "60"][..], &["--milliseconds", "60", "--rounds", "1", "--backend", &url]] {
        let run = run("redis_blocking", arguments);
        run.ended(0);
        for way in ["a connection per command", "one, refused while out", "one, in line", "a pool of 8"] {
            assert!(run.number(way) > 0.0, "{way}: {run}");
        }
    }
    let (_socket, address) = nobody();
    let absent = run("redis_blocking", &["--backend", &format!("redis://{address}")]);
    absent.ended(1);
    assert!(absent.err.contains("Connection refused"), "{absent}");
}

#[cfg(feature = "redis")]
#[test]
fn redis_shared_compares_the_ways() {
    let arguments = ["--callers", "1,4", "--rounds", "1", "--milliseconds", "100"];
    let run_as_table = run("redis_shared", &arguments);
    run_as_table.ended(0);
    assert!(run_as_table.out.contains("1 callers") && run_as_table.out.contains("4 callers"), "{run_as_table}");
    let run = run("redis_shared", &[&["--json"], &arguments[..]].concat());
    run.ended(0);
    let report: serde_json::Value = serde_json::from_str(&run.out).expect("one line of JSON");
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 6, "{run}");
    assert!(rows.iter().all(|row| row["commands_per_second"].as_f64() > Some(0.0)), "{run}");
}
