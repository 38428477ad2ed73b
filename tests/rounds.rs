//! Short rounds that end in silence: a few operations, then nothing, and no caller sleeps while there is something to be had.
//!
//! A storm does not find a lost wake-up, because a later return makes up for it. Here nothing comes later: whoever still waits after
//! the last operation of a round waits for ever, and the watchdog says so. After each round the core's invariant must hold.
//!
//! `COREPOOL_ROUNDS` overrides the number of rounds: 20,000 by default, 100,000 in CI.

mod support;

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use corepool::{GetErrorKind, Lease, Manager, Opening, Pool};
use support::{Census, Counting, Fake, HOPELESS, Watchdog, eventually, from_environment};

/// So long that a wait which nobody ends is noticed by the watchdog.
const FOR_EVER: Duration = Duration::from_secs(1_000);

const THREADS: usize = 4;

/// One of the things that a thread does in a round. None of them leaves anything leased.
fn operation<M: Manager>(pool: &Pool<M>) {
    match fastrand::u32(0..16) {
        0..7 => drop(pool.get_timeout(FOR_EVER).unwrap()),
        7 => Lease::discard(pool.get_timeout(FOR_EVER).unwrap()),
        8 => drop(Lease::detach(pool.get_timeout(FOR_EVER).unwrap())),
        9..11 => {
            let lease = pool.get_timeout(FOR_EVER).unwrap();
            thread::yield_now();
            drop(lease);
        }
        11..14 => match pool.get_timeout(Duration::from_micros(fastrand::u64(1..100))) {
            Ok(lease) => drop(lease),
            Err(error) => assert_eq!(error.kind(), GetErrorKind::TimedOut),
        },
        _ => match pool.try_get() {
            Ok(lease) => drop(lease),
            Err(error) => assert_eq!(error.kind(), GetErrorKind::Busy),
        },
    }
}

/// Runs the rounds; `between` is what happens beside a round's operations, `after` once it is silent.
fn rounds<M: Manager>(
    pool: &Pool<Counting<M>>,
    census: &Census,
    count: u64,
    between: impl Fn() + Sync,
    mut after: impl FnMut(),
) {
    let (shown, watched) = (pool.clone(), THREADS + 1);
    let watchdog = Watchdog::new(watched, move || format!("{:?}\n{}", shown.at_rest(), shown.stats()));
    let meet = Barrier::new(watched);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (watchdog, meet, between) = (&watchdog, &meet, &between);
            scope.spawn(move || {
                support::pin(thread);
                for _ in 0..count {
                    meet.wait();
                    (0..fastrand::u32(1..4)).for_each(|_| operation(pool));
                    if thread == 0 {
                        between();
                    }
                    meet.wait();
                    watchdog.alive(thread);
                }
            });
        }
        for round in 0..count {
            meet.wait();
            meet.wait();
            let begun = Instant::now();
            // Dials and closures may still be under way in the background: the silence begins when they are through.
            while let Err(broken) = pool.at_rest() {
                if begun.elapsed() > HOPELESS {
                    eprintln!("round {round}: {broken}\n{}", pool.stats());
                    // The threads would never end.
                    std::process::abort();
                }
                thread::yield_now();
            }
            after();
            watchdog.alive(THREADS);
        }
    });
    census.verify();
    let stats = pool.stats();
    assert_eq!((stats.leased, stats.waiting, stats.opening), (0, 0, 0));
    assert_eq!(stats.opened, stats.closed_in_all() + stats.detached + stats.open as u64, "\n{stats}");
    eventually("every close", || census.alive() == stats.open);
    assert_eq!(census.opened() as u64, stats.opened);
}

fn count() -> u64 {
    from_environment("COREPOOL_ROUNDS", 20_000)
}

#[test]
fn nobody_sleeps_beside_a_connection_or_room_to_grow() {
    let share = count() / 4;
    for (max_size, min_open, handoff_after) in
        [(1, 0, 1_000), (1, 1, 0), (2, 0, 1_000), (2, 1, FOR_EVER.as_micros() as u64)]
    {
        let (manager, census) = Counting::new(Fake::default());
        let builder = Pool::builder(manager).max_size(max_size).min_open(min_open).shards(2).opening(Opening::Lazy);
        let pool = builder.handoff_after(Duration::from_micros(handoff_after)).build().unwrap();
        rounds(&pool, &census, share, || {}, || {});
    }
}

#[cfg(not(corepool_unwatched))]
mod watched {
    use std::collections::HashMap;
    use std::io;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use corepool::{CloseReason, Dial, Verdict, Watch};

    use super::*;

    /// Opens one end of socket pairs, and keeps the other to hang up with.
    #[derive(Default)]
    struct Pairs {
        peers: Arc<Mutex<HashMap<usize, Peer>>>,
        opened: AtomicUsize,
    }

    /// The other end, and whether anybody has had this one yet.
    struct Peer {
        _socket: UnixStream,
        used: bool,
    }

    /// One end, and which pair it is of.
    struct End {
        pair: usize,
        ours: UnixStream,
        peers: Arc<Mutex<HashMap<usize, Peer>>>,
    }

    impl Drop for End {
        fn drop(&mut self) {
            self.peers.lock().unwrap().remove(&self.pair);
        }
    }

    impl Manager for Pairs {
        type Connection = End;
        type Error = io::Error;

        fn connect(&self, _dial: &Dial<'_>) -> io::Result<End> {
            let (ours, theirs) = UnixStream::pair()?;
            let pair = self.opened.fetch_add(1, Ordering::SeqCst);
            self.peers.lock().unwrap().insert(pair, Peer { _socket: theirs, used: false });
            Ok(End { pair, ours, peers: Arc::clone(&self.peers) })
        }

        fn watch(&self, end: &End, on: &mut Watch<'_>) {
            on.socket(&end.ours);
        }

        fn on_checkout(&self, end: &mut End) -> io::Result<Verdict> {
            if let Some(peer) = self.peers.lock().unwrap().get_mut(&end.pair) {
                peer.used = true;
            }
            Ok(Verdict::Keep)
        }
    }

    #[test]
    fn nothing_idle_is_dead_after_its_peer_has_hung_up() {
        let pairs = Pairs::default();
        let peers = Arc::clone(&pairs.peers);
        let (manager, census) = Counting::new(pairs);
        let builder = Pool::builder(manager).max_size(2).min_open(0).shards(2).opening(Opening::Lazy);
        let pool = builder.build().unwrap();
        let gone = Mutex::new(0);
        let hang_up = || {
            let mut peers = peers.lock().unwrap();
            // Only sometimes one that nobody has had yet: the pool would back off from its peer, which takes time.
            let any = fastrand::u8(0..64) == 0;
            let pairs: Vec<_> = peers.iter().filter(|(_, peer)| peer.used || any).map(|(pair, _)| *pair).collect();
            if let Some(pair) = fastrand::choice(pairs) {
                peers.remove(&pair);
                *gone.lock().unwrap() += 1;
            }
        };
        rounds(&pool, &census, count() / 4, hang_up, || {
            // Those that are open are exactly those whose peer is there.
            eventually("the dead are gone", || {
                let living = peers.lock().unwrap().len();
                pool.stats().open == living && census.alive() == living && pool.at_rest().is_ok()
            });
        });
        let (gone, seen) = (gone.into_inner().unwrap(), pool.stats().closed(CloseReason::PeerClosed));
        assert!(seen > 0 && seen <= gone, "{seen} of {gone} hung up\n{}", pool.stats());
    }
}
