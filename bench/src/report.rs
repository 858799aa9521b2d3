//! The table, and the percentiles in it.

use std::{fmt::Write, time::Duration};

/// Rows of the table.
#[derive(Default)]
pub struct Report {
    rows: Vec<[String; 4]>,
}

impl Report {
    /// Adds a figure and shows it at once on stderr: the whole takes minutes.
    pub fn add(
        &mut self,
        what: impl Into<String>,
        measured: impl Into<String>,
        beside: impl Into<String>,
        target: impl Into<String>,
    ) {
        let row = [what.into(), measured.into(), beside.into(), target.into()];
        eprintln!("{}: {} | {} | target: {}", row[0], row[1], row[2], row[3]);
        self.rows.push(row);
    }

    /// The whole table.
    pub fn markdown(&self, machine: &str) -> String {
        let mut page = String::new();
        let command: Vec<String> = std::env::args().collect();
        let _ = writeln!(page, "Machine: {machine}\nCommand: `{}`\n", command.join(" "));
        let _ = writeln!(page, "| what | measured | beside it, same run | target |\n|---|---|---|---|");
        for [what, measured, beside, target] in &self.rows {
            let _ = writeln!(page, "| {what} | {measured} | {beside} | {target} |");
        }
        page
    }
}

/// Samples of a latency.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Sorts the samples.
    pub fn new(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The sample below which `fraction` of all lie; zero where there are none.
    pub fn at(&self, fraction: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        let index = ((self.0.len() as f64 * fraction) as usize).min(last);
        self.0.get(index).copied().unwrap_or_default()
    }

    /// `p50 1.2 ms, p99 3.4 ms, max 5.6 ms`.
    pub fn summary(&self) -> String {
        format!("p50 {}, p99 {}, max {}", ms(self.at(0.5)), ms(self.at(0.99)), ms(self.at(1.0)))
    }
}

/// Milliseconds, readable.
pub fn ms(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let samples = Samples::new((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(samples.at(0.5), Duration::from_millis(51));
        assert_eq!(samples.at(0.99), Duration::from_millis(100));
        assert_eq!(samples.at(1.0), Duration::from_millis(100));
        assert_eq!(Samples::default().at(0.5), Duration::ZERO);
    }
}
