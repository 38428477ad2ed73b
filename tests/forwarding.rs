//! The obvious manager is the safe one: whoever wraps [`TcpManager`] or [`UnixManager`] and forwards what a manager cannot do without,
//! `connect` and `watch`, lends nobody another's answer, however badly the users behave.

mod support;

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use corepool::{CloseReason, Conn, Dial, Lease, Manager, Opening, Pool, Stats, TcpManager, UnixManager, Watch};
use support::HOPELESS;

/// Forwards no more than a manager must.
struct Forwards<M>(M);

impl<M: Manager> Manager for Forwards<M> {
    type Connection = M::Connection;
    type Error = M::Error;

    fn connect(&self, dial: &Dial<'_>) -> Result<M::Connection, M::Error> {
        self.0.connect(dial)
    }

    fn watch(&self, connection: &M::Connection, on: &mut Watch<'_>) {
        self.0.watch(connection, on);
    }
}

/// A request, and the reply to it: no other use of the process has it.
type Token = [u8; 16];

fn token() -> Token {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst) as u64;
    // Spread, so that even a single byte hardly ever looks like another's.
    let word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    let mut token = [0; 16];
    token[..8].copy_from_slice(&word);
    token[8..].copy_from_slice(&number.to_le_bytes());
    token
}

/// Answers each request with itself, in one piece: at once, late, after which it may hang up, or never.
fn serve(mut stream: impl Read + Write) {
    let mut request = Token::default();
    while stream.read_exact(&mut request).is_ok() {
        match fastrand::u32(..20) {
            0..3 => thread::sleep(Duration::from_micros(fastrand::u64(100..3_000))),
            3 => continue,
            _ => {}
        }
        if stream.write_all(&request).is_err() || fastrand::u32(..40) == 0 {
            return;
        }
    }
}

/// How a use goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Reads the whole reply, for as long as it takes up to the manager's timeout.
    Whole,
    /// Reads under a timeout of its own, which may be too short, and takes it lightly.
    Hasty,
    /// Does not read its reply.
    Dropped,
    /// Reads the beginning of its reply.
    Short,
    /// Puts another connection in the place of the one it was lent.
    Reconnected,
    /// Fails after it has asked.
    Failed,
}

const USES: [Use; 6] = [Use::Whole, Use::Hasty, Use::Dropped, Use::Short, Use::Reconnected, Use::Failed];

/// Reads up to so many bytes more than it has, and looks whose they are. False at the end or after an error.
#[track_caller]
fn hear(conn: &mut Conn, token: &Token, heard: &mut usize, most: usize) -> bool {
    // Room for more than is due, so that what follows is seen as well.
    let mut bytes = [0; 64];
    let Ok(length @ 1..) = conn.read(&mut bytes[..most]) else { return false };
    let due = &token[*heard..];
    assert!(length <= due.len() && bytes[..length] == due[..length], "foreign bytes: {:x?}", &bytes[..length]);
    *heard += length;
    true
}

/// One use, which ends well whatever happened, but for the last kind.
fn use_it<M>(conn: &mut Conn, how: Use, spares: &Pool<M>) -> io::Result<()>
where
    M: Manager<Connection = Conn>,
{
    let (token, mut heard) = (token(), 0);
    if how == Use::Hasty {
        conn.set_read_timeout(Some(Duration::from_micros(fastrand::u64(50..2_000)))).unwrap();
    }
    if how == Use::Reconnected {
        *conn = Lease::detach(spares.get().unwrap());
    }
    if conn.write_all(&token).is_err() {
        return Ok(());
    }
    match how {
        Use::Whole | Use::Hasty | Use::Reconnected => {
            while heard < token.len() && hear(conn, &token, &mut heard, 64) {}
        }
        Use::Short => drop(hear(conn, &token, &mut heard, 5)),
        Use::Dropped => {}
        Use::Failed => return Err(io::Error::other("something else went wrong")),
    }
    Ok(())
}

/// So many uses in all, by more threads than there are connections.
fn no_foreign_byte<M>(manager: impl Fn() -> M, uses: usize) -> Stats
where
    M: Manager<Connection = Conn>,
{
    const THREADS: usize = 5;
    let builder = || Pool::builder(Forwards(manager())).opening(Opening::Lazy).wait_timeout(HOPELESS);
    let pool = builder().max_size(3).min_open(0).build().unwrap();
    let spares = builder().max_size(2).build().unwrap();
    let done = USES.map(|_| AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..uses / THREADS {
                    let kind = if fastrand::bool() { 0 } else { fastrand::usize(..USES.len()) };
                    let ended = pool.with(|conn| use_it(conn, USES[kind], &spares));
                    assert!(ended.is_ok() || USES[kind] == Use::Failed, "{:?}: {ended:?}", USES[kind]);
                    done[kind].fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    for (kind, done) in USES.iter().zip(&done) {
        assert!(done.load(Ordering::SeqCst) > 0, "no use was {kind:?}");
    }
    let stats = pool.stats();
    for why in [CloseReason::Discarded, CloseReason::Failed, CloseReason::IdleData, CloseReason::SocketReplaced] {
        assert!(stats.closed(why) > 0, "none was closed for {why:?}: {stats}");
    }
    stats
}

#[test]
fn a_manager_that_forwards_only_connect_and_watch_is_safe() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || serve(stream));
        }
    });
    let tcp = || TcpManager::new(&*address).read_timeout(Some(Duration::from_millis(20)));
    let stats = no_foreign_byte(tcp, 5_000);
    println!("over TCP:\n{stats}");

    let path = std::env::temp_dir().join(format!("corepool-forwarding-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    let unix = || UnixManager::new(&path).read_timeout(Some(Duration::from_millis(20)));
    let stats = no_foreign_byte(unix, 5_000);
    std::fs::remove_file(&path).unwrap();
    println!("over a Unix socket:\n{stats}");
}
