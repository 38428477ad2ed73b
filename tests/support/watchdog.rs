//! Notices that a test hangs, and shows where, instead of leaving that to the patience of whoever waits for it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::HOPELESS;

/// Aborts the process once one of its counters stands still for [`HOPELESS`]. Ends with its drop.
pub(crate) struct Watchdog {
    progress: Arc<[AtomicU64]>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches this many counters. `state` says what is known of the thing under test.
    pub(crate) fn new(counters: usize, state: impl Fn() -> String + Send + 'static) -> Watchdog {
        let progress: Arc<[AtomicU64]> = (0..counters).map(|_| AtomicU64::new(0)).collect();
        let done = Arc::new(AtomicBool::new(false));
        let (watched, ended) = (Arc::clone(&progress), Arc::clone(&done));
        let thread = thread::spawn(move || {
            let look = || watched.iter().map(|counter| counter.load(Ordering::SeqCst)).collect::<Vec<_>>();
            let mut last = look();
            loop {
                thread::park_timeout(HOPELESS);
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let now = look();
                if last.iter().zip(&now).any(|(last, now)| last == now) {
                    eprintln!("hung: {last:?} is {now:?} {HOPELESS:?} later");
                    threads();
                    eprintln!("{}", state());
                    std::process::abort();
                }
                last = now;
            }
        });
        Watchdog { progress, done, thread: Some(thread) }
    }

    /// The counter moves.
    pub(crate) fn alive(&self, counter: usize) {
        self.progress[counter].fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// What each thread of the process does just now.
fn threads() {
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default().trim().to_owned();
        eprintln!("{:>24}  {:<24} system call {}", read("comm"), read("wchan"), read("syscall"));
    }
}

/// A number that the environment may override: longer runs in CI than at the desk.
pub(crate) fn from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}")))
}

/// How long a storm lasts.
pub(crate) fn storm_length() -> Duration {
    Duration::from_secs(from_environment("COREPOOL_STORM_SECS", 5))
}
