//! The hub's controllers: resources in, in-memory tables and status out. Level-triggered: every wake-up re-reads the truth.

pub mod endpoints;
mod orphans;
mod progress;
pub mod status;
pub mod subscribers;
