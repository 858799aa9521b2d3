//! From selectors to what is read of the log: what an index can answer narrows the reading, the rest is compared.

use std::borrow::Cow;

use roadstead_api::{
    names::{event_name, parse_event_name},
    registry_webhook::DeliveryState,
};
use roadstead_kubewire::selector::{FieldSelector, LabelSelector};

use super::object::labels;
use crate::log::{Delivery, Selection};

/// Fields that a selector may use, beside `metadata.name` and `metadata.namespace`.
pub(super) const SELECTABLE: [&str; 4] = [".spec.webhook", ".spec.event", ".spec.type", ".status.state"];

/// What a request selects.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    labels: LabelSelector,
    fields: FieldSelector,
    namespace: Option<String>,
}

impl Filter {
    pub fn new(namespace: Option<&str>, labels: &LabelSelector, fields: &FieldSelector) -> Self {
        let namespace = namespace.or(fields.exact("metadata.namespace")).map(Into::into);
        Self { labels: labels.clone(), fields: fields.clone(), namespace }
    }

    /// What the log is to be read for. May include more: [`matches`](Self::matches) decides.
    pub fn selection(&self) -> Selection {
        let named = self.fields.exact("metadata.name").map(|name| {
            // A name that is none of a delivery matches nothing.
            parse_event_name(name).map_or_else(String::new, |(webhook, _)| webhook.to_string())
        });
        Selection {
            namespace: self.namespace.clone(),
            webhook: self.fields.exact("spec.webhook").map(Into::into).or(named),
            state: self.fields.exact("status.state").and_then(parse_state),
        }
    }

    /// The only namespace that can match, if there is one.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Whether what is selected changes with a message's state.
    pub fn by_state(&self) -> bool {
        self.fields.0.iter().any(|(path, ..)| path == "status.state")
    }

    /// Whether a message is selected.
    pub fn matches(&self, delivery: &Delivery) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == delivery.namespace)
            && self.fields.matches(|path| field(delivery, path))
            && (self.labels.is_empty() || self.labels.matches(&labels(delivery)))
    }
}

fn field<'a>(delivery: &'a Delivery, path: &str) -> Option<Cow<'a, str>> {
    match path {
        "metadata.name" => Some(event_name(&delivery.webhook, delivery.message.number).into()),
        "metadata.namespace" => Some(delivery.namespace.as_str().into()),
        "spec.webhook" => Some(delivery.webhook.as_str().into()),
        "spec.event" => Some(delivery.message.event.id.as_str().into()),
        "spec.type" => Some(delivery.message.event.kind.as_str().into()),
        "status.state" => Some(state_text(delivery.state).into()),
        _ => None,
    }
}

fn state_text(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "Pending",
        DeliveryState::Delivered => "Delivered",
        DeliveryState::DeadLetter => "DeadLetter",
        DeliveryState::Cancelled => "Cancelled",
    }
}

fn parse_state(text: &str) -> Option<DeliveryState> {
    [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::DeadLetter, DeliveryState::Cancelled]
        .into_iter()
        .find(|state| state_text(*state) == text)
}
