//! Resource kinds, their contracts, and normalised events. Pure data: nothing here does I/O.
//!
//! Group `roadstead.dev/v1alpha1` holds what users write; `log.roadstead.dev/v1alpha1` what the logs serve (read-only). Field
//! descriptions are what `kubectl explain` prints.

pub mod endpoint;
pub mod event;
pub mod names;
pub mod registry_webhook;
pub mod subscriber;
pub mod trigger;

pub use endpoint::{WebhookEndpoint, WebhookEndpointSpec, WebhookEndpointStatus};
pub use event::{WebhookEvent, WebhookEventSpec};
pub use registry_webhook::{RegistryWebhook, RegistryWebhookSpec, RegistryWebhookStatus, WebhookDelivery};
pub use subscriber::{Subscriber, SubscriberSpec, SubscriberStatus};
pub use trigger::{DeadLetter, DeadLetterSpec, Trigger, TriggerSpec, TriggerStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// All CustomResourceDefinitions of `roadstead.dev`: what a control plane must know before the hub or an agent can work on it. Each
/// is labelled with the version that it is from.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds =
        vec![WebhookEndpoint::crd(), Subscriber::crd(), Trigger::crd(), DeadLetter::crd(), RegistryWebhook::crd()];
    for crd in &mut crds {
        let labels = crd.metadata.labels.get_or_insert_default();
        labels.insert(names::LABEL_VERSION.into(), env!("CARGO_PKG_VERSION").into());
    }
    crds
}
