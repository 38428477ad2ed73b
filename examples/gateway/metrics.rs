//! The pool for Prometheus, in its text format. The names are those of OpenTelemetry's conventions for database connection pools, as far
//! as these go.

use std::fmt::{Display, Write};

use corepool::{CloseReason, Stats};

/// What Prometheus wants to be told that it gets.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn page(pool: &str, stats: &Stats, (max_size, min_idle): (usize, usize)) -> String {
    let mut page = Page { text: String::new(), pool };
    page.family("db_client_connection_count", "gauge", "Connections by state.");
    for (state, count) in
        [("idle", stats.idle), ("used", stats.leased), ("opening", stats.opening), ("closing", stats.closing)]
    {
        page.sample("db_client_connection_count", &[("state", state)], count);
    }
    let gauges = [
        ("db_client_connection_max", "The most connections that may be open.", max_size),
        ("db_client_connection_idle_min", "Connections that are kept idle.", min_idle),
        ("db_client_connection_pending_requests", "Callers that wait for a connection.", stats.waiting),
    ];
    for (name, help, value) in gauges {
        page.family(name, "gauge", help);
        page.sample(name, &[], value);
    }
    let counters = [
        ("db_client_connection_timeouts_total", "Callers whose wait ran out.", stats.timed_out),
        ("corepool_refused_total", "Callers that were refused at once.", stats.refused),
        ("corepool_leases_total", "Uses begun.", stats.leases),
        ("corepool_waited_total", "Callers that had to wait.", stats.waited),
        ("corepool_dials_total", "Dials begun.", stats.dials),
        ("corepool_dials_failed_total", "Dials that failed.", stats.dials_failed),
        ("corepool_opened_total", "Connections opened.", stats.opened),
    ];
    for (name, help, value) in counters {
        page.family(name, "counter", help);
        page.sample(name, &[], value);
    }
    page.family("corepool_closed_total", "counter", "Connections closed, by reason.");
    for why in CloseReason::ALL {
        page.sample("corepool_closed_total", &[("reason", why.name())], stats.closed(why));
    }
    page.family("corepool_stolen_total", "counter", "Uses served from another core's shard, by the core's own.");
    for (number, shard) in stats.shards.iter().enumerate() {
        page.sample("corepool_stolen_total", &[("shard", &number.to_string())], shard.stolen);
    }
    page.text
}

struct Page<'a> {
    text: String,
    pool: &'a str,
}

impl Page<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "{name}{{pool=\"{}\"", self.pool);
        for (label, content) in labels {
            let _ = write!(self.text, ",{label}=\"{content}\"");
        }
        let _ = writeln!(self.text, "}} {value}");
    }
}
