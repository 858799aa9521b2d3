//! From a Trigger as it is written to work that can be done, or the reason why not.

use roadstead_api::{Trigger, event::WebhookEventSpec, trigger::OrderBy};
use roadstead_reconcile::filter::Filter;

use crate::{
    actions::{self, Invalid},
    attempt::Work,
    plan::Key,
    shared::Shared,
};

/// Makes a trigger's work. Errors: reason and message of its `Ready` condition.
pub fn work(shared: &Shared, trigger: &Trigger) -> Result<Work, Invalid> {
    let spec = &trigger.spec;
    let hub = shared.hub(&spec.endpoint).map_err(|message| Invalid { reason: "UnknownHub", message })?;
    let filter = spec.filter.as_deref().map(Filter::compile).transpose();
    let filter = filter.map_err(|error| Invalid { reason: "InvalidFilter", message: format!("filter: {error}") })?;
    let action = actions::build(trigger, &shared.tools)?;
    shared.rules_of(trigger).map_err(Invalid::spec)?;
    Ok(Work { hub, endpoint: spec.endpoint.clone(), asker: shared.asker(trigger), filter, action })
}

/// Which events an event must keep its order with. Events that tell no repository keep theirs among themselves.
pub fn key(order: OrderBy, event: &WebhookEventSpec, position: u64) -> Key {
    match order {
        OrderBy::Repository => Key::Shared(event.repository().to_string()),
        OrderBy::Endpoint => Key::Shared(String::new()),
        OrderBy::None => Key::Alone(position),
    }
}
