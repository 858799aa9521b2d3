//! `roadstead subscriber`: who may watch which endpoints, and with which token.
//!
//! A token is made here and shown once, inside the kubeconfig that `add` and `rotate` print; the control plane gets only its hash.

mod add;
pub mod kubeconfig;
mod list;
mod revoke;
mod rotate;
pub mod token;

use anyhow::Result;
use clap::Subcommand;
use kube::ResourceExt;
use roadstead_api::Subscriber;

use super::connect::Connection;
use super::output::{Column, Output, age, created};

/// Arguments of `subscriber`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(super) connection: Connection,
    #[command(flatten)]
    output: Output,
}

#[derive(Subcommand)]
enum Verb {
    /// Let a cluster, device or application watch endpoints; prints a kubeconfig that reaches the hub and nothing else.
    Add(add::Args),
    /// List subscribers: whether they are connected, and how far behind.
    List(list::Args),
    /// Make a new token and print its kubeconfig; the old one stays valid for a while.
    Rotate(rotate::Args),
    /// Take all tokens away; open watches end at once.
    Revoke(revoke::Args),
}

/// Runs the verb.
pub async fn run(args: Args) -> Result<()> {
    let plane = args.connection.open().await?;
    match args.verb {
        Verb::Add(verb) => add::run(verb, &plane, args.output).await,
        Verb::List(verb) => list::run(verb, &plane, args.output).await,
        Verb::Rotate(verb) => rotate::run(verb, &plane, args.output).await,
        Verb::Revoke(verb) => revoke::run(verb, &plane, args.output).await,
    }
}

const COLUMNS: [Column<Subscriber>; 8] = [
    ("NAME", |s| s.name_any()),
    ("CONNECTED", |s| s.status.as_ref().is_some_and(|status| status.connected).to_string()),
    ("LAST-SEEN", |s| age(s.status.as_ref().and_then(|status| status.last_seen.as_deref()))),
    ("LAG", lag),
    ("ENDPOINTS", endpoints),
    ("TOKENS", |s| s.spec.tokens.len().to_string()),
    ("AGENT", |s| s.status.as_ref().and_then(|status| status.agent_version.clone()).unwrap_or_default()),
    ("AGE", created),
];

fn lag(subscriber: &Subscriber) -> String {
    let positions = subscriber.status.iter().flat_map(|status| &status.positions);
    positions.map(|position| position.lag).reduce(|a, b| a + b).map(|lag| lag.to_string()).unwrap_or_default()
}

fn endpoints(subscriber: &Subscriber) -> String {
    let named = subscriber.spec.endpoints.iter().map(|endpoint| match &endpoint.namespace {
        Some(namespace) => format!("{namespace}/{}", endpoint.name),
        None => endpoint.name.clone(),
    });
    named.chain(subscriber.spec.selector.iter().map(|_| "(selector)".to_string())).collect::<Vec<_>>().join(",")
}
