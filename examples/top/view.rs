//! What is shown of two looks: states as bars, counters as rates.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use console::style;

use crate::scrape::{Pool, Scrape};

/// The bar of a pool that is full.
const WIDTH: usize = 60;
const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Remembers the rates that it has shown, for the line of their past.
#[derive(Debug)]
pub(crate) struct View {
    past: HashMap<String, VecDeque<f64>>,
}

impl View {
    pub(crate) fn new() -> Self {
        View { past: HashMap::new() }
    }

    /// The text of one frame.
    pub(crate) fn frame(&mut self, before: &Scrape, now: &Scrape, since: Duration) -> String {
        let mut out = String::new();
        for (name, pool) in &now.pools {
            let nothing = Pool::default();
            let earlier = before.pools.get(name).unwrap_or(&nothing);
            // Writing to a String does not fail.
            let _ = self.pool(&mut out, name, earlier, pool, since);
        }
        out
    }

    fn pool(&mut self, out: &mut String, name: &str, before: &Pool, now: &Pool, since: Duration) -> std::fmt::Result {
        let rate = |series: &str, label: &str| {
            (now.value(series, label) - before.value(series, label)).max(0.0) / since.as_secs_f64()
        };
        let state = |state: &str| now.value("db_client_connection_count", state) as usize;
        let most = now.value("db_client_connection_max", "") as usize;
        let (used, idle, opening) = (state("used"), state("idle"), state("opening"));
        writeln!(out, "{}  {} of {most} open", style(name).bold(), used + idle)?;

        // Rounded up, so that one of many is seen.
        let cells = |count: usize| (count * WIDTH).div_ceil(most.max(1)).min(WIDTH);
        let bars = [(used, '█'), (idle, '▒'), (opening, '░')].map(|(count, ink)| ink.to_string().repeat(cells(count)));
        let bar: String = bars.concat().chars().chain(std::iter::repeat('·')).take(WIDTH).collect();
        writeln!(out, "  {bar}")?;
        writeln!(out, "  █ {used} used  ▒ {idle} idle  ░ {opening} opening  {} closing", state("closing"))?;
        let waiting = now.value("db_client_connection_pending_requests", "");
        writeln!(out, "  {waiting} callers wait\n")?;

        let uses = rate("corepool_leases", "");
        let past = self.past.entry(name.to_owned()).or_default();
        past.push_back(uses);
        if past.len() > WIDTH {
            past.pop_front();
        }
        writeln!(out, "  {:<22}{uses:>12.0} /s  {}", "uses", sparks(past))?;
        for (title, series) in [
            ("  had to wait", "corepool_waited"),
            ("  timed out", "db_client_connection_timeouts"),
            ("  refused", "corepool_refused"),
            ("dials", "corepool_dials"),
            ("  failed", "corepool_dials_failed"),
        ] {
            writeln!(out, "  {title:<22}{:>12.1} /s  {:>12} in all", rate(series, ""), now.value(series, ""))?;
        }
        for (shard, stolen) in now.all("corepool_stolen") {
            let title = format!("stolen by shard {shard}");
            writeln!(out, "  {title:<22}{:>12.1} /s  {stolen:>12} in all", rate("corepool_stolen", shard))?;
        }
        for (reason, closed) in now.all("corepool_closed").filter(|(_, closed)| *closed > 0.0) {
            let title = format!("closed: {}", reason.replace('_', " "));
            writeln!(out, "  {title:<22}{:>12.1} /s  {closed:>12} in all", rate("corepool_closed", reason))?;
        }
        writeln!(out)
    }
}

/// The past as one line, the highest value at full height.
fn sparks(past: &VecDeque<f64>) -> String {
    let top = past.iter().copied().fold(1.0, f64::max);
    past.iter().map(|rate| SPARKS[((rate / top) * (SPARKS.len() - 1) as f64).round() as usize]).collect()
}
