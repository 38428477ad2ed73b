//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::{Long, Short, ValueExt};

use crate::cli::{Command, invalid, number};
use crate::store::Mode;

pub(crate) const HELP: &str = "\
An HTTP gateway to a key-value store in a server of your choice, on corepool pools, that puts itself under load.

Usage: gateway --backend URL [OPTIONS]

What it runs on:
  --backend URL      redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], also HAProxy in front of one
                     rediss://…, the same with TLS; see --ca
                     redis-cluster://HOST:PORT, one of the nodes; a pool for each of them
                     mysql://USER[:PASSWORD]@HOST[:PORT]/DATABASE
                     postgresql://USER[:PASSWORD]@HOST[:PORT]/DATABASE, also pgbouncer in front of one
                     Half way the server is told to end EVERY other connection of a client, other programs' too
                     (see --no-outage). The keys gateway:0 to gateway:999, or the table corepool_gateway, are
                     written and deleted
  --ca FILE          the certificates that are trusted with rediss://, in PEM
  --listen ADDR      where HTTP is served [127.0.0.1:0, a free port]
  --workers N        HTTP connections served at once, each by a thread of its own [64]
  --max-size N       connections of a pool at most [8]

What it does:
  --seconds N        length of the load [10]
  --clients N        threads of the load, each on an HTTP connection of its own [16]
  --no-outage        do not play an outage half way
  --serve            no load: print the address and serve until killed
  --json             print the result as one JSON object
  -h, --help         this text

Exit status: 0; 1 if a request failed outside the outage or the gateway could not run; 2 for a wrong argument.
";

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) backend: String,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) listen: SocketAddr,
    pub(crate) workers: usize,
    pub(crate) mode: Mode,
    pub(crate) max_size: usize,
    pub(crate) length: Duration,
    pub(crate) clients: usize,
    pub(crate) outage: bool,
    pub(crate) serve: bool,
    pub(crate) json: bool,
}

impl Args {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
        let mut args = Args {
            backend: String::new(),
            ca: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            workers: 64,
            mode: Mode::Redis,
            max_size: 8,
            length: Duration::from_secs(10),
            clients: 16,
            outage: true,
            serve: false,
            json: false,
        };
        while let Some(argument) = parser.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(Command::Help),
                Long("backend") => args.backend = parser.value()?.string()?,
                Long("ca") => args.ca = Some(parser.value()?.into()),
                Long("listen") => args.listen = address(&parser.value()?.string()?)?,
                Long("workers") => args.workers = number(&mut parser, "--workers")?,
                Long("max-size") => args.max_size = number(&mut parser, "--max-size")?,
                Long("seconds") => args.length = Duration::from_secs(number(&mut parser, "--seconds")? as u64),
                Long("clients") => args.clients = number(&mut parser, "--clients")?,
                Long("no-outage") => args.outage = false,
                Long("serve") => args.serve = true,
                Long("json") => args.json = true,
                other => return Err(other.unexpected()),
            }
        }
        if args.backend.is_empty() {
            return Err("--backend URL is needed".into());
        }
        let scheme = args.backend.split_once("://").map_or("", |(scheme, _)| scheme);
        args.mode = Mode::of(scheme).ok_or_else(|| {
            invalid(
                "--backend",
                &args.backend,
                "a URL that begins with redis, rediss, redis-cluster, mysql or postgresql",
            )
        })?;
        if args.mode == Mode::Rediss && args.ca.is_none() {
            return Err("rediss:// needs --ca FILE, with the certificates that are trusted".into());
        }
        if args.mode != Mode::Rediss && args.ca.is_some() {
            return Err("--ca is for rediss:// only".into());
        }
        // A client beyond them would wait for a worker as long as the others keep their connections.
        if args.clients > args.workers && !args.serve {
            return Err(format!("{} clients need as many workers, there are {}", args.clients, args.workers).into());
        }
        Ok(Command::Run(args))
    }
}

fn address(text: &str) -> Result<SocketAddr, lexopt::Error> {
    let first = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    first.ok_or_else(|| invalid("--listen", text, "an address like 127.0.0.1:8080"))
}
