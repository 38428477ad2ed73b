//! The HTTP front: every client connection has a blocking worker thread, and every request borrows from the pool.
//!
//! The server is `oxhttp`. `tiny_http`, whose workers take single requests from a queue, was tried first: of 16 keep-alive clients that
//! connect at once it leaves 12 unserved until others leave.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use corepool::{GetErrorKind, Pool, UseError};
use oxhttp::model::{Body, HeaderValue, Method, Request, Response, StatusCode};
use oxhttp::{ListeningServer, Server};
use redis::{Commands, RedisError};
use socket2::{Domain, Socket, Type};

use crate::cli::chain;
use crate::live::Live;
use crate::metrics;
use crate::resp::RespManager;

/// The header by which an answer names the kind of its failure.
pub(crate) const ERROR_KIND: &str = "x-error-kind";
/// What a browser shows.
const PAGE: &str = include_str!("page.html");
/// The longest value that is stored.
const MAX_VALUE: u64 = 1024 * 1024;

/// The running front. It serves until the process ends.
pub(crate) struct Front {
    address: SocketAddr,
    server: ListeningServer,
}

impl Front {
    /// Listens on `address` and serves up to `workers` clients at once; the next one waits until one of them leaves.
    pub(crate) fn start(
        address: SocketAddr,
        workers: usize,
        pool: Pool<RespManager>,
        live: Arc<Live>,
    ) -> io::Result<Self> {
        let reserved = reserve(address)
            .map_err(|error| io::Error::new(error.kind(), format!("could not listen on {address}: {error}")))?;
        let address = reserved.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let server = Server::new(move |request| answer(&pool, &live, request))
            .bind(address)
            .with_max_concurrent_connections(workers)
            .spawn()?;
        Ok(Front { address, server })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for ever.
    pub(crate) fn serve(self) -> io::Result<()> {
        self.server.join()
    }
}

/// Turns port 0 into a port that is ours: the server binds by itself and does not tell where. While this socket is bound, but
/// does not listen, another with the same option may bind and listen there, and nobody is given the port by chance.
fn reserve(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn answer(pool: &Pool<RespManager>, live: &Live, request: &mut Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    match path.strip_prefix("/kv/") {
        Some(key) => {
            let begun = Instant::now();
            let answer = of_store(pool, key, method, request);
            live.answered(begun.elapsed());
            answer
        }
        None if method == Method::GET => of_gateway(pool, live, &path),
        None => not_allowed("GET"),
    }
}

/// A request to the store.
fn of_store(pool: &Pool<RespManager>, key: &str, method: Method, request: &mut Request<Body>) -> Response<Body> {
    match method {
        _ if key.is_empty() => text(StatusCode::BAD_REQUEST, "the key is empty\n"),
        Method::GET => get(pool, key),
        Method::PUT => put(pool, key, request.body_mut()),
        _ => not_allowed("GET, PUT"),
    }
}

/// A request about the gateway itself.
fn of_gateway(pool: &Pool<RespManager>, live: &Live, path: &str) -> Response<Body> {
    match path {
        "/" => reply(StatusCode::OK, "text/html; charset=utf-8", PAGE.into()),
        "/live" => reply(StatusCode::OK, "application/json", live.json(pool).into()),
        "/metrics" => {
            let page = metrics::page("gateway", &pool.stats(), &pool.settings());
            reply(StatusCode::OK, metrics::CONTENT_TYPE, page.into())
        }
        "/stats" => text(StatusCode::OK, pool.stats().to_string()),
        _ => text(StatusCode::NOT_FOUND, "try /, /kv/KEY, /metrics or /stats\n"),
    }
}

fn get(pool: &Pool<RespManager>, key: &str) -> Response<Body> {
    match pool.with(|connection| connection.get::<_, Option<Vec<u8>>>(key)) {
        Ok(Some(value)) => reply(StatusCode::OK, "application/octet-stream", value),
        Ok(None) => text(StatusCode::NOT_FOUND, "no such key\n"),
        Err(error) => failure(&error),
    }
}

fn put(pool: &Pool<RespManager>, key: &str, body: &mut Body) -> Response<Body> {
    let mut value = Vec::new();
    if body.len().is_none_or(|length| length <= MAX_VALUE) {
        // The value is read before a connection is borrowed: a slow client keeps its own thread waiting, nobody else.
        if let Err(error) = body.take(MAX_VALUE + 1).read_to_end(&mut value) {
            return text(StatusCode::BAD_REQUEST, format!("{error}\n"));
        }
    }
    if body.len().is_some_and(|length| length > MAX_VALUE) || value.len() as u64 > MAX_VALUE {
        return text(StatusCode::PAYLOAD_TOO_LARGE, format!("a value has {MAX_VALUE} bytes at most\n"));
    }
    match pool.with(|connection| connection.set::<_, _, ()>(key, value)) {
        Ok(()) => reply(StatusCode::NO_CONTENT, "text/plain", Vec::new()),
        Err(error) => failure(&error),
    }
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {methods}\n"));
    response.headers_mut().insert("allow", HeaderValue::from_static(methods));
    response
}

fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    reply(status, "text/plain; charset=utf-8", text.into().into_bytes())
}

fn reply(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Body> {
    let response = Response::builder().status(status).header("content-type", kind).body(Body::from(body));
    response.expect("a known status and a constant header")
}

/// A request got no answer from the store: no connection was had, or no good reply on it.
fn failure(error: &UseError<RedisError>) -> Response<Body> {
    let status = match error {
        UseError::Get(_) => StatusCode::SERVICE_UNAVAILABLE,
        UseError::Use(_) => StatusCode::BAD_GATEWAY,
    };
    let mut response = text(status, chain(error) + "\n");
    response.headers_mut().insert(ERROR_KIND, HeaderValue::from_static(kind(error)));
    response
}

fn kind(error: &UseError<RedisError>) -> &'static str {
    match error {
        UseError::Get(error) => match error.kind() {
            GetErrorKind::TimedOut => "pool_timed_out",
            GetErrorKind::Down => "pool_down",
            GetErrorKind::Closed => "pool_closed",
            _ => "pool_refused",
        },
        UseError::Use(error) if error.is_timeout() => "backend_timed_out",
        UseError::Use(error) if error.is_io_error() => "backend_hung_up",
        UseError::Use(_) => "backend_refused",
    }
}
