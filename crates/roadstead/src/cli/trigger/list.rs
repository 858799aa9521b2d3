//! `roadstead trigger list`.

use anyhow::Result;
use roadstead_api::Trigger;

use super::COLUMNS;
use crate::cli::connect::{Plane, Scope};
use crate::cli::output::Output;

/// Arguments of `trigger list`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    scope: Scope,
}

/// Prints the triggers.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    let found = args.scope.list::<Trigger>(plane).await?;
    args.scope.print(&found, &COLUMNS, output)
}
