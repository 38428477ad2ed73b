//! What came of it: a table for people, one line of JSON for programs, and the chain of an error.

use std::fmt::Write;
use std::time::Duration;

use corepool::mux::MuxStats;
use corepool::{CloseReason, Stats};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::backend::Backend;
use crate::cli::row;
use crate::store::{Mode, Store};
use crate::tally::Tally;

/// The figures of one run.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    mode: Mode,
    tally: Tally,
    stats: Stats,
    mux: Option<MuxStats>,
}

impl Report {
    pub(crate) fn new(args: &Args, backend: &Backend, tally: Tally, store: &Store) -> Self {
        let title = format!(
            "{} clients for {:.1} s by a {} of at most {} connections, backend {backend}",
            args.clients,
            tally.length.as_secs_f64(),
            args.mode.name(),
            store.limits().0,
        );
        Report { title, mode: args.mode, tally, stats: store.stats(), mux: store.mux_stats() }
    }

    /// Whether a request failed that had no excuse.
    pub(crate) fn failed(&self) -> bool {
        self.tally.failures().outside > 0
    }

    pub(crate) fn table(&self) -> String {
        let (tally, stats) = (&self.tally, &self.stats);
        let failures = tally.failures();
        let mut out = format!("{}\n\n", self.title);
        let mut row = |name: &str, value: u64, note: &str| row(&mut out, name, value, note);

        let rate = tally.all.len() as f64 / tally.length.as_secs_f64();
        row("requests", tally.all.len(), &format!("{rate:.0}/s"));
        row("errors", failures.inside + failures.outside, &format!("{} outside the outage", failures.outside));
        for (kind, errors) in &tally.errors {
            row(&format!("  {kind}"), errors.inside + errors.outside, &format!("{} outside", errors.outside));
        }
        row("connections opened", stats.opened, "");
        for reason in CloseReason::ALL.into_iter().filter(|reason| stats.closed(*reason) > 0) {
            row(&format!("  closed: {}", reason.name()), stats.closed(reason), "");
        }
        if let Some(total) = self.mux.as_ref().map(MuxStats::total) {
            let socket_calls = (total.sends + total.receives) as f64 / total.replies.max(1) as f64;
            row("calls", total.calls, &format!("{socket_calls:.2} sends and receives a reply"));
        }
        row("leases", stats.leases, "");
        row("  stolen", stats.stolen, "from another core's shard");
        row("  waited", stats.waited, "for a connection to come free");
        row("dials", stats.dials, &format!("{} failed", stats.dials_failed));

        // Writing to a String does not fail.
        let _ = writeln!(out, "\n{:<28}{:>12}{:>12}{:>12}{:>12}", "latency in ms", "p50", "p99", "p99.9", "max");
        for (name, histogram) in [("all requests", &tally.all), ("outside the outage", &tally.calm)] {
            let [p50, p99, p999, max] = percentiles(histogram).map(|us| us as f64 / 1000.0);
            let _ = writeln!(out, "{name:<28}{p50:>12.3}{p99:>12.3}{p999:>12.3}{max:>12.3}");
        }
        if let Some(outage) = tally.outage {
            let recovery = tally.recovery.map_or("no request succeeded".into(), |recovery| {
                format!("the first success came {:.1} ms later", milliseconds(recovery))
            });
            let _ = writeln!(out, "\nThe backend was away for {:.1} ms; {recovery}.", milliseconds(outage));
        }
        out
    }

    /// One object on one line. `closed_by_watch` counts the closures that the pool saw by itself, before or instead of a user.
    pub(crate) fn json(&self) -> String {
        let (tally, stats) = (&self.tally, &self.stats);
        let failures = tally.failures();
        let kinds: Map<String, Value> =
            tally.errors.iter().map(|(kind, errors)| (kind.clone(), json!(errors.inside + errors.outside))).collect();
        let closed: Map<String, Value> = CloseReason::ALL
            .into_iter()
            .map(|reason| (reason.name().to_owned(), json!(stats.closed(reason))))
            .collect();
        let [p50, p99, p999, max] = percentiles(&tally.all);
        let [calm_p50, calm_p99, calm_p999, calm_max] = percentiles(&tally.calm);
        let object = json!({
            "mode": self.mode.name(),
            "seconds": tally.length.as_secs_f64(),
            "requests": tally.all.len(),
            "errors": failures.inside + failures.outside,
            "errors_outside_outage": failures.outside,
            "errors_by_kind": kinds,
            "p50_us": p50, "p99_us": p99, "p999_us": p999, "max_us": max,
            "calm_p50_us": calm_p50, "calm_p99_us": calm_p99, "calm_p999_us": calm_p999, "calm_max_us": calm_max,
            "opened": stats.opened,
            "closed": closed,
            "closed_by_watch": stats.closed(CloseReason::PeerClosed),
            "leases": stats.leases,
            "stolen": stats.stolen,
            "waited": stats.waited,
            "dials": stats.dials,
            "dials_failed": stats.dials_failed,
            "outage_ms": tally.outage.map(milliseconds),
            "recovery_ms": tally.recovery.map(milliseconds),
        });
        format!("{object}\n")
    }
}

/// p50, p99, p99.9 and the maximum.
fn percentiles(histogram: &Histogram<u64>) -> [u64; 4] {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| histogram.value_at_quantile(quantile));
    [p50, p99, p999, histogram.max()]
}

/// To a tenth.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
