//! Any combination of settings: it is built and lends a connection, or one that is outside its limits is named.

use std::convert::Infallible;
use std::time::Duration;

use corepool::{BuildError, Dial, GetErrorKind, Manager, Opening, Pool, Settings};

/// Opens numbers, at once.
struct Numbers;

impl Manager for Numbers {
    type Connection = u32;
    type Error = Infallible;

    fn connect(&self, _dial: &Dial<'_>) -> Result<u32, Infallible> {
        Ok(7)
    }
}

/// Takes one choice after another from the bytes; when they end, the first of each list.
struct Choices<'b>(std::slice::Iter<'b, u8>);

impl Choices<'_> {
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::from(self.0.next().copied().unwrap_or(0)) % list.len()]
    }

    fn optional<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        let some = self.of(&[true, false]);
        some.then(|| self.of(list))
    }
}

const MS: Duration = Duration::from_millis(1);
const SIZES: [usize; 13] = [4, 1, 2, 3, 8, 0, 16, 63, 64, 65, 64_512, 64_513, usize::MAX];
const FEW: [usize; 8] = [1, 2, 4, 0, 64, 65, 1_024, 1_025];
const TIMES: [Duration; 12] = [
    Duration::from_secs(10),
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_micros(999),
    MS,
    Duration::from_micros(9_999),
    Duration::from_millis(10),
    Duration::from_millis(19),
    Duration::from_millis(20),
    Duration::from_millis(49),
    Duration::from_millis(50),
    Duration::MAX,
];

/// What is wrong with these, by the limits that the setters' pages name.
fn faults(settings: &Settings, capacity: usize) -> Vec<&'static str> {
    let mut faults = Vec::new();
    let mut check = |name, holds: bool| {
        if !holds {
            faults.push(name)
        }
    };
    check("max_size", (1..=capacity).contains(&settings.max_size));
    check("min_open", settings.min_open <= settings.max_size);
    check("min_idle", settings.min_idle <= settings.max_size);
    check("dials_at_once", (1..=64).contains(&settings.dials_at_once));
    check("max_closing", (1..=64_512).contains(&settings.max_closing));
    check("backoff_max", settings.backoff_max >= 50 * MS);
    for (name, time) in [
        ("dial_timeout", settings.dial_timeout),
        ("close_timeout", settings.close_timeout),
        ("ping_timeout", settings.ping_timeout),
    ] {
        check(name, time >= MS);
    }
    for (name, time, least) in [
        ("validate_after", settings.validate_after, 10),
        ("suspect_after", settings.suspect_after, 10),
        ("idle_timeout", settings.idle_timeout, 10),
        ("max_lifetime", settings.max_lifetime, 20),
        ("ping_interval", settings.ping_interval, 10),
        ("hold_limit", settings.hold_limit, 10),
    ] {
        check(name, time.is_none_or(|time| time >= least * MS));
    }
    faults
}

/// Those that a running pool can change, but for `max_size` and what hangs on it.
fn choose(choices: &mut Choices<'_>, settings: &mut Settings) {
    settings.max_size = choices.of(&SIZES);
    settings.min_open = choices.of(&FEW);
    settings.min_idle = choices.of(&FEW);
    settings.wait_timeout = choices.of(&TIMES);
    settings.max_waiters = choices.of(&[usize::MAX, 0, 1]);
    settings.handoff_after = choices.of(&TIMES);
    settings.dial_timeout = choices.of(&TIMES);
    settings.dials_at_once = choices.of(&FEW);
    settings.fail_fast_after = choices.of(&TIMES);
    settings.backoff_max = choices.of(&TIMES);
    settings.close_timeout = choices.of(&TIMES);
    settings.max_closing = choices.of(&FEW);
    settings.probe_after = choices.of(&TIMES);
    settings.validate_after = choices.optional(&TIMES);
    settings.suspect_after = choices.optional(&TIMES);
    settings.idle_timeout = choices.optional(&TIMES);
    settings.max_lifetime = choices.optional(&TIMES);
    settings.ping_interval = choices.optional(&TIMES);
    settings.ping_timeout = choices.of(&TIMES);
    settings.hold_limit = choices.optional(&TIMES);
    settings.cut_held = choices.of(&[false, true]);
}

fn named(error: BuildError, among: &[&str]) {
    match error {
        BuildError::Setting { name, .. } => {
            assert!(among.contains(&name), "{name} is named, and at fault are {among:?}")
        }
        other => panic!("{other:?}, and at fault are {among:?}"),
    }
}

/// The body of the fuzz target of this name.
pub(crate) fn settings(bytes: &[u8]) {
    let mut choices = Choices(bytes.iter());
    let base = Pool::builder(Numbers).opening(Opening::Lazy).build().expect("the defaults are within their limits");
    let (mut chosen, shards, capacity) = (base.settings(), choices.optional(&FEW), choices.optional(&SIZES));
    drop(base);
    choose(&mut choices, &mut chosen);
    let set = |chosen: Settings| {
        let builder = Pool::builder(Numbers).opening(Opening::Lazy);
        let builder = builder.max_size(chosen.max_size).min_open(chosen.min_open).min_idle(chosen.min_idle);
        let builder = builder.wait_timeout(chosen.wait_timeout).max_waiters(chosen.max_waiters);
        let builder = builder.handoff_after(chosen.handoff_after).dial_timeout(chosen.dial_timeout);
        let builder = builder.dials_at_once(chosen.dials_at_once).fail_fast_after(chosen.fail_fast_after);
        let builder = builder.backoff_max(chosen.backoff_max).close_timeout(chosen.close_timeout);
        let builder = builder.max_closing(chosen.max_closing).probe_after(chosen.probe_after);
        let builder = builder.validate_after(chosen.validate_after).suspect_after(chosen.suspect_after);
        let builder = builder.idle_timeout(chosen.idle_timeout).max_lifetime(chosen.max_lifetime);
        let builder = builder.ping_interval(chosen.ping_interval).ping_timeout(chosen.ping_timeout);
        builder.hold_limit(chosen.hold_limit).cut_held(chosen.cut_held)
    };
    let mut builder = set(chosen.clone());
    if let Some(shards) = shards {
        builder = builder.shards(shards);
    }
    if let Some(capacity) = capacity {
        builder = builder.capacity(capacity);
    }
    let slots = capacity.unwrap_or(chosen.max_size.clamp(1, 64_512));
    let mut at_fault = faults(&chosen, slots);
    at_fault.extend(shards.filter(|shards| !(1..=1_024).contains(shards)).map(|_| "shards"));
    at_fault.extend((!(1..=64_512).contains(&slots)).then_some("capacity"));
    let pool = match builder.build() {
        Err(error) => return named(error, &at_fault),
        Ok(pool) => pool,
    };
    assert!(at_fault.is_empty(), "built in spite of {at_fault:?}");
    let had_time = chosen.dial_timeout >= Duration::from_secs(1);
    works(&pool, had_time);
    // Another choice of those that can be changed.
    let mut other = pool.settings();
    choose(&mut choices, &mut other);
    let at_fault = faults(&other, slots);
    match pool.reconfigure(|settings| *settings = other.clone()) {
        Err(error) => named(error, &at_fault),
        Ok(()) => assert!(at_fault.is_empty(), "changed in spite of {at_fault:?}"),
    }
    // What the settings of before have made fail is an outage still.
    let has_time = had_time && pool.settings().dial_timeout >= Duration::from_secs(1);
    works(&pool, has_time);
    let report = pool.drain(Duration::from_secs(20));
    // A dial that had no time may still be under way; nobody waits for it beyond that.
    let given_up = report.opening == 0 || !has_time;
    assert!(
        report.closing == 0 && report.leased.is_empty() && given_up,
        "{report:?}: {:?}\n{}",
        pool.settings(),
        pool.stats()
    );
}

/// It lends a connection, or says why it must not: nobody may wait, and the dial had no time.
fn works(pool: &Pool<Numbers>, has_time: bool) {
    let settings = pool.settings();
    let lent = pool.with_timeout(Duration::from_secs(10), |number| Ok::<u32, corepool::GetError>(*number));
    match lent {
        Ok(number) => assert_eq!(number, 7),
        Err(error) => {
            let corepool::UseError::Get(error) = error else { panic!("the closure does not fail") };
            let excused = match error.kind() {
                GetErrorKind::Refused => settings.max_waiters == 0,
                GetErrorKind::Down | GetErrorKind::TimedOut => !has_time,
                _ => false,
            };
            assert!(excused, "{error} with {settings:?}");
        }
    }
}
