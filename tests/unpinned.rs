//! Where a sandbox forbids pinning, reactors run unpinned, and say so. Alone in its binary, since what is forbidden to a thread is
//! forbidden to all that it starts.

mod support;

use std::io;

use corepool::{Event, Pool, Reactors, TcpManager};
use support::{Heard, Server, eventually, exchange};

/// Has the kernel refuse `sched_setaffinity` to this thread and to those that it starts from now on.
fn forbid_pinning() -> io::Result<()> {
    let statement = |code: u32, yes: u8, no: u8, k: u32| libc::sock_filter { code: code as u16, jt: yes, jf: no, k };
    let mut program = [
        // The number of the system call stands first in what the filter sees.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_sched_setaffinity as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: takes four numbers and no memory.
    let promised = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: `filter` and the program that it points to live past the call, which copies them.
    let forbidden = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    if promised == 0 && forbidden == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[test]
fn reactors_that_cannot_be_pinned_run_all_the_same_and_say_so() {
    if let Err(error) = forbid_pinning() {
        eprintln!("skipped: this kernel takes no filter: {error}");
        return;
    }
    assert!(!support::pin(0));
    let (server, heard) = (Server::echo(), Heard::default());
    let reactors = Reactors::new(2);
    let builder = Pool::builder(TcpManager::new(server.address())).max_size(2).min_open(2).shards(2);
    let pool = builder.reactors(reactors.clone()).observer(heard.clone()).build().unwrap();
    pool.with(|conn| exchange(conn, b"unpinned")).unwrap();
    // One for each core that the shards are at home on.
    let count = core_affinity::get_core_ids().map_or(1, |cores| cores.len().min(2));
    eventually("the pool says so", || pool.stats().unpinned == count && reactors.unpinned() == count);
    let told = |event: &Event| matches!(event, Event::Unpinned { reactors } if *reactors == count);
    eventually("the observer is told", || heard.count(told) == 1);
    if cfg!(not(corepool_unwatched)) {
        server.close_all();
        eventually("the watch sees it", || pool.stats().closed(corepool::CloseReason::PeerClosed) == 2);
    }
}
