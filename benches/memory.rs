//! What a pool keeps in memory: bytes for each slot, and for each connection that lies idle under its watch.
//!
//! Counted by the allocator, not timed, so criterion has no part in it. What the kernel keeps (a socket, its second descriptor, a
//! watch) is not counted.

#[path = "support/memory.rs"]
mod memory;
mod support;

use support::watching;

fn main() {
    let connections = watching::connections_within_limit(2_000);
    println!("bytes per vacant slot                                   {:8.1}", memory::bytes_per_vacant_slot());
    let idle = memory::bytes_per_idle_connection(connections);
    println!("bytes per slot with an idle watched connection, beyond it {idle:6.1}");
}
