//! `roadstead subscriber rotate`.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use kube::Api;
use roadstead_api::Subscriber;

use super::add::known;
use super::kubeconfig::{self, Hub, Place};
use super::token;
use crate::cli::change::{Change, Patience, duration, modify};
use crate::cli::connect::Plane;
use crate::cli::output::Output;

/// Arguments of `subscriber rotate`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the subscriber.
    name: String,
    /// How long the tokens so far stay valid.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = duration)]
    overlap: Duration,
    /// How long the new token is valid. Default: until revoked.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires_in: Option<Duration>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    patience: Patience,
}

/// Adds a token, limits the others, and prints the new kubeconfig.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    kubeconfig::check(output)?;
    let hub = Hub::find(&plane.client, &plane.namespace, &args.place).await?;
    let token = token::new()?;
    let now = Timestamp::now();
    let new = token::hash(&token, now, args.expires_in);
    let api: Api<Subscriber> = Api::namespaced(plane.client.clone(), &plane.namespace);
    modify(&api, &args.name, args.change, |subscriber| {
        subscriber.spec.tokens = token::rotate(&subscriber.spec.tokens, new.clone(), now, args.overlap)?;
        Ok(())
    })
    .await?;
    if args.change.is_dry() {
        eprintln!("a token of subscriber {} would be added (dry run)", args.name);
        return Ok(());
    }
    eprintln!(
        "subscriber {} has a new token, which is not shown again; others end within {} s",
        args.name,
        args.overlap.as_secs()
    );
    kubeconfig::print(&hub.kubeconfig(&args.name, &plane.namespace, &token), output)?;
    args.patience.until(&api, &args.name, "may watch", known).await?;
    Ok(())
}
