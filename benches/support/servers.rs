//! The other ends: real servers on loopback, in this process, the same for every rival.
//!
//! [`Server`] answers frames, a thread for each connection, at once or after a delay; [`Lot`] only keeps connections open, until it is
//! told to close them. Both end when they are dropped.
//!
//! **The core.** The thread that answers a pinned client joins it on its core. Left to the kernel, a client and its server run now on one
//! core, now on two, and a round trip takes 7 µs or 40, whatever lies between them.
//!
//! **The delay** is a sleep of the answering thread (`clock_nanosleep`), with the thread's timer slack set to 1 ns: the kernel's default
//! lets a sleep of 500 µs be 50 µs late. No spinning, which would take the cores from the clients. What is left, the wake-up of the
//! server's thread, is the same for all.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::connections::{ANYWHERE, FRAME};
use super::rounds;

/// Answers frames over TCP and over a Unix socket.
pub(crate) struct Server {
    /// Its TCP address.
    pub(crate) address: SocketAddr,
    /// Its Unix socket.
    pub(crate) path: PathBuf,
    stopping: Arc<AtomicBool>,
    listeners: Vec<JoinHandle<()>>,
}

impl Server {
    /// One that answers at once.
    pub(crate) fn echo() -> Self {
        Server::start(Duration::ZERO)
    }

    /// One that takes this long over each answer.
    pub(crate) fn slow(delay: Duration) -> Self {
        Server::start(delay)
    }

    fn start(delay: Duration) -> Self {
        static SERVERS: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only uniqueness matters.
        let number = SERVERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("corepool-bench-{}-{number}", std::process::id()));
        let tcp = listen();
        let address = tcp.local_addr().expect("a bound socket has an address");
        let unix = UnixListener::bind(&path).expect("the temporary directory takes a socket");
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop_tcp, stop_unix) = (Arc::clone(&stopping), Arc::clone(&stopping));
        let listeners = vec![
            thread::spawn(move || {
                serve(&stop_tcp, delay, || {
                    let (stream, _) = tcp.accept()?;
                    stream.set_nodelay(true)?;
                    Ok(stream)
                });
            }),
            thread::spawn(move || serve(&stop_unix, delay, || Ok(unix.accept()?.0))),
        ];
        Server { address, path, stopping, listeners }
    }
}

/// Listens on loopback. With room for thousands that are not accepted yet: past the standard library's 128 the kernel drops the
/// handshake, and the client tries again after a second.
fn listen() -> TcpListener {
    let opened = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.listen(4_096)?;
        Ok::<_, std::io::Error>(socket.into())
    };
    opened().expect("loopback has a free port")
}

impl Drop for Server {
    fn drop(&mut self) {
        // Relaxed: the connections below bring the news.
        self.stopping.store(true, Ordering::Relaxed);
        let woken = (TcpStream::connect(self.address).is_ok(), UnixStream::connect(&self.path).is_ok());
        if woken == (true, true) {
            self.listeners.drain(..).for_each(|listener| listener.join().expect("no listener panics"));
        }
        // In the way of nobody if it stays.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve<S: Read + Write + Send + 'static>(
    stopping: &AtomicBool,
    delay: Duration,
    mut accept: impl FnMut() -> std::io::Result<S>,
) {
    loop {
        match accept() {
            // Relaxed: as in the drop above.
            _ if stopping.load(Ordering::Relaxed) => return,
            Ok(stream) => {
                let small = thread::Builder::new().stack_size(64 << 10);
                small.spawn(move || answer(stream, delay)).expect("the machine has room for a thread a connection");
            }
            Err(error) => eprintln!("the benchmark's server could not accept: {error}"),
        }
    }
}

/// Until the client hangs up.
fn answer(mut stream: impl Read + Write, delay: Duration) {
    // Only a setting of this thread; where it is refused, each answer is 50 µs later.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut frame = [0; FRAME];
    let mut core = ANYWHERE;
    while stream.read_exact(&mut frame).is_ok() {
        if ![core, ANYWHERE].contains(&frame[0]) {
            core = frame[0];
            rounds::pin(usize::from(core));
        }
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        if stream.write_all(&frame).is_err() {
            return;
        }
    }
}

/// Keeps TCP connections open and says nothing.
pub(crate) struct Lot {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    parked: Arc<Mutex<Vec<TcpStream>>>,
    stopping: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Lot {
    /// With room for so many before it allocates.
    pub(crate) fn open(room: usize) -> Self {
        let listener = listen();
        let address = listener.local_addr().expect("a bound socket has an address");
        let parked = Arc::new(Mutex::new(Vec::with_capacity(room)));
        let stopping = Arc::new(AtomicBool::new(false));
        let (theirs, stop) = (Arc::clone(&parked), Arc::clone(&stopping));
        let listener = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // Relaxed: the connection brings the news.
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                theirs.lock().expect("nothing panics under it").push(stream);
            }
        });
        Lot { address, parked, stopping, listener: Some(listener) }
    }

    /// How many are open.
    pub(crate) fn parked(&self) -> usize {
        self.parked.lock().expect("nothing panics under it").len()
    }

    /// Closes the one that came first.
    pub(crate) fn close_one(&self) {
        let first = self.parked.lock().expect("nothing panics under it").remove(0);
        drop(first);
    }

    /// Closes all.
    pub(crate) fn close_all(&self) {
        let all = std::mem::take(&mut *self.parked.lock().expect("nothing panics under it"));
        // FIN first, for all: the peers learn of it at once, whatever freeing a descriptor costs.
        all.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }
}

impl Drop for Lot {
    fn drop(&mut self) {
        // Relaxed: the connection brings the news.
        self.stopping.store(true, Ordering::Relaxed);
        if TcpStream::connect(self.address).is_ok()
            && let Some(listener) = self.listener.take()
        {
            listener.join().expect("the listener does not panic");
        }
    }
}
