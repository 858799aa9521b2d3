//! `roadstead hook list`.

use anyhow::Result;
use roadstead_api::WebhookEndpoint;

use super::COLUMNS;
use crate::cli::connect::{Plane, Scope};
use crate::cli::output::Output;

/// Arguments of `hook list`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    scope: Scope,
}

/// Prints the endpoints.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    let found = args.scope.list::<WebhookEndpoint>(plane).await?;
    args.scope.print(&found, &COLUMNS, output)
}
