//! A protocol of lines for a mux, and a stage on which the test itself is the server.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use corepool::Manager;
use corepool::mux::{Decoded, Duplex, Mux, Protocol};

use super::{HOPELESS, ON_PURPOSE};

/// Eight callers at once, each of whom asks a hundred times and gets its own answer.
#[track_caller]
pub(crate) fn each_gets_its_own<M: Manager<Connection: Duplex>>(mux: &Mux<M, Lines>) {
    thread::scope(|scope| {
        for caller in 0..8 {
            scope.spawn(move || {
                for turn in 0..100 {
                    let token = format!("{caller} {turn}");
                    assert_eq!(mux.call(&token).unwrap(), token);
                }
            });
        }
    });
}

/// Each line is answered by a line. One that begins with `>` answers nobody, one with `!` is broken, `panic` panics; `refused` is not sent,
/// and `block` may take its time.
#[derive(Default, Clone)]
pub(crate) struct Lines {
    pub(crate) pushes: Arc<Mutex<Vec<String>>>,
}

impl Protocol for Lines {
    type Request = str;
    type Reply = String;

    fn encode(&self, request: &str, into: &mut Vec<u8>) -> Result<(), Box<dyn Error + Send + Sync>> {
        into.extend_from_slice(request.as_bytes());
        if request == "refused" {
            return Err("not on this line".into());
        }
        into.push(b'\n');
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Decoded<String> {
        assert!(!bytes.is_empty(), "nothing to decode");
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Decoded::More(1) };
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        match line.as_bytes().first() {
            Some(b'>') => Decoded::Push(line, end + 1),
            Some(b'!') => Decoded::Broken(line.into()),
            _ if line == "panic" => panic!("{ON_PURPOSE}"),
            _ => Decoded::Reply(line, end + 1),
        }
    }

    fn on_push(&self, push: String) {
        self.pushes.lock().unwrap().push(push);
    }

    fn may_block(&self, request: &str) -> bool {
        request.starts_with("block")
    }
}

/// Where the test answers by itself.
pub(crate) struct Stage {
    listener: TcpListener,
}

/// The other end of one connection.
pub(crate) struct Peer {
    stream: BufReader<TcpStream>,
}

impl Stage {
    pub(crate) fn open() -> Stage {
        Stage { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    /// On a socket that listens already.
    pub(crate) fn of(listener: TcpListener) -> Stage {
        Stage { listener }
    }

    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// The next connection.
    #[track_caller]
    pub(crate) fn accept(&self) -> Peer {
        self.listener.set_nonblocking(true).unwrap();
        let begun = Instant::now();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_nodelay(true).unwrap();
                    stream.set_read_timeout(Some(HOPELESS)).unwrap();
                    return Peer { stream: BufReader::new(stream) };
                }
                Err(_) if begun.elapsed() < HOPELESS => thread::sleep(std::time::Duration::from_micros(200)),
                Err(error) => panic!("nobody connects: {error}"),
            }
        }
    }

    /// Whether somebody waits to be accepted.
    pub(crate) fn is_wanted(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], Some(&now)).unwrap() > 0
    }
}

impl Peer {
    /// The next request; `None` once the client has hung up.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("nobody asks: {error}"),
        }
    }

    /// The beginning of a request.
    pub(crate) fn hear_some(&mut self) {
        assert!(!self.stream.fill_buf().unwrap().is_empty(), "the client has hung up");
    }

    /// The next requests, so many.
    #[track_caller]
    pub(crate) fn hear_all(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.hear().expect("the client has hung up")).collect()
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The same to one who may have gone.
    pub(crate) fn say_if_heard(&mut self, text: &str) {
        let _ = self.stream.get_mut().write_all(text.as_bytes());
    }

    /// Says no more, and hears no more.
    pub(crate) fn hang_up(&self) {
        self.stream.get_ref().shutdown(Shutdown::Both).unwrap();
    }

    /// Answers every request with itself until the client hangs up.
    pub(crate) fn echo(mut self) {
        while let Some(line) = self.hear() {
            if self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).is_err() {
                return;
            }
        }
    }
}
