//! The remote half of the hub: watches it from wherever it runs and acts on its events.

pub mod actions;
pub mod allow;
pub mod event;
pub mod expression;
pub mod hub;
pub mod impersonate;
pub mod kinds;
pub mod metrics;
pub mod plan;
