//! The HTTP front: every client connection has a blocking worker thread, and every request is one transaction.

use std::io;
use std::net::SocketAddr;

use oxhttp::model::{Body, Method, Request, Response, StatusCode};
use oxhttp::{ListeningServer, Server};
use socket2::{Domain, Socket, Type};

use crate::bank::{Bank, Transfer};
use crate::cli::{Failure, chain};

/// The header in which the load's client looks for more; there is none.
pub(crate) const ERROR_KIND: &str = "x-error-kind";

/// The running front. It serves until the process ends.
pub(crate) struct Front {
    address: SocketAddr,
    server: ListeningServer,
}

impl Front {
    /// Listens on `address` and serves up to `workers` clients at once; the next one waits until one of them leaves.
    pub(crate) fn start(address: SocketAddr, workers: usize, bank: Bank) -> io::Result<Self> {
        // Turns port 0 into a port that is ours: the server binds by itself and does not tell where.
        let reserved = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        reserved.set_reuse_address(true)?;
        reserved.bind(&address.into())?;
        let address = reserved.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let server = Server::new(move |request| answer(&bank, request))
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

fn answer(bank: &Bank, request: &Request<Body>) -> Response<Body> {
    let path: Vec<&str> = request.uri().path().trim_start_matches('/').split('/').collect();
    let is_get = request.method() == Method::GET;
    match path[..] {
        ["transfer", from, to, amount] => transfer(bank, request.method(), [from, to, amount], false),
        // A handler that fails after it has taken the money.
        ["transfer", from, to, amount, "half"] => transfer(bank, request.method(), [from, to, amount], true),
        ["balance", id] if is_get => match id.parse().map(|id| bank.balance(id)) {
            Ok(Ok(Some(balance))) => text(StatusCode::OK, balance.to_string()),
            Ok(Ok(None)) | Err(_) => text(StatusCode::NOT_FOUND, "no such account\n"),
            Ok(Err(error)) => failure(&error),
        },
        ["total"] if is_get => match bank.total() {
            Ok(total) => text(StatusCode::OK, total.to_string()),
            Err(error) => failure(&error),
        },
        ["stats"] if is_get => text(StatusCode::OK, bank.stats().to_string()),
        _ => text(StatusCode::NOT_FOUND, "try POST /transfer/FROM/TO/AMOUNT, GET /balance/ID, /total or /stats\n"),
    }
}

fn transfer(bank: &Bank, method: &Method, numbers: [&str; 3], half: bool) -> Response<Body> {
    if method != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n");
    }
    let [Ok(from), Ok(to), Ok(amount)] = numbers.map(str::parse::<i64>) else {
        return text(StatusCode::BAD_REQUEST, "accounts and amount are numbers\n");
    };
    if amount <= 0 || from == to {
        return text(StatusCode::BAD_REQUEST, "an amount from 1, and two accounts\n");
    }
    match bank.transfer(from, to, amount, half) {
        Ok(Transfer::Moved) => text(StatusCode::NO_CONTENT, ""),
        Ok(Transfer::Refused) => text(StatusCode::CONFLICT, "not enough money\n"),
        Ok(Transfer::HalfDone) => text(StatusCode::INTERNAL_SERVER_ERROR, "given up half way\n"),
        Err(error) => failure(&error),
    }
}

fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let response = Response::builder().status(status).header("content-type", "text/plain; charset=utf-8");
    response.body(Body::from(text.into())).expect("a known status and a constant header")
}

/// No connection was had, or the database refuses.
fn failure(error: &Failure) -> Response<Body> {
    text(StatusCode::SERVICE_UNAVAILABLE, chain(&**error) + "\n")
}
