//! Webhooks in: verify, normalise, log; the gateway for subscribers.

pub mod events;
pub mod incoming;
pub mod log;
pub mod providers;
pub mod registry_api;
pub mod tag_index;
pub mod verify;
