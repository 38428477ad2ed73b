//! A timeout holds also where signals keep interrupting the call, as a profiler's do.

mod support;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use corepool::{Conn, Opening, Pool, Stream, TcpManager};
use support::{HOPELESS, Server, eventually};

/// Longer than the pause between two signals, so that a call that began anew after each would never end.
const TIMEOUT: Duration = Duration::from_millis(50);
const BETWEEN: Duration = Duration::from_millis(1);

thread_local! {
    /// Signals that this thread has handled. Without a destructor or a lazy beginning, so that a handler may touch it.
    static HANDLED: Cell<u64> = const { Cell::new(0) };
}

extern "C" fn handle(_: libc::c_int) {
    HANDLED.set(HANDLED.get() + 1);
}

/// `flags`: whether the handler asks for the interrupted call to be made again.
fn install(signal: libc::c_int, flags: libc::c_int) {
    // SAFETY: all zeroes are a valid `sigaction`: no handler, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
    action.sa_flags = flags;
    // SAFETY: a valid action, whose handler does no more than count.
    let installed = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
}

/// Runs `f` on a thread that is sent the signal all the time, until it is done.
#[track_caller]
fn under_signals<T: Send + 'static>(signal: libc::c_int, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (begun, begins) = mpsc::channel();
    let (ended, ends) = mpsc::channel();
    let (released, release) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        // SAFETY: takes nothing and always succeeds.
        begun.send(unsafe { libc::pthread_self() }).unwrap();
        ended.send(f()).unwrap();
        // Its number stays its own for as long as it is sent signals.
        eventually("nobody sends any more", || release.try_recv() == Err(mpsc::TryRecvError::Disconnected));
    });
    let target = begins.recv().unwrap();
    let hopeless = Instant::now() + HOPELESS;
    let done = loop {
        // SAFETY: the thread lives, since it waits to be released.
        assert_eq!(unsafe { libc::pthread_kill(target, signal) }, 0);
        match ends.recv_timeout(BETWEEN) {
            Ok(done) => break done,
            Err(error) => assert!(
                error == mpsc::RecvTimeoutError::Timeout && Instant::now() < hopeless,
                "it never ends, or it has panicked"
            ),
        }
    };
    drop(released);
    thread.join().unwrap();
    done
}

/// The call fails with its timeout while its thread is sent signals all the time.
#[track_caller]
fn ends_under_signals(call: fn(&mut Conn) -> io::Result<()>) {
    for (signal, flags) in [(libc::SIGUSR1, 0), (libc::SIGUSR2, libc::SA_RESTART)] {
        install(signal, flags);
        let server = Server::mute();
        let manager = TcpManager::new(server.address()).read_timeout(Some(TIMEOUT)).write_timeout(Some(TIMEOUT));
        let pool = Pool::builder(manager).max_size(1).opening(Opening::Lazy).build().unwrap();
        let (kind, dirty, fit) = under_signals(signal, move || {
            let mut lease = pool.get().unwrap();
            // At least one signal has to come during a call for the test to mean anything.
            let before = HANDLED.get();
            let error = loop {
                let error = call(&mut lease).unwrap_err();
                if HANDLED.get() > before {
                    break error;
                }
            };
            (error.kind(), lease.is_dirty(), lease.is_fit())
        });
        assert_eq!((kind, dirty, fit), (io::ErrorKind::WouldBlock, true, false));
    }
}

#[test]
fn a_read_timeout_holds_under_signals() {
    // `read_exact` makes an interrupted read again.
    ends_under_signals(|conn| conn.read_exact(&mut [0; 1]));
}

#[test]
fn a_vectored_read_is_no_different() {
    ends_under_signals(|conn| {
        loop {
            match conn.read_vectored(&mut [io::IoSliceMut::new(&mut []), io::IoSliceMut::new(&mut [0; 1])]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done.map(drop),
            }
        }
    });
}

#[test]
fn a_write_timeout_holds_under_signals() {
    // More than any buffer takes; the peer reads nothing.
    ends_under_signals(|conn| {
        let block = vec![0; 1 << 20];
        loop {
            conn.write_all(&block)?;
        }
    });
}

#[test]
fn a_vectored_write_is_no_different() {
    ends_under_signals(|conn| {
        let block = vec![0; 1 << 20];
        loop {
            match conn.write_vectored(&[io::IoSlice::new(&[]), io::IoSlice::new(&block)]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
    });
}

/// What an interrupted call was to read or write is read or written.
#[test]
fn what_comes_under_signals_is_whole() {
    install(libc::SIGUSR1, 0);
    let server = Server::echo();
    let manager = TcpManager::new(server.address()).read_timeout(Some(HOPELESS)).write_timeout(Some(HOPELESS));
    let pool = Pool::builder(manager).max_size(1).opening(Opening::Lazy).build().unwrap();
    let fit = under_signals(libc::SIGUSR1, move || {
        let mut lease = pool.get().unwrap();
        let before = HANDLED.get();
        let mut rounds = 0_u32;
        while rounds < 200 || HANDLED.get() == before {
            let request: Vec<u8> = (0..600).map(|place| (place + rounds) as u8).collect();
            support::exchange(&mut *lease, &request).unwrap();
            rounds += 1;
        }
        lease.is_fit()
    });
    assert!(fit);
}
