//! Using a connection costs the reactors nothing: no reply wakes one, and no use changes what epoll knows. A binary of its own, for
//! `strace -f -c` over it.

mod support;

use std::thread;
use std::time::Instant;

use corepool::{Pool, Reactors, TcpManager};
use support::{HOPELESS, Server, exchange};

const USES: u64 = 100_000;
const THREADS: u64 = 2;

#[test]
fn a_hundred_thousand_replies_wake_no_reactor() {
    let server = Server::echo();
    let reactors = Reactors::new(2);
    let builder = Pool::builder(TcpManager::new(server.address())).max_size(4).min_open(4).shards(2);
    let pool = builder.reactors(reactors.clone()).wait_timeout(HOPELESS).build().unwrap();
    let (before, begun) = (reactors.wakeups(), Instant::now());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let pool = &pool;
            scope.spawn(move || {
                support::pin(thread as usize);
                (0..USES / THREADS).for_each(|_| pool.with(|conn| exchange(conn, b"a request")).unwrap());
            });
        }
    });
    let (lasted, wakeups) = (begun.elapsed(), reactors.wakeups() - before);
    eprintln!("{USES} uses in {lasted:?}: {} events, {wakeups} wake-ups", reactors.events());
    assert_eq!(pool.stats().leases, USES);
    assert_eq!(pool.stats().opened, 4);
    assert_eq!(reactors.events(), 0, "events of watched descriptors");
    // A sweep a second, of one reactor, while connections are in use.
    let most = 8 + 2 * lasted.as_secs();
    assert!(wakeups <= most, "{wakeups} wake-ups in {lasted:?}");
}
