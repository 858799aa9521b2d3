//! `roadstead hook`: endpoints that providers post to, and what was posted.

mod create;
mod delete;
mod events;
mod list;
mod provider;
mod replay;
pub mod secret;
mod show;

use anyhow::Result;
use clap::Subcommand;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ApiResource;
use kube::core::{GroupVersionKind, NotUsed, Object};
use kube::{Api, ResourceExt};
use roadstead_api::endpoint::EventSummary;
use roadstead_api::names::{LOG_GROUP, VERSION};
use roadstead_api::{WebhookEndpoint, WebhookEventSpec};

use super::connect::{Connection, Plane};
use super::output::{Column, Output, age, created};

/// Arguments of `hook`.
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
    /// Make an endpoint and its secret; prints the URL to register with the sender.
    Create(create::Args),
    /// List endpoints: whether they are well, and what came last.
    List(list::Args),
    /// Show one endpoint in full.
    Show(show::Args),
    /// Print an endpoint's URL.
    Url(show::UrlArgs),
    /// Show what was posted; -f follows.
    Events(events::Args),
    /// Send a recorded request again, byte for byte, to any URL.
    Replay(replay::Args),
    /// Delete an endpoint. Its URL ends for good, and its events with it.
    Delete(delete::Args),
}

/// Runs the verb.
pub async fn run(args: Args) -> Result<()> {
    let plane = args.connection.open().await?;
    match args.verb {
        Verb::Create(verb) => create::run(verb, &plane, args.output).await,
        Verb::List(verb) => list::run(verb, &plane, args.output).await,
        Verb::Show(verb) => show::run(verb, &plane, args.output).await,
        Verb::Url(verb) => show::url(verb, &plane, args.output).await,
        Verb::Events(verb) => events::run(verb, &plane, args.output).await,
        Verb::Replay(verb) => replay::run(verb, &plane, args.output).await,
        Verb::Delete(verb) => delete::run(verb, &plane).await,
    }
}

/// A recorded event, as kube-rs sees it.
type Event = Object<WebhookEventSpec, NotUsed>;

fn event_kind() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(LOG_GROUP, VERSION, "WebhookEvent"), "webhookevents")
}

fn events_api(plane: &Plane) -> Api<Event> {
    Api::namespaced_with(plane.client.clone(), &plane.namespace, &event_kind())
}

fn endpoints_api(plane: &Plane) -> Api<WebhookEndpoint> {
    Api::namespaced(plane.client.clone(), &plane.namespace)
}

const COLUMNS: [Column<WebhookEndpoint>; 7] = [
    ("NAME", |hook| hook.name_any()),
    ("PROVIDER", |hook| hook.spec.provider.as_str().to_string()),
    ("READY", |hook| ready(hook).map(|condition| condition.status.clone()).unwrap_or_default()),
    ("EVENTS", |hook| hook.status.as_ref().map(|status| status.sequence.to_string()).unwrap_or_default()),
    ("LAST", |hook| last(hook).map(|event| format!("{} {}", event.kind, event.subject)).unwrap_or_default()),
    ("RECEIVED", |hook| age(last(hook).map(|event| event.received_at.as_str()))),
    ("AGE", created),
];

fn last(hook: &WebhookEndpoint) -> Option<&EventSummary> {
    hook.status.as_ref()?.last_event.as_ref()
}

fn ready(hook: &WebhookEndpoint) -> Option<&Condition> {
    hook.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == "Ready")
}
