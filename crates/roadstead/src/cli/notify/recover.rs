//! `roadstead notify recover`.

use std::time::Duration;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use super::COLUMNS;
use super::ask::{Request, ask};
use crate::cli::change::Patience;
use crate::cli::connect::Plane;
use crate::cli::output::Output;

/// Arguments of `notify recover`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the webhook.
    name: String,
    /// Send again what was accepted since then and given up: a time as 2026-11-20T09:00:00Z, or how long ago, as 24h.
    #[arg(long, default_value = "720h", value_name = "TIME", value_parser = since)]
    since: Timestamp,
    #[command(flatten)]
    patience: Patience,
}

/// Enables the webhook and sends again what was given up.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    let value = format!("{}/{}", args.since, Timestamp::now());
    match ask(plane, &args.name, Request::Recover, &value, args.patience).await? {
        Some(hook) => {
            eprintln!("webhook {} is enabled; what was given up since {:.0} is sent again", args.name, args.since);
            output.one(&hook, &(), &COLUMNS)
        }
        None => {
            eprintln!("that webhook {} is enabled was asked for", args.name);
            Ok(())
        }
    }
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago: Duration = crate::cli::change::duration(text)?;
    let ago = SignedDuration::try_from(ago).map_err(|error| error.to_string())?;
    Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_are_taken() {
        assert_eq!(since("2026-11-20T09:00:00Z").unwrap().to_string(), "2026-11-20T09:00:00Z");
        assert!(since("24h").unwrap() < Timestamp::now());
        assert!(since("yesterday").is_err());
    }
}
