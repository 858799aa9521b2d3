//! `roadstead notify test`, and how a test of any kind is waited for.

use anyhow::Result;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use roadstead_api::registry_webhook::{DeliveryState, State, WebhookDeliveryStatus};
use roadstead_reconcile::patch::is_not_found;

use super::ask::{Request, ask};
use super::{Delivery, deliveries, deliveries_api, delivery_kind, webhooks_api};
use crate::cli::change::Patience;
use crate::cli::connect::Plane;
use crate::cli::failure::Failure;
use crate::cli::output::Output;

/// Arguments of `notify test`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the webhook.
    name: String,
    #[command(flatten)]
    patience: Patience,
}

/// Sends a test and prints what became of it.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    let value = Timestamp::now().to_string();
    if ask(plane, &args.name, Request::Test, &value, args.patience).await?.is_none() {
        eprintln!("a test of webhook {} was asked for", args.name);
        return Ok(());
    }
    match report(plane, &args.name, &value, args.patience).await? {
        Some(delivery) => output.one(&delivery, &delivery_kind(), &deliveries::COLUMNS),
        None => Ok(()),
    }
}

/// Waits for the first attempt of the test that was asked for with `value`, and says what came of it.
///
/// # Errors
/// The receiver did not take it, or there was no attempt in time. A control plane that does not serve deliveries is none.
pub async fn report(plane: &Plane, name: &str, value: &str, patience: Patience) -> Result<Option<Delivery>> {
    let (api, event) = (deliveries_api(plane), format!("test/{value}"));
    let selector = ListParams::default().fields(&format!("spec.webhook={name},spec.event={event}"));
    let tried = async || match api.list(&selector).await {
        Ok(found) => {
            let tried = |delivery: &Delivery| delivery.status.as_ref().is_some_and(came_to_something);
            Ok(found.items.into_iter().find(tried).map(Some))
        }
        Err(error) if is_not_found(&error) => Ok(Some(None)),
        Err(error) => Err(error.into()),
    };
    let answered = patience.poll(&format!("the test message to {name} is answered"), tried).await?;
    let Some(delivery) = answered.flatten() else {
        let status = webhooks_api(plane).get(name).await?.status.unwrap_or_default();
        if status.state == Some(State::Disabled) {
            return Err(Failure::Stuck(disabled(name)).into());
        }
        eprintln!("what became of the test message: roadstead notify show {name}");
        return Ok(None);
    };
    let status = delivery.status.clone().unwrap_or_default();
    let last = status.attempts.last();
    if status.state == DeliveryState::Delivered {
        let took = last.map(|last| last.duration_ms).unwrap_or_default();
        let code = last.and_then(|last| last.status).unwrap_or_default();
        eprintln!("the test message was answered {code} after {took} ms");
        return Ok(Some(delivery));
    }
    Err(Failure::Stuck(failure(name, &delivery.name_any(), &status)).into())
}

/// Whether there was an attempt, or there will be none: a disabled webhook keeps a message without trying.
fn came_to_something(status: &WebhookDeliveryStatus) -> bool {
    status.attempt > 0 || status.state != DeliveryState::Pending
}

/// Why a test was not taken, and what comes next.
fn failure(webhook: &str, delivery: &str, status: &WebhookDeliveryStatus) -> String {
    let why = status.attempts.last().and_then(|last| last.error.as_deref());
    match (status.state, why) {
        (DeliveryState::Pending, why) => format!(
            "the test message was not taken: {}. It is tried again; see kubectl get webhookdelivery {delivery} -o yaml",
            why.unwrap_or("no reason given")
        ),
        (_, Some(why)) => format!("the test message was not taken: {why}. It is not tried again"),
        (_, None) => disabled(webhook),
    }
}

fn disabled(webhook: &str) -> String {
    format!(
        "the test message was not sent: the webhook is disabled. Mend the receiver, then: roadstead notify recover {webhook}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: DeliveryState, attempt: u32) -> WebhookDeliveryStatus {
        WebhookDeliveryStatus { state, attempt, ..WebhookDeliveryStatus::default() }
    }

    #[test]
    fn a_message_that_is_never_tried_ends_the_wait() {
        assert!(!came_to_something(&status(DeliveryState::Pending, 0)));
        assert!(came_to_something(&status(DeliveryState::Pending, 1)));
        assert!(came_to_something(&status(DeliveryState::DeadLetter, 0)));
        assert!(failure("shop", "shop-1", &status(DeliveryState::DeadLetter, 0)).contains("notify recover shop"));
        assert!(failure("shop", "shop-1", &status(DeliveryState::Pending, 1)).contains("tried again"));
    }
}
