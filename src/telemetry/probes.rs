//! Static probes (USDT): places in a pool's life at which `bpftrace`, `perf` or `gdb` can look while a server runs. Feature `usdt`.
//!
//! There is nothing to call here. With the feature each place is one `nop` instruction, and a note in the binary that says where it is and
//! in which registers its arguments are. Nothing else happens until a tracer asks for a probe; then each pass costs what the tracer costs,
//! a microsecond or so. Without the feature there is nothing at all.
//!
//! The provider is `corepool`. Arguments are integers of the machine's width:
//!
//! | probe | when | `arg0` | `arg1` | `arg2` |
//! |---|---|---|---|---|
//! | `get` | a use begins, on the caller's thread | pool | shard | slot |
//! | `put` | a use ends and its connection is given back, fit or not | pool | shard | slot |
//! | `wait` | a wait ends | pool | how long, ns | 1: served; 0: in vain |
//! | `steal` | a caller of this shard takes from another one; the use's `get` follows | pool | shard | slot |
//! | `dial` | a dial ends, on its own thread, in time or not | pool | how long, ns | 1: opened; 0: failed |
//! | `close` | a connection leaves the pool | pool | why, text | the text's length |
//! | `hang_up` | a reactor hears of a peer's hang-up | pool | slot | |
//!
//! `pool` tells pools apart: it is the same number in all probes of one pool. `shard` is where the connection is at home for the time of
//! the use. `slot` is the connection's place in the pool, which no other has while it is open. The text of `close` is a
//! [`CloseReason`](crate::CloseReason)'s name, without a zero at its end.
//!
//! A use that ends otherwise has no `put`: a lease that is condemned ([`Lease::discard`](crate::Lease::discard)) has a `close`, and one
//! that is detached has neither.
//!
//! # With bpftrace
//!
//! As root, with the server's binary for `$BIN`; `-p PID` picks one process. Which probes there are:
//!
//! ```sh
//! bpftrace -l "usdt:$BIN:corepool:*"
//! ```
//!
//! How long callers wait, in µs, and how often in vain:
//!
//! ```sh
//! bpftrace -e "usdt:$BIN:corepool:wait { @us[arg2 ? \"served\" : \"in vain\"] = hist(arg1 / 1000); }"
//! ```
//!
//! How long connections are used, in µs, where the thread that takes one gives it back:
//!
//! ```sh
//! bpftrace -e "usdt:$BIN:corepool:get { @since[tid, arg0, arg2] = nsecs; }
//!     usdt:$BIN:corepool:put /@since[tid, arg0, arg2]/ {
//!         @us = hist((nsecs - @since[tid, arg0, arg2]) / 1000); delete(@since[tid, arg0, arg2]); }"
//! ```
//!
//! Uses a second, and how many of them were stolen, by shard:
//!
//! ```sh
//! bpftrace -e "usdt:$BIN:corepool:get { @uses[arg1] = count(); } usdt:$BIN:corepool:steal { @stolen[arg1] = count(); }
//!     interval:s:1 { print(@uses); print(@stolen); clear(@uses); clear(@stolen); }"
//! ```
//!
//! Why connections leave, and hang-ups beside that:
//!
//! ```sh
//! bpftrace -e "usdt:$BIN:corepool:close { @closed[str(arg1, arg2)] = count(); } usdt:$BIN:corepool:hang_up { @hang_ups = count(); }"
//! ```
//!
//! How long dials take, in ms, by how they end:
//!
//! ```sh
//! bpftrace -e "usdt:$BIN:corepool:dial { @ms[arg2 ? \"opened\" : \"failed\"] = lhist(arg1 / 1000000, 0, 200, 10); }"
//! ```
//!
//! # With gdb and readelf
//!
//! `readelf -n $BIN` lists the notes. In gdb `info probes stap corepool` does, `break -probe-stap corepool:hang_up` stops at one, and
//! `$_probe_arg0` and so on are its arguments.
#![forbid(unsafe_code)]
