//! What the report says: sections of measured lines, and under each the named figures, with their targets.

use std::fmt::{self, Write};

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
        Section { title: title.into(), columns, lines: Vec::new(), rows: Vec::new() }
    }

    /// Adds one side's figures.
    pub(crate) fn line(&mut self, name: impl Into<String>, figures: Vec<f64>) {
        self.lines.push((name.into(), figures));
    }

    /// Adds a named figure. `meaning` is what it says to a user.
    pub(crate) fn row(&mut self, name: impl Into<String>, value: f64, target: Target, meaning: impl Into<String>) {
        self.rows.push(Row { name: name.into(), value, target, meaning: meaning.into() });
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
        Ok(())
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
