//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use lexopt::prelude::{Long, Short, ValueExt};

use crate::cli::{Command, invalid, number};

pub(crate) const HELP: &str = "\
A blocking HTTP server over a database with transactions, on a corepool pool, that puts itself under load.

Usage: postgres_web [OPTIONS]

What it runs on:
  --database URL     postgresql://USER[:PASSWORD]@HOST[:PORT]/DATABASE instead of SQLite in a file of its own.
                     The table corepool_accounts is made anew, and dropped at the end
                     Not by way of pgbouncer in transaction mode, which loses its prepared statements
  --listen ADDR      where HTTP is served [127.0.0.1:0, a free port]
  --workers N        HTTP connections served at once, each by a thread of its own [64]
  --max-size N       connections of the pool at most [8]

What it does:
  --seconds N        length of the load [10]
  --clients N        threads of the load, each on an HTTP connection of its own [16]
  --serve            no load: print the address and serve until killed
  --json             print the result as one JSON object
  -h, --help         this text

Exit status: 0; 1 if a request failed, money was made or lost, or it could not run; 2 for a wrong argument.
";

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) database: Option<String>,
    pub(crate) listen: SocketAddr,
    pub(crate) workers: usize,
    pub(crate) max_size: usize,
    pub(crate) length: Duration,
    pub(crate) clients: usize,
    pub(crate) serve: bool,
    pub(crate) json: bool,
}

impl Args {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
        let mut args = Args {
            database: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            workers: 64,
            max_size: 8,
            length: Duration::from_secs(10),
            clients: 16,
            serve: false,
            json: false,
        };
        while let Some(argument) = parser.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(Command::Help),
                Long("database") => args.database = Some(database(parser.value()?.string()?)?),
                Long("listen") => {
                    let text = parser.value()?.string()?;
                    args.listen =
                        text.parse().map_err(|_| invalid("--listen", &text, "an address like 127.0.0.1:8080"))?;
                }
                Long("workers") => args.workers = number(&mut parser, "--workers")?,
                Long("max-size") => args.max_size = number(&mut parser, "--max-size")?,
                Long("seconds") => args.length = Duration::from_secs(number(&mut parser, "--seconds")? as u64),
                Long("clients") => args.clients = number(&mut parser, "--clients")?,
                Long("serve") => args.serve = true,
                Long("json") => args.json = true,
                other => return Err(other.unexpected()),
            }
        }
        if args.clients > args.workers && !args.serve {
            return Err(format!("{} clients need as many workers, there are {}", args.clients, args.workers).into());
        }
        Ok(Command::Run(args))
    }
}

fn database(text: String) -> Result<String, lexopt::Error> {
    let known = ["postgresql://", "postgres://"].iter().any(|scheme| text.starts_with(scheme));
    if known { Ok(text) } else { Err(invalid("--database", &text, "a URL that begins with postgresql://")) }
}
