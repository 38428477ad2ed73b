//! Reading a response: its head by `httparse`, then as much body as the head says, and whether the connection may serve on.
//!
//! Where a body ends is RFC 9112, section 6.3, as a client has to read it:
//! 1. an answer to HEAD, and every 1xx, 204 and 304, ends with its head, whatever its headers say;
//! 2. else a transfer coding goes before a length: `chunked` ends with its last chunk and trailers, any other with the connection;
//! 3. else a length, the same in all headers that give one;
//! 4. else the end of the connection.
//!
//! The connection may serve on if the body had an end of its own, if the peer means to (HTTP/1.1 unless it says `close`, HTTP/1.0 only if
//! it says `keep-alive`), and if nothing came after the body: a byte too many would begin the next answer.
//!
//! Everything that is read has a limit, and the answer has one as a whole: each interim answer, each chunk with its extensions may be
//! short, and there may be no end of them.
#![forbid(unsafe_code)]

use std::io::{self, Read};

use httparse::{Header, Status};

/// More than any decent peer sends.
const MAX_HEADERS: usize = 64;
/// A head or trailers may be this long, a chunk's length with its extensions too.
const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 16 * 1024 * 1024;
/// Interim answers before the one that was asked for. One or two are usual.
const MAX_INTERIM: usize = 16;
/// An answer as a whole: all its heads, its body, and what lies between the pieces of that.
const MAX_ANSWER: usize = 2 * MAX_BODY;
/// What one read takes at most.
const READ_SIZE: usize = 16 * 1024;

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// The connection may carry another request.
    pub(crate) reusable: bool,
}

/// A stream, and what was read from it ahead of its use.
#[derive(Debug)]
pub(crate) struct Incoming<R> {
    pub(crate) stream: R,
    /// Something has come since this was last set to false.
    pub(crate) heard: bool,
    received: Vec<u8>,
    /// How much more may be read for this answer.
    left: usize,
}

/// What a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    status: u16,
    end: End,
    /// The peer means to keep the connection.
    keeps: bool,
}

/// Where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Length(usize),
    LastChunk,
    Close,
}

impl<R: Read> Incoming<R> {
    pub(crate) fn new(stream: R) -> Self {
        Incoming { stream, heard: false, received: Vec::new(), left: 0 }
    }

    /// Reads the response to a request of this method; interim ones are passed over.
    pub(crate) fn response(&mut self, method: &str) -> io::Result<Response> {
        self.left = MAX_ANSWER;
        let mut interim = 0;
        let head = loop {
            let head = self.head(method)?;
            if !(100..200).contains(&head.status) || head.status == 101 {
                break head;
            }
            interim += 1;
            if interim > MAX_INTERIM {
                return Err(invalid("interim answers without end"));
            }
        };
        let body = match head.end {
            End::Length(length) => self.take(length)?,
            End::LastChunk => self.chunks()?,
            End::Close => self.rest()?,
        };
        // After 101 the connection speaks another protocol.
        let reusable = head.keeps && head.end != End::Close && head.status != 101 && self.received.is_empty();
        Ok(Response { status: head.status, body, reusable })
    }

    fn head(&mut self, method: &str) -> io::Result<Head> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            if let Status::Complete(length) = response.parse(&self.received).map_err(invalid)? {
                let head = read_head(method, &response)?;
                self.received.drain(..length);
                return Ok(head);
            }
            self.more_within(MAX_HEAD)?;
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let parsed = httparse::parse_chunk_size(&self.received).map_err(|_| invalid("a chunk without a length"))?;
            let Status::Complete((begin, length)) = parsed else {
                self.more_within(MAX_HEAD)?;
                continue;
            };
            self.received.drain(..begin);
            if length == 0 {
                self.trailers()?;
                return Ok(body);
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > MAX_BODY - body.len() {
                return Err(invalid("a body that is too long"));
            }
            body.append(&mut self.take(length)?);
            if self.take(2)? != b"\r\n" {
                return Err(invalid("a chunk longer than its length"));
            }
        }
    }

    /// Reads and forgets them.
    fn trailers(&mut self) -> io::Result<()> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            if let Status::Complete((length, _)) =
                httparse::parse_headers(&self.received, &mut headers).map_err(invalid)?
            {
                self.received.drain(..length);
                return Ok(());
            }
            self.more_within(MAX_HEAD)?;
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > MAX_BODY {
            return Err(invalid("a body that is too long"));
        }
        while self.received.len() < length {
            self.more_within(MAX_BODY)?;
        }
        let rest = self.received.split_off(length);
        Ok(std::mem::replace(&mut self.received, rest))
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more()? > 0 {
            if self.received.len() > MAX_BODY {
                return Err(invalid("a body that is too long"));
            }
        }
        Ok(std::mem::take(&mut self.received))
    }

    /// Reads some more of something that is incomplete and may have up to `limit` bytes.
    fn more_within(&mut self, limit: usize) -> io::Result<()> {
        if self.received.len() > limit {
            return Err(invalid("more than fits"));
        }
        match self.more()? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the upstream hung up")),
            _ => Ok(()),
        }
    }

    fn more(&mut self) -> io::Result<usize> {
        if self.left == 0 {
            return Err(invalid("an answer that is too long"));
        }
        let mut chunk = [0; READ_SIZE];
        let length = self.stream.read(&mut chunk[..READ_SIZE.min(self.left)])?;
        self.left -= length;
        self.received.extend_from_slice(&chunk[..length]);
        self.heard |= length > 0;
        Ok(length)
    }
}

fn read_head(method: &str, response: &httparse::Response<'_, '_>) -> io::Result<Head> {
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err(invalid("a head without a status"));
    };
    let headers = &*response.headers;
    let closes = tokens(headers, "connection").any(|token| token.eq_ignore_ascii_case("close"));
    let stays = version == 1 || tokens(headers, "connection").any(|token| token.eq_ignore_ascii_case("keep-alive"));
    let mut keeps = stays && !closes;

    let coded = headers.iter().any(|header| header.name.eq_ignore_ascii_case("transfer-encoding"));
    let coding = tokens(headers, "transfer-encoding").last();
    let length = length(headers)?;
    let end = if method == "HEAD" || (100..200).contains(&status) || matches!(status, 204 | 304) {
        End::Length(0)
    } else if coded {
        // Who sends both, or chunks in HTTP/1.0, may be telling somebody on the way another story than us.
        keeps &= length.is_none() && version == 1;
        if coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) { End::LastChunk } else { End::Close }
    } else {
        length.map_or(End::Close, End::Length)
    };
    Ok(Head { status, end, keeps })
}

/// What the headers of this name list, separated by commas.
fn tokens<'h>(headers: &'h [Header<'h>], name: &'h str) -> impl Iterator<Item = &'h str> {
    let values = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    // What is no text is no token that we know.
    let texts = values.filter_map(|header| std::str::from_utf8(header.value).ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn length(headers: &[Header<'_>]) -> io::Result<Option<usize>> {
    let mut length = None;
    for token in tokens(headers, "content-length") {
        // `parse` alone would take a sign.
        let digits = token.bytes().all(|byte| byte.is_ascii_digit());
        let this = token.parse().ok().filter(|_| digits);
        if this.is_none() || (length.is_some() && length != this) {
            return Err(invalid("no length, or more than one"));
        }
        length = this;
    }
    Ok(length)
}

fn invalid(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
