//! Choosing sizes: `max_size`, `min_open`, `min_idle`, shards, `handoff_after`, and the timeouts that belong together.
//!
//! The defaults are meant to be right for a server of one kind of work. This page is for those who want to know better, and its method
//! is: compute a first value, run your own load, read four numbers of [`Pool::stats`], change one setting at a time.
//!
//! # `max_size`
//!
//! **Never more than the endpoint can use.** A database works on about as many queries at a time as it has cores and disks; the
//! rest of the connections wait inside it, where nobody sees them. They cost it memory, and make its own locks slower. A wait in the
//! pool is visible, bounded and in order.
//!
//! **A first value.** By Little's law the connections in use are the requests a second times the seconds that one holds its connection:
//! 2,000 requests a second that hold one for 3 ms use 6 on average. Take twice that, so that bursts find one idle, and round up to a
//! multiple of the cores. There is no use in more than the worker threads of the process, each of which holds one at a time.
//!
//! **All processes together.** An endpoint with a limit of its own sees every process: `max_size` plus
//! [`max_closing`](Builder::max_closing), times the processes, must stay below it. Leave room for a rolling deploy, where old and
//! new run side by side.
//!
//! **Then measure**, under your peak load:
//!
//! | what [`Pool::stats`] shows | what it means | what to do |
//! |---|---|---|
//! | `waited` grows, `waits.percentile(0.99)` is more than you can spare | too few connections, or uses that are too long | look for the long uses first ([`hold_limit`](Builder::hold_limit) names their threads); then raise `max_size` |
//! | `waited` stands still, and `idle_low` is never below some number | that many were never needed | lower `max_size` by as many |
//! | `waited` grows, and raising `max_size` changes nothing in your own latency | the endpoint is the limit | lower it again, and shed load: [`max_waiters`](Builder::max_waiters), [`Manager::on_wait`] |
//! | `stolen` is a large part of `leases` | fewer connections than busy cores | more connections, or fewer shards |
//!
//! [`Pool::reconfigure`] changes `max_size` while the pool runs, up to [`capacity`](Builder::capacity), so this needs no restart.
//!
//! # `min_open` and `min_idle`
//!
//! A dial takes milliseconds where a checkout takes nanoseconds, so keep what a burst will need.
//!
//! - [`min_open`](Builder::min_open) keeps so many open, used or not: the base load.
//! - [`min_idle`](Builder::min_idle) keeps so many *beside* what is used: the reserve for the next burst. It follows the load.
//!
//! Both are kept at a pace: they never hurry a backoff. Equal to `max_size`, `min_open` makes a pool of a fixed size, as HikariCP advises
//! for databases.
//!
//! # Shards
//!
//! One a core by default, which is right unless there are fewer connections than cores: then shards are empty and callers steal. So the
//! default is at most half of `max_size`. A program that pins its work to a few cores, or a machine that is shared, may say
//! [`shards`](Builder::shards) itself: as many as cores that ask at the same time.
//!
//! More shards cost callers who wait: the first of them announces itself in each (a line of memory a shard).
//!
//! # `handoff_after`
//!
//! A connection that comes back may go to whoever asks next, or to the caller that has waited longest. The first keeps it busy while the
//! waiter wakes up, which takes some 50 µs, and more when all cores are busy; the second is fair. The pool does the first until
//! somebody has waited for [`handoff_after`](Builder::handoff_after), 1 ms by default, and the second from then on.
//!
//! Lower it if uses are longer than a wake-up (a query of 5 ms): nothing is lost by fairness then. Zero is strict first come, first
//! served. Raise it only for throughput at the price of the longest waits.
//!
//! # The timeouts that belong together
//!
//! From the inside out, each larger than the one before it:
//!
//! 1. the connection's own read timeout ([`TcpManager::read_timeout`]): how long one reply may take. There is none unless you set it.
//! 2. [`wait_timeout`](Builder::wait_timeout): how long a caller waits for a connection, 1 s.
//! 3. the deadline of the request that your server answers. Pass on what is left of it: [`Pool::with_timeout`].
//! 4. [`hold_limit`](Builder::hold_limit): longer than any use should take; it finds leaks and hangs.
//!
//! Beside them, [`dial_timeout`](Builder::dial_timeout) (3 s) bounds a dial with its login, whoever waits for it, and
//! [`fail_fast_after`](Builder::fail_fast_after) (1 s) is how long an outage lasts before callers are told at once.
#![forbid(unsafe_code)]

#[cfg(doc)]
use crate::{Builder, Manager, Pool, TcpManager};
