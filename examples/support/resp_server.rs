//! A small Redis-speaking server inside the process, on a real loopback socket, that can play an outage.
//!
//! It is here so that an example needs nothing installed. RESP2 with pipelining, a thread per connection, one write for each
//! batch of requests that one read brought. It knows PING, ECHO, GET, SET, INCR, DEL and QUIT.
//!
//! **An outage** closes the listener and every connection, and opens the same port again later. Closing the listening socket and
//! binding a second one would leave a moment in which somebody's outgoing connection may be given the free port, so the socket is
//! shut down instead: on Linux that refuses new peers, resets the waiting ones, wakes the thread in `accept`, and keeps the port
//! for the next `listen`.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Peers that may wait to be accepted: more than any example opens at once.
const BACKLOG: i32 = 1024;
/// What one read takes from a socket at most: some hundred small requests.
const READ_SIZE: usize = 16 * 1024;
/// The longest argument and the most arguments that a request may have.
const MAX_ARGUMENT: usize = 16 * 1024 * 1024;
const MAX_ARGUMENTS: usize = 64 * 1024;
/// The longest request as a whole.
const MAX_REQUEST: usize = 2 * MAX_ARGUMENT;

/// The server. It runs until the process ends.
#[derive(Debug, Clone)]
pub(crate) struct RespServer {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    listener: Socket,
    peers: Mutex<Peers>,
    /// Told when the listener listens again.
    up: Condvar,
    values: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

/// Who is connected. Under one lock with `up`, so that an outage misses no connection that was just accepted.
#[derive(Debug)]
struct Peers {
    up: bool,
    next: u64,
    streams: HashMap<u64, TcpStream>,
}

impl RespServer {
    /// Starts on a free port of 127.0.0.1.
    pub(crate) fn start() -> io::Result<Self> {
        // A port that the kernel chose is lost when its socket is shut down, one that was asked for is not: one socket finds a
        // port, a second asks for it.
        let finder = bound((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = finder.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let listener = bound(address)?;
        listener.listen(BACKLOG)?;

        let shared = Arc::new(Shared {
            listener,
            peers: Mutex::new(Peers { up: true, next: 0, streams: HashMap::new() }),
            up: Condvar::new(),
            values: Mutex::default(),
        });
        let acceptor = Arc::clone(&shared);
        thread::Builder::new().name("resp-accept".into()).spawn(move || acceptor.accept())?;
        Ok(RespServer { shared, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection and refuses new ones for `length`, then listens again on the same port; blocks meanwhile.
    pub(crate) fn outage(&self, length: Duration) -> io::Result<()> {
        {
            let mut peers = lock(&self.shared.peers);
            peers.up = false;
            self.shared.listener.shutdown(Shutdown::Both)?;
            for (_, stream) in peers.streams.drain() {
                // One that its peer has closed already is as good.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        thread::sleep(length);
        let mut peers = lock(&self.shared.peers);
        self.shared.listener.listen(BACKLOG)?;
        peers.up = true;
        self.shared.up.notify_all();
        Ok(())
    }
}

impl Shared {
    fn accept(self: Arc<Self>) {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => self.welcome(socket.into()),
                Err(_) => {
                    let peers = lock(&self.peers);
                    if peers.up {
                        drop(peers);
                        // Out of descriptors, most likely: a pause, so as not to spin until one is free.
                        thread::sleep(Duration::from_millis(10));
                    } else {
                        drop(self.up.wait_while(peers, |peers| !peers.up).unwrap_or_else(PoisonError::into_inner));
                    }
                }
            }
        }
    }

    /// Serves a new peer on a thread of its own; who comes during an outage, or finds no thread, is hung up on.
    fn welcome(self: &Arc<Self>, stream: TcpStream) {
        let mut peers = lock(&self.peers);
        let Ok(second) = stream.try_clone() else { return };
        if !peers.up {
            return;
        }
        let id = peers.next;
        peers.next += 1;
        peers.streams.insert(id, second);
        drop(peers);

        let shared = Arc::clone(self);
        let spawned = thread::Builder::new().name("resp-peer".into()).spawn(move || {
            // A connection that ends in an error ends like any other.
            let _ = shared.serve(stream);
            lock(&shared.peers).streams.remove(&id);
        });
        if spawned.is_err() {
            lock(&self.peers).streams.remove(&id);
        }
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut input = Vec::with_capacity(READ_SIZE);
        let mut output = Vec::with_capacity(READ_SIZE);
        let mut chunk = [0; READ_SIZE];
        loop {
            match stream.read(&mut chunk)? {
                0 => return Ok(()),
                length => input.extend_from_slice(&chunk[..length]),
            }
            let mut done = 0;
            let mut end = false;
            while !end {
                match parse(&input[done..]) {
                    Ok(Some((request, length))) => {
                        end = self.execute(&request, &mut output);
                        done += length;
                    }
                    Ok(None) if input.len() - done <= MAX_REQUEST => break,
                    Ok(None) | Err(Malformed) => {
                        output.extend_from_slice(b"-ERR Protocol error\r\n");
                        end = true;
                    }
                }
            }
            input.drain(..done);
            stream.write_all(&output)?;
            output.clear();
            if end {
                return Ok(());
            }
        }
    }

    /// Appends the reply; true if the connection ends with it.
    fn execute(&self, request: &[&[u8]], output: &mut Vec<u8>) -> bool {
        let [name, arguments @ ..] = request else { return false };
        match (name.to_ascii_uppercase().as_slice(), arguments) {
            (b"PING", []) => output.extend_from_slice(b"+PONG\r\n"),
            (b"PING" | b"ECHO", [text]) => bulk(Some(text), output),
            (b"GET", [key]) => bulk(lock(&self.values).get(*key).map(Vec::as_slice), output),
            (b"SET", [key, value]) => {
                lock(&self.values).insert(key.to_vec(), value.to_vec());
                output.extend_from_slice(b"+OK\r\n");
            }
            (b"INCR", [key]) => match self.increment(key) {
                Some(number) => integer(number, output),
                None => error("ERR value is not an integer or out of range", output),
            },
            (b"DEL", keys @ [_, ..]) => {
                let mut values = lock(&self.values);
                integer(keys.iter().filter(|key| values.remove(**key).is_some()).count() as i64, output);
            }
            (b"QUIT", []) => {
                output.extend_from_slice(b"+OK\r\n");
                return true;
            }
            (b"PING" | b"ECHO" | b"GET" | b"SET" | b"INCR" | b"DEL" | b"QUIT", _) => {
                error(&format!("ERR wrong number of arguments for '{}' command", name.escape_ascii()), output);
            }
            _ => error(&format!("ERR unknown command '{}'", name.escape_ascii()), output),
        }
        false
    }

    fn increment(&self, key: &[u8]) -> Option<i64> {
        let mut values = lock(&self.values);
        let number = match values.get(key) {
            Some(text) => std::str::from_utf8(text).ok()?.parse::<i64>().ok()?.checked_add(1)?,
            None => 1,
        };
        values.insert(key.to_vec(), number.to_string().into_bytes());
        Some(number)
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Closed connections linger on the port in TIME_WAIT; without this they would bar it after an outage.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A command and its arguments.
type Request<'a> = Vec<&'a [u8]>;

/// A request that is not an array of bulk strings, or too long.
#[derive(Debug)]
struct Malformed;

/// The first request in `input` and its length; `None` while it is incomplete.
fn parse(input: &[u8]) -> Result<Option<(Request<'_>, usize)>, Malformed> {
    let Some((count, mut at)) = header(input, b'*', MAX_ARGUMENTS)? else { return Ok(None) };
    let mut request = Request::with_capacity(count.min(8));
    for _ in 0..count {
        let Some((length, begin)) = header(&input[at..], b'$', MAX_ARGUMENT)? else { return Ok(None) };
        let begin = at + begin;
        let Some(argument) = input.get(begin..begin + length + 2) else { return Ok(None) };
        let argument = argument.strip_suffix(b"\r\n").ok_or(Malformed)?;
        request.push(argument);
        at = begin + length + 2;
    }
    Ok(Some((request, at)))
}

/// A line of `sigil` and a number up to `limit`: the number, and where the next line begins.
fn header(input: &[u8], sigil: u8, limit: usize) -> Result<Option<(usize, usize)>, Malformed> {
    // The longest number is shorter than this: without the bound a peer could make us search through megabytes of one line.
    const LONGEST: usize = 16;
    if input.first().is_some_and(|first| *first != sigil) {
        return Err(Malformed);
    }
    let Some(end) = input.iter().take(LONGEST).position(|byte| *byte == b'\n') else {
        return if input.len() < LONGEST { Ok(None) } else { Err(Malformed) };
    };
    let digits = input[1..end].strip_suffix(b"\r").ok_or(Malformed)?;
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Malformed)?;
    if number > limit { Err(Malformed) } else { Ok(Some((number, end + 1))) }
}

fn bulk(value: Option<&[u8]>, output: &mut Vec<u8>) {
    let Some(value) = value else { return output.extend_from_slice(b"$-1\r\n") };
    output.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
    output.extend_from_slice(value);
    output.extend_from_slice(b"\r\n");
}

fn integer(number: i64, output: &mut Vec<u8>) {
    output.extend_from_slice(format!(":{number}\r\n").as_bytes());
}

fn error(text: &str, output: &mut Vec<u8>) {
    output.extend_from_slice(format!("-{text}\r\n").as_bytes());
}

/// A panic in one connection's thread leaves the maps whole; the others go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
