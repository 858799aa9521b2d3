//! Webhooks in: verify, normalise, log; the gateway for subscribers.

pub mod incoming;
pub mod providers;
pub mod verify;
