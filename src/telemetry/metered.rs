//! Pools in the `metrics` crate's words.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::builder::Builder;
use crate::engine::Engine;
use crate::error::BuildError;
use crate::manager::{CloseReason, Manager};
use crate::observe::{Event, Observer};
use crate::os::sys;
use crate::pool::Pool;
use crate::stats::WaitTimes;

/// Builds the pool, and has it measured under this name: the whole of what there is to do, beside choosing the process's exporter. Feature
/// `metrics`.
///
/// Gauges and counters are set by [`update`], which whoever serves the page calls before they render it, or by [`update_every`]; the
/// histograms of waits and dials follow the events of the pool, on its observer's thread. A use that finds an idle connection costs nothing
/// more than without. An observer that the builder had is still told.
///
/// The names are those of OpenTelemetry's conventions for database clients, as far as these go. Each has the label `pool`.
///
/// | name | kind | what |
/// |---|---|---|
/// | `db.client.connection.count`, by `state`: `idle`, `used`, `opening`, `closing` | gauge | connections |
/// | `db.client.connection.max`, `db.client.connection.idle.min` | gauge | the settings in force |
/// | `db.client.connection.pending_requests` | gauge | callers that wait |
/// | `db.client.connection.timeouts` | counter | callers whose wait ran out |
/// | `db.client.connection.create_time` | histogram, s | dials that succeeded |
/// | `db.client.connection.wait_time` | histogram, s | waits that were served; who found an idle connection did not wait |
/// | `db.client.connection.use_time` | histogram, s | how long connections were used: of one use in 1,024, to a power of two |
/// | `corepool.leases`, `corepool.waited`, `corepool.refused`, `corepool.dials`, `corepool.dials.failed`, `corepool.opened` | counter | as in [`Stats`](crate::Stats) |
/// | `corepool.closed`, by `reason` | counter | connections that left to be closed |
/// | `corepool.stolen`, by `shard` | counter | uses of that shard's callers that another shard served |
/// | `corepool.down` | gauge | 1 during an outage |
///
/// With the crate `metrics-exporter-prometheus`, say, `let page = PrometheusBuilder::new().install_recorder()?` comes before the first
/// pool, and `page.render()` after [`update`], where `/metrics` is served. The example `top` shows such a page in the terminal.
///
/// ```
/// # use corepool::*;
/// # struct Numbers;
/// # impl Manager for Numbers {
/// #     type Connection = u32;
/// #     type Error = std::io::Error;
/// #     fn connect(&self, _: &Dial<'_>) -> std::io::Result<u32> { Ok(7) }
/// # }
/// # fn main() -> Result<(), BuildError> {
/// let pool = corepool::telemetry::install("orders", Pool::builder(Numbers).max_size(4))?;
/// // Where the page for the scraper is made:
/// corepool::telemetry::update();
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As for [`Builder::build`].
pub fn install<M: Manager>(name: impl Into<String>, builder: Builder<M>) -> Result<Pool<M>, BuildError> {
    let name = name.into();
    describe();
    let pool = builder.also_observed(Metered { pool: name.clone() }).build()?;
    let weak = Arc::downgrade(&pool.engine);
    let mut told = WaitTimes::default();
    let update = Box::new(move || weak.upgrade().is_some_and(|engine| set(&name, &engine, &mut told)));
    installed().push(Installed { update });
    Ok(pool)
}

/// Sets the gauges and counters of all pools that were [installed](install) and are still there. Takes each pool's lock of those who wait,
/// for a moment, and reads its slots, as [`Pool::stats`] does. Runs on the caller's thread.
pub fn update() {
    // Taken out meanwhile: a recorder is somebody's code, and may ask for another pool's metrics.
    let mut pools = std::mem::take(&mut *installed());
    pools.retain_mut(|pool| (pool.update)());
    let mut now = installed();
    pools.append(&mut now);
    *now = pools;
}

/// Calls [`update`] at this interval, at least 10 ms, on a thread of its own, for exporters that push; until the process ends.
///
/// # Errors
/// No thread could be had.
pub fn update_every(interval: Duration) -> std::io::Result<()> {
    let interval = interval.max(Duration::from_millis(10));
    let thread = std::thread::Builder::new().name("corepool-metrics".into());
    sys::spawn_without_signals(thread, move || {
        loop {
            std::thread::sleep(interval);
            update();
        }
    })
}

struct Installed {
    /// False once the pool has gone.
    update: Box<dyn FnMut() -> bool + Send>,
}

fn installed() -> std::sync::MutexGuard<'static, Vec<Installed>> {
    static POOLS: Mutex<Vec<Installed>> = Mutex::new(Vec::new());
    POOLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Told what has no snapshot.
struct Metered {
    pool: String,
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("pool", &self.pool).finish()
    }
}

impl Observer for Metered {
    fn event(&self, event: &Event) {
        let pool = || self.pool.clone();
        match event {
            Event::Opened { took } => {
                histogram!("db.client.connection.create_time", "pool" => pool()).record(took.as_secs_f64());
            }
            Event::Waited { waited } => {
                histogram!("db.client.connection.wait_time", "pool" => pool()).record(waited.as_secs_f64());
            }
            Event::OutageBegan { .. } => gauge!("corepool.down", "pool" => pool()).set(1.0),
            Event::OutageEnded { .. } => gauge!("corepool.down", "pool" => pool()).set(0.0),
            _ => {}
        }
    }
}

/// Returns true: the pool is still there. `told` has the uses whose length the histogram has by now.
fn set<M: Manager>(name: &str, engine: &Engine<M>, told: &mut WaitTimes) -> bool {
    let (stats, settings) = (engine.stats(), engine.settings());
    let pool = || name.to_owned();
    let states = [("idle", stats.idle), ("used", stats.leased), ("opening", stats.opening), ("closing", stats.closing)];
    for (state, count) in states {
        gauge!("db.client.connection.count", "pool" => pool(), "state" => state).set(count as f64);
    }
    gauge!("db.client.connection.max", "pool" => pool()).set(settings.max_size as f64);
    gauge!("db.client.connection.idle.min", "pool" => pool()).set(settings.min_idle as f64);
    gauge!("db.client.connection.pending_requests", "pool" => pool()).set(stats.waiting as f64);
    counter!("db.client.connection.timeouts", "pool" => pool()).absolute(stats.timed_out);
    counter!("corepool.leases", "pool" => pool()).absolute(stats.leases);
    counter!("corepool.waited", "pool" => pool()).absolute(stats.waited);
    counter!("corepool.refused", "pool" => pool()).absolute(stats.refused);
    counter!("corepool.dials", "pool" => pool()).absolute(stats.dials);
    counter!("corepool.dials.failed", "pool" => pool()).absolute(stats.dials_failed);
    counter!("corepool.opened", "pool" => pool()).absolute(stats.opened);
    for why in CloseReason::ALL {
        counter!("corepool.closed", "pool" => pool(), "reason" => why.name()).absolute(stats.closed(why));
    }
    for (number, shard) in stats.shards.iter().enumerate() {
        counter!("corepool.stolen", "pool" => pool(), "shard" => number.to_string()).absolute(shard.stolen);
    }
    for ((at_most, count), (_, before)) in stats.holds.buckets().zip(told.buckets()) {
        // The middle of what is known of them, which is a power of two.
        let length = at_most.as_secs_f64() * 0.75;
        histogram!("db.client.connection.use_time", "pool" => pool()).record_many(length, (count - before) as usize);
    }
    *told = stats.holds;
    true
}

fn describe() {
    describe_gauge!("db.client.connection.count", "Connections by state.");
    describe_gauge!("db.client.connection.max", "The most connections that may be open.");
    describe_gauge!("db.client.connection.idle.min", "Connections that are kept idle.");
    describe_gauge!("db.client.connection.pending_requests", "Callers that wait for a connection.");
    describe_counter!("db.client.connection.timeouts", "Callers whose wait ran out.");
    describe_histogram!("db.client.connection.create_time", Unit::Seconds, "How long dials took that succeeded.");
    describe_histogram!("db.client.connection.wait_time", Unit::Seconds, "How long callers waited who were served.");
    describe_histogram!("db.client.connection.use_time", Unit::Seconds, "How long connections were used, sampled.");
    describe_counter!("corepool.leases", "Uses begun.");
    describe_counter!("corepool.waited", "Callers that had to wait.");
    describe_counter!("corepool.refused", "Callers that were refused at once.");
    describe_counter!("corepool.dials", "Dials begun.");
    describe_counter!("corepool.dials.failed", "Dials that failed.");
    describe_counter!("corepool.opened", "Connections opened.");
    describe_counter!("corepool.closed", "Connections closed, by reason.");
    describe_counter!("corepool.stolen", "Uses served from another core's shard, by the core's own.");
    describe_gauge!("corepool.down", "1 during an outage.");
}
