//! The gateway's page: it loads in a browser without an error, its numbers move, an outage shows. And `/metrics` beside it, in the
//! terminal.
//!
//! The browser is headless Chromium; where there is none, the test says that it was skipped, which `COREPOOL_REQUIRE_SERVERS=1` forbids.
#![cfg(not(corepool_unwatched))]

#[path = "../examples/support/resp_server.rs"]
mod resp_server;

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use resp_server::RespServer;

const HOPELESS: Duration = Duration::from_secs(120);

fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("the test knows where it is");
    let binaries = test.parent().and_then(|deps| deps.parent()).expect("it lies in target/PROFILE/deps");
    let path: PathBuf = [binaries, "examples".as_ref(), name.as_ref()].iter().collect();
    assert!(path.exists(), "{} is not there: build it first, by cargo test", path.display());
    Command::new(path)
}

/// A gateway that only serves, on a backend of the test's own. It ends with this value.
struct Gateway {
    child: Child,
    address: String,
    backend: RespServer,
}

impl Gateway {
    fn start() -> Gateway {
        let backend = RespServer::start().expect("a free port");
        let mut child = example("gateway")
            .args(["--serve", "--backend", &format!("redis://{}", backend.address())])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output is piped");
        BufReader::new(out).read_line(&mut line).expect("it says where it listens");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(',').next());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Gateway { child, address, backend }
    }

    /// The body of an answer.
    fn get(&self, path: &str) -> String {
        let answer = self.ask(path).expect("the gateway answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        body.to_owned()
    }

    fn ask(&self, path: &str) -> io::Result<String> {
        let mut peer = TcpStream::connect(&self.address)?;
        write!(peer, "GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        peer.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's name for it.
fn chromium() -> Option<PathBuf> {
    let found =
        std::env::split_paths(&std::env::var_os("PATH")?).map(|path| path.join("chromium")).find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("COREPOOL_REQUIRE_SERVERS").is_none(), "there is no chromium");
        eprintln!("skipped: there is no chromium");
    }
    found
}

/// The page as its script has left it, after some turns.
fn dom(browser: &PathBuf, gateway: &Gateway) -> String {
    let profile = std::env::temp_dir().join(format!("corepool-page-{}", std::process::id()));
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=1500"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("http://{}/", gateway.address))
        .stderr(Stdio::null())
        .output()
        .expect("the browser starts");
    let _ = std::fs::remove_dir_all(profile);
    String::from_utf8(output.stdout).expect("a page is text")
}

/// What stands between `before` and the next quote.
fn attribute<'a>(page: &'a str, before: &str) -> Option<&'a str> {
    page.split_once(before)?.1.split('"').next()
}

/// How many uses the page's tile tells of.
fn uses(page: &str) -> String {
    let tile = page.split("<b>").find(|tile| tile.contains("<span>uses</span>"));
    tile.and_then(|tile| tile.split('<').next()).unwrap_or_else(|| panic!("no uses in {page}")).to_owned()
}

#[test]
fn it_loads_its_numbers_move_and_an_outage_shows() {
    let Some(browser) = chromium() else { return };
    let gateway = Gateway::start();
    let first = dom(&browser, &gateway);
    assert_eq!(attribute(&first, "data-error=\""), None, "{first}");
    let drawn: u32 = attribute(&first, "data-drawn=\"").and_then(|turns| turns.parse().ok()).unwrap_or_default();
    assert!(drawn > 0, "the script has not drawn: {first}");
    assert!(first.contains("the backend answers"), "{first}");
    assert!(!first.contains("class=\"outage\""), "{first}");

    (0..100).for_each(|_| drop(gateway.ask("/kv/some")));
    let second = dom(&browser, &gateway);
    assert_ne!(uses(&first), uses(&second), "the numbers stand still");

    // Requests while the backend is away, so that the pool notices; the page remembers a minute.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                let _ = gateway.ask("/kv/some");
            }
        });
        gateway.backend.outage(Duration::from_secs(2)).expect("the port is still there");
        done.store(true, Relaxed);
    });
    let deadline = Instant::now() + HOPELESS;
    loop {
        let third = dom(&browser, &gateway);
        if third.contains("class=\"outage\"") && third.contains("back after") {
            assert_eq!(attribute(&third, "data-error=\""), None, "{third}");
            break;
        }
        assert!(Instant::now() < deadline, "no outage on the page: {third}");
    }
}

/// The longest time of a request that the page draws, in microseconds.
fn longest(gateway: &Gateway) -> u64 {
    let live: serde_json::Value = serde_json::from_str(&gateway.get("/live")).expect("it is JSON");
    let samples = live["samples"].as_array().expect("samples");
    samples.iter().filter_map(|sample| sample["p999"].as_u64()).max().unwrap_or_default()
}

#[test]
fn a_request_that_waited_through_an_outage_took_as_long_as_it_did() {
    let gateway = Gateway::start();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                let _ = gateway.ask("/kv/some");
            }
        });
        gateway.backend.outage(Duration::from_millis(600)).expect("the port is still there");
        let deadline = Instant::now() + HOPELESS;
        while longest(&gateway) < 100_000 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
        }
        done.store(true, Relaxed);
    });
    assert!(longest(&gateway) >= 100_000, "{} µs at most", longest(&gateway));
}

/// Name, labels and value of each line that is no comment, as Prometheus reads them.
fn samples(page: &str) -> Vec<(&str, &str, f64)> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line:?}"));
            let (name, labels) = series.split_once('{').unwrap_or_else(|| panic!("no labels in {line:?}"));
            let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("labels without an end in {line:?}"));
            (name, labels, value.parse().unwrap_or_else(|_| panic!("no number in {line:?}")))
        })
        .collect()
}

#[test]
fn metrics_are_as_prometheus_reads_them_and_count_what_happened() {
    let gateway = Gateway::start();
    (0..10).for_each(|_| drop(gateway.ask("/kv/some")));
    let page = gateway.get("/metrics");
    let declared: HashSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut series = HashSet::new();
    for (name, labels, _) in samples(&page) {
        assert!(declared.contains(name), "{name} has no type");
        assert!(series.insert((name, labels)), "{name}{{{labels}}} is there twice");
    }
    let leases = samples(&page).into_iter().find(|(name, ..)| *name == "corepool_leases_total");
    assert!(leases.is_some_and(|(.., uses)| uses >= 10.0), "{page}");
}

#[test]
fn the_terminal_shows_the_same() {
    let gateway = Gateway::start();
    let url = format!("http://{}/metrics", gateway.address);
    (0..10).for_each(|_| drop(gateway.ask("/kv/some")));
    let output = example("top").args(["--once", "--interval", "10", &url]).output().expect("it starts");
    let frame = String::from_utf8(output.stdout).expect("it prints text");
    assert!(output.status.success(), "{frame}{}", String::from_utf8_lossy(&output.stderr));
    assert!(frame.contains("gateway  4 of 8 open") && frame.contains("4 idle"), "{frame}");
    println!("{frame}");
}

#[test]
fn the_terminal_shows_the_pool_of_a_server_that_has_the_feature_metrics() {
    // As its exporter writes it, beside what else such a server measures.
    const PAGE: &str = "# TYPE corepool_dials counter\ncorepool_dials{pool=\"orders\"} 7\n\n\
        corepool_closed{pool=\"orders\",reason=\"peer_closed\"} 3\ndb_client_connection_max{pool=\"orders\"} 8\n\
        db_client_connection_count{pool=\"orders\",state=\"idle\"} 5\nup 1\n\
        http_requests_total{path=\"/a,b=\\\"c\\\"\",code=\"200\"} 12 1700000000000\nhttp_seconds_bucket{le=\"+Inf\"} 12\n";
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/metrics", listener.local_addr().expect("its address"));
    let server = thread::spawn(move || {
        for _ in 0..2 {
            let mut peer = BufReader::new(listener.accept().expect("top asks").0);
            let mut line = String::new();
            while peer.read_line(&mut line).expect("a head") > 2 {
                line.clear();
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", PAGE.len());
            peer.get_mut().write_all((head + PAGE).as_bytes()).expect("top listens");
        }
    });
    let output = example("top").args(["--once", "--interval", "10", &url]).output().expect("it starts");
    let frame = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{frame}{}", String::from_utf8_lossy(&output.stderr));
    server.join().expect("both were asked for");
    let in_all = |title: &str| {
        let line =
            frame.lines().find(|line| line.trim().starts_with(title)).unwrap_or_else(|| panic!("{title}: {frame}"));
        line.split_whitespace().rev().nth(2).map(str::to_owned)
    };
    assert!(frame.contains("orders  5 of 8 open"), "{frame}");
    assert_eq!((in_all("dials"), in_all("closed: peer closed")), (Some("7".into()), Some("3".into())), "{frame}");
}

#[test]
fn a_page_that_is_not_there_is_said_so() {
    let output = example("top").args(["--once", "http://127.0.0.1:1/metrics"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("could not fetch http://127.0.0.1:1/metrics"), "{error}");
}
