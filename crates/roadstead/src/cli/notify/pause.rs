//! `roadstead notify pause` and `roadstead notify resume`.

use anyhow::Result;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::webhooks_api;
use crate::cli::change::Change;
use crate::cli::connect::Plane;

/// Arguments of both.
#[derive(clap::Args)]
pub struct Args {
    /// Names of the webhooks.
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    change: Change,
}

/// Sets `spec.suspend`.
pub async fn run(args: Args, suspend: bool, plane: &Plane) -> Result<()> {
    let params = PatchParams { dry_run: args.change.is_dry(), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"spec": {"suspend": suspend}}));
    let done = if suspend { "paused: what happens is queued" } else { "resumed" };
    for name in &args.names {
        webhooks_api(plane).patch(name, &params, &patch).await?;
        eprintln!("webhook {name} {}{done}", if args.change.is_dry() { "would be (dry run) " } else { "" });
    }
    Ok(())
}
