//! `roadstead subscriber revoke`.

use anyhow::Result;
use kube::Api;
use roadstead_api::Subscriber;

use super::COLUMNS;
use crate::cli::change::{Change, Patience, Progress, modify};
use crate::cli::connect::Plane;
use crate::cli::output::{Format, Output};

/// Arguments of `subscriber revoke`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the subscriber. It stays, without tokens; `rotate` gives it a new one.
    name: String,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    patience: Patience,
}

/// Takes all tokens away.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    let api: Api<Subscriber> = Api::namespaced(plane.client.clone(), &plane.namespace);
    let revoked = modify(&api, &args.name, args.change, |subscriber| {
        subscriber.spec.tokens.clear();
        Ok(())
    })
    .await?;
    if args.change.is_dry() {
        eprintln!("the tokens of subscriber {} would be revoked (dry run)", args.name);
    } else {
        args.patience.until(&api, &args.name, "is revoked", observed).await?;
        eprintln!("the tokens of subscriber {} are revoked", args.name);
    }
    if output.format == Format::Table { Ok(()) } else { output.one(&revoked, &(), &COLUMNS) }
}

/// Whether the hub acts on the object as it is now.
fn observed(subscriber: &Subscriber) -> Progress {
    let seen = subscriber.status.as_ref().and_then(|status| status.observed_generation);
    Progress::of(seen >= subscriber.metadata.generation)
}
