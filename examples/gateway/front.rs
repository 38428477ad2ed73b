//! The HTTP front: every client connection has a blocking worker thread, and every request asks the store.
//!
//! The server is `oxhttp`. `tiny_http`, whose workers take single requests from a queue, was tried first: of 16 keep-alive clients that
//! connect at once it leaves 12 unserved until others leave.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use oxhttp::model::{Body, HeaderValue, Method, Request, Response, StatusCode};
use oxhttp::{ListeningServer, Server};
use socket2::{Domain, Socket, Type};

use crate::cli::chain;
use crate::live::Live;
use crate::metrics;
use crate::store::{Store, StoreError};

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
    pub(crate) fn start(address: SocketAddr, workers: usize, store: Store, live: Arc<Live>) -> io::Result<Self> {
        let reserved = reserve(address)
            .map_err(|error| io::Error::new(error.kind(), format!("could not listen on {address}: {error}")))?;
        let address = reserved.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let server = Server::new(move |request| answer(&store, &live, request))
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

fn answer(store: &Store, live: &Live, request: &mut Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    match path.strip_prefix("/kv/") {
        Some(key) => {
            let begun = Instant::now();
            let answer = of_store(store, key, method, request);
            live.answered(begun.elapsed());
            answer
        }
        None if method == Method::GET => of_gateway(store, live, &path),
        None => not_allowed("GET"),
    }
}

/// A request to the store.
fn of_store(store: &Store, key: &str, method: Method, request: &mut Request<Body>) -> Response<Body> {
    match method {
        _ if key.is_empty() => text(StatusCode::BAD_REQUEST, "the key is empty\n"),
        Method::GET => get(store, key),
        Method::PUT => put(store, key, request.body_mut()),
        _ => not_allowed("GET, PUT"),
    }
}

/// A request about the gateway itself.
fn of_gateway(store: &Store, live: &Live, path: &str) -> Response<Body> {
    match path {
        "/" => reply(StatusCode::OK, "text/html; charset=utf-8", PAGE.into()),
        "/live" => reply(StatusCode::OK, "application/json", live.json(store).into()),
        "/metrics" => {
            let page = metrics::page("gateway", &store.stats(), store.limits());
            reply(StatusCode::OK, metrics::CONTENT_TYPE, page.into())
        }
        "/stats" => text(StatusCode::OK, store.stats().to_string()),
        _ => text(StatusCode::NOT_FOUND, "try /, /kv/KEY, /metrics or /stats\n"),
    }
}

fn get(store: &Store, key: &str) -> Response<Body> {
    match store.get(key) {
        Ok(Some(value)) => reply(StatusCode::OK, "application/octet-stream", value),
        Ok(None) => text(StatusCode::NOT_FOUND, "no such key\n"),
        Err(error) => failure(&error),
    }
}

fn put(store: &Store, key: &str, body: &mut Body) -> Response<Body> {
    let mut value = Vec::new();
    if body.len().is_none_or(|length| length <= MAX_VALUE) {
        // The value is read before the store is asked: a slow client keeps its own thread waiting, nobody else.
        if let Err(error) = body.take(MAX_VALUE + 1).read_to_end(&mut value) {
            return text(StatusCode::BAD_REQUEST, format!("{error}\n"));
        }
    }
    if body.len().is_some_and(|length| length > MAX_VALUE) || value.len() as u64 > MAX_VALUE {
        return text(StatusCode::PAYLOAD_TOO_LARGE, format!("a value has {MAX_VALUE} bytes at most\n"));
    }
    match store.set(key, &value) {
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
fn failure(error: &StoreError) -> Response<Body> {
    let status = if error.is_unsent() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_GATEWAY };
    let mut response = text(status, chain(error) + "\n");
    response.headers_mut().insert(ERROR_KIND, HeaderValue::from_static(error.kind()));
    response
}
