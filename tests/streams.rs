//! What a stream knows of itself decides at its return, whatever its manager says; and a socket that was put in the place of the one that
//! is watched does not reach the next user.

mod support;

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use corepool::{CloseReason, Conn, Dial, Manager, Opening, Outcome, Pool, Stream, TcpManager, Verdict, Watch};
use support::{Census, Counted, Counting, HOPELESS, Server, comes_to_rest, eventually, exchange, local_port, panics};

fn single<M: Manager>(manager: M) -> (Pool<Counting<M>>, Arc<Census>) {
    single_looked_at(manager, None)
}

/// `probe_after`: what the pool is told, if anything.
fn single_looked_at<M: Manager>(
    manager: M,
    probe_after: Option<std::time::Duration>,
) -> (Pool<Counting<M>>, Arc<Census>) {
    let (manager, census) = Counting::new(manager);
    let mut builder = Pool::builder(manager).max_size(1).min_open(0).opening(Opening::Lazy);
    if let Some(idle) = probe_after {
        builder = builder.probe_after(idle);
    }
    (builder.build().unwrap(), census)
}

// ---- fit, identity, restore -----------------------------------------------------------------------------------------------

/// A stream that says what the test wants, with its peer.
struct Told {
    ours: UnixStream,
    _theirs: UnixStream,
    fit: AtomicBool,
    identity: AtomicU64,
    restores: AtomicBool,
    restored: AtomicUsize,
}

impl AsFd for Told {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}

impl Stream for Told {
    fn is_fit(&self) -> bool {
        self.fit.load(Ordering::SeqCst)
    }

    fn identity(&self) -> Option<u64> {
        Some(self.identity.load(Ordering::SeqCst))
    }

    fn restore(&self) -> io::Result<()> {
        self.restored.fetch_add(1, Ordering::SeqCst);
        if self.restores.load(Ordering::SeqCst) { Ok(()) } else { Err(io::Error::other("it cannot be undone")) }
    }
}

/// Keeps all that comes back, however it was used.
struct Lenient;

impl Manager for Lenient {
    type Connection = Told;
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<Told> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok(Told {
            ours,
            _theirs: theirs,
            fit: true.into(),
            identity: 7.into(),
            restores: true.into(),
            restored: 0.into(),
        })
    }

    fn watch(&self, told: &Told, on: &mut Watch<'_>) {
        on.socket(told);
    }

    fn on_return(&self, _told: &mut Told, _how: Outcome) -> Verdict {
        Verdict::Keep
    }
}

/// How a use of a pool's one connection ends.
type Use = fn(&Pool<Counting<Lenient>>, &dyn Fn(&Told));

const USES: [(Use, CloseReason); 3] = [
    (
        |pool, spoil| {
            let ended = pool.with(|told| {
                spoil(told);
                Ok::<_, io::Error>(())
            });
            ended.unwrap();
        },
        CloseReason::Discarded,
    ),
    (
        |pool, spoil| {
            let ended = pool.with(|told| {
                spoil(told);
                Err::<(), _>(io::Error::other("a duplicate key"))
            });
            ended.unwrap_err();
        },
        CloseReason::Failed,
    ),
    (
        |pool, spoil| {
            panics(|| {
                let lease = pool.get().unwrap();
                spoil(&lease);
                panic!("{}", support::ON_PURPOSE);
            });
        },
        CloseReason::Panicked,
    ),
];

#[track_caller]
fn is_discarded_after(spoil: impl Fn(&Told), expected: impl Fn(CloseReason) -> CloseReason) {
    for (using, why) in USES {
        let (pool, census) = single(Lenient);
        using(&pool, &|_| {});
        assert_eq!((pool.stats().idle, pool.stats().closed_in_all()), (1, 0), "its manager keeps it after {why:?}");
        using(&pool, &spoil);
        assert_eq!((pool.stats().closed(expected(why)), pool.stats().open), (1, 0), "after {why:?}");
        assert_eq!(pool.get().unwrap().id(), 1);
        comes_to_rest(&pool);
        census.verify();
    }
}

#[test]
fn one_that_is_not_fit_is_discarded_whatever_on_return_says() {
    is_discarded_after(|told| told.fit.store(false, Ordering::SeqCst), |how| how);
}

#[test]
fn one_that_cannot_be_restored_is_discarded_whatever_on_return_says() {
    is_discarded_after(|told| told.restores.store(false, Ordering::SeqCst), |how| how);
}

#[test]
fn one_of_another_identity_is_discarded_whatever_on_return_says() {
    is_discarded_after(|told| told.identity.store(8, Ordering::SeqCst), |_| CloseReason::SocketReplaced);
}

#[test]
fn it_is_restored_before_it_is_lent_and_at_every_return() {
    let (pool, census) = single(Lenient);
    let mut last = 0;
    for _ in 0..4 {
        let lease = pool.get().unwrap();
        let now = lease.restored.load(Ordering::SeqCst);
        assert!(now > last, "{now} times, {last} times at the last use");
        last = now;
    }
    census.verify();
}

#[test]
fn a_conn_that_is_dirty_is_discarded_by_a_manager_that_keeps_everything() {
    struct KeepsAll(TcpManager);
    impl Manager for KeepsAll {
        type Connection = Conn;
        type Error = corepool::ConnectError;

        fn connect(&self, dial: &Dial<'_>) -> Result<Conn, corepool::ConnectError> {
            self.0.connect(dial)
        }

        fn watch(&self, conn: &Conn, on: &mut Watch<'_>) {
            on.socket(conn);
        }

        fn on_return(&self, _conn: &mut Conn, _how: Outcome) -> Verdict {
            Verdict::Keep
        }
    }
    let server = Server::echo();
    let (pool, census) = single(KeepsAll(TcpManager::new(server.address())));
    pool.get().unwrap().hold(|conn| exchange(conn, b"hello")).unwrap();
    pool.get().unwrap().mark_dirty();
    assert_eq!((pool.stats().closed(CloseReason::Discarded), pool.stats().open), (1, 0));
    census.verify();
}

#[test]
fn one_that_a_ping_leaves_unfit_does_not_reach_the_next_user() {
    let server = Server::echo();
    let pinged = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&pinged);
    let manager = support::Hooked::new(TcpManager::new(server.address())).ping(move |conn: &mut Conn| {
        conn.mark_dirty();
        counts.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let (manager, census) = Counting::new(manager);
    let often = std::time::Duration::from_millis(10);
    let pool = Pool::builder(manager).max_size(1).ping_interval(Some(often)).build().unwrap();
    eventually("a ping", || pinged.load(Ordering::SeqCst) > 0);
    eventually("another is lent", || pool.get().is_ok_and(|lease| lease.id() > 0 && !lease.is_dirty()));
    census.verify();
}

// ---- another socket under the old number ----------------------------------------------------------------------------------

/// A client that replaces its socket by itself: the new one gets the old one's number.
struct Restless {
    stream: OwnedFd,
    reconnections: u64,
}

impl Restless {
    fn reconnect(&mut self, address: &str) {
        let before = self.stream.as_raw_fd();
        // What `s = None; s = Some(TcpStream::connect(…)?)` comes to where no other thread opens a file in between.
        rustix::io::dup2(TcpStream::connect(address).unwrap(), &mut self.stream).unwrap();
        self.reconnections += 1;
        assert_eq!(self.stream.as_raw_fd(), before);
    }
}

/// Keeps all that comes back.
struct RestlessManager {
    address: String,
    names: fn(&Restless, &mut Watch<'_>),
    /// How often it was asked for its socket.
    asked: Arc<AtomicUsize>,
}

impl RestlessManager {
    fn new(server: &Server, names: fn(&Restless, &mut Watch<'_>)) -> RestlessManager {
        RestlessManager { address: server.address(), names, asked: Arc::default() }
    }
}

impl Manager for RestlessManager {
    type Connection = Restless;
    type Error = io::Error;

    fn connect(&self, _dial: &Dial<'_>) -> io::Result<Restless> {
        Ok(Restless { stream: TcpStream::connect(&self.address)?.into(), reconnections: 0 })
    }

    fn watch(&self, client: &Restless, on: &mut Watch<'_>) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        (self.names)(client, on);
    }

    fn on_return(&self, _client: &mut Restless, _how: Outcome) -> Verdict {
        Verdict::Keep
    }
}

#[track_caller]
fn is_another_one<M: Manager>(pool: &Pool<Counting<M>>, census: &Arc<Census>) {
    let lease = pool.get().unwrap();
    assert_eq!((lease.id(), pool.stats().closed(CloseReason::SocketReplaced)), (1, 1));
    drop::<corepool::Lease<'_, Counting<M>>>(lease);
    eventually("its close", || census.fate(0) == Some(CloseReason::SocketReplaced) && census.alive() == 1);
    comes_to_rest(pool);
    census.verify();
}

#[test]
fn one_with_the_same_number_is_found_before_the_next_user() {
    let server = Server::echo();
    let (pool, census) = single(RestlessManager::new(&server, |client, on| on.socket(&client.stream)));
    pool.get().unwrap().hold(|client| client.reconnect(&server.address()));
    is_another_one(&pool, &census);
    eventually("the server sees the ends of both", || server.open() == 1);
}

#[test]
fn after_a_failed_use_it_is_found_at_once() {
    // However it is watched.
    let ways: [fn(&Restless, &mut Watch<'_>); 2] =
        [|client, on| on.socket(&client.stream), |client, on| on.readable(&client.stream)];
    for named in ways {
        let server = Server::echo();
        let manager = RestlessManager::new(&server, named);
        let (pool, census) = single_looked_at(manager, Some(1_000 * HOPELESS));
        let failed = pool.with(|client: &mut Counted<Restless>| {
            client.reconnect(&server.address());
            Err::<(), _>(io::Error::other("it was cut off"))
        });
        failed.unwrap_err();
        assert_eq!((pool.stats().closed(CloseReason::SocketReplaced), pool.stats().open), (1, 0));
        is_another_one(&pool, &census);
    }
}

/// A manager that cannot see its client's socket names a duplicate of its own, which never changes.
#[test]
fn the_managers_own_number_tells_too() {
    // In whichever order it names them, as long as it is the same.
    let orders: [fn(&Restless, &mut Watch<'_>); 3] = [
        |client, on| {
            on.identity(client.reconnections);
            on.socket(&client.stream);
        },
        |client, on| {
            on.socket(&client.stream);
            on.identity(client.reconnections);
        },
        |client, on| {
            on.identity(3);
            on.readable(&client.stream);
            on.identity(client.reconnections);
        },
    ];
    for names in orders {
        let server = Server::echo();
        let (pool, census) = single_looked_at(RestlessManager::new(&server, names), Some(1_000 * HOPELESS));
        drop(pool.get().unwrap());
        assert_eq!(pool.stats().idle, 1);
        pool.get().unwrap().hold(|client| client.reconnections += 1);
        assert_eq!((pool.stats().closed(CloseReason::SocketReplaced), pool.stats().open), (1, 0));
        is_another_one(&pool, &census);
    }
}

#[test]
fn a_number_that_is_not_given_any_more_is_another_one() {
    let server = Server::echo();
    let manager = RestlessManager::new(&server, |client, on| {
        on.socket(&client.stream);
        if client.reconnections == 0 {
            on.identity(0);
        }
    });
    let (pool, census) = single_looked_at(manager, Some(1_000 * HOPELESS));
    pool.get().unwrap().hold(|client| client.reconnections += 1);
    is_another_one(&pool, &census);
}

#[test]
fn what_names_no_socket_is_not_looked_at() {
    let server = Server::echo();
    let manager = RestlessManager::new(&server, |client, on| on.readable(&client.stream));
    let asked = Arc::clone(&manager.asked);
    let (pool, census) = single(manager);
    let lease = pool.get().unwrap();
    let before = asked.load(Ordering::SeqCst);
    drop(lease);
    for uses in 1..5 {
        drop(pool.get().unwrap());
        assert_eq!(asked.load(Ordering::SeqCst), before + 1 + uses, "once at each return");
    }
    census.verify();
}

#[test]
fn a_socket_is_looked_at_whatever_is_named_before_it() {
    static PIPE: OnceLock<(io::PipeReader, io::PipeWriter)> = OnceLock::new();
    PIPE.get_or_init(|| io::pipe().unwrap());
    let server = Server::echo();
    let (pool, census) = single(RestlessManager::new(&server, |client, on| {
        on.readable(&PIPE.get().unwrap().0);
        on.socket(&client.stream);
    }));
    let port = pool.get().unwrap().hold(|client| local_port(&client.stream));
    server.push(port, b"unasked");
    eventually("it is looked at, and another one lent", || pool.get().unwrap().id() == 1);
    eventually("its close", || census.fate(0) == Some(CloseReason::IdleData));
    comes_to_rest(&pool);
    census.verify();
}
