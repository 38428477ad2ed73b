//! The load's HTTP client: one connection, kept alive, no more of HTTP than the front speaks. An answer that is any different is an
//! error, after which the connection is not used again.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any request may wait for a connection and a reply together.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
/// The front sends few headers.
const MAX_HEADERS: usize = 16;
const MAX_HEAD: usize = 16 * 1024;
/// More than the longest value.
const MAX_BODY: usize = 2 * 1024 * 1024;

/// One client of the front. It connects when it has to.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header by which the front names the kind of a failure.
    pub(crate) error_kind: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Client { address, stream: None }
    }

    /// Sends a request and reads its answer. After an error the next request goes over a new connection.
    pub(crate) fn request(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address).into_bytes();
        write!(request, "content-length: {}\r\n\r\n", body.len())?;
        request.extend_from_slice(body);
        stream.write_all(&request)?;
        let answer = read_answer(&mut stream)?;
        self.stream = Some(stream);
        Ok(answer)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, IO_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        Ok(stream)
    }
}

fn read_answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut received = Vec::with_capacity(1024);
    let (mut answer, head, length) = loop {
        read_some(stream, &mut received)?;
        if let Some(parsed) = parse_head(&received)? {
            break parsed;
        }
        if received.len() > MAX_HEAD {
            return Err(invalid("a head that is too long"));
        }
    };
    if length > MAX_BODY {
        return Err(invalid("a body that is too long"));
    }
    while received.len() < head + length {
        read_some(stream, &mut received)?;
    }
    if received.len() > head + length {
        return Err(invalid("more than an answer"));
    }
    answer.body = received.split_off(head);
    Ok(answer)
}

fn read_some(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => {
            received.extend_from_slice(&chunk[..length]);
            Ok(())
        }
    }
}

/// The answer without its body, the length of its head and that of its body; `None` while the head is incomplete.
fn parse_head(received: &[u8]) -> io::Result<Option<(Answer, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(received).map_err(io::Error::other)?;
    let (httparse::Status::Complete(head), Some(status)) = (parsed, response.code) else { return Ok(None) };
    if status < 200 {
        return Err(invalid("an interim answer"));
    }

    let header = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let length = match header("content-length") {
        Some(length) => length.parse().map_err(io::Error::other)?,
        None => 0,
    };
    let error_kind = header(crate::front::ERROR_KIND).map(str::to_owned);
    Ok(Some((Answer { status, error_kind, body: Vec::new() }, head, length)))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
