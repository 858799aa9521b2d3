//! `roadstead notify deliveries`.

use anyhow::Result;
use kube::ResourceExt;
use kube::api::ListParams;
use roadstead_api::registry_webhook::{DeliveryAttempt, DeliveryState};
use roadstead_reconcile::patch::is_not_found;

use super::{Delivery, deliveries_api, delivery_kind, webhooks_api};
use crate::cli::connect::Plane;
use crate::cli::failure::Failure;
use crate::cli::output::{Column, Format, Output, age};

/// Arguments of `notify deliveries`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the webhook.
    name: String,
    /// Only those in this state: Pending, Delivered, DeadLetter or Cancelled.
    #[arg(long, value_parser = state)]
    state: Option<DeliveryState>,
    /// The newest, at most so many.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    last: usize,
}

/// What is said where there is a webhook and no such API.
const NOT_SERVED: &str = "this control plane serves no deliveries: on a cluster they need the hub's aggregated API; \
     `roadstead notify show` has the last one";

/// How a person sees a message.
pub const COLUMNS: [Column<Delivery>; 7] = [
    ("NAME", |delivery| delivery.name_any()),
    ("TYPE", |delivery| delivery.spec.kind.clone()),
    ("SUBJECT", subject),
    ("STATE", |delivery| delivery.status.as_ref().map(|status| format!("{:?}", status.state)).unwrap_or_default()),
    ("ATTEMPTS", |delivery| delivery.status.as_ref().map(|status| status.attempt.to_string()).unwrap_or_default()),
    ("LAST", |delivery| last(delivery).map(answer).unwrap_or_default()),
    ("AGE", |delivery| age(Some(&delivery.spec.accepted_at))),
];

/// Prints the newest messages, oldest first.
pub async fn run(args: Args, plane: &Plane, output: Output) -> Result<()> {
    webhooks_api(plane).get(&args.name).await?;
    let mut selector = format!("spec.webhook={}", args.name);
    if let Some(state) = args.state {
        selector.push_str(&format!(",status.state={state:?}"));
    }
    let (api, mut params) = (deliveries_api(plane), ListParams::default().fields(&selector).limit(500));
    let mut found = std::collections::VecDeque::new();
    loop {
        let page = api.list(&params).await.map_err(|error| match is_not_found(&error) {
            true => Failure::NotFound(NOT_SERVED.into()).into(),
            false => anyhow::Error::from(error),
        })?;
        found.extend(page.items);
        found.drain(..found.len().saturating_sub(args.last));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    if found.is_empty() && output.format == Format::Table {
        eprintln!("no deliveries");
        return Ok(());
    }
    output.list(found.make_contiguous(), &delivery_kind(), &COLUMNS)
}

fn last(delivery: &Delivery) -> Option<&DeliveryAttempt> {
    delivery.status.as_ref()?.attempts.last()
}

/// The status of the answer, or why there was none: as `kubectl get webhookdeliveries` has it.
fn answer(attempt: &DeliveryAttempt) -> String {
    match (attempt.status, &attempt.error) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => error.clone(),
        (None, None) => String::new(),
    }
}

fn subject(delivery: &Delivery) -> String {
    let Some(image) = &delivery.spec.image else { return String::new() };
    match (image.tag.as_str(), image.digest.as_str()) {
        ("", "") => image.repository.clone(),
        ("", digest) => format!("{}@{digest}", image.repository),
        (tag, _) => format!("{}:{tag}", image.repository),
    }
}

fn state(text: &str) -> Result<DeliveryState, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected Pending, Delivered, DeadLetter or Cancelled".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_is_its_status_or_why_there_was_none() {
        for (status, error, text) in [
            (Some(503), Some("answered 503"), "503"),
            (Some(204), None, "204"),
            (None, Some("timed out"), "timed out"),
            (None, None, ""),
        ] {
            let attempt = DeliveryAttempt { status, error: error.map(Into::into), ..DeliveryAttempt::default() };
            assert_eq!(answer(&attempt), text);
        }
    }
}
