//! What the tests share: a pool of numbers, whose endpoint may be down.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use corepool::{Dial, Manager};

/// Opens numbers, unless it is down.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// Whether dials fail.
    pub down: Arc<AtomicBool>,
    /// What nobody may read.
    pub password: &'static str,
}

impl Manager for Numbers {
    type Connection = u32;
    type Error = io::Error;

    fn connect(&self, _: &Dial<'_>) -> io::Result<u32> {
        if self.down.load(Relaxed) { Err(io::Error::other("it is down")) } else { Ok(7) }
    }
}

/// Waits until it is so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < deadline, "not {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
