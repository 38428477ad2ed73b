//! An outage of some seconds, counted: how often the endpoint is dialed, how often a reactor wakes up, while callers ask all the time.

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{GetErrorKind, Opening, Pool, Reactors};
use support::{Fake, HOPELESS, Script, eventually};

const MS: Duration = Duration::from_millis(1);

/// The length of the outage that is counted, in whole seconds.
const SECONDS: u32 = 2;

/// Four who wait for 20 ms each time, and two who do not wait, until the outage has lasted for so long. Returns how many asked.
fn demand(pool: &Pool<Fake>, begun: Instant, lasts: Duration) -> u64 {
    let asked = AtomicU64::new(0);
    thread::scope(|scope| {
        for caller in 0..6 {
            let asked = &asked;
            scope.spawn(move || {
                while begun.elapsed() < lasts {
                    let limit = if caller < 4 { 20 * MS } else { Duration::ZERO };
                    let error = pool.get_timeout(limit).map(drop).unwrap_err();
                    assert!(matches!(error.kind(), GetErrorKind::TimedOut | GetErrorKind::Busy | GetErrorKind::Down));
                    asked.fetch_add(1, Ordering::SeqCst);
                    // Who is told at once asks again a little later, as a server's next request does.
                    thread::sleep(MS);
                }
            });
        }
    });
    asked.into_inner()
}

fn within(script: &Script, from: Duration, to: Duration) -> usize {
    let attempts = script.attempts();
    let first = attempts[0].0;
    attempts.iter().filter(|(at, _)| (from..to).contains(&(*at - first))).count()
}

#[test]
fn dials_and_wakeups_are_few() {
    for fail_fast_after in [HOPELESS * 10, 100 * MS] {
        let fake = Fake::default();
        let script = fake.script.clone();
        script.fail("down");
        let reactors = Reactors::new(1);
        let builder = Pool::builder(fake).max_size(8).min_open(4).dials_at_once(1).opening(Opening::Background);
        let pool = builder.fail_fast_after(fail_fast_after).reactors(reactors.clone()).build().unwrap();
        eventually("the first dial", || script.dials() > 0);
        let before = reactors.wakeups();
        let lasts = 200 * MS + SECONDS * Duration::from_secs(1);
        let asked = demand(&pool, script.attempts()[0].0, lasts);
        let wakeups = reactors.wakeups() - before;

        let early = within(&script, Duration::ZERO, 200 * MS);
        assert!(early <= 10, "{early} dials in the first 200 ms");
        let later = within(&script, 200 * MS, lasts);
        // One more for the two edges of the time.
        assert!(later <= 20 * SECONDS as usize + 1, "{later} dials in the {SECONDS} s after that");
        assert!(later >= 2 * SECONDS as usize, "only {later} dials, with somebody waiting all the time");
        assert!(asked > 200 && wakeups <= 200, "{wakeups} wake-ups of the reactor, with {asked} callers");
        // And it is not asleep for good.
        script.open();
        eventually("a connection", || pool.get_timeout(20 * MS).is_ok());
    }
}
