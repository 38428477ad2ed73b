//! What the report says: sections of measured lines, and under each the named figures, with their targets.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::support::rounds::Rounds;

/// The whole report.
pub(crate) struct Report {
    /// In the order of printing.
    pub(crate) sections: Vec<Section>,
}

/// A comparison: the figures of all sides, and what follows from them.
pub(crate) struct Section {
    title: String,
    columns: &'static [&'static str],
    lines: Vec<(String, Vec<f64>)>,
    rows: Vec<Row>,
    points: Vec<Point>,
    /// Rounds that were not calm, of how many.
    disturbed: (usize, usize),
}

/// The lines of a plot, by name, of the points at `(x, y)`.
type Lines<'a> = BTreeMap<&'a str, Vec<(f64, f64)>>;

/// One point of a line of a plot.
struct Point {
    plot: String,
    line: String,
    at: (f64, f64),
}

/// One figure of the report that has a name.
struct Row {
    name: String,
    value: f64,
    target: Target,
    meaning: String,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// It only informs.
    None,
}

impl Target {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Target::AtMost(limit) => value <= limit,
            Target::AtLeast(limit) => value >= limit,
            Target::None => true,
        }
    }

    fn verdict(self, value: f64) -> &'static str {
        match self {
            Target::None => "",
            _ if self.is_met_by(value) => "met",
            _ => "MISSED",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::AtMost(limit) => write!(f, "≤ {}", digits(*limit)),
            Target::AtLeast(limit) => write!(f, "≥ {}", digits(*limit)),
            Target::None => Ok(()),
        }
    }
}

impl Section {
    /// An empty one, whose lines will have these columns.
    pub(crate) fn new(title: impl Into<String>, columns: &'static [&'static str]) -> Self {
        let (lines, rows, points) = (Vec::new(), Vec::new(), Vec::new());
        Section { title: title.into(), columns, lines, rows, points, disturbed: (0, 0) }
    }

    /// Adds one side's figures.
    pub(crate) fn line(&mut self, name: impl Into<String>, figures: Vec<f64>) {
        self.lines.push((name.into(), figures));
    }

    /// Adds a named figure. `meaning` is what it says to a user.
    pub(crate) fn row(&mut self, name: impl Into<String>, value: f64, target: Target, meaning: impl Into<String>) {
        self.rows.push(Row { name: name.into(), value, target, meaning: meaning.into() });
    }

    /// Adds a point to a line of a plot.
    pub(crate) fn point(&mut self, plot: impl Into<String>, line: impl Into<String>, x: f64, y: f64) {
        self.points.push(Point { plot: plot.into(), line: line.into(), at: (x, y) });
    }

    /// Counts the rounds that were set apart.
    pub(crate) fn disturbed(&mut self, rounds: &Rounds) {
        let (disturbed, of) = rounds.disturbed();
        self.disturbed = (self.disturbed.0 + disturbed, self.disturbed.1 + of);
    }

    /// What is said of them, if there are any.
    fn apart(&self) -> Option<String> {
        let (disturbed, of) = self.disturbed;
        let apart = if disturbed * 3 > of * 2 { "kept all the same, for want of others" } else { "set apart" };
        (disturbed > 0).then(|| format!("{disturbed} of {of} rounds disturbed, {apart}."))
    }

    fn width(&self) -> usize {
        let names = self.lines.iter().map(|(name, _)| name.chars().count());
        names.chain([self.title.chars().count()]).max().unwrap_or(0).max(44)
    }
}

/// Three digits, or whole numbers where there are more.
fn digits(value: f64) -> String {
    match value.abs() {
        100.0.. => {
            let whole = format!("{value:.0}");
            let mut grouped = String::new();
            for (index, digit) in whole.chars().enumerate() {
                if index > 0 && (whole.len() - index) % 3 == 0 && digit.is_ascii_digit() {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
        10.0.. => format!("{value:.1}"),
        0.1.. => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.width();
        write!(f, "{:<width$}", self.title)?;
        self.columns.iter().try_for_each(|column| write!(f, "{column:>11}"))?;
        writeln!(f)?;
        for (name, figures) in &self.lines {
            write!(f, "{name:<width$}")?;
            figures.iter().try_for_each(|figure| write!(f, "{:>11}", digits(*figure)))?;
            writeln!(f)?;
        }
        for Row { name, value, target, .. } in &self.rows {
            let verdict = target.verdict(*value);
            writeln!(f, "  → {name:<38}{:>9}   {:<9}{verdict}", digits(*value), target.to_string())?;
        }
        self.apart().map_or(Ok(()), |apart| writeln!(f, "  ({apart})"))
    }
}

impl Report {
    /// How many targets there are, and how many were met.
    pub(crate) fn score(&self) -> (usize, usize) {
        let rows = self.sections.iter().flat_map(|section| &section.rows);
        let targets = rows.filter(|row| !matches!(row.target, Target::None));
        targets.fold((0, 0), |(all, met), row| (all + 1, met + usize::from(row.target.is_met_by(row.value))))
    }

    /// All named figures as one JSON object.
    pub(crate) fn json(&self) -> String {
        let rows = self.sections.iter().flat_map(|section| &section.rows);
        let fields: Vec<_> = rows.map(|row| format!("\"{}\": {:.4}", row.name, row.value)).collect();
        format!("{{{}}}", fields.join(", "))
    }

    /// The lines of all plots: by plot, by line, the points.
    pub(crate) fn plots(&self) -> BTreeMap<&str, Lines<'_>> {
        let mut plots: BTreeMap<&str, Lines<'_>> = BTreeMap::new();
        for Point { plot, line, at } in self.sections.iter().flat_map(|section| &section.points) {
            plots.entry(plot).or_default().entry(line).or_default().push(*at);
        }
        plots
    }

    /// How many rounds were not calm, of how many.
    pub(crate) fn disturbed(&self) -> (usize, usize) {
        let sections = self.sections.iter().map(|section| section.disturbed);
        sections.fold((0, 0), |(disturbed, all), (more, of)| (disturbed + more, all + of))
    }

    /// The text of `RESULTS.md` below its head.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            section.write_markdown(&mut text).expect("a string takes all that is written");
        }
        text
    }
}

impl Section {
    fn write_markdown(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "## {}\n", self.title)?;
        if !self.lines.is_empty() {
            writeln!(text, "| | {} |", self.columns.join(" | "))?;
            writeln!(text, "|---|{}", "---:|".repeat(self.columns.len()))?;
            for (name, figures) in &self.lines {
                let figures: Vec<_> = figures.iter().map(|figure| digits(*figure)).collect();
                // Or `Mutex<Vec>` would lose what looks like a tag.
                writeln!(text, "| {} | {} |", name.replace('<', "\\<"), figures.join(" | "))?;
            }
            writeln!(text)?;
        }
        if let Some(apart) = self.apart() {
            writeln!(text, "{apart}\n")?;
        }
        if !self.rows.is_empty() {
            writeln!(text, "| figure | value | target | | what it means |\n|---|---:|---|---|---|")?;
            for Row { name, value, target, meaning } in &self.rows {
                let verdict = target.verdict(*value);
                writeln!(text, "| `{name}` | {} | {target} | {verdict} | {meaning} |", digits(*value))?;
            }
            writeln!(text)?;
        }
        Ok(())
    }
}
