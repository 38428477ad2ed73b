//! A server on loopback that echoes what it reads, and can be as rude as real ones are.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// The port on this side of a connection: how the server knows it, too.
pub(crate) fn local_port(socket: &impl AsFd) -> u16 {
    let address = SockRef::from(socket).local_addr().expect("a connected socket has a local address");
    address.as_socket().expect("a TCP socket").port()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manners {
    /// Answers with what it reads; a thread for each connection.
    Echo,
    /// Accepts and never says a word.
    Mute,
}

/// A server. Its port stays its own while it is stopped, so that nobody else's socket can answer there.
pub(crate) struct Server {
    inner: Arc<Inner>,
    _reservation: Socket,
    listening: Mutex<Option<(Arc<TcpListener>, JoinHandle<()>)>>,
}

struct Inner {
    address: SocketAddr,
    manners: Manners,
    /// By the port at the client's side.
    connections: Mutex<HashMap<u16, Arc<TcpStream>>>,
    accepted: AtomicUsize,
}

impl Server {
    /// Answers each request with itself.
    pub(crate) fn echo() -> Server {
        Server::new(Manners::Echo)
    }

    /// Accepts and never answers.
    pub(crate) fn mute() -> Server {
        Server::new(Manners::Mute)
    }

    fn new(manners: Manners) -> Server {
        let reservation = socket("127.0.0.1:0".parse().unwrap());
        let address = reservation.local_addr().unwrap().as_socket().unwrap();
        let inner = Inner { address, manners, connections: Mutex::default(), accepted: AtomicUsize::new(0) };
        let server = Server { inner: Arc::new(inner), _reservation: reservation, listening: Mutex::new(None) };
        server.start();
        server
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        self.inner.address.to_string()
    }

    /// Connections that it has accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.inner.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are open on its side. A mute one does not notice that its client left.
    pub(crate) fn open(&self) -> usize {
        self.inner.connections.lock().unwrap().len()
    }

    /// Listens again, at the same address.
    pub(crate) fn start(&self) {
        let listener = socket(self.inner.address);
        listener.listen(4_096).unwrap();
        let listener = Arc::new(TcpListener::from(listener));
        let (inner, ours) = (Arc::clone(&self.inner), Arc::clone(&listener));
        let thread = thread::Builder::new().stack_size(128 << 10).spawn(move || inner.accept(&ours)).unwrap();
        *self.listening.lock().unwrap() = Some((listener, thread));
    }

    /// Refuses new connections; those that are open stay.
    pub(crate) fn refuse(&self) {
        if let Some((listener, thread)) = self.listening.lock().unwrap().take() {
            SockRef::from(&*listener).shutdown(Shutdown::Both).unwrap();
            drop(listener);
            thread.join().unwrap();
        }
    }

    /// Refuses new connections and closes all.
    pub(crate) fn stop(&self) {
        self.refuse();
        self.close_all();
    }

    /// Closes all connections.
    pub(crate) fn close_all(&self) {
        let all = std::mem::take(&mut *self.inner.connections.lock().unwrap());
        all.values().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    /// Closes the connection whose client has this port: a FIN, both ways.
    pub(crate) fn close(&self, port: u16) {
        let _ = self.take(port).shutdown(Shutdown::Both);
    }

    /// The same, if it is still open. False if it is not.
    pub(crate) fn close_if_open(&self, port: u16) -> bool {
        let stream = self.inner.connections.lock().unwrap().remove(&port);
        stream.inspect(|stream| drop(stream.shutdown(Shutdown::Both))).is_some()
    }

    /// Says no more on it, but would still listen: a FIN.
    pub(crate) fn half_close(&self, port: u16) {
        self.find(port).shutdown(Shutdown::Write).unwrap();
    }

    /// Resets it: a RST.
    pub(crate) fn reset(&self, port: u16) {
        reset(&self.take(port));
    }

    /// Closes one or the other, if there is any.
    pub(crate) fn close_any(&self) {
        if let Some(stream) = self.take_any() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Resets one or the other, if there is any.
    pub(crate) fn reset_any(&self) {
        if let Some(stream) = self.take_any() {
            reset(&stream);
        }
    }

    /// Says something that nobody asked for.
    pub(crate) fn push(&self, port: u16, bytes: &[u8]) {
        (&*self.find(port)).write_all(bytes).unwrap();
    }

    fn find(&self, port: u16) -> Arc<TcpStream> {
        super::eventually("the server knows the connection", || {
            self.inner.connections.lock().unwrap().contains_key(&port)
        });
        Arc::clone(&self.inner.connections.lock().unwrap()[&port])
    }

    fn take_any(&self) -> Option<Arc<TcpStream>> {
        let mut connections = self.inner.connections.lock().unwrap();
        let port = fastrand::choice(connections.keys().copied().collect::<Vec<_>>())?;
        connections.remove(&port)
    }

    fn take(&self, port: u16) -> Arc<TcpStream> {
        self.find(port);
        self.inner.connections.lock().unwrap().remove(&port).unwrap()
    }
}

fn reset(stream: &TcpStream) {
    // Its client may have gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    // Its thread lets go of it, and whoever lets go last resets it.
    let _ = stream.shutdown(Shutdown::Read);
}

impl Inner {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, peer)) = listener.accept() {
            let stream = Arc::new(stream);
            self.connections.lock().unwrap().insert(peer.port(), Arc::clone(&stream));
            self.accepted.fetch_add(1, Ordering::SeqCst);
            if self.manners == Manners::Echo {
                let inner = Arc::clone(&self);
                let thread = thread::Builder::new().stack_size(64 << 10);
                thread.spawn(move || inner.echo(stream, peer.port())).unwrap();
            }
        }
    }

    fn echo(&self, stream: Arc<TcpStream>, port: u16) {
        let _ = stream.set_nodelay(true);
        let mut bytes = [0; 1024];
        while let Ok(length @ 1..) = (&*stream).read(&mut bytes) {
            if (&*stream).write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let mut connections = self.connections.lock().unwrap();
        if connections.get(&port).is_some_and(|known| Arc::ptr_eq(known, &stream)) {
            connections.remove(&port);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn socket(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}
