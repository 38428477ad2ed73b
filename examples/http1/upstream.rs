//! A small HTTP/1.1 server inside the process, on a real loopback socket, that answers in every way that a client has to know.
//!
//! A thread per connection. It hangs up on a connection that has been idle for [`IDLE_TIMEOUT`], as every server does sooner or later.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// Short, for the sake of those who watch it; others wait for 5 s to 75 s.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_millis(200);

/// What it serves to GET. Every body is [`body`] of its path.
pub(crate) const PATHS: [&str; 7] =
    ["/length", "/chunked", "/interim", "/empty", "/not-modified", "/until-close", "/http-1.0"];
/// Every other request for it is answered, with a length; the others are hung up on, as if the connection's idle time had just run out.
pub(crate) const HANG_UP: &str = "/hang-up";

/// Starts on a free port of 127.0.0.1, and runs until the process ends.
pub(crate) fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let hung_up = Arc::new(AtomicBool::new(false));
    thread::Builder::new().name("http-accept".into()).spawn(move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => {
                    // Who finds no thread is hung up on; a connection that ends in an error ends like any other.
                    let hung_up = Arc::clone(&hung_up);
                    let _ = thread::Builder::new().name("http-peer".into()).spawn(move || serve(stream, &hung_up));
                }
                // Out of descriptors, most likely: a pause, so as not to spin until one is free.
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    })?;
    Ok(address)
}

/// The body of a path: longer than one packet, and told from every other.
pub(crate) fn body(path: &str) -> Vec<u8> {
    format!("{path} ").repeat(1000).into_bytes()
}

fn serve(mut stream: TcpStream, hung_up: &AtomicBool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(&received).map_err(io::Error::other)?;
        if let (httparse::Status::Complete(head), Some(method), Some(path)) = (parsed, request.method, request.path) {
            if path == HANG_UP && !hung_up.fetch_not(Relaxed) {
                return Ok(());
            }
            let (answer, closes) = answer(method, path);
            received.drain(..head);
            stream.write_all(&answer)?;
            if closes {
                return Ok(());
            }
            continue;
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            length => received.extend_from_slice(&chunk[..length]),
        }
    }
}

/// The answer, and whether the connection ends with it. Requests have no body here.
fn answer(method: &str, path: &str) -> (Vec<u8>, bool) {
    let body = body(path);
    let (head, closes) = match path {
        "/length" | HANG_UP => (format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len()), false),
        "/interim" => {
            let hint = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n";
            (format!("{hint}HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len()), false)
        }
        "/chunked" => ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n".into(), false),
        "/empty" => ("HTTP/1.1 204 No Content\r\n".into(), false),
        // The length is that of the body which is not sent.
        "/not-modified" => (format!("HTTP/1.1 304 Not Modified\r\ncontent-length: {}\r\n", body.len()), false),
        "/until-close" => ("HTTP/1.1 200 OK\r\nconnection: close\r\n".into(), true),
        "/http-1.0" => (format!("HTTP/1.0 200 OK\r\ncontent-length: {}\r\n", body.len()), true),
        _ => ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n".into(), false),
    };
    let mut answer = (head + "\r\n").into_bytes();
    match path {
        _ if method == "HEAD" => {}
        "/chunked" => {
            for piece in body.chunks(1500) {
                answer.extend_from_slice(format!("{:x};piece=of-{path}\r\n", piece.len()).as_bytes());
                answer.extend_from_slice(piece);
                answer.extend_from_slice(b"\r\n");
            }
            answer.extend_from_slice(b"0\r\nx-sum: 42\r\n\r\n");
        }
        "/empty" | "/not-modified" => {}
        _ if PATHS.contains(&path) || path == HANG_UP => answer.extend_from_slice(&body),
        _ => {}
    }
    (answer, closes)
}
