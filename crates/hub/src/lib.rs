//! The hub: the one exposed place. Webhooks come in, are verified, normalised and logged; subscribers watch the log.
//!
//! In: HTTP on the public listener, and the resources `WebhookEndpoint`, `Subscriber` and `Secret` from the control plane.
//! Out: events in the log, `status` on those resources, and watches in the Kubernetes wire format.
//!
//! One delivery goes: [`listener`] → [`ingest`] → [`verify`] → [`providers`] (read) → [`log`] (durable) → 2xx; from the log to
//! [`events`], where the [`gateway`] serves it to those whose token allows it. Beside that path, [`control`] turns resources
//! into the tables that ingest and gateway read, and writes status at a bounded rate. [`healing`]
//! asks registries for what their events have not told. [`aggregate`] serves the same events to a
//! cluster's own API server, where that is wanted.

pub mod aggregate;
pub mod control;
pub mod endpoint;
pub mod events;
mod gateway;
pub mod healing;
mod hex;
pub mod hub;
pub mod incoming;
mod ingest;
mod journal;
mod limits;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod providers;
mod publish;
pub mod readiness;
pub mod source;
pub mod tag_index;
pub mod verify;

pub use hub::{Hub, HubError, Options};
pub use readiness::Readiness;
