//! Those whom a reactor serves: called again after a panic, and forgotten when they go.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use super::*;
use crate::watch::naming::Watch;
use crate::watch::reactors::Reactors;

/// Its first tick panics.
#[derive(Default)]
struct Clumsy {
    ticks: AtomicUsize,
    survived: AtomicU64,
}

impl Handler for Clumsy {
    fn hung_up(&self, _key: u64) {}

    fn tick(&self, _now: u64) -> u64 {
        assert!(self.ticks.fetch_add(1, Ordering::SeqCst) > 0, "on purpose");
        NEVER
    }

    fn survived(&self, panics: u64) {
        self.survived.store(panics, Ordering::SeqCst);
    }

    fn release(self: Arc<Self>) {}
}

fn clumsy() -> (Arc<Clumsy>, Weak<dyn Handler>) {
    let handler = Arc::new(Clumsy::default());
    let weak: Weak<Clumsy> = Arc::downgrade(&handler);
    (handler, weak)
}

#[test]
fn one_whose_tick_panics_is_called_again_without_a_reminder() {
    let reactors = Reactors::new(1);
    let (handler, weak) = clumsy();
    let timer = reactors.at(None).unwrap().serve(weak);
    timer.remind(clock::now());
    let begun = Instant::now();
    while handler.ticks.load(Ordering::SeqCst) < 2 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is not called again");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(handler.survived.load(Ordering::SeqCst), 1);
}

#[test]
fn whoever_goes_leaves_nothing_behind() {
    let reactors = Reactors::new(1);
    let reactor = reactors.at(None).unwrap();
    let (_handler, weak) = clumsy();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut named = Ok(Vec::new());
    Watch::collect(&mut named).socket(ours.as_fd());
    let sockets: Arc<[Duplicate]> = named.unwrap().into();
    let watched = || lock(&reactor.table).len();
    if let Ok(registration) = reactor.watch(&sockets, 0, weak.clone(), 7) {
        assert_eq!(watched(), 1);
        drop(registration);
    }
    assert_eq!(watched(), 0);
    // Whoever is not due before the end of time is served, and due then.
    let served = || reactor.handlers.take_due(NEVER).0.len();
    let timer = reactor.serve(weak);
    assert_eq!(served(), 1);
    drop(timer);
    assert_eq!(served(), 0);
}
