//! The resource `WebhookEvent` of group `log.roadstead.dev`: the event log in the Kubernetes wire format.
//!
//! In flow gets, lists and watches from `kubewire`; out flow the log's frames, serialised once and shared by all watchers. A
//! resourceVersion is a position in the log, so a watch can resume from any retained one and is told, with a 410 that says how many
//! events of which endpoint, when it cannot. Events are never modified and retention sends no DELETED: a watch has ADDED, BOOKMARK and
//! ERROR.
//!
//! [`Scope`] says which endpoints a user may see. What lies outside looks as if it did not exist.

mod info;
mod list;
mod resource;
mod scope;
mod select;
mod watch;

#[cfg(test)]
mod tests;

pub use resource::EventsResource;
pub use scope::{Scope, ScopeOf};
