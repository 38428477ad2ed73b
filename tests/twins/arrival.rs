//! When what a peer has sent is there.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Waits until what was written into `stream` waits at its other end, in this process, unless that is gone: a kernel may deliver after the
/// sender's call.
pub(crate) fn of(stream: &TcpStream, bytes: usize, hung_up: bool) {
    let (Ok(here), Ok(there)) = (stream.local_addr(), stream.peer_addr()) else { return };
    let (ends, began) = (format!("{} {} ", hex(there), hex(here)), Instant::now());
    let is_there = || {
        let table = fs::read_to_string("/proc/net/tcp").expect("a table of sockets");
        let Some((_, socket)) = table.split_once(&ends) else { return true };
        // Its state, and the lengths of its queues.
        let ("01" | "08", queues) = socket.split_at(2) else { return true };
        let waits = usize::from_str_radix(&queues[10..18], 16).expect("a length");
        if hung_up { socket.starts_with("08") } else { waits == bytes }
    };
    while !is_there() {
        assert!(began.elapsed() < Duration::from_secs(30), "{bytes} bytes did not arrive");
        thread::yield_now();
    }
}

fn hex(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { unreachable!("only of IPv4") };
    // As the processor has it.
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}
