//! What the process takes, sampled at rest, and whether that grows.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

/// What the process takes at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Seconds since the beginning.
    pub(crate) at: f64,
    pub(crate) values: [f64; 3],
}

/// What is sampled: its name, and by how much its mean may differ between the middle third and the last, as a share and on top of it.
pub(crate) const SERIES: [(&str, f64, f64); 3] =
    [("resident_kib", 0.10, 8_192.0), ("descriptors", 0.0, 4.0), ("threads", 0.25, 4.0)];

impl Sample {
    /// Of which so many descriptors are those of connections that are open just now.
    pub(crate) fn now(begun: Instant, of_connections: usize) -> Sample {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(f64::NAN)
        };
        // Less the one by which the folder is read.
        let descriptors = fs::read_dir("/proc/self/fd").map_or(f64::NAN, |entries| entries.count() as f64 - 1.0);
        let values = [field("VmRSS:"), descriptors - of_connections as f64, field("Threads:")];
        Sample { at: begun.elapsed().as_secs_f64(), values }
    }
}

/// One series over the whole run.
#[derive(Debug)]
pub(crate) struct Trend {
    pub(crate) name: &'static str,
    pub(crate) first: f64,
    pub(crate) last: f64,
    pub(crate) most: f64,
    /// By the least squares over the last two thirds.
    pub(crate) slope_per_hour: f64,
    pub(crate) middle: f64,
    pub(crate) end: f64,
    pub(crate) flat: bool,
}

/// The trends. The first third is the warm-up: the allocator's and the threads'.
pub(crate) fn trends(samples: &[Sample]) -> Vec<Trend> {
    let third = samples.len() / 3;
    let of = |series: usize| {
        let (name, share, more) = SERIES[series];
        let values = |samples: &[Sample]| samples.iter().map(|sample| sample.values[series]).collect::<Vec<_>>();
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let all = values(samples);
        let (middle, end) = (mean(values(&samples[third..2 * third])), mean(values(&samples[2 * third..])));
        Trend {
            name,
            first: all.first().copied().unwrap_or(f64::NAN),
            last: all.last().copied().unwrap_or(f64::NAN),
            most: all.iter().copied().fold(f64::NAN, f64::max),
            slope_per_hour: slope(&samples[third..], series) * 3_600.0,
            middle,
            end,
            // Of very few samples nothing can be said.
            flat: third < 2 || end <= middle * (1.0 + share) + more,
        }
    };
    (0..SERIES.len()).map(of).collect()
}

/// By how much a series grows in a second.
fn slope(samples: &[Sample], series: usize) -> f64 {
    let count = samples.len() as f64;
    let (x, y) = (
        samples.iter().map(|sample| sample.at).sum::<f64>() / count,
        samples.iter().map(|sample| sample.values[series]).sum::<f64>() / count,
    );
    let (above, below) = samples.iter().fold((0.0, 0.0), |(above, below), sample| {
        let dx = sample.at - x;
        (above + dx * (sample.values[series] - y), below + dx * dx)
    });
    if below > 0.0 { above / below } else { 0.0 }
}

/// The three series, one above the other, each from zero to its most.
pub(crate) fn svg(samples: &[Sample]) -> String {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 120.0;
    let last = samples.last().map_or(1.0, |sample| sample.at.max(1e-9));
    let height = HEIGHT * SERIES.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        WIDTH + 20.0
    );
    for (series, trend) in trends(samples).iter().enumerate() {
        let (top, most) = (HEIGHT * series as f64, trend.most.max(1.0));
        let points: Vec<String> = samples
            .iter()
            .map(|sample| {
                let x = 10.0 + WIDTH * sample.at / last;
                let y = top + HEIGHT - 10.0 - (HEIGHT - 35.0) * sample.values[series] / most;
                format!("{x:.1},{y:.1}")
            })
            .collect();
        // Writing to a String does not fail.
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{:.0}\">{}: {:.0} at most, {:+.1} an hour, over {last:.0} s</text>\n\
             <polyline points=\"{}\" fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"1.5\"/>",
            top + 16.0,
            trend.name,
            trend.most,
            trend.slope_per_hour,
            points.join(" ")
        );
    }
    svg.push_str("</svg>\n");
    svg
}
