//! What was measured: printed while it goes on and as a table at the end, and kept in `target/benchmarks.json`.
use std::{fs, time::Instant};

use serde_json::{Value, json};

use crate::support::path;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// The ratio is at least this.
    Ratio(f64),
    /// The ratio is at most this.
    AtMost(f64),
    /// The value is at most this.
    Value(f64),
    /// Nothing.
    None,
}

/// One figure over its limit, in rounds that were measured in turns: each round's value and limit.
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    pub rounds: Vec<(f64, f64)>,
    pub goal: Goal,
}

impl Figure {
    fn value(&self) -> f64 {
        median(self.rounds.iter().map(|(value, _)| *value))
    }

    fn limit(&self) -> Option<f64> {
        Some(median(self.rounds.iter().map(|(_, limit)| *limit))).filter(|limit| *limit > 0.0)
    }

    fn ratio(&self) -> Option<f64> {
        self.limit().map(|_| median(self.ratios()))
    }

    fn ratios(&self) -> impl Iterator<Item = f64> {
        self.rounds.iter().map(|(value, limit)| value / limit)
    }

    /// The goal in words, and whether it is reached.
    fn goal(&self) -> Option<(String, bool)> {
        match (self.goal, self.ratio()) {
            (Goal::Ratio(least), Some(ratio)) => Some((format!("ratio >= {least}"), ratio >= least)),
            (Goal::AtMost(most), Some(ratio)) => Some((format!("ratio <= {most}"), ratio <= most)),
            (Goal::Value(most), _) => Some((format!("<= {}", short(most)), self.value() <= most)),
            (Goal::None | Goal::Ratio(_) | Goal::AtMost(_), _) => None,
        }
    }

    fn row(&self) -> [String; 7] {
        let spread = match self.limit() {
            Some(_) => span(self.ratios()),
            None => span(self.rounds.iter().map(|(value, _)| *value)),
        };
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            self.name.to_owned(),
            short(self.value()),
            dash(self.limit().map(short)),
            self.unit.to_owned(),
            dash(self.ratio().map(|ratio| format!("{ratio:.2}"))),
            spread,
            dash(self.goal().map(|(goal, reached)| format!("{goal} {}", if reached { "reached" } else { "MISSED" }))),
        ]
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "value": self.value(), "limit": self.limit(), "ratio": self.ratio(), "unit": self.unit})
    }
}

#[derive(Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Keeps a figure, in the file in place of an older one of the same name.
    pub fn add(&mut self, figure: Figure) {
        let file = path("target/benchmarks.json");
        let kept = fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok());
        let mut all: Vec<Value> = kept.unwrap_or_default();
        all.retain(|old| old["name"] != figure.name);
        all.push(figure.json());
        fs::write(file, format!("{:#}\n", json!(all))).unwrap();
        println!("    {}", figure.row().join("  "));
        self.0.push(figure);
    }

    /// The table.
    pub fn print(&self) {
        let head = ["name", "value", "limit", "unit", "ratio", "spread", "goal"].map(str::to_owned);
        let rows: Vec<[String; 7]> = [head].into_iter().chain(self.0.iter().map(Figure::row)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..7).map(width).collect();
        println!();
        for row in &rows {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            println!("{}", cells.join("  ").trim_end());
        }
    }
}

/// What goes on, with the time since the last such line.
pub struct Progress(Instant);

impl Progress {
    pub fn begin(what: &str) -> Self {
        println!("{what}");
        Self(Instant::now())
    }

    pub fn report(&mut self, what: &str) {
        println!("  {what} ({:.1} s)", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    percentile(values, 0.5)
}

/// Between the two nearest where none is there.
pub fn percentile(values: impl Iterator<Item = f64>, at: f64) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss, reason = "few")]
    let place = (all.len() - 1) as f64 * at;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let (low, high) = (all[place.floor() as usize], all[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

fn span(values: impl Iterator<Item = f64>) -> String {
    let all: Vec<f64> = values.collect();
    let of = |pick: fn(f64, f64) -> f64| all.iter().copied().reduce(pick).unwrap_or_default();
    format!("{}..{}", short(of(f64::min)), short(of(f64::max)))
}

/// Three digits or so.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
