//! `roadstead demo`: the tour, on a platform of its own that is gone afterwards.

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::{
    demo,
    platform::{self, Platform},
    telemetry::{self, LogFormat},
};

/// Arguments of `demo`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    which: Which,
}

#[derive(Subcommand)]
enum Which {
    /// A hub, two clusters that nobody can reach, and a signed git push; prints what each did and when.
    Relay,
}

/// Plays it and exits.
pub fn run(args: Args) -> Result<()> {
    let Which::Relay = args.which;
    telemetry::init(LogFormat::Auto, "error");
    super::roles::runtime()?.block_on(relay())
}

async fn relay() -> Result<()> {
    let dir =
        tempfile::Builder::new().prefix("roadstead-demo-").tempdir().context("can't make a temporary directory")?;
    let platform = Platform::start(platform::Options::ephemeral(dir.path().join("hub"))).await?;
    let played = demo::play(&platform, dir.path()).await;
    if let Ok(mut edges) = played {
        for edge in &mut edges {
            edge.stop().await;
        }
        platform.stop().await;
        return Ok(());
    }
    platform.stop().await;
    played.map(drop)
}
