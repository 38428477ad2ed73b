//! Peers inside this process: each echoes frames on one thread, and hangs up, resets, babbles, falls silent and refuses at random.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockRef, Socket, Type};

/// A request, and its reply: eight bytes that say which, and a number that was never used before.
pub(crate) const FRAME: usize = 16;

/// What a peer says that nobody asked for.
pub(crate) const GARBAGE: [u8; FRAME] = [0xff; FRAME];

const LISTENER: Token = Token(0);

/// A peer's thread, and what is known of it.
pub(crate) struct Peer {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    ends: AtomicBool,
    /// No fault is played, and it listens.
    calm: AtomicBool,
    open: AtomicUsize,
    faults: AtomicU64,
    frames: AtomicU64,
}

impl Peer {
    pub(crate) fn start() -> io::Result<Peer> {
        // Bound for as long as the peer lives, so that nobody else gets its port while it refuses.
        let reservation = socket("127.0.0.1:0".parse().map_err(io::Error::other)?)?;
        let address = reservation.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let state = Arc::<State>::default();
        let mut run = Run::new(address, Arc::clone(&state))?;
        run.listen()?;
        let body = move || {
            let _reservation = reservation;
            if let Err(error) = run.serve() {
                eprintln!("soak: a peer has ended: {error}");
            }
        };
        let thread = thread::Builder::new().name("peer".into()).stack_size(128 << 10).spawn(body)?;
        Ok(Peer { address, state, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Has it behave, or not.
    pub(crate) fn set_calm(&self, calm: bool) {
        self.state.calm.store(calm, Ordering::SeqCst);
    }

    /// Connections that are open on its side.
    pub(crate) fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Faults that it has played.
    pub(crate) fn faults(&self) -> u64 {
        self.state.faults.load(Ordering::Relaxed)
    }

    /// Frames that it has answered.
    pub(crate) fn frames(&self) -> u64 {
        self.state.frames.load(Ordering::Relaxed)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.state.ends.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join);
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// One connection, as the peer has it.
struct Client {
    stream: TcpStream,
    /// Read and not answered.
    asked: Vec<u8>,
    /// It is answered then.
    silent_until: Option<Instant>,
}

/// What the peer's thread has.
struct Run {
    address: SocketAddr,
    state: Arc<State>,
    poll: Poll,
    listener: Option<TcpListener>,
    clients: HashMap<Token, Client>,
    tokens: usize,
    refuses_until: Option<Instant>,
    next_fault: Instant,
}

/// The longest that a peer listens to nothing else.
const TURN: Duration = Duration::from_millis(5);

impl Run {
    fn new(address: SocketAddr, state: Arc<State>) -> io::Result<Run> {
        let (poll, clients, next_fault) = (Poll::new()?, HashMap::new(), Instant::now());
        Ok(Run { address, state, poll, listener: None, clients, tokens: 0, refuses_until: None, next_fault })
    }

    fn listen(&mut self) -> io::Result<()> {
        let socket = socket(self.address)?;
        socket.listen(1_024)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        self.poll.registry().register(&mut SourceFd(&listener.as_raw_fd()), LISTENER, Interest::READABLE)?;
        self.listener = Some(listener);
        Ok(())
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        while !self.state.ends.load(Ordering::SeqCst) {
            match self.poll.poll(&mut events, Some(TURN)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    token => self.hear(token),
                }
            }
            events.clear();
            self.misbehave()?;
            self.state.open.store(self.clients.len(), Ordering::SeqCst);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(TcpListener::accept) {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            self.tokens += 1;
            let token = Token(self.tokens);
            self.poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), token, Interest::READABLE)?;
            self.clients.insert(token, Client { stream, asked: Vec::new(), silent_until: None });
        }
        Ok(())
    }

    /// Reads what a client asks, and answers unless it is silent, or ends the connection.
    fn hear(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let mut bytes = [0; 512];
        loop {
            match client.stream.read(&mut bytes) {
                Ok(length @ 1..) => client.asked.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // It has hung up.
                _ => return drop(self.clients.remove(&token)),
            }
        }
        let calm = self.state.calm.load(Ordering::SeqCst);
        let whole = client.asked.len() / FRAME * FRAME;
        if client.silent_until.is_some() || whole == 0 {
            return;
        }
        let fault = if calm { u32::MAX } else { fastrand::u32(0..8_000) };
        self.state.faults.fetch_add(u64::from(fault < 11), Ordering::Relaxed);
        match fault {
            0..3 => self.end(token, false),
            3..6 => self.end(token, true),
            // Half a reply, and nothing more.
            6 => {
                let half = &client.asked[..FRAME / 2];
                let _ = client.stream.write(half);
                self.end(token, false);
            }
            7 => client.silent_until = Some(Instant::now() + Duration::from_millis(fastrand::u64(1..400))),
            8..11 => {
                let _ = client.stream.write(&GARBAGE);
                self.answer(token);
            }
            _ => self.answer(token),
        }
    }

    fn answer(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let whole = client.asked.len() / FRAME * FRAME;
        if client.stream.write(&client.asked[..whole]).is_ok_and(|length| length == whole) {
            client.asked.drain(..whole);
            self.state.frames.fetch_add((whole / FRAME) as u64, Ordering::Relaxed);
        } else {
            // Whoever does not read what they asked for is not worth waiting for.
            self.clients.remove(&token);
        }
    }

    /// Ends a connection: a FIN, or a RST.
    fn end(&mut self, token: Token, reset: bool) {
        let Some(client) = self.clients.remove(&token) else { return };
        if reset {
            let _ = SockRef::from(&client.stream.as_fd()).set_linger(Some(Duration::ZERO));
        }
    }

    /// Faults that come by time: of connections that nobody uses, and of all at once.
    fn misbehave(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let calm = self.state.calm.load(Ordering::SeqCst);
        if self.refuses_until.is_some_and(|until| calm || now >= until) {
            self.refuses_until = None;
            self.listen()?;
        }
        let over = |client: &Client| client.silent_until.is_some_and(|until| calm || now >= until);
        let speaking: Vec<Token> =
            self.clients.iter().filter(|(_, client)| over(client)).map(|(token, _)| *token).collect();
        for token in speaking {
            self.clients.get_mut(&token).into_iter().for_each(|client| client.silent_until = None);
            self.answer(token);
        }
        if calm || now < self.next_fault {
            return Ok(());
        }
        self.next_fault = now + Duration::from_millis(fastrand::u64(1..60));
        self.state.faults.fetch_add(1, Ordering::Relaxed);
        let any = self.clients.keys().nth(fastrand::usize(0..self.clients.len().max(1))).copied();
        match (fastrand::u32(0..40), any) {
            (0, _) => {
                // Gone altogether, for a while.
                self.listener = None;
                self.clients.clear();
                self.refuses_until = Some(now + Duration::from_millis(fastrand::u64(1..600)));
            }
            (1, _) => {
                // All that is open falls silent.
                let until = now + Duration::from_millis(fastrand::u64(1..300));
                self.clients.values_mut().for_each(|client| client.silent_until = Some(until));
            }
            (2, _) => self.clients.clear(),
            (3..20, Some(token)) => self.end(token, false),
            (20..32, Some(token)) => self.end(token, true),
            (_, Some(token)) => {
                let _ = self.clients.get_mut(&token).map(|client| client.stream.write(&GARBAGE));
            }
            (_, None) => {}
        }
        Ok(())
    }
}
