//! One connect to whichever address of a name answers: staggered, as RFC 8305 has it, on one thread.
//!
//! Why not one address after the other: a first one that swallows every packet would cost each dial its full share of the time. Why not
//! all at once: a name with many addresses would be dialed at each of them for every connection.
//!
//! So: an attempt begins, without blocking; if it has not answered after [`STAGGER`], the next one begins beside it; if it fails, the
//! next one begins at once. The first to connect wins, and the sockets of the others are closed. The dial's deadline bounds all of it,
//! and where it is too near for the usual stagger, the addresses share what is left, so that each has its turn.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::manager::Dial;

/// Between the beginnings of two attempts: the RFC's own, longer than nearly all round trips.
const STAGGER: Duration = Duration::from_millis(250);

/// All of them failed.
#[derive(Debug)]
pub(super) struct Lost {
    /// The one that failed last, or began last if time ran out.
    pub(super) last: SocketAddr,
    /// How many were tried beside it.
    pub(super) others: usize,
    pub(super) cause: io::Error,
}

/// The order of the attempts: the preferred one first if it is there, then the families in turn, each in the order given.
pub(super) fn order(mut addresses: Vec<SocketAddr>, preferred: Option<SocketAddr>) -> Vec<SocketAddr> {
    if let Some(place) = addresses.iter().position(|address| Some(*address) == preferred) {
        addresses[..=place].rotate_right(1);
    }
    let Some(first) = addresses.first().copied() else { return addresses };
    let (same, other): (Vec<_>, Vec<_>) = addresses.iter().partition(|address| address.is_ipv6() == first.is_ipv6());
    let longest = same.len().max(other.len());
    (0..longest).flat_map(|turn| [same.get(turn), other.get(turn)]).flatten().copied().collect()
}

/// Connects to one of the addresses, of which there is at least one, and says which. `finish` makes of the socket what is wanted; if it
/// fails, its address has.
pub(super) fn connect<T>(
    addresses: &[SocketAddr],
    dial: &Dial<'_>,
    mut finish: impl FnMut(Socket, SocketAddr) -> io::Result<T>,
) -> Result<(T, SocketAddr), Lost> {
    let mut waiting = addresses.iter().copied();
    let mut running: Vec<(Socket, SocketAddr)> = Vec::new();
    let mut failed = (addresses[0], io::Error::from(io::ErrorKind::TimedOut));
    let mut next = Instant::now();
    loop {
        let left = dial.remaining();
        if left.is_zero() {
            let last = running.pop().map_or(failed.0, |(_, address)| address);
            failed = (last, io::ErrorKind::TimedOut.into());
            break;
        }
        let now = Instant::now();
        if (now >= next || running.is_empty())
            && let Some(address) = waiting.next()
        {
            match begin(address) {
                Ok(socket) => {
                    running.push((socket, address));
                    next = now + STAGGER.min(left / (waiting.len() as u32 + 1));
                }
                Err(error) => {
                    failed = (address, error);
                    continue;
                }
            }
        }
        if running.is_empty() {
            break;
        }
        let pause = if waiting.len() == 0 { left } else { left.min(next.saturating_duration_since(now)) };
        for (socket, address) in answered(&mut running, pause) {
            match outcome(&socket).and_then(|()| finish(socket, address)) {
                Ok(won) => return Ok((won, address)),
                Err(error) => failed = (address, error),
            }
            next = now;
        }
    }
    let others = (addresses.len() - waiting.len()).saturating_sub(1);
    Err(Lost { last: failed.0, others, cause: failed.1 })
}

fn begin(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Waits until one has connected or failed, or for so long; takes those that have, in order.
fn answered(running: &mut Vec<(Socket, SocketAddr)>, pause: Duration) -> Vec<(Socket, SocketAddr)> {
    let mut polled: Vec<_> = running.iter().map(|(socket, _)| PollFd::new(socket, PollFlags::OUT)).collect();
    // A pause too long for the kernel's type has no end that anybody would see.
    let pause = Timespec::try_from(pause).ok();
    let mut ready = match poll(&mut polled, pause.as_ref()) {
        Ok(_) => polled.iter().map(|fd| !fd.revents().is_empty()).collect(),
        Err(Errno::INTR) => vec![false; running.len()],
        // The kernel cannot wait for them: those that are not connected by now have failed.
        Err(_) => vec![true; running.len()],
    }
    .into_iter();
    running.extract_if(.., |_| ready.next().unwrap_or_default()).collect()
}

/// What became of an attempt that has answered. Its socket blocks from now on.
fn outcome(socket: &Socket) -> io::Result<()> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    // Not connected, though nothing failed.
    socket.peer_addr()?;
    socket.set_nonblocking(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns_and_the_preferred_one_goes_first() {
        let six = |port| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
        let four = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let found = vec![six(1), six(2), six(3), four(4), four(5)];
        assert_eq!(order(found.clone(), None), [six(1), four(4), six(2), four(5), six(3)]);
        assert_eq!(order(found.clone(), Some(six(2))), [six(2), four(4), six(1), four(5), six(3)]);
        assert_eq!(order(found.clone(), Some(four(5))), [four(5), six(1), four(4), six(2), six(3)]);
        assert_eq!(order(found, Some(four(9))), [six(1), four(4), six(2), four(5), six(3)], "it has moved away");
        assert_eq!(order(vec![four(2), four(1)], None), [four(2), four(1)]);
        assert_eq!(order(vec![], Some(four(1))), []);
    }
}
