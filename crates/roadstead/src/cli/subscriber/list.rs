//! `roadstead subscriber list`.

use anyhow::Result;
use roadstead_api::Subscriber;

use super::COLUMNS;
use crate::cli::connect::{Plane, Scope};
use crate::cli::output::Output;

/// Arguments of `subscriber list`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    scope: Scope,
}

/// Prints the subscribers.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    let found = args.scope.list::<Subscriber>(plane).await?;
    args.scope.print(&found, &COLUMNS, output)
}
