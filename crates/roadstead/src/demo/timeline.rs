//! What happened when, one line each, on stdout.

use std::{io::IsTerminal, time::Instant};

/// Who did it.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// The git host.
    Git,
    /// The hub.
    Hub,
    /// A remote cluster.
    Edge(&'a str),
    /// The tour itself.
    Tour,
}

/// A clock and its page.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    started: Instant,
    colour: bool,
}

impl Timeline {
    /// Starts the clock.
    pub fn start() -> Self {
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { started: Instant::now(), colour }
    }

    /// A line.
    pub fn say(&self, who: Who<'_>, what: &str) {
        let (name, colour) = match who {
            Who::Git => ("git host", 33),
            Who::Hub => ("hub", 36),
            Who::Edge(name) => (name, 32),
            Who::Tour => ("tour", 1),
        };
        let name = format!("{name:<8}");
        let name = if self.colour { format!("\x1b[{colour}m{name}\x1b[0m") } else { name };
        println!("{:>9.1} ms  {name}  {what}", self.started.elapsed().as_secs_f64() * 1e3);
    }

    /// More of the line before.
    pub fn more(&self, what: &str) {
        println!("{:24}{what}", "");
    }
}
