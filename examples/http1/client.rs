//! The client: a pool for each endpoint, connections that carry one request after another, and the one retry that is safe.
//!
//! A server hangs up on a connection that has been idle for too long. The pool's watch sees that, and such a connection is handed to
//! nobody. A server that says more than it was asked is found out too: by what is left after an answer, if that came with it, and else by
//! the peek at the next checkout. One race is left, which no client can win: the server decides to hang up just as the next request is on
//! its way to it. The request then meets the end of the connection before a single byte of an answer. If asking twice does no harm, it is
//! asked once more, over another connection.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use corepool::{Conn, ConnectError, Dial, Lease, Manager, Opening, Outcome, Pool, PoolMap, TcpManager, Verdict, Watch};

use crate::cli::Failure;
use crate::response::{Incoming, Response};

/// How long an upstream may be silent in the middle of an answer.
const IO_TIMEOUT: Duration = Duration::from_secs(5);

/// What has a pool of its own: requests to it may share connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Sends requests. Threads share it by reference.
#[derive(Debug)]
pub(crate) struct Client {
    upstreams: PoolMap<Endpoint, HttpManager>,
    pub(crate) counts: Counts,
}

/// What became of the requests, besides their answers.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Answered over a connection that had carried another before.
    pub(crate) reused: AtomicU64,
    /// Asked once more.
    pub(crate) again: AtomicU64,
    /// Of these, those whose hang-up the watch had noted by the time we met it.
    pub(crate) noted: AtomicU64,
}

/// Opens connections to one endpoint.
#[derive(Debug)]
pub(crate) struct HttpManager {
    tcp: TcpManager,
}

/// A connection that carries a request at a time.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    incoming: Incoming<Conn>,
    /// Requests that it has carried.
    served: u64,
    /// Every request sent has its answer, read whole, and the upstream waits for the next.
    fit: bool,
}

impl Client {
    /// With up to `max_size` connections to each endpoint.
    pub(crate) fn new(max_size: usize) -> Self {
        let upstreams = PoolMap::new(move |endpoint: &Endpoint| {
            let tcp =
                TcpManager::new(endpoint.to_string()).read_timeout(Some(IO_TIMEOUT)).write_timeout(Some(IO_TIMEOUT));
            // Nothing is kept open that nobody uses.
            Pool::builder(HttpManager { tcp }).max_size(max_size).min_open(0).opening(Opening::Lazy)
        });
        Client { upstreams, counts: Counts::default() }
    }

    /// The pool of an endpoint, for its statistics.
    pub(crate) fn pool(&self, endpoint: &Endpoint) -> Result<Pool<HttpManager>, Failure> {
        Ok(self.upstreams.pool(endpoint)?)
    }

    /// Sends a request without a body, and reads its answer.
    pub(crate) fn request(&self, method: &str, endpoint: &Endpoint, path: &str) -> Result<Response, Failure> {
        let mut again = false;
        loop {
            let mut connection = self.upstreams.get(endpoint)?;
            let error = match connection.exchange(method, endpoint, path) {
                Ok(response) => {
                    self.counts.reused.fetch_add(u64::from(connection.served > 1), Relaxed);
                    return Ok(response);
                }
                Err(error) => error,
            };
            // The end may be read from the socket before the watch has noted it, so the error counts as much as the note.
            let noted = Lease::stale(&connection);
            let stale = (noted || hung_up(&error)) && !connection.incoming.heard;
            if again || !stale || !is_idempotent(method) {
                return Err(error.into());
            }
            again = true;
            self.counts.again.fetch_add(1, Relaxed);
            self.counts.noted.fetch_add(u64::from(noted), Relaxed);
        }
    }
}

/// Whether asking twice is as good as asking once (RFC 9110, section 9.2.2).
fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

impl HttpConnection {
    fn exchange(&mut self, method: &str, endpoint: &Endpoint, path: &str) -> io::Result<Response> {
        self.fit = false;
        self.served += 1;
        self.incoming.heard = false;
        // In one piece: each write may become a packet.
        let length = if method == "POST" { "content-length: 0\r\n" } else { "" };
        let request = format!("{method} {path} HTTP/1.1\r\nhost: {endpoint}\r\n{length}\r\n");
        self.incoming.stream.write_all(request.as_bytes())?;
        let response = self.incoming.response(method)?;
        self.fit = response.reusable;
        Ok(response)
    }
}

impl Manager for HttpManager {
    type Connection = HttpConnection;
    type Error = ConnectError;

    fn connect(&self, dial: &Dial<'_>) -> Result<HttpConnection, ConnectError> {
        let incoming = Incoming::new(self.tcp.connect(dial)?);
        Ok(HttpConnection { incoming, served: 0, fit: true })
    }

    fn watch(&self, connection: &HttpConnection, on: &mut Watch<'_>) {
        on.socket(&connection.incoming.stream);
    }

    /// The response has decided, also when its user failed over something else.
    fn on_return(&self, connection: &mut HttpConnection, how: Outcome) -> Verdict {
        match how {
            Outcome::Done | Outcome::Failed if connection.fit => Verdict::Keep,
            _ => Verdict::Discard,
        }
    }

    /// As often as for a stream that is lent as it is: an answer tells where it ends, and not that nothing will come after it.
    fn probe_after(&self) -> Duration {
        self.tcp.probe_after()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Endpoint { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}
