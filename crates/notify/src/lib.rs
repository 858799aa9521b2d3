//! Registry webhooks out: every registered endpoint is told, signed, retried and in order, when an image changes.
//!
//! In: image changes from a [`source`] (the hub's event log, or a registry that is polled), and the resources `RegistryWebhook` and
//! `Secret`. Out: signed POSTs, the `status` of those webhooks, and the resource `WebhookDelivery`, served from the delivery log.
//!
//! Nothing is told from memory: a change is first fanned out to one [`delivery::Message`] for each webhook that wants it, in one
//! transaction with the position in the source up to which that is done ([`log`]); then it is sent ([`queue`]); then what came of it is
//! recorded. A crash between any two repeats a request with the same id, and never loses one.

pub mod deliveries;
pub mod delivery;
pub mod log;
pub mod metrics;
pub mod queue;
pub mod source;
