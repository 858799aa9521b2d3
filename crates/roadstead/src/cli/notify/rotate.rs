//! `roadstead notify rotate`: a new secret beside the old one, which ends by itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use roadstead_api::endpoint::Provider;

use super::webhooks_api;
use crate::cli::change::{Change, duration, modify};
use crate::cli::connect::Plane;
use crate::cli::hook::secret;
use crate::cli::output::{Format, Output, emit};

/// Arguments of `notify rotate`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the webhook.
    name: String,
    /// How long messages are signed with the secret so far too.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = duration)]
    overlap: Duration,
    /// Write the new secret into this new file instead of stdout.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    change: Change,
}

/// Puts the new secret into the webhook's Secret and prints it.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    if args.secret_file.is_none() && output.format != Format::Table {
        bail!("the new secret is printed alone: leave out -o, or add --secret-file FILE");
    }
    let reference = webhooks_api(plane).get(&args.name).await?.spec.secret_ref;
    let new = secret::generate(Provider::Standard)?;
    let until = Timestamp::now() + SignedDuration::try_from(args.overlap)?;
    let api: Api<Secret> = Api::namespaced(plane.client.clone(), &plane.namespace);
    modify(&api, &reference.name, args.change, |object| {
        let data = object.data.get_or_insert_with(BTreeMap::new);
        let old = data.get(&reference.key).map(|value| value.0.clone()).unwrap_or_default();
        let old = String::from_utf8(old).ok().context("the secret so far is not text")?;
        data.insert(reference.key.clone(), ByteString(rotated(&old, &new, until).into_bytes()));
        Ok(())
    })
    .await?;
    if args.change.is_dry() {
        eprintln!("webhook {} would have a new secret (dry run)", args.name);
        return Ok(());
    }
    eprintln!("webhook {} signs with a new secret, and until {until:.0} with the one so far too", args.name);
    match &args.secret_file {
        Some(file) => secret::write_file(file, &new),
        None => emit(&format!("{new}\n")),
    }
}

/// The new key and the one so far, which ends. Any that were ending already are dropped: a receiver in the middle of one change
/// should finish it first, and no more than two signatures are sent.
fn rotated(old: &str, new: &str, until: Timestamp) -> String {
    let current = old.split_whitespace().find(|key| !key.contains(";until="));
    match current {
        Some(key) => format!("{new}\n{key};until={until:.0}"),
        None => new.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_so_far_ends_and_older_ones_go() {
        let until = "2026-11-21T09:00:00Z".parse().unwrap();
        assert_eq!(rotated("whsec_a\n", "whsec_b", until), "whsec_b\nwhsec_a;until=2026-11-21T09:00:00Z");
        let again = rotated("whsec_b\nwhsec_a;until=2026-11-21T09:00:00Z", "whsec_c", until);
        assert_eq!(again, "whsec_c\nwhsec_b;until=2026-11-21T09:00:00Z");
        assert_eq!(rotated("", "whsec_c", until), "whsec_c");
    }
}
