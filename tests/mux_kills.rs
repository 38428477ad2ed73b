//! Sixteen callers share a line whose connections are killed while requests are on their way.
//!
//! A witness, which is the server, writes down every request that it reads: so it is known that nothing was carried out twice, and that
//! what is said not to have been sent never came. `COREPOOL_MUX_KILLS` overrides how often: 100 by default, 1,000 in `.ci/long`.

mod support;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use corepool::mux::{CallError, CallErrorKind, Mux};
use corepool::{Pool, TcpManager};
use socket2::SockRef;
use support::{HOPELESS, Lines, Watchdog, eventually, from_environment};

const CALLERS: usize = 16;

/// How the witness ends a connection on which it has just read requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kill {
    /// Answers none of them, and hangs up.
    Unanswered = 1,
    /// Answers some of them, the last of these half, and hangs up.
    HalfAnswered,
    /// Answers none of them, and resets the connection.
    Reset,
    /// Hangs up without reading them, which resets the connection too.
    Unread,
}

const KILLS: [Kill; 4] = [Kill::Unanswered, Kill::HalfAnswered, Kill::Reset, Kill::Unread];

/// Answers each line with itself, and knows which it has read.
struct Witness {
    address: SocketAddr,
    /// By the number that each line begins with: how often it was read.
    heard: Box<[AtomicU8]>,
    /// The next connection that has something to answer dies like this. 0: none.
    next: AtomicU8,
    /// When that was, and how long it took until a later connection was answered.
    killed: Mutex<Option<Instant>>,
    recoveries: Mutex<Vec<Duration>>,
}

/// More calls than any run of these makes.
const MOST: usize = 1 << 24;

impl Witness {
    fn start() -> Arc<Witness> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let witness = Arc::new(Witness {
            address: listener.local_addr().unwrap(),
            heard: (0..MOST).map(|_| AtomicU8::new(0)).collect(),
            next: AtomicU8::new(0),
            killed: Mutex::default(),
            recoveries: Mutex::default(),
        });
        let witnesses = Arc::clone(&witness);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (witness, opened) = (Arc::clone(&witnesses), Instant::now());
                // It ends with its peer.
                thread::spawn(move || drop(witness.serve(stream, opened)));
            }
        });
        witness
    }

    fn serve(&self, mut stream: TcpStream, opened: Instant) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut bytes, mut held) = ([0; 4_096], Vec::new());
        loop {
            if stream.peek(&mut bytes[..1])? == 0 {
                return Ok(());
            }
            if self.next.compare_exchange(Kill::Unread as u8, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                *self.killed.lock().unwrap() = Some(Instant::now());
                return end(&mut stream, Kill::Unread, &[]);
            }
            let length = stream.read(&mut bytes)?;
            held.extend_from_slice(&bytes[..length]);
            let whole = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            if whole == 0 {
                continue;
            }
            let text: Vec<u8> = held.drain(..whole).collect();
            let lines: Vec<&str> = str::from_utf8(&text).unwrap().lines().collect();
            lines.iter().for_each(|line| self.hears(line));
            let next = self.next.swap(0, Ordering::SeqCst);
            if let Some(kill) = KILLS.into_iter().find(|kill| *kill as u8 == next) {
                *self.killed.lock().unwrap() = Some(Instant::now());
                return end(&mut stream, kill, &text);
            }
            stream.write_all(&text)?;
            let mut killed = self.killed.lock().unwrap();
            if killed.is_some_and(|killed| killed < opened) {
                self.recoveries.lock().unwrap().extend(killed.take().map(|killed| killed.elapsed()));
            }
        }
    }

    fn hears(&self, line: &str) {
        let number: usize = line.split(' ').next().unwrap().parse().unwrap();
        self.heard[number].fetch_add(1, Ordering::SeqCst);
    }

    /// Kills a connection, once one has something on its way.
    fn kill(&self, how: Kill) {
        self.next.store(how as u8, Ordering::SeqCst);
        eventually("something is on its way", || self.next.load(Ordering::SeqCst) == 0);
    }

    /// The usual recovery, and the longest.
    fn recovery(&self) -> String {
        let mut recoveries = std::mem::take(&mut *self.recoveries.lock().unwrap());
        recoveries.sort();
        let middle = recoveries.get(recoveries.len() / 2).copied().unwrap_or_default();
        format!("{} measured, median {middle:?}, longest {:?}", recoveries.len(), recoveries.last())
    }
}

fn end(stream: &mut TcpStream, kill: Kill, text: &[u8]) -> std::io::Result<()> {
    match kill {
        Kill::Unanswered | Kill::Unread => {}
        Kill::HalfAnswered => stream.write_all(&text[..text.len() / 2])?,
        Kill::Reset => {
            SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
            return Ok(());
        }
    }
    stream.shutdown(Shutdown::Both)
}

#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    disconnected: AtomicU64,
    /// What is said never to have been sent.
    unsent: Mutex<HashSet<u64>>,
}

impl Tally {
    fn count(&self, number: u64, token: &str, result: Result<String, CallError>) {
        match result {
            Ok(reply) => {
                assert_eq!(reply, token, "the reply to another call");
                self.answered.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) if error.was_sent() => {
                assert_eq!(error.kind(), CallErrorKind::Disconnected, "{error:?}");
                self.disconnected.fetch_add(1, Ordering::SeqCst);
            }
            Err(_) => drop(self.unsent.lock().unwrap().insert(number)),
        }
    }
}

fn token(number: u64) -> String {
    format!("{number} {}", "x".repeat(fastrand::usize(0..2_000) / fastrand::usize(1..200)))
}

/// Sixteen callers of a mux, or of a pool, while `kills` connections die. Returns how many calls there were.
fn kill_under(
    call: impl Fn(&str) -> Result<String, CallError> + Sync,
    witness: &Witness,
    tally: &Tally,
    kills: u64,
) -> u64 {
    let (over, numbers) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let number = numbers.fetch_add(1, Ordering::SeqCst);
                    let token = token(number);
                    tally.count(number, &token, call(&token));
                }
            });
        }
        for kill in 0..kills {
            witness.kill(KILLS[kill as usize % KILLS.len()]);
            let before = tally.answered.load(Ordering::SeqCst);
            eventually("it works again", || tally.answered.load(Ordering::SeqCst) > before + CALLERS as u64);
        }
        over.store(true, Ordering::SeqCst);
    });
    numbers.into_inner()
}

#[test]
fn killed_in_mid_flight_every_call_ends_once_and_nothing_is_sent_twice() {
    let witness = Witness::start();
    let kills = from_environment("COREPOOL_MUX_KILLS", 100);
    let builder = Pool::builder(TcpManager::new(witness.address.to_string())).shards(1).fail_fast_after(HOPELESS);
    let mux = Mux::builder(builder, Lines::default()).call_timeout(HOPELESS).build().unwrap();
    let (tally, seen) = (Tally::default(), mux.clone());
    let watchdog = Watchdog::new(1, move || format!("{:?} {:?}", seen.stats().lines, seen.stats().pool));
    let call = |token: &str| {
        let reply = mux.call(token);
        watchdog.alive(0);
        reply
    };
    let calls = kill_under(call, &witness, &tally, kills);
    drop(watchdog);
    mux.at_rest().unwrap();
    let total = mux.stats().total();
    assert_eq!((total.calls, total.in_flight), (calls, 0));
    // Each kill broke the connection under calls, and each of these was told.
    assert!(total.failed >= kills, "{total:?}");
    let unsent = tally.unsent.into_inner().unwrap();
    let (answered, disconnected) = (tally.answered.into_inner(), tally.disconnected.into_inner());
    assert_eq!(answered + disconnected + unsent.len() as u64, calls, "every call has ended once");
    assert!(disconnected >= kills, "{disconnected} disconnected");
    for number in 0..calls {
        let heard = witness.heard[number as usize].load(Ordering::SeqCst);
        assert!(heard <= 1, "call {number} was carried out {heard} times");
        assert!(heard == 0 || !unsent.contains(&number), "call {number} was said not to have been sent");
    }
    println!("{kills} kills: {calls} calls, {answered} answered, {disconnected} disconnected, {} unsent", unsent.len());
    println!("recovery: {}", witness.recovery());
}

/// What the mux's recovery is compared with: the same callers on a pool of one connection a caller.
#[test]
fn the_recovery_of_a_pool_from_the_same_kills() {
    let witness = Witness::start();
    let kills = from_environment("COREPOOL_MUX_KILLS", 100);
    let builder = Pool::builder(TcpManager::new(witness.address.to_string())).shards(1).fail_fast_after(HOPELESS);
    let pool = builder.max_size(CALLERS).wait_timeout(HOPELESS).build().unwrap();
    let answered = AtomicU64::new(0);
    let (over, numbers) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let line = format!("{}\n", token(numbers.fetch_add(1, Ordering::SeqCst)));
                    if pool.with(|conn| support::exchange(conn, line.as_bytes())).is_ok() {
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        for kill in 0..kills {
            witness.kill(KILLS[kill as usize % KILLS.len()]);
            let before = answered.load(Ordering::SeqCst);
            eventually("it works again", || answered.load(Ordering::SeqCst) > before + CALLERS as u64);
        }
        over.store(true, Ordering::SeqCst);
    });
    println!("recovery: {}", witness.recovery());
    assert!(pool.stats().opened > kills, "{}", pool.stats());
}
