//! `roadstead notify`: who is told when an image changes, and what was told.

mod ask;
mod create;
mod delete;
mod deliveries;
mod list;
mod pause;
mod recover;
mod redeliver;
mod rotate;
mod show;
mod test;

use anyhow::Result;
use clap::Subcommand;
use kube::api::ApiResource;
use kube::core::{GroupVersionKind, Object};
use kube::{Api, ResourceExt};
use roadstead_api::RegistryWebhook;
use roadstead_api::names::{LOG_GROUP, VERSION};
use roadstead_api::registry_webhook::{
    LastDelivery, RegistryWebhookStatus, WebhookDeliverySpec, WebhookDeliveryStatus,
};

use super::connect::{Connection, Plane};
use super::output::{Column, Output, age, created};

/// Arguments of `notify`.
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
    /// Register a URL that is told when an image changes; prints the secret to verify with.
    Create(Box<create::Args>),
    /// List registered webhooks: whether they work, and what waits.
    List(list::Args),
    /// Show one webhook in full.
    Show(show::Args),
    /// Send a test message and wait for what the receiver answers.
    Test(test::Args),
    /// List the messages to a webhook and what became of them.
    Deliveries(deliveries::Args),
    /// Send messages again.
    Redeliver(redeliver::Args),
    /// Enable a webhook, and send again what was given up.
    Recover(recover::Args),
    /// Send nothing until `resume`; what happens is queued.
    Pause(pause::Args),
    /// Send again what was queued.
    Resume(pause::Args),
    /// Sign with a new secret, and for a time with the old one too.
    Rotate(rotate::Args),
    /// Delete a webhook; what waits for it is cancelled.
    Delete(delete::Args),
}

/// Runs the verb.
pub async fn run(args: Args) -> Result<()> {
    let plane = args.connection.open().await?;
    match args.verb {
        Verb::Create(verb) => create::run(*verb, &plane, args.output).await,
        Verb::List(verb) => list::run(verb, &plane, args.output).await,
        Verb::Show(verb) => show::run(verb, &plane, args.output).await,
        Verb::Test(verb) => test::run(verb, &plane, args.output).await,
        Verb::Deliveries(verb) => deliveries::run(verb, &plane, args.output).await,
        Verb::Redeliver(verb) => redeliver::run(verb, &plane, args.output).await,
        Verb::Recover(verb) => recover::run(verb, &plane, args.output).await,
        Verb::Pause(verb) => pause::run(verb, true, &plane).await,
        Verb::Resume(verb) => pause::run(verb, false, &plane).await,
        Verb::Rotate(verb) => rotate::run(verb, &plane, args.output).await,
        Verb::Delete(verb) => delete::run(verb, &plane).await,
    }
}

/// A message and what became of it, as kube-rs sees it.
type Delivery = Object<WebhookDeliverySpec, WebhookDeliveryStatus>;

fn delivery_kind() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(LOG_GROUP, VERSION, "WebhookDelivery"),
        "webhookdeliveries",
    )
}

fn deliveries_api(plane: &Plane) -> Api<Delivery> {
    Api::namespaced_with(plane.client.clone(), &plane.namespace, &delivery_kind())
}

fn webhooks_api(plane: &Plane) -> Api<RegistryWebhook> {
    Api::namespaced(plane.client.clone(), &plane.namespace)
}

const COLUMNS: [Column<RegistryWebhook>; 8] = [
    ("NAME", |hook| hook.name_any()),
    ("STATE", state),
    ("READY", ready),
    ("DELIVERED", |hook| of(hook, |status| status.delivered.to_string())),
    ("PENDING", |hook| of(hook, |status| status.pending.to_string())),
    ("FAILED", |hook| of(hook, |status| status.failed.to_string())),
    ("LAST", |hook| age(last(hook).map(|last| last.at.as_str()))),
    ("AGE", created),
];

fn of(hook: &RegistryWebhook, view: impl FnOnce(&RegistryWebhookStatus) -> String) -> String {
    hook.status.as_ref().map(view).unwrap_or_default()
}

fn state(hook: &RegistryWebhook) -> String {
    of(hook, |status| status.state.map(|state| format!("{state:?}")).unwrap_or_default())
}

fn last(hook: &RegistryWebhook) -> Option<&LastDelivery> {
    hook.status.as_ref()?.last_delivery.as_ref()
}

fn ready(hook: &RegistryWebhook) -> String {
    let conditions = hook.status.iter().flat_map(|status| &status.conditions);
    conditions.filter(|condition| condition.type_ == "Ready").map(|condition| condition.status.clone()).collect()
}
