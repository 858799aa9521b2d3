//! The resource `WebhookDelivery` of group `log.roadstead.dev`: the delivery log in the Kubernetes wire format. Read-only.
//!
//! In: gets, lists and watches from `kubewire`. Out: messages as objects ([`object`]). A resourceVersion is a position in the log's change
//! feed. A list is not a snapshot of one moment (a million messages are not held for it): it names the position at which it began, and
//! a watch from there tells every later change. A watch resumes from the last few thousand changes; from before them, or over a
//! restart, it is told 410 and lists again. Retention sends no DELETED.

mod info;
mod list;
mod object;
mod resource;
mod select;
mod watch;

#[cfg(test)]
mod tests;

pub use object::object;
pub use resource::DeliveriesResource;
