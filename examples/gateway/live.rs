//! What the page draws: the last minute of the pool, sampled four times a second on a thread of its own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use corepool::{CloseReason, Event, Stats};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::store::Store;

const TICK: Duration = Duration::from_millis(250);
/// One minute of them.
const SAMPLES: usize = 240;
const EVENTS: usize = 12;
const LONGEST_US: u64 = 60_000_000;

/// Gathers what the page shows. Shared by the front's workers, the pool's observer and the sampler.
#[derive(Debug)]
pub(crate) struct Live {
    begun: Instant,
    down: AtomicBool,
    /// Latencies of the requests since the last sample, in microseconds.
    requests: Mutex<Histogram<u64>>,
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    samples: VecDeque<Value>,
    events: VecDeque<Value>,
}

impl Live {
    pub(crate) fn new() -> Arc<Self> {
        // With room for the longest: what is beyond it is recorded as if it were the most that there is room for.
        let requests =
            Histogram::new_with_max(LONGEST_US, 3).expect("three digits up to a minute are within its limits");
        let requests = Mutex::new(requests);
        Arc::new(Live { begun: Instant::now(), down: AtomicBool::new(false), requests, past: Mutex::default() })
    }

    /// A request was answered.
    pub(crate) fn answered(&self, took: Duration) {
        lock(&self.requests).saturating_record(took.as_micros().try_into().unwrap_or(u64::MAX));
    }

    /// For the pool's observer.
    pub(crate) fn event(&self, event: &Event) {
        let text = match event {
            Event::OutageBegan { cause } => {
                self.down.store(true, Relaxed);
                format!("outage: {cause}")
            }
            Event::OutageEnded { lasted } => {
                self.down.store(false, Relaxed);
                format!("back after {:.0} ms", lasted.as_secs_f64() * 1000.0)
            }
            Event::Discarded { why, .. } if *why == CloseReason::PeerClosed => "the peer hung up on one".into(),
            _ => return,
        };
        let mut past = lock(&self.past);
        past.events.push_back(json!({ "t": self.begun.elapsed().as_secs_f64(), "text": text }));
        if past.events.len() > EVENTS {
            past.events.pop_front();
        }
    }

    /// Samples the pool until the process ends.
    pub(crate) fn watch(self: &Arc<Self>, store: Store) {
        let me = Arc::clone(self);
        thread::spawn(move || {
            let mut last = Instant::now();
            loop {
                thread::sleep(TICK);
                let now = Instant::now();
                me.sample(&store.stats(), now - std::mem::replace(&mut last, now));
            }
        });
    }

    fn sample(&self, stats: &Stats, since: Duration) {
        let requests = {
            let mut requests = lock(&self.requests);
            let gathered = requests.clone();
            requests.reset();
            gathered
        };
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| requests.value_at_quantile(quantile));
        let sample = json!({
            "t": self.begun.elapsed().as_secs_f64(),
            "rate": requests.len() as f64 / since.as_secs_f64(),
            "p50": p50, "p99": p99, "p999": p999,
            "idle": stats.idle, "leased": stats.leased, "opening": stats.opening, "waiting": stats.waiting,
            "down": self.down.load(Relaxed),
        });
        let mut past = lock(&self.past);
        past.samples.push_back(sample);
        if past.samples.len() > SAMPLES {
            past.samples.pop_front();
        }
    }

    /// All of it, as the page asks for it.
    pub(crate) fn json(&self, store: &Store) -> String {
        let stats = store.stats();
        let closed: Map<String, Value> = CloseReason::ALL
            .into_iter()
            .filter(|why| stats.closed(*why) > 0)
            .map(|why| (why.name().to_owned(), json!(stats.closed(why))))
            .collect();
        let shards: Vec<_> =
            stats.shards.iter().map(|shard| json!({ "idle": shard.idle, "stolen": shard.stolen })).collect();
        let past = lock(&self.past);
        json!({
            "max_size": store.limits().0,
            "open": stats.open, "idle": stats.idle, "leased": stats.leased, "opening": stats.opening,
            "waiting": stats.waiting, "closing": stats.closing, "leases": stats.leases, "stolen": stats.stolen,
            "waited": stats.waited, "timed_out": stats.timed_out, "refused": stats.refused,
            "dials": stats.dials, "dials_failed": stats.dials_failed, "opened": stats.opened,
            "down": self.down.load(Relaxed),
            "shards": shards, "closed": closed, "samples": past.samples, "events": past.events,
        })
        .to_string()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
