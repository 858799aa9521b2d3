//! `roadstead notify delete`.

use anyhow::Result;
use kube::api::DeleteParams;

use super::webhooks_api;
use crate::cli::change::Change;
use crate::cli::connect::Plane;

/// Arguments of `notify delete`.
#[derive(clap::Args)]
pub struct Args {
    /// Names of the webhooks.
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    change: Change,
}

/// Deletes them; a Secret that `create` made goes with its webhook.
pub async fn run(args: Args, plane: &Plane) -> Result<()> {
    let params = DeleteParams { dry_run: args.change.is_dry(), ..DeleteParams::default() };
    for name in &args.names {
        webhooks_api(plane).delete(name, &params).await?;
        eprintln!("webhook {name} {}", if args.change.is_dry() { "would be deleted (dry run)" } else { "deleted" });
    }
    Ok(())
}
