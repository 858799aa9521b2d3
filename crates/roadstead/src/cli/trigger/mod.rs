//! `roadstead trigger`: what an agent does with events, and what it gave up on. Spoken to the agent's own control plane.

mod action;
mod create;
mod dead_letters;
mod list;
mod show;

use anyhow::Result;
use clap::Subcommand;
use kube::{Api, ResourceExt};
use roadstead_api::{DeadLetter, Trigger, TriggerStatus};

use super::connect::{Connection, Plane};
use super::output::{Column, Output, created};

/// Arguments of `trigger`.
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
    /// Act on each event of a hub's endpoint.
    Create(Box<create::Args>),
    /// List triggers: how far they are, and what failed.
    List(list::Args),
    /// Show one trigger in full.
    Show(show::Args),
    /// List the events that were given up on.
    DeadLetters(dead_letters::ListArgs),
    /// Try events again that were given up on.
    Replay(dead_letters::ReplayArgs),
}

/// Runs the verb.
pub async fn run(args: Args) -> Result<()> {
    let plane = args.connection.open().await?;
    match args.verb {
        Verb::Create(verb) => create::run(*verb, &plane, args.output).await,
        Verb::List(verb) => list::run(verb, &plane, args.output).await,
        Verb::Show(verb) => show::run(verb, &plane, args.output).await,
        Verb::DeadLetters(verb) => dead_letters::list(verb, &plane, args.output).await,
        Verb::Replay(verb) => dead_letters::replay(verb, &plane, args.output).await,
    }
}

fn triggers(plane: &Plane) -> Api<Trigger> {
    Api::namespaced(plane.client.clone(), &plane.namespace)
}

fn letters(plane: &Plane) -> Api<DeadLetter> {
    Api::namespaced(plane.client.clone(), &plane.namespace)
}

const COLUMNS: [Column<Trigger>; 9] = [
    ("NAME", |trigger| trigger.name_any()),
    ("ENDPOINT", endpoint),
    ("ACTION", |trigger| action::describe(&trigger.spec)),
    ("READY", ready),
    ("DONE", |trigger| of(trigger, |status| status.succeeded.to_string())),
    ("FAILED", |trigger| of(trigger, |status| status.failed.to_string())),
    ("DEAD", |trigger| of(trigger, |status| status.dead_letters.to_string())),
    ("LAG", |trigger| of(trigger, |status| status.lag.to_string())),
    ("AGE", created),
];

fn of(trigger: &Trigger, value: impl Fn(&TriggerStatus) -> String) -> String {
    trigger.status.as_ref().map(value).unwrap_or_default()
}

fn endpoint(trigger: &Trigger) -> String {
    let endpoint = &trigger.spec.endpoint;
    format!("{}:{}/{}", endpoint.hub, endpoint.namespace, endpoint.name)
}

fn ready(trigger: &Trigger) -> String {
    let conditions = trigger.status.iter().flat_map(|status| &status.conditions);
    conditions.filter(|condition| condition.type_ == "Ready").map(|condition| condition.status.clone()).collect()
}
