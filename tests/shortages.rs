//! What a pool does where the process around it runs short: of descriptors, of watches, of threads, of cores. Callers are told the cause,
//! what is open serves on, nothing is left behind, and the pool is whole by itself once there is room again.
//!
//! Each in a process of its own, since all of these are the process's. Descriptors and cores are taken by the kernel's own limits; threads
//! and watches, whose limits are a user's and root has none, by a function of the C library that refuses here when it is told to, and by a
//! filter of system calls.
#![cfg(all(target_os = "linux", target_env = "gnu", not(corepool_unwatched)))]

mod support;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{BuildError, CloseReason, Event, GetErrorKind, Lease, Manager, Opening, Pool, Reactors, TcpManager};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use support::{Fake, HOPELESS, Heard, Hooked, Server, chain, comes_to_rest, error_with_a_cause, eventually, exchange};

const MS: Duration = Duration::from_millis(1);

/// So long that it does not come within a test.
const LATE: Duration = Duration::from_secs(1_000);

// ---- what is refused on purpose --------------------------------------------------------------------------------------------

static NO_THREADS: AtomicBool = AtomicBool::new(false);

type Body = extern "C" fn(*mut libc::c_void) -> *mut libc::c_void;
type PthreadCreate =
    unsafe extern "C" fn(*mut libc::pthread_t, *const libc::pthread_attr_t, Body, *mut libc::c_void) -> libc::c_int;
/// The C library's own function of this name.
fn real(name: &std::ffi::CStr) -> *mut libc::c_void {
    // SAFETY: a terminated name.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!found.is_null());
    found
}

/// Stands before the C library's: refuses as the kernel does where a user has too many threads.
///
/// # Safety
/// As for that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    body: Body,
    argument: *mut libc::c_void,
) -> libc::c_int {
    if NO_THREADS.load(Ordering::SeqCst) {
        return libc::EAGAIN;
    }
    // SAFETY: the function of this name has this type.
    let create = unsafe { std::mem::transmute::<*mut libc::c_void, PthreadCreate>(real(c"pthread_create")) };
    // SAFETY: what the caller promises.
    unsafe { create(thread, attributes, body, argument) }
}

/// A descriptor of this number, or of a greater one, is none that the kernel watches, as where a user has too many watches
/// (`fs.epoll.max_user_watches`).
const WATCHED: u32 = 512;

/// Has the kernel refuse so, to this thread and to those that it starts from now on. False: it cannot be had here.
fn limit_watches() -> bool {
    let statement = |code: u32, yes: u8, no: u8, k: u32| libc::sock_filter { code: code as u16, jt: yes, jf: no, k };
    let load = |offset: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    // What the filter sees: the number of the call in its first four bytes, from the sixteenth on its arguments, eight bytes each.
    let mut program = [
        load(0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 5, libc::SYS_epoll_ctl as u32),
        load(24),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 3, libc::EPOLL_CTL_ADD as u32),
        load(32),
        statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, WATCHED),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSPC as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: takes four numbers and no memory.
    let promised = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: `filter` and the program that it points to live past the call, which copies them.
    let limited = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    promised == 0 && limited == 0
}

/// Takes every number that the kernel would watch.
fn take_watches() -> Vec<File> {
    support::raise_descriptor_limit();
    let files = std::iter::from_fn(|| Some(File::open("/dev/null").unwrap()));
    files.take_while(|file| (file.as_raw_fd() as u32) < WATCHED).collect()
}

// ---- processes and their descriptors ---------------------------------------------------------------------------------------

const SERVER: &str = "COREPOOL_TEST_SERVER";

/// Runs a test of this file in a process of its own, in front of this server.
#[track_caller]
fn alone(child: &str, server: Option<&Server>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", child, "--ignored", "--nocapture"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(server) = server {
        command.env(SERVER, server.address());
    }
    let mut process = command.spawn().unwrap();
    let begun = Instant::now();
    while process.try_wait().unwrap().is_none() {
        if begun.elapsed() > HOPELESS * 6 {
            process.kill().unwrap();
        }
        thread::sleep(5 * MS);
    }
    let output = process.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{}: {said}", output.status);
    if let Some(server) = server {
        eventually("its connections are closed", || server.open() == 0);
    }
}

/// To the server that the parent has.
fn manager() -> TcpManager {
    TcpManager::new(std::env::var(SERVER).unwrap())
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// All descriptors that this process may have are taken, but for some.
struct Taken {
    files: Vec<File>,
    limit: Rlimit,
}

impl Taken {
    fn all() -> Taken {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(128), maximum: limit.maximum }).unwrap();
        let mut taken = Taken { files: Vec::new(), limit };
        assert!(taken.rest() > 16);
        taken
    }

    /// Takes those that are left, too. Says how many that were.
    fn rest(&mut self) -> usize {
        let before = self.files.len();
        self.files.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
        self.files.len() - before
    }

    fn leave(&mut self, room: usize) {
        self.rest();
        self.files.truncate(self.files.len() - room);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::Nofile, self.limit);
    }
}

/// Whether this is somewhere in the chain of causes.
fn is_caused_by(error: &(dyn Error + 'static), code: i32) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) == Some(code) {
            return true;
        }
        next = error.source();
    }
    false
}

#[track_caller]
fn says(error: &(dyn Error + 'static), what: &str, code: i32) {
    let said = chain(error);
    assert!(said.contains(what), "{said}");
    assert!(is_caused_by(error, code), "{said}: not by {}", io::Error::from_raw_os_error(code));
}

/// The chain of a waiter that is patient enough to be served once there is room; `make_room` runs when it waits.
fn is_served_by_itself<M: Manager>(pool: &Pool<M>, make_room: impl FnOnce()) {
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get_timeout(LATE).map(drop));
        eventually("it waits", || pool.stats().waiting == 1);
        make_room();
        waiter.join().unwrap().unwrap();
    });
}

// ---- descriptors -----------------------------------------------------------------------------------------------------------

#[test]
fn without_a_descriptor_for_a_socket_callers_are_told_and_what_is_open_serves_on() {
    let server = Server::echo();
    alone("child_no_descriptor_for_a_socket", Some(&server));
    assert!(server.accepted() >= 2);
}

#[test]
#[ignore = "takes the process's descriptors: runs in one of its own"]
fn child_no_descriptor_for_a_socket() {
    let pool = Pool::builder(manager()).max_size(4).min_open(1).fail_fast_after(LATE).build().unwrap();
    comes_to_rest(&pool);
    let before = descriptors();
    let mut taken = Taken::all();
    let mut held = pool.get().unwrap();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| error_with_a_cause(&pool, 50 * MS))).collect();
        for caller in callers {
            let error = caller.join().unwrap();
            assert_eq!(error.kind(), GetErrorKind::TimedOut);
            says(&error, "out of file descriptors (a pooled connection takes two)", libc::EMFILE);
        }
    });
    exchange(&mut *held, b"served on").unwrap();
    drop(held);
    (0..100).for_each(|_| pool.with(|conn| exchange(conn, b"and on")).unwrap());
    assert_eq!((pool.stats().open, pool.stats().closed_in_all()), (1, 0));

    let held = pool.get().unwrap();
    is_served_by_itself(&pool, || taken.leave(2));
    drop((held, taken));
    comes_to_rest(&pool);
    let stats = pool.stats();
    assert_eq!((stats.open, stats.dials), (2, stats.opened + stats.dials_failed), "{stats}");
    assert_eq!(descriptors(), before + 2);
}

#[test]
fn without_a_descriptor_to_watch_with_what_was_dialed_is_closed_again() {
    let server = Server::echo();
    alone("child_no_descriptor_to_watch_with", Some(&server));
    assert!(server.accepted() >= 2);
}

#[test]
#[ignore = "takes the process's descriptors: runs in one of its own"]
fn child_no_descriptor_to_watch_with() {
    let build = |manager| Pool::builder(manager).max_size(4).opening(Opening::Lazy).fail_fast_after(LATE).build();
    let bare = build(manager()).unwrap();
    let login = |conn: &mut corepool::Conn, _: &corepool::Dial<'_>| exchange(conn, b"login");
    let with_login = build(manager().with_login(login)).unwrap();
    let mut taken = Taken::all();
    // One for the socket.
    for (pool, told) in
        [(&bare, "no descriptor is left to watch the connection with"), (&with_login, "could not log in")]
    {
        taken.leave(1);
        says(&error_with_a_cause(pool, 50 * MS), told, libc::EMFILE);
        // Nothing is open: whoever asks after a while is refused at the door.
        pool.reconfigure(|settings| settings.fail_fast_after = Duration::ZERO).unwrap();
        let down = || pool.get_timeout(50 * MS).map(drop).unwrap_err();
        eventually("refused", || down().kind() == GetErrorKind::Down);
        pool.reconfigure(|settings| settings.fail_fast_after = LATE).unwrap();
        comes_to_rest(pool);
        assert_eq!(taken.rest(), 1, "and it is there again");
        assert_eq!((pool.stats().open, pool.stats().opened), (0, 0));
    }
    // One more to watch it with.
    taken.leave(1);
    is_served_by_itself(&bare, || taken.leave(2));
    comes_to_rest(&bare);
    assert_eq!(taken.rest(), 0);
    Lease::discard(bare.get().unwrap());
    bare.close();
    comes_to_rest(&bare);
    // And while it logs in, one to end that by.
    taken.leave(2);
    is_served_by_itself(&with_login, || taken.leave(3));
    comes_to_rest(&with_login);
    with_login.with(|conn| exchange(conn, b"logged in")).unwrap();
}

#[test]
fn without_what_a_reactor_needs_no_pool_is_built_and_the_next_one_is() {
    alone("child_no_reactor", None);
}

#[test]
#[ignore = "takes the process's descriptors and threads: runs in one of its own"]
fn child_no_reactor() {
    let build = || Pool::builder(Fake::default()).reactors(Reactors::new(1)).opening(Opening::Lazy).build();
    let refused = |why: &str, code: i32| {
        let error = build().map(drop).expect_err(why);
        assert!(matches!(error, BuildError::Reactor(_)), "{error:?}");
        says(&error, "could not start a reactor", code);
    };
    let before = descriptors();
    let mut taken = Taken::all();
    let needed = (0..8).find(|&room| {
        taken.leave(room);
        let built = build().map(drop);
        if let Err(error) = &built {
            assert!(matches!(error, BuildError::Reactor(_)), "{error:?}");
            says(error, "could not start a reactor", libc::EMFILE);
            assert_eq!(taken.rest(), room, "and they are there again");
        }
        built.is_ok()
    });
    assert!(needed.is_some_and(|needed| needed > 0), "{needed:?}");
    drop(taken);

    let limited = limit_watches();
    for _ in 0..10 {
        NO_THREADS.store(true, Ordering::SeqCst);
        refused("no thread", libc::EAGAIN);
        NO_THREADS.store(false, Ordering::SeqCst);
        if limited {
            let taken = take_watches();
            refused("no watch", libc::ENOSPC);
            drop(taken);
        }
    }
    drop(build().unwrap().get().unwrap());
    // Reactors that did start have their threads to end yet.
    eventually("nothing is left", || descriptors() == before);
}

// ---- watches ---------------------------------------------------------------------------------------------------------------

#[test]
fn without_a_watch_a_connection_is_looked_at_on_each_checkout_and_the_next_one_is_watched() {
    alone("child_no_watch", None);
}

#[test]
#[ignore = "refuses the process's watches: runs in one of its own"]
fn child_no_watch() {
    if !limit_watches() {
        println!("skipped: this kernel takes no filter");
        return;
    }
    let server = Server::echo();
    let pool = Pool::builder(manager_of(&server)).max_size(2).shards(1).opening(Opening::Lazy).build().unwrap();
    // All threads that it needs have begun, which reads files: none holds a low number for a moment while these are taken.
    let first = Pool::builder(manager_of(&server)).max_size(2).shards(1).min_open(2).build().unwrap();
    first.with(|conn| exchange(conn, b"watched")).unwrap();
    first.close();
    eventually("it is closed", || server.open() == 0 && first.stats().closing == 0);
    let taken = take_watches();
    let mut untold = 0;
    for _ in 0..10 {
        let mut both = [pool.get().unwrap(), pool.get().unwrap()];
        both.iter_mut().for_each(|lease| exchange(&mut **lease, b"unwatched").unwrap());
        drop(both);
        server.close_all();
        eventually("both are gone", || server.open() == 0);
        // Nobody has told the pool, and none of the two is lent. But a number that the server was about to give back when all were taken
        // may have been watched.
        untold += usize::from(pool.stats().idle == 2);
        (0..2).for_each(|_| pool.with(|conn| exchange(conn, b"unwatched")).unwrap());
    }
    assert!(untold >= 5, "{untold}");
    assert_eq!(pool.stats().dials_failed, 0);
    assert!(pool.stats().closed(CloseReason::PeerClosed) >= 10);
    drop(taken);
    let held = [pool.get().unwrap(), pool.get().unwrap()];
    held.into_iter().for_each(Lease::discard);
    let mut both = [pool.get().unwrap(), pool.get().unwrap()];
    both.iter_mut().for_each(|lease| exchange(&mut **lease, b"watched").unwrap());
    drop(both);
    let known = pool.stats().closed(CloseReason::PeerClosed);
    server.close_all();
    eventually("the watch sees it", || pool.stats().closed(CloseReason::PeerClosed) == known + 2);
    comes_to_rest(&pool);
}

fn manager_of(server: &Server) -> TcpManager {
    TcpManager::new(server.address())
}

// ---- threads ---------------------------------------------------------------------------------------------------------------

/// No thread can be had, and those that the pools have started hang. Until its drop.
struct Refused {
    fake: Fake,
    /// One to hang on each.
    pools: Vec<Pool<Fake>>,
}

/// From now on no thread can be had, and none waits for a job.
fn refuse_threads() -> Refused {
    let fake = Fake::default();
    fake.script.hang();
    let build = |_| Pool::builder(fake.clone()).opening(Opening::Lazy).dial_timeout(LATE).build().unwrap();
    let pools = (0..64).map(build).collect();
    NO_THREADS.store(true, Ordering::SeqCst);
    let mut refused = Refused { fake, pools };
    // Those that were on their way back from a job, too.
    eventually("all threads hang", || {
        refused.take_idle();
        background_threads() == refused.fake.script.dials()
    });
    refused
}

/// Those that the pools of this process have started for what may block.
fn background_threads() -> usize {
    let names =
        fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| fs::read_to_string(task.path().join("comm")));
    names.filter(|name| name.as_ref().is_ok_and(|name| name.trim_end() == "corepool-bg")).count()
}

impl Refused {
    /// Takes those that wait for a job by now.
    fn take_idle(&mut self) {
        let fails = |pool: &Pool<Fake>| pool.get_timeout(MS).is_err() && pool.stats().dials_failed > 0;
        let first = self.pools.iter().position(fails).expect("very many threads");
        // Those whose dials hang are done with, but not dropped.
        self.pools.drain(..first).for_each(std::mem::forget);
    }
}

impl Drop for Refused {
    fn drop(&mut self) {
        NO_THREADS.store(false, Ordering::SeqCst);
        self.fake.script.open();
    }
}

#[test]
fn without_a_thread_to_dial_on_callers_are_told_and_who_waits_is_served_once_there_is_one() {
    alone("child_no_thread_to_dial_on", None);
}

#[test]
#[ignore = "refuses the process's threads: runs in one of its own"]
fn child_no_thread_to_dial_on() {
    let pool = Pool::builder(Fake::default()).max_size(4).min_open(1).fail_fast_after(LATE).build().unwrap();
    comes_to_rest(&pool);
    let refused = refuse_threads();
    let held = pool.get().unwrap();
    for _ in 0..3 {
        let error = error_with_a_cause(&pool, 20 * MS);
        assert_eq!(error.kind(), GetErrorKind::TimedOut);
        says(&error, "no background thread could be started for the dial", libc::EAGAIN);
    }
    drop(held);
    (0..100).for_each(|_| drop(pool.get().unwrap()));
    assert_eq!(pool.stats().open, 1);
    drop(refused);
    let held = pool.get().unwrap();
    drop(pool.get_timeout(HOPELESS).unwrap());
    drop(held);
    comes_to_rest(&pool);
    let stats = pool.stats();
    assert_eq!(stats.dials, stats.opened + stats.dials_failed, "{stats}");
}

#[test]
fn a_waiter_is_served_once_there_is_a_thread_to_dial_on() {
    alone("child_waits_for_a_thread", None);
}

#[test]
#[ignore = "refuses the process's threads: runs in one of its own"]
fn child_waits_for_a_thread() {
    let pool = Pool::builder(Fake::default()).max_size(4).opening(Opening::Lazy).fail_fast_after(LATE).build().unwrap();
    let go = AtomicBool::new(false);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            eventually("it may", || go.load(Ordering::SeqCst));
            pool.get_timeout(LATE).map(drop)
        });
        let refused = refuse_threads();
        go.store(true, Ordering::SeqCst);
        eventually("its dials fail", || pool.stats().dials_failed > 1);
        assert_eq!(pool.stats().waiting, 1);
        drop(refused);
        waiter.join().unwrap().unwrap();
    });
    comes_to_rest(&pool);
}

#[test]
fn without_a_thread_to_close_on_connections_wait_and_are_closed_once_there_is_one() {
    alone("child_no_thread_to_close_on", None);
}

#[test]
#[ignore = "refuses the process's threads: runs in one of its own"]
fn child_no_thread_to_close_on() {
    let (heard, closed) = (Heard::default(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&closed);
    let manager = Hooked::new(Fake::default()).before_close(move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let pool = Pool::builder(manager).max_size(4).min_open(4).observer(heard.clone()).build().unwrap();
    comes_to_rest(&pool);
    eventually("all is told", || heard.count(|event| matches!(event, Event::Opened { .. })) == 4);
    let refused = refuse_threads();
    let leases: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
    leases.into_iter().for_each(Lease::discard);
    // Nobody is kept waiting by that, and nothing runs on the callers' threads.
    assert_eq!(
        (pool.stats().closing, closed.load(Ordering::SeqCst), heard.discarded(CloseReason::Condemned)),
        (3, 0, 0)
    );
    drop(pool.get().unwrap());
    drop(refused);
    eventually("they are closed", || closed.load(Ordering::SeqCst) == 3);
    eventually("dialed again", || pool.stats().open == 4);
    eventually("and all is told", || {
        heard.discarded(CloseReason::Condemned) == 3 && heard.closed(CloseReason::Condemned) == 3
    });
    comes_to_rest(&pool);
}

#[test]
fn without_a_thread_to_ping_on_connections_stay_and_are_pinged_once_there_is_one() {
    alone("child_no_thread_to_ping_on", None);
}

#[test]
#[ignore = "refuses the process's threads: runs in one of its own"]
fn child_no_thread_to_ping_on() {
    let pings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pings);
    let manager = Hooked::new(Fake::default()).ping(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let interval = Some(10 * MS);
    let pool = Pool::builder(manager).max_size(2).min_open(2).ping_interval(interval).build().unwrap();
    eventually("they are pinged", || pings.load(Ordering::SeqCst) > 4);
    let mut refused = refuse_threads();
    // One that was in a ping just then has to end it first.
    eventually("each ping has been tried, and none made", || {
        refused.take_idle();
        let (made, wakeups) = (pings.load(Ordering::SeqCst), Reactors::shared().wakeups());
        eventually("it has been tried", || Reactors::shared().wakeups() > wakeups + 8);
        pings.load(Ordering::SeqCst) == made
    });
    drop([pool.get().unwrap(), pool.get().unwrap()]);
    drop(refused);
    let now = pings.load(Ordering::SeqCst);
    eventually("they are pinged again", || pings.load(Ordering::SeqCst) > now + 4);
    assert_eq!((pool.stats().open, pool.stats().closed_in_all()), (2, 0));
}

#[test]
fn what_no_thread_could_be_started_for_is_dropped_once_there_is_one() {
    alone("child_no_thread_to_drop_on", None);
}

#[test]
#[ignore = "refuses the process's threads: runs in one of its own"]
fn child_no_thread_to_drop_on() {
    let reactors = Reactors::new(1);
    let build = || Pool::builder(Fake::default()).max_size(2).min_open(2).reactors(reactors.clone());
    // What the first has to look at is looked at soon; the other keeps the reactor awake.
    let pool = build().hold_limit(Some(20 * MS)).build().unwrap();
    let other = build().ping_interval(Some(10 * MS)).build().unwrap();
    comes_to_rest(&pool);
    let refused = refuse_threads();
    let user_value = Arc::new(());
    let kept = Arc::clone(&user_value);
    // Done with at once, since both are idle: the reactor lets go of it, which must not drop it itself.
    pool.retire_where(move |_| Arc::strong_count(&kept) == 0);
    drop(pool.get().unwrap());
    let wakeups = reactors.wakeups();
    eventually("it has had the time to", || reactors.wakeups() > wakeups + 100);
    assert_eq!(Arc::strong_count(&user_value), 2);
    drop(refused);
    // With the next of whatever runs in the background.
    Lease::discard(other.get().unwrap());
    eventually("it is dropped", || Arc::strong_count(&user_value) == 1);
}

// ---- cores -----------------------------------------------------------------------------------------------------------------

/// Gives every thread of this process these cores, as `taskset -ap` does.
fn narrow(cores: &CpuSet) {
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let id = task.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        // One that ends meanwhile is passed over.
        let _ = sched_setaffinity(id, cores);
    }
}

#[test]
fn on_fewer_cores_than_it_was_built_on_every_connection_is_lent_watched_and_replaced() {
    alone("child_fewer_cores", None);
}

#[test]
#[ignore = "narrows the process's cores: runs in one of its own"]
fn child_fewer_cores() {
    let whole = sched_getaffinity(None).unwrap();
    let cores: BTreeSet<_> = (0..CpuSet::MAX_CPU).filter(|core| whole.is_set(*core)).collect();
    let server = Server::echo();
    let pool = Pool::builder(manager_of(&server)).max_size(8).min_open(8).shards(cores.len().max(2)).build().unwrap();
    comes_to_rest(&pool);
    let stop = AtomicBool::new(false);
    let uses = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    pool.with(|conn| exchange(conn, b"on whatever core")).unwrap();
                    uses.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for core in cores.iter().chain(&cores) {
            let mut one = CpuSet::new();
            one.set(*core);
            narrow(&one);
            let before = uses.load(Ordering::SeqCst);
            eventually("uses go on", || uses.load(Ordering::SeqCst) > before + 100);
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!((pool.stats().opened, pool.stats().timed_out), (8, 0));
    // All of them, from the one core that is left, wherever they lie.
    drop((0..8).map(|_| pool.get().unwrap()).collect::<Vec<_>>());
    assert_eq!(pool.stats().opened, 8);
    server.close_all();
    eventually("the watch sees all", || pool.stats().closed(CloseReason::PeerClosed) == 8);
    eventually("all are replaced", || pool.stats().open == 8);
    (0..100).for_each(|_| pool.with(|conn| exchange(conn, b"replaced")).unwrap());
    narrow(&whole);
    comes_to_rest(&pool);
}
