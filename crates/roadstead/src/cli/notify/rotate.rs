//! `roadstead notify rotate`: new keys beside those so far, which end by themselves.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
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
    /// How long messages are signed with the keys so far too.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = duration)]
    overlap: Duration,
    /// Write what the receiver verifies with into this new file instead of stdout.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    change: Change,
}

/// Puts new keys into the webhook's Secret and prints what the receiver verifies with: the secret, or the public half.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    if args.secret_file.is_none() && output.format != Format::Table {
        bail!("the new secret is printed alone: leave out -o, or add --secret-file FILE");
    }
    let reference = webhooks_api(plane).get(&args.name).await?.spec.secret_ref;
    let now = Timestamp::now();
    let until = now + SignedDuration::try_from(args.overlap)?;
    let new = RefCell::new(Vec::new());
    let api: Api<Secret> = Api::namespaced(plane.client.clone(), &plane.namespace);
    modify(&api, &reference.name, args.change, |object| {
        let data = object.data.get_or_insert_with(BTreeMap::new);
        let old = data.get(&reference.key).map(|value| value.0.clone()).unwrap_or_default();
        let old = String::from_utf8(old).ok().context("the secret so far is not text")?;
        let (value, keys) = rotated(&old, now, until)?;
        data.insert(reference.key.clone(), ByteString(value.into_bytes()));
        new.replace(keys);
        Ok(())
    })
    .await?;
    if args.change.is_dry() {
        eprintln!("webhook {} would have a new secret (dry run)", args.name);
        return Ok(());
    }
    eprintln!("webhook {} signs with a new secret, and until {until:.0} with what it had too", args.name);
    let new: Vec<String> = new.take().into_iter().map(|key| key.verifying).collect();
    let new = new.join("\n");
    match &args.secret_file {
        Some(file) => secret::write_file(file, &new),
        None => emit(&format!("{new}\n")),
    }
}

/// Most keys that sign at once, as the hub has it.
const MAX_KEYS: usize = 4;

/// A new key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    /// What signs.
    signing: String,
    /// What verifies: the same, or the public half.
    verifying: String,
}

/// A key of the kind of `like`: `whsk_` with a public half `whpk_`, else `whsec_`.
fn generate(like: &str) -> Result<Key> {
    if !like.starts_with(PRIVATE) {
        let signing = secret::generate(Provider::Standard)?;
        return Ok(Key { verifying: signing.clone(), signing });
    }
    let mut seed = [0u8; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| anyhow!("the system gives no random numbers"))?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| anyhow!("no ed25519 key came of it"))?;
    let public = STANDARD.encode(pair.public_key());
    Ok(Key { signing: format!("{PRIVATE}{}", STANDARD.encode(seed)), verifying: format!("whpk_{public}") })
}

/// What a Secret's value is to be: one new key of each kind that signs now, those so far with their end, and those that were ending
/// already as long as there is room for them.
///
/// # Errors
/// There are more keys than can sign beside new ones.
fn rotated(old: &str, now: Timestamp, until: Timestamp) -> Result<(String, Vec<Key>)> {
    let (ending, current): (Vec<&str>, Vec<&str>) = old.split_whitespace().partition(|key| key.contains(END));
    let private = current.iter().filter(|key| key.starts_with(PRIVATE)).count();
    let kinds = [(PRIVATE, private), ("whsec_", current.len() - private)];
    let mut like: Vec<&str> = kinds.iter().filter(|(_, count)| *count > 0).map(|(kind, _)| *kind).collect();
    if like.is_empty() {
        like.push("whsec_");
    }
    if like.len() + current.len() > MAX_KEYS {
        bail!(
            "{} keys sign already, and at most {MAX_KEYS} can: take out those that nobody verifies with",
            current.len()
        );
    }
    let new: Vec<Key> = like.into_iter().map(generate).collect::<Result<_>>()?;
    let signs_yet = |key: &&str| {
        let end = key.split_once(END).and_then(|(_, end)| end.parse::<Timestamp>().ok());
        end.is_some_and(|end| end > now)
    };
    let keys = new.iter().map(|key| key.signing.clone());
    let keys = keys.chain(current.iter().map(|key| format!("{key}{END}{until:.0}")));
    let keys = keys.chain(ending.into_iter().filter(signs_yet).map(String::from));
    Ok((keys.take(MAX_KEYS).collect::<Vec<_>>().join("\n"), new))
}

/// How a private key begins.
const PRIVATE: &str = "whsk_";
/// What comes between a key and its end.
const END: &str = ";until=";

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: &str = "2026-11-21T09:00:00Z";

    /// The value's keys, and those that are new.
    fn after(old: &str) -> (Vec<String>, Vec<Key>) {
        let (value, new) = rotated(old, "2026-11-20T09:00:00Z".parse().unwrap(), UNTIL.parse().unwrap()).unwrap();
        (value.split('\n').map(String::from).collect(), new)
    }

    #[test]
    fn every_key_that_signs_goes_on_until_the_end() {
        let (keys, new) = after("whsec_a\n");
        assert_eq!(keys, [new[0].signing.clone(), format!("whsec_a;until={UNTIL}")]);
        let (keys, new) = after("whsec_a whsec_b");
        assert_eq!(keys, [new[0].signing.clone(), format!("whsec_a;until={UNTIL}"), format!("whsec_b;until={UNTIL}")]);
        let (keys, _) = after("whsec_b whsec_a;until=2026-11-20T10:00:00Z whsec_z;until=2026-11-20T08:00:00Z");
        assert_eq!(keys[1..], [format!("whsec_b;until={UNTIL}"), "whsec_a;until=2026-11-20T10:00:00Z".into()]);
        assert_eq!(after("").0.len(), 1);
        let four = "whsec_a whsec_b whsec_c whsec_d";
        assert!(rotated(four, Timestamp::UNIX_EPOCH, UNTIL.parse().unwrap()).is_err());
    }

    #[test]
    fn a_key_is_followed_by_one_of_its_kind() {
        let (keys, new) = after("whsec_a whsk_b");
        assert_eq!(keys.len(), 4);
        assert!(keys[0].starts_with("whsk_") && keys[1].starts_with("whsec_"), "one of each kind");
        let public = STANDARD.decode(new[0].verifying.strip_prefix("whpk_").unwrap()).unwrap();
        let seed = STANDARD.decode(new[0].signing.strip_prefix("whsk_").unwrap()).unwrap();
        assert_eq!(Ed25519KeyPair::from_seed_unchecked(&seed).unwrap().public_key().as_ref(), public);
        assert_eq!(new[1].verifying, new[1].signing);
    }
}
