//! What this process holds, and what a server holds of it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// What must be as before once a pool is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Open descriptors of this process.
    pub descriptors: usize,
    /// Its threads, but for those that end by themselves: corepool keeps background threads for ten seconds in case there is more to do,
    /// and r2d2's workers sleep for up to thirty after their pool has gone.
    pub threads: usize,
    /// Connections to the server that this process has not closed, and that the server has not closed.
    pub connections: usize,
    pub sessions: usize,
}

impl Census {
    /// Of this process, and of the connections to this port.
    pub fn take(port: u16) -> Census {
        let (connections, sessions) = ends(port);
        Census { descriptors: entries("/proc/self/fd"), threads: threads(), connections, sessions }
    }

    /// Waits until there is no more of anything than there was, and at most so long; what there is then.
    pub fn settled(port: u16, before: &Census, within: Duration) -> Census {
        let begun = Instant::now();
        loop {
            let now = Census::take(port);
            if now.is_within(before) || begun.elapsed() > within {
                return now;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether there is no more of anything than there was.
    pub fn is_within(&self, before: &Census) -> bool {
        *before == before.most(self)
    }

    fn most(&self, other: &Census) -> Census {
        Census {
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
            connections: self.connections.max(other.connections),
            sessions: self.sessions.max(other.sessions),
        }
    }
}

/// Resident memory in KiB.
pub fn memory() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    pages * rustix::param::page_size() as u64 / 1024
}

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn threads() -> usize {
    let all = fs::read_dir("/proc/self/task").unwrap().flatten();
    // One that ends meanwhile has no name any more.
    let names = all.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim_end() != "corepool-bg" && !name.starts_with("r2d2-worker")).count()
}

/// The clients' ends and the server's, of connections to this port, that are open or whose peer alone has closed.
fn ends(port: u16) -> (usize, usize) {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let suffix = format!(":{port:04X}");
    let open = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let open: Vec<_> =
        open.filter(|fields| fields.get(3).is_some_and(|state| [ESTABLISHED, CLOSE_WAIT].contains(state))).collect();
    let with = |place: usize| open.iter().filter(|fields| fields[place].ends_with(&suffix)).count();
    (with(2), with(1))
}
