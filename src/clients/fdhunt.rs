//! Finding the socket of a client that does not show it, so that the pool can watch it.
//!
//! Most clients keep their socket to themselves, and what they say of it (`is_open`, `is_closed`) is stale while nobody uses them. But
//! whoever may set one of a socket's options through the client can find it: give the option a value that no other socket has, look
//! which of this process's sockets has it, and put the old one back.
//!
//! | through the client one can | then |
//! |---|---|
//! | set the read timeout of an open connection | [`by_read_timeout`]: TCP and Unix sockets |
//! | give the TCP user timeout before it connects | [`UserTimeout`]: TCP only; also finds a connection that hangs in its login |
//! | have the peer send bytes that it does not read at once | [`by_waiting_bytes`]: Unix sockets, where the client sets no option |
//!
//! None of these is a guess. A candidate is duplicated first and asked afterwards, by the duplicate, so that no other thread's closing
//! and opening of descriptors can put another socket in its place; several descriptors of one socket count once; and where two sockets
//! are found, none is taken. Sockets of others are looked at, never changed.
//!
//! # What is found
//!
//! A [`Found`] is a duplicate: a descriptor of its own for the client's socket. So it stays valid when the client closes its own, and
//! the peer sees no end before both are closed: keep it beside the client in a type of your own, *behind* it, since fields are dropped
//! in their order. Name it in [`Manager::watch`](crate::Manager::watch). Never make it non-blocking: that would make the client's so.
//!
//! # Costs
//!
//! Each search asks the kernel about every number up to the size of the process's table of descriptors: 0.1 µs each, at connect only.
//! The table's size is read from `/proc`; where that cannot be read, nothing is found.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use socket2::SockRef;

use crate::manager::Dial;
use crate::os::{background, sys};
use crate::watch::file::FileId;
use crate::watch::stream::Stream;

/// A duplicate of a client's socket: what the pool is to watch. The module's page says how to keep it.
///
/// One descriptor. As a [`Stream`] it is always fit, since it knows nothing of what its client does.
#[derive(Debug)]
pub struct Found {
    socket: OwnedFd,
    identity: u64,
}

impl Found {
    fn new(socket: OwnedFd) -> Found {
        Found { socket, identity: next(&FINDS, 1) }
    }

    /// Shuts the client's socket down: a call of the client that blocks on it returns. For a client whose `Drop` waits for its peer.
    ///
    /// Does not block. One that is shut down already is no error.
    pub fn shut_down(&self) {
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}

impl AsFd for Found {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Stream for Found {
    /// Each find's own: another one is another number, though it may have the descriptor of the first.
    #[inline]
    fn identity(&self) -> Option<u64> {
        Some(self.identity)
    }
}

static FINDS: AtomicU64 = AtomicU64::new(0);

/// Finds the socket whose read timeout `set` sets, as `redis::Connection::set_read_timeout` does, and then sets it to `own`.
///
/// `set` is called three times, with two values that no other socket of this process has, and with `own`, also when nothing was found.
/// What it fails with, this fails with, at once. The values are some days, so a read by another thread would block; there is none,
/// since the client is borrowed.
///
/// `Ok(None)`: no socket has both of them (the client sets its timeouts in another way), or several have.
pub fn by_read_timeout<E>(
    mut set: impl FnMut(Option<Duration>) -> Result<(), E>,
    own: Option<Duration>,
) -> Result<Option<Found>, E> {
    let nonce = next(&READ_TIMEOUTS, 2);
    set(Some(Duration::from_secs(nonce)))?;
    let mut candidates = search(|number| read_timeout(number) == Some(nonce));
    set(Some(Duration::from_secs(nonce + 1)))?;
    candidates.retain(|candidate| read_timeout(candidate.as_raw_fd()) == Some(nonce + 1));
    set(own)?;
    Ok(the_only(candidates))
}

/// Whole seconds, which every kernel keeps exactly; from two days on, so that nobody has such a timeout of their own.
static READ_TIMEOUTS: AtomicU64 = AtomicU64::new(196_608);

fn read_timeout(number: RawFd) -> Option<u64> {
    let [seconds, fraction] = {
        let value: [u8; 16] = sys::socket_option(number, libc::SOL_SOCKET, libc::SO_RCVTIMEO)?;
        let (seconds, fraction) = value.split_at(8);
        [seconds, fraction].map(|half| half.try_into().map_or(0, u64::from_ne_bytes))
    };
    (fraction == 0).then_some(seconds)
}

/// A TCP user timeout that no other socket of this process has: give it to a client before it connects, and find its socket by it.
///
/// ```
/// use corepool::clients::fdhunt::UserTimeout;
/// use std::time::Duration;
///
/// let nonce = UserTimeout::new();
/// // As a client does with `config.tcp_user_timeout(nonce.value())`, and never shows its socket.
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let client = std::net::TcpStream::connect(listener.local_addr()?)?;
/// socket2::SockRef::from(&client).set_tcp_user_timeout(Some(nonce.value()))?;
///
/// let found = nonce.find(Some(Duration::from_secs(30)))?.expect("its socket");
/// assert_eq!(socket2::SockRef::from(&client).tcp_user_timeout()?, Some(Duration::from_secs(30)));
/// # drop(found);
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct UserTimeout {
    milliseconds: u32,
}

impl UserTimeout {
    /// Another one each time.
    #[expect(clippy::new_without_default, reason = "no two are equal, which a default would promise")]
    pub fn new() -> Self {
        // It comes round after a billion dials, by when the first has long been put back.
        let milliseconds = FIRST_USER_TIMEOUT + (next(&USER_TIMEOUTS, 1) % 1_000_000_000) as u32;
        UserTimeout { milliseconds }
    }

    /// The timeout to connect with: some days. It holds until [`find`](UserTimeout::find).
    pub fn value(&self) -> Duration {
        Duration::from_millis(self.milliseconds.into())
    }

    /// Finds the socket that has it, and gives it `own` in its stead; `None` is the kernel's default.
    ///
    /// `Ok(None)`: no socket has it (the client is connected through a Unix socket, or does not set it), or several have. `Err`: the
    /// timeout could not be set.
    pub fn find(&self, own: Option<Duration>) -> io::Result<Option<Found>> {
        let Some(found) = the_only(self.search()) else { return Ok(None) };
        SockRef::from(&found.socket).set_tcp_user_timeout(own)?;
        Ok(Some(found))
    }

    /// Shuts down every socket that still has it: for [`Dial::at_deadline`](crate::Dial::at_deadline), where a login hangs.
    ///
    /// How many there were; a client may go on with its next address, so ask again until its call has returned. Does not block.
    pub fn shut_down(&self) -> usize {
        self.search().into_iter().map(|socket| Found::new(socket).shut_down()).count()
    }

    /// Ends this dial's login by [`shut_down`](UserTimeout::shut_down) once the dial is overdue, until the guard is dropped: for a client
    /// that cannot bound its login itself, over TCP.
    ///
    /// Costs nothing but an allocation unless the deadline passes; then a background thread looks a few times in ten seconds.
    pub fn cut_at_deadline(&self, dial: &Dial<'_>) -> CutGuard {
        let returned = Arc::new(AtomicBool::new(false));
        let (seen, nonce) = (Arc::clone(&returned), UserTimeout { ..*self });
        let look = move || {
            // Each look finds the address that the client has gone on to since the last one.
            let mut pause = Duration::from_millis(10);
            // Relaxed: a look too many finds nothing.
            while pause < Duration::from_secs(10) && !seen.load(Ordering::Relaxed) {
                nonce.shut_down();
                thread::sleep(pause);
                pause *= 2;
            }
        };
        let dials = thread::current().id();
        dial.at_deadline(move || {
            // Called here, the deadline has passed already: the client would connect only when all looks were over.
            if thread::current().id() == dials {
                drop(background::run(Box::new(look)));
            } else {
                look();
            }
        });
        CutGuard { returned }
    }

    fn search(&self) -> Vec<OwnedFd> {
        search(|number| user_timeout(number) == Some(self.milliseconds))
    }
}

/// Dropped when the client's connect has returned: see [`UserTimeout::cut_at_deadline`].
#[derive(Debug)]
#[must_use]
pub struct CutGuard {
    returned: Arc<AtomicBool>,
}

impl Drop for CutGuard {
    fn drop(&mut self) {
        // Relaxed: as above.
        self.returned.store(true, Ordering::Relaxed);
    }
}

/// Eight days, and less than half of what the kernel's type holds.
const FIRST_USER_TIMEOUT: u32 = 700_000_000;
static USER_TIMEOUTS: AtomicU64 = AtomicU64::new(0);

fn user_timeout(number: RawFd) -> Option<u32> {
    sys::socket_option(number, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT).map(u32::from_ne_bytes)
}

/// Finds the Unix stream socket on which bytes wait unread that have `token` among the first 4 KiB, within this time.
///
/// For a client that sets no option of its socket, but lets its user have the peer send more than it reads at once: the rows of a large
/// result, each with a token that was made for this one search. Looks at all Unix stream sockets of the process, by a duplicate of each
/// that it holds for a moment, without taking anything from them. Blocks until it is found or `within` is over.
pub fn by_waiting_bytes(token: &[u8], within: Duration) -> Option<Found> {
    let begun = Instant::now();
    loop {
        let candidates = search(|number| is_unix_stream(number) && waits(number, token));
        if !candidates.is_empty() {
            return the_only(candidates);
        }
        if begun.elapsed() >= within {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn is_unix_stream(number: RawFd) -> bool {
    let option = |name| sys::socket_option(number, libc::SOL_SOCKET, name).map(i32::from_ne_bytes);
    option(libc::SO_DOMAIN) == Some(libc::AF_UNIX) && option(libc::SO_TYPE) == Some(libc::SOCK_STREAM)
}

fn waits(number: RawFd, token: &[u8]) -> bool {
    let Ok(socket) = sys::duplicate(number) else { return false };
    let mut bytes = [0; 4096];
    let waiting = match recv(&socket, &mut bytes[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, length)) => &bytes[..length],
        Err(_) => return false,
    };
    waiting.windows(token.len()).any(|window| window == token)
}

fn next(counter: &AtomicU64, step: u64) -> u64 {
    // Relaxed: only uniqueness matters.
    counter.fetch_add(step, Ordering::Relaxed)
}

/// Duplicates of what has this property: asked by number, duplicated, and asked again, since the number may stand for another by then.
fn search(has: impl Fn(RawFd) -> bool) -> Vec<OwnedFd> {
    // All of them before the first is duplicated: else the duplicate, with a greater number, would be found as well, and duplicated.
    let candidates: Vec<RawFd> = (0..table_size()).filter(|number| has(*number)).collect();
    candidates
        .into_iter()
        .filter_map(|number| sys::duplicate(number).ok())
        .filter(|socket| has(socket.as_raw_fd()))
        .collect()
}

/// The one socket that all of these stand for.
fn the_only(mut candidates: Vec<OwnedFd>) -> Option<Found> {
    let socket = candidates.pop()?;
    let identity = FileId::of(socket.as_fd());
    let same = identity != FileId::Unknown && candidates.iter().all(|other| FileId::of(other.as_fd()) == identity);
    same.then(|| Found::new(socket))
}

/// No descriptor of this process has a greater number. `/proc` has the size of the table, which is hardly larger than it must be.
fn table_size() -> RawFd {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
    size.and_then(|size| size.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
