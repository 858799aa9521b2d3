//! `roadstead notify list`.

use anyhow::Result;
use roadstead_api::RegistryWebhook;

use super::COLUMNS;
use crate::cli::connect::{Plane, Scope};
use crate::cli::output::Output;

/// Arguments of `notify list`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    scope: Scope,
}

/// Prints the webhooks.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    let found = args.scope.list::<RegistryWebhook>(plane).await?;
    args.scope.print(&found, &COLUMNS, output)
}
