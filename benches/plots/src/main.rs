//! Draws what `cargo bench --bench report -- --write` has measured: `cargo run --release -p plots`.
//!
//! Reads `benches/plots/points.json` (by plot, by line, the points) and writes SVGs beside it. Waits are drawn over their percentiles, so
//! that every p50, p99 and p99.9 can be read off, also where corepool's is the longer one; the legend has the three in figures.

mod scale;

use std::collections::BTreeMap;
use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;

use scale::{Axis, Scale, short};

/// In the order of the axis.
type Points = Vec<(f64, f64)>;
/// By line.
type Lines = BTreeMap<String, Points>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// One panel, in pixels.
const PANEL: (u32, u32) = (520, 440);

/// Nothing is told apart below this, in µs: a clock is read in less.
const LEAST_WAIT: f64 = 0.01;

/// How the points of a plot are drawn.
#[derive(Clone, Copy)]
enum Kind {
    Waits,
    Throughput,
    Cost,
}

/// A plot of the report.
struct Panel {
    plot: String,
    title: String,
    kind: Kind,
}

fn main() -> Drawn {
    let plots = serde_json::from_str(&std::fs::read_to_string(format!("{FOLDER}/points.json"))?)?;
    let servers = [("no I/O", "none"), ("echo", "echo"), ("a server that takes 500 µs", "slow")];
    for (server, file) in servers {
        let panel = |threads| Panel {
            plot: format!("Waits in µs: {threads} threads, {server}"),
            title: format!("{threads} threads on 4 connections, {server}: wait in µs"),
            kind: Kind::Waits,
        };
        draw(&plots, &format!("waits-{file}"), &[16, 64, 256].map(panel))?;
    }
    let panel = |(server, _)| Panel {
        plot: format!("Uses a second: {server}"),
        title: format!("4 connections, {server}: uses a second"),
        kind: Kind::Throughput,
    };
    draw(&plots, "throughput", &servers.map(panel))?;
    let cost = Panel {
        plot: "A checkout and its return in ns: idle connections".to_owned(),
        title: "A checkout and its return, one thread: ns".to_owned(),
        kind: Kind::Cost,
    };
    draw(&plots, "cost", &[cost])
}

/// Draws the panels of which there are points beside each other, into one file.
fn draw(plots: &BTreeMap<String, Lines>, file: &str, panels: &[Panel]) -> Drawn {
    let there: Vec<_> = panels.iter().filter_map(|panel| Some((panel, plots.get(&panel.plot)?))).collect();
    if there.is_empty() {
        println!("{file}.svg: no points");
        return Ok(());
    }
    let path = format!("{FOLDER}/{file}.svg");
    let root = SVGBackend::new(&path, (PANEL.0 * there.len() as u32, PANEL.1)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, (panel, lines)) in root.split_evenly((1, there.len())).iter().zip(there) {
        panel.draw(area, lines)?;
    }
    root.present()?;
    println!("{file}.svg");
    Ok(())
}

impl Panel {
    fn draw(&self, area: &Area<'_>, lines: &Lines) -> Drawn {
        let (across, up) = self.kind.scales(lines);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 16))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(Axis(&across), Axis(&up))?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|place| across.name_at(*place))
            .y_label_formatter(&|place| up.name_at(*place))
            .x_desc(self.kind.along())
            .draw()?;
        for (name, points, style) in ordered(lines) {
            let places = points.iter().map(|(x, y)| (across.place(*x), up.place(y.max(LEAST_WAIT))));
            chart
                .draw_series(LineSeries::new(places, style))?
                .label(format!("{name}: {}", self.kind.figures(points)))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
        chart
            .configure_series_labels()
            .position(self.kind.legend())
            .label_font(("sans-serif", 12))
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .draw()?;
        Ok(())
    }
}

impl Kind {
    fn scales(self, lines: &Lines) -> (Scale, Scale) {
        let values = || lines.values().flatten().map(|(_, y)| *y);
        let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
        let steps: Vec<_> = lines.values().next().into_iter().flatten().map(|(x, _)| *x).collect();
        match self {
            // The legend is above the lines: two powers of ten for it.
            Kind::Waits => (Scale::nines(), Scale::powers(least.max(LEAST_WAIT), most * 150.0)),
            Kind::Throughput | Kind::Cost => (Scale::steps(&steps), Scale::linear(most * 1.3)),
        }
    }

    fn along(self) -> &'static str {
        match self {
            Kind::Waits => "percentile of all waits",
            Kind::Throughput => "threads",
            Kind::Cost => "idle connections",
        }
    }

    /// In the legend, behind a line's name.
    fn figures(self, points: &Points) -> String {
        let named = |x: &f64| match self {
            Kind::Waits => [0.5, 0.99, 0.999].contains(x),
            Kind::Throughput | Kind::Cost => true,
        };
        points.iter().filter(|(x, _)| named(x)).map(|(_, y)| short(*y)).collect::<Vec<_>>().join(" · ")
    }

    fn legend(self) -> SeriesLabelPosition {
        match self {
            Kind::Waits | Kind::Cost => SeriesLabelPosition::UpperLeft,
            Kind::Throughput => SeriesLabelPosition::UpperRight,
        }
    }
}

/// Corepool's first, each rival in the same colour in all plots.
fn ordered(lines: &Lines) -> impl Iterator<Item = (&str, &Points, ShapeStyle)> {
    let mut lines: Vec<_> = lines.iter().collect();
    lines.sort_by_key(|(name, _)| (!name.starts_with("corepool"), name.len()));
    lines.into_iter().map(|(name, points)| (name.as_str(), points, colour(name).stroke_width(2)))
}

fn colour(line: &str) -> RGBColor {
    match line {
        "corepool" => RGBColor(0x1f, 0x77, 0xb4),
        "r2d2 without test" => RGBColor(0xd6, 0x27, 0x28),
        "r2d2 as shipped" => RGBColor(0xff, 0x7f, 0x0e),
        "Mutex<Vec> + Condvar" => RGBColor(0x8c, 0x56, 0x4b),
        _ if line.starts_with("corepool") => RGBColor(0x17, 0xbe, 0xcf),
        _ => RGBColor(0x94, 0x67, 0xbd),
    }
}
