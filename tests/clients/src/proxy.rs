//! A proxy between a client and its server, in this process, that does what networks and servers do when they fail.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// What happens to connections from now on, those that are open as well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// All is passed on at once.
    None,
    /// What either side says arrives so much later.
    Delay(Duration),
    /// One reply in so many arrives so much later: after its request's timeout, if that is shorter.
    LateReplies { one_in: u32, by: Duration },
    /// Nothing is passed on, and nobody is told. What was said meanwhile arrives when this is over.
    BlackHole,
    /// Byte by byte, a millisecond each.
    Trickle,
    /// A new connection is accepted and closed.
    AcceptThenClose,
}

/// How open connections are ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both ways, with FIN.
    Fin,
    /// With RST.
    Rst,
    /// The client hears that the server has ended, while the server still listens.
    HalfClose,
}

/// The proxy; ends with all its connections when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    ended: AtomicBool,
    accepted: AtomicU64,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    listening: bool,
    /// Of connections up to this number nothing is passed on any more.
    forgotten: u64,
    /// The two sockets of each open connection, the client's first.
    open: BTreeMap<u64, [TcpStream; 2]>,
}

/// How often a thread that waits looks whether something has changed.
const LOOK: Duration = Duration::from_millis(2);

impl Proxy {
    /// In front of a server on this port.
    pub fn new(upstream: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { fault: Fault::None, listening: true, forgotten: 0, open: BTreeMap::new() };
        let shared = Arc::new(Shared {
            upstream: SocketAddr::from((Ipv4Addr::LOCALHOST, upstream)),
            state: Mutex::new(state),
            ended: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
        });
        let served = Arc::clone(&shared);
        thread::spawn(move || served.serve(address, Some(listener)));
        Proxy { address, shared }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many connections it has ever accepted: the dials.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.shared.state().open.len()
    }

    pub fn set(&self, fault: Fault) {
        self.shared.state().fault = fault;
    }

    /// Whether new connections are refused by the kernel, since nobody listens.
    pub fn refuse(&self, refuse: bool) {
        self.shared.state().listening = !refuse;
        crate::server::eventually("the proxy to listen, or not", || {
            TcpStream::connect(self.address).is_err() == refuse
        });
    }

    /// Forgets all that are open, as a NAT does: nothing is passed on, and neither end hears of it. Later ones are as usual.
    pub fn forget(&self) {
        let mut state = self.shared.state();
        state.forgotten = self.accepted();
    }

    /// Ends all that are open.
    pub fn cut(&self, how: Cut) {
        let mut state = self.shared.state();
        for [client, server] in state.open.values() {
            end(client, server, how);
        }
        if how != Cut::HalfClose {
            state.open.clear();
        }
    }

    /// Ends one of those that are open, chosen by a number.
    pub fn cut_one(&self, number: u64, how: Cut) {
        let state = self.shared.state();
        let chosen = (number % state.open.len().max(1) as u64) as usize;
        if let Some([client, server]) = state.open.values().nth(chosen) {
            end(client, server, how);
        }
    }

    /// Says something to each client that the server has not said.
    pub fn inject(&self, bytes: &[u8]) {
        for [client, _] in self.shared.state().open.values() {
            // One that has just been closed hears nothing.
            let _ = (&mut &*client).write_all(bytes);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut(Cut::Fin);
        // So that it looks.
        let _ = TcpStream::connect(self.address);
    }
}

fn end(client: &TcpStream, server: &TcpStream, how: Cut) {
    if how == Cut::HalfClose {
        let _ = client.shutdown(Shutdown::Write);
        return;
    }
    if how == Cut::Rst {
        let _ = SockRef::from(client).set_linger(Some(Duration::ZERO));
        // To dissolve the association of a socket resets its peer at once, without waiting for the last descriptor to be closed.
        reset(client);
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

fn reset(socket: &TcpStream) {
    let _ = rustix::net::connect_unspec(socket);
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that has panicked says why by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: Arc<Self>, address: SocketAddr, mut listener: Option<TcpListener>) {
        let mut number = 0;
        loop {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            if !self.state().listening {
                listener = None;
                thread::sleep(LOOK);
                continue;
            }
            let open = listener.get_or_insert_with(|| listen(address));
            open.set_nonblocking(true).unwrap();
            match open.accept() {
                Ok((client, _)) => {
                    number += 1;
                    self.accepted.fetch_add(1, Ordering::SeqCst);
                    client.set_nonblocking(false).unwrap();
                    let shared = Arc::clone(&self);
                    thread::spawn(move || shared.pass(number, client));
                }
                Err(_) => thread::sleep(LOOK),
            }
        }
    }

    fn pass(&self, number: u64, client: TcpStream) {
        if self.fault() == Fault::AcceptThenClose {
            return;
        }
        let Ok(server) = TcpStream::connect(self.upstream) else { return };
        let both = [&client, &server];
        both.iter().for_each(|socket| socket.set_nodelay(true).unwrap());
        let kept = both.map(|socket| socket.try_clone().unwrap());
        self.state().open.insert(number, kept);
        thread::scope(|scope| {
            scope.spawn(|| self.pump(number, &client, &server, false));
            self.pump(number, &server, &client, true);
        });
        self.state().open.remove(&number);
    }

    fn pump(&self, number: u64, mut from: &TcpStream, to: &TcpStream, replies: bool) {
        let mut bytes = [0; 16 * 1024];
        let _ = from.set_read_timeout(Some(Duration::from_millis(20)));
        loop {
            while self.is_silent(number) && !self.ended.load(Ordering::SeqCst) {
                thread::sleep(LOOK);
            }
            let length = match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.ended.load(Ordering::SeqCst) {
                        break;
                    }
                    continue;
                }
                Err(_) => break,
            };
            while self.is_silent(number) && !self.ended.load(Ordering::SeqCst) {
                thread::sleep(LOOK);
            }
            if self.forward(to, &bytes[..length], replies).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    fn forward(&self, mut to: &TcpStream, bytes: &[u8], replies: bool) -> io::Result<()> {
        match self.fault() {
            Fault::Delay(by) => thread::sleep(by),
            Fault::LateReplies { one_in, by } if replies && fastrand::u32(..one_in) == 0 => thread::sleep(by),
            Fault::Trickle => {
                for byte in bytes {
                    to.write_all(&[*byte])?;
                    thread::sleep(Duration::from_millis(1));
                }
                return Ok(());
            }
            _ => {}
        }
        to.write_all(bytes)
    }

    fn is_silent(&self, number: u64) -> bool {
        let state = self.state();
        // One that was cut is not open any more, and ends.
        state.fault == Fault::BlackHole || (number <= state.forgotten && state.open.contains_key(&number))
    }

    fn fault(&self) -> Fault {
        self.state().fault
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.set_reuse_address(true).unwrap();
    listener.bind(&address.into()).unwrap();
    listener.listen(128).unwrap();
    listener.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{AMPLE, eventually};
    use std::time::Instant;

    /// A server that echoes, by way of a proxy.
    fn proxied() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::new(listener.local_addr().unwrap().port());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        proxy
    }

    fn client(proxy: &Proxy) -> TcpStream {
        let client = TcpStream::connect(proxy.address).unwrap();
        client.set_read_timeout(Some(AMPLE)).unwrap();
        client
    }

    fn echo(mut client: &TcpStream, said: &[u8]) -> io::Result<Vec<u8>> {
        client.write_all(said)?;
        let mut heard = vec![0; said.len()];
        client.read_exact(&mut heard).map(|()| heard)
    }

    #[test]
    fn all_is_passed_on_late_or_in_pieces() {
        let proxy = proxied();
        let client = client(&proxy);
        for fault in [Fault::None, Fault::Delay(Duration::from_millis(20)), Fault::Trickle] {
            proxy.set(fault);
            let begun = Instant::now();
            assert_eq!(echo(&client, b"hello").unwrap(), b"hello");
            assert!(!matches!(fault, Fault::Delay(_)) || begun.elapsed() >= Duration::from_millis(40));
        }
        assert_eq!((proxy.open(), proxy.accepted()), (1, 1));
    }

    #[test]
    fn a_reply_comes_after_its_requests_timeout() {
        let proxy = proxied();
        let mut client = client(&proxy);
        assert_eq!(echo(&client, b"a").unwrap(), b"a");
        proxy.set(Fault::LateReplies { one_in: 1, by: Duration::from_millis(200) });
        client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert_eq!(echo(&client, b"b").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        client.set_read_timeout(Some(AMPLE)).unwrap();
        let mut late = [0];
        client.read_exact(&mut late).unwrap();
        assert_eq!(&late, b"b");
    }

    #[test]
    fn a_black_hole_says_nothing_until_it_is_over() {
        let proxy = proxied();
        let mut client = client(&proxy);
        assert_eq!(echo(&client, b"a").unwrap(), b"a");
        proxy.set(Fault::BlackHole);
        client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert_eq!(echo(&client, b"b").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        proxy.set(Fault::None);
        client.set_read_timeout(Some(AMPLE)).unwrap();
        let mut heard = [0];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"b");
    }

    #[test]
    fn what_is_forgotten_says_nothing_and_a_new_connection_does() {
        let proxy = proxied();
        let old = client(&proxy);
        assert_eq!(echo(&old, b"a").unwrap(), b"a");
        proxy.forget();
        assert_eq!(echo(&client(&proxy), b"b").unwrap(), b"b");
        old.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert_eq!(echo(&old, b"c").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_cut_is_heard_as_what_it_is() {
        for (how, heard) in
            [(Cut::Fin, Ok(0)), (Cut::HalfClose, Ok(0)), (Cut::Rst, Err(io::ErrorKind::ConnectionReset))]
        {
            let proxy = proxied();
            let mut client = client(&proxy);
            assert_eq!(echo(&client, b"a").unwrap(), b"a");
            proxy.cut(how);
            assert_eq!(client.read(&mut [0]).map_err(|error| error.kind()), heard, "{how:?}");
        }
    }

    #[test]
    fn what_nobody_has_said_is_heard() {
        let proxy = proxied();
        let mut client = client(&proxy);
        eventually("the connection to be open", || proxy.open() == 1);
        proxy.inject(b"garbage");
        let mut heard = [0; 7];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"garbage");
    }

    #[test]
    fn a_dial_is_refused_or_closed_at_once() {
        let proxy = proxied();
        proxy.set(Fault::AcceptThenClose);
        assert_eq!(client(&proxy).read(&mut [0]).unwrap(), 0);
        proxy.set(Fault::None);
        proxy.refuse(true);
        assert_eq!(TcpStream::connect(proxy.address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        proxy.refuse(false);
        assert_eq!(echo(&client(&proxy), b"again").unwrap(), b"again");
    }
}
