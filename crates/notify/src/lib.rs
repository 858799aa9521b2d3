//! Registry webhooks out: every registered endpoint is told, signed, retried and in order, when an image changes.
//!
//! In: image changes from a [`source`] (the hub's event log, or a registry that is polled), and the resources `RegistryWebhook` and
//! `Secret`. Out: signed POSTs, the `status` of those webhooks, and the resource `WebhookDelivery`, served from the delivery log.
//!
//! Nothing is told from memory: a change is first fanned out to one [`delivery::Message`] for each webhook that wants it
//! ([`matching`], `feed`), in one transaction with the position in the source up to which that is done ([`log`]); then it is sent
//! ([`queue`] decides when, [`send`] does it, in a [`format`](mod@format) and with a [`sign`]ature); then what came of it is recorded. A crash
//! between any two repeats a request with the same id, and never loses one. `control` keeps the [`table`] of webhooks; [`poll`] asks registries that tell nothing.

mod control;
pub mod deliveries;
pub mod delivery;
mod feed;
pub mod format;
pub mod log;
pub mod matching;
pub mod metrics;
pub mod poll;
pub mod queue;
pub mod send;
mod service;
pub mod sign;
pub mod source;
pub mod table;

pub use service::{Notify, NotifyError, Options, Readiness};
