//! `roadstead version`: this program's version, and the control plane's if one answers.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::connect::Connection;
use super::output::Output;

/// How long the control plane may take before it counts as not there.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `version`.
#[derive(clap::Args)]
pub struct Args {
    /// Ask no control plane.
    #[arg(long)]
    client: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
    #[command(flatten)]
    output: Output,
}

/// Prints both versions; a control plane that doesn't answer is no failure.
pub async fn run(args: Args) -> Result<()> {
    let own = env!("CARGO_PKG_VERSION");
    let server = if args.client { None } else { server(&args.connection).await };
    let text = match &server {
        Some(server) => format!("roadstead {own}\ncontrol plane {server}\n"),
        None => format!("roadstead {own}\n"),
    };
    args.output.value(&json!({"roadstead": own, "controlPlane": server}), &text)
}

async fn server(connection: &Connection) -> Option<String> {
    let asked = async { Some(connection.open().await.ok()?.client.apiserver_version().await.ok()?.git_version) };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}
