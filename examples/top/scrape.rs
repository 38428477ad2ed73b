//! One look at the page: what it is made of, and how it is fetched.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::cli::{Failure, invalid};

/// How long the page may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest page that is read.
const MOST: u64 = 4 * 1024 * 1024;

/// Where the page is.
#[derive(Debug)]
pub(crate) struct Target {
    host: String,
    path: String,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Target, lexopt::Error> {
        let wrong = || invalid("URL", url, "http://HOST:PORT/PATH");
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !host.contains(':') {
            return Err(wrong());
        }
        Ok(Target { host: host.to_owned(), path: format!("/{path}") })
    }

    fn fetch(&self) -> Result<String, Failure> {
        let failed = |error: io::Error| format!("could not fetch http://{}{}: {error}", self.host, self.path);
        let answer = self.ask().map_err(failed)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without a head")?;
        let status = head.lines().next().unwrap_or_default();
        if !status.contains(" 200") {
            return Err(format!("http://{}{} answers {status:?}", self.host, self.path).into());
        }
        if head.to_ascii_lowercase().contains("transfer-encoding") {
            return Err("an answer in pieces, which this example does not put together".into());
        }
        Ok(body.to_owned())
    }

    fn ask(&self) -> io::Result<String> {
        let mut peer = TcpStream::connect(&self.host)?;
        peer.set_read_timeout(Some(PATIENCE))?;
        // So that the answer ends where the stream does.
        write!(peer, "GET {} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", self.path, self.host)?;
        let mut answer = String::new();
        peer.take(MOST).read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// All series of a page, by pool: their name with what labels they have beside it.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) pools: BTreeMap<String, Pool>,
}

/// The series of one pool: name, then the one other label's value, if it has one.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    series: BTreeMap<(String, String), f64>,
}

impl Pool {
    /// Zero if there is no such series: a page need not have all.
    pub(crate) fn value(&self, name: &str, label: &str) -> f64 {
        self.series.get(&(name.to_owned(), label.to_owned())).copied().unwrap_or_default()
    }

    /// The values of a series' other label, and theirs.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.series.iter().filter(move |((series, _), _)| series == name).map(|((_, label), value)| (&**label, *value))
    }
}

impl Scrape {
    pub(crate) fn of(target: &Target) -> Result<Scrape, Failure> {
        let mut scrape = Scrape::default();
        for line in target.fetch()?.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            scrape.add(line).ok_or_else(|| format!("no line of Prometheus's format: {line:?}"))?;
        }
        if scrape.pools.is_empty() {
            return Err("the page tells of no pool".into());
        }
        Ok(scrape)
    }

    /// `NAME{LABEL="VALUE",…} NUMBER`; what has no `pool` is somebody else's.
    fn add(&mut self, line: &str) -> Option<()> {
        let Some((name, mut rest)) = line.split_once('{') else { return Some(()) };
        let (mut pool, mut other) = (None, String::new());
        rest = loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                break after;
            }
            let (key, quoted) = rest.split_once("=\"")?;
            let (value, after) = unquote(quoted)?;
            if key == "pool" {
                pool = Some(value)
            } else {
                other = value
            }
            rest = after;
        };
        // A time may follow.
        let value = rest.split_whitespace().next()?.parse().ok()?;
        if let Some(pool) = pool {
            // Some exporters add that to a counter's name, and some do not.
            let name = name.strip_suffix("_total").unwrap_or(name);
            self.pools.entry(pool).or_default().series.insert((name.to_owned(), other), value);
        }
        Some(())
    }
}

/// A label's value up to its quote, and what follows.
fn unquote(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}
