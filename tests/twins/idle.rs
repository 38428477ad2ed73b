//! What the twins of idle connections share: a pool of one, its peer in this process, and what its next user finds.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{Lease, Manager, Pool};
use socket2::SockRef;

const PATIENCE: Duration = Duration::from_secs(30);

/// What the next user finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finds {
    /// The same connection: all that came may come unasked.
    TheSame,
    /// The same or another: what came is not whole, or may be ignored.
    Either,
    /// Another.
    Another,
}

/// A pool of one connection, and its peer.
pub(crate) struct Pair<M: Manager, P> {
    pool: Pool<M>,
    accepted: Receiver<P>,
    peer: Option<P>,
    /// So many were seen.
    dials: u64,
}

impl<M: Manager, P: Send + 'static> Pair<M, P> {
    /// The manager of what listens at a port, and what welcomes whoever comes there.
    pub(crate) fn new(manager: impl FnOnce(u16) -> M, welcome: impl Fn(TcpStream) -> P + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (accepts, accepted) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                // What is thrown away leaves nothing behind, or ports would run out.
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                accepts.send(welcome(stream)).unwrap();
            }
        });
        let pool = Pool::builder(manager(port)).max_size(1).build().unwrap();
        Pair { pool, accepted, peer: None, dials: 0 }
    }

    /// Has the peer speak while the connection lies idle, and looks at what is lent then. `exchange` asks, and is answered.
    pub(crate) fn run(
        &mut self,
        script: &[u8],
        speak: impl FnOnce(&mut P, &[u8]) -> Finds,
        exchange: impl Fn(&mut M::Connection, &mut P),
    ) {
        // So that nothing waits on it from before.
        self.lend(&exchange);
        match speak(self.peer.as_mut().expect("it has answered"), script) {
            Finds::TheSame => assert!(self.lend(&exchange), "another, after {}", script.escape_ascii()),
            Finds::Another => assert!(!self.lend(&exchange), "lent, after {}", script.escape_ascii()),
            // The rest never comes, and nobody waits for it here.
            Finds::Either => Lease::discard(self.lease().0),
        }
    }

    /// Whether it was the same connection as before.
    fn lend(&mut self, exchange: impl Fn(&mut M::Connection, &mut P)) -> bool {
        let (mut lease, same, peer) = self.lease();
        exchange(&mut lease, peer);
        same
    }

    fn lease(&mut self) -> (Lease<'_, M>, bool, &mut P) {
        let lease = self.pool.get().unwrap();
        let dials = self.pool.stats().dials;
        let same = dials == self.dials;
        // The pool may dial once more by itself, for one that was discarded.
        while self.dials < dials {
            self.peer = Some(self.accepted.recv_timeout(PATIENCE).expect("a dial"));
            self.dials += 1;
        }
        (lease, same, self.peer.as_mut().expect("dialed once"))
    }
}

/// Waits until what was written into `stream` waits at its other end, in this process, unless that is gone: a kernel may deliver after the
/// sender's call.
pub(crate) fn wait_for_arrival(stream: &TcpStream, bytes: usize, hung_up: bool) {
    let (Ok(here), Ok(there)) = (stream.local_addr(), stream.peer_addr()) else { return };
    let (ends, began) = (format!("{} {} ", hex(there), hex(here)), Instant::now());
    let is_there = || {
        let table = fs::read_to_string("/proc/net/tcp").expect("a table of sockets");
        let Some((_, socket)) = table.split_once(&ends) else { return true };
        // Its state, and the lengths of its queues.
        let ("01" | "08", queues) = socket.split_at(2) else { return true };
        let waits = usize::from_str_radix(&queues[10..18], 16).expect("a length");
        if hung_up { socket.starts_with("08") } else { waits == bytes }
    };
    while !is_there() {
        assert!(began.elapsed() < PATIENCE, "{bytes} bytes did not arrive");
        thread::yield_now();
    }
}

fn hex(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { unreachable!("only of IPv4") };
    // As the processor has it.
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}
