//! A message as a `WebhookDelivery`. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use roadstead_api::{
    WebhookDelivery,
    names::{LABEL_TYPE, LOG_GROUP, VERSION, event_name, label_value},
    registry_webhook::{WebhookDeliverySpec, WebhookDeliveryStatus},
};

use crate::log::{Delivery, rfc3339};

/// Label of a WebhookDelivery: its webhook's name.
pub(super) const LABEL_WEBHOOK: &str = "roadstead.dev/webhook";

/// The resource for a message.
pub fn object(delivery: &Delivery) -> WebhookDelivery {
    let (message, event) = (&delivery.message, &delivery.message.event);
    WebhookDelivery {
        api_version: format!("{LOG_GROUP}/{VERSION}"),
        kind: "WebhookDelivery".into(),
        metadata: ObjectMeta {
            name: Some(event_name(&delivery.webhook, message.number)),
            namespace: Some(delivery.namespace.clone()),
            uid: Some(message.id.clone()),
            resource_version: Some(delivery.changed.to_string()),
            creation_timestamp: Some(Time(message.accepted_at)),
            labels: Some(labels(delivery)),
            ..ObjectMeta::default()
        },
        spec: WebhookDeliverySpec {
            webhook: delivery.webhook.clone(),
            id: message.id.clone(),
            event: event.id.clone(),
            kind: event.kind.clone(),
            image: Some(event.image.clone()),
            reconciled: event.reconciled,
            accepted_at: rfc3339(message.accepted_at),
        },
        status: WebhookDeliveryStatus {
            state: delivery.state,
            next_attempt: delivery.next_attempt.map(rfc3339),
            attempt: message.attempts,
            attempts: delivery.history.clone(),
        },
    }
}

/// The labels of a message.
pub(super) fn labels(delivery: &Delivery) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_WEBHOOK.to_string(), delivery.webhook.clone()),
        (LABEL_TYPE.to_string(), label_value(&delivery.message.event.kind)),
    ])
}
