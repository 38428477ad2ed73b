//! Where a value stands on an axis, which values are named there, and how.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// An axis.
pub(crate) struct Scale {
    place: fn(f64) -> f64,
    /// The named values, in order. The first and the last are the ends of the axis.
    named: Vec<f64>,
    name: fn(f64) -> String,
}

impl Scale {
    /// One step for each of `values`, whatever lies between them.
    pub(crate) fn steps(values: &[f64]) -> Self {
        Scale { place: f64::log2, named: values.to_vec(), name: short }
    }

    /// From zero to `last` or more.
    pub(crate) fn linear(last: f64) -> Self {
        let step = 10_f64.powf(last.log10().floor());
        let step = if last / step > 4.0 { step } else { step / 2.0 };
        Scale {
            place: |value| value,
            named: (0..=(last / step).ceil() as u32).map(|n| f64::from(n) * step).collect(),
            name: short,
        }
    }

    /// Powers of ten, from the one below the first value to the one above the last.
    pub(crate) fn powers(first: f64, last: f64) -> Self {
        let powers = first.log10().floor() as i32..=last.log10().ceil() as i32;
        Scale { place: f64::log10, named: powers.map(|power| 10_f64.powi(power)).collect(), name: short }
    }

    /// Quantiles: one step for each nine.
    pub(crate) fn nines() -> Self {
        let name = |quantile: f64| format!("p{}", (quantile * 1e6).round() / 1e4);
        Scale { place: |quantile| -(1.0 - quantile).log10(), named: vec![0.0, 0.5, 0.9, 0.99, 0.999, 0.999_9], name }
    }

    /// Where a value stands.
    pub(crate) fn place(&self, value: f64) -> f64 {
        (self.place)(value)
    }

    /// What is written at a place, which is that of a named value.
    pub(crate) fn name_at(&self, place: f64) -> String {
        let value = self.named.iter().find(|value| (self.place(**value) - place).abs() < 1e-9);
        value.map_or_else(String::new, |value| (self.name)(*value))
    }

    fn ends(&self) -> Range<f64> {
        self.named.first().map_or(0.0, |first| self.place(*first))
            ..self.named.last().map_or(1.0, |last| self.place(*last))
    }
}

/// A scale as plotters has it: over places.
pub(crate) struct Axis<'a>(pub(crate) &'a Scale);

impl Ranged for Axis<'_> {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let Range { start, end } = self.0.ends();
        limit.0 + ((value - start) / (end - start) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.0.named.iter().map(|value| self.0.place(*value)).collect()
    }

    fn range(&self) -> Range<f64> {
        self.0.ends()
    }
}

/// Three digits, or so.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value {
        999_500.0.. => (value / 1e6, " M"),
        9_999.5.. => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match value {
        99.95.. => 0,
        9.995.. => 1,
        0.995.. => 2,
        _ => 3,
    };
    let digits = format!("{value:.digits$}");
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{unit}")
}
