//! The remote half of the hub: watches it from wherever it runs, dials out only, and acts on its events.
//!
//! In flow the events of one or more hubs ([`hub`]) and the `Trigger`s of the agent's own control plane; out flow
//! actions ([`actions`]), `DeadLetter`s, the Triggers' status, and the position in the subscriber's status at the hub.
//! Each trigger has a [`runner`] of its own; what it does when is decided by its [`plan`], which knows neither clock
//! nor network. So no trigger waits for another, and what is promised can be tested as a pure function: every event at
//! least once, in order for each key, none lost at a crash between any two steps.
//!
//! A position is persisted after the action, at most once a second: after kill -9 the actions of the last second are
//! repeated. Actions are idempotent where the target allows (annotate, setImage, run); a `forward` is repeated with the
//! same delivery id.

mod actions;
mod agent;
mod allow;
mod attempt;
mod dead_letters;
mod event;
mod hub;
mod impersonate;
mod kinds;
mod metrics;
pub mod options;
pub mod plan;
mod prepare;
mod replay;
mod runner;
mod shared;
mod status;

pub use agent::{Agent, Error, Handle};
pub use allow::{Ground, Pattern, PatternError};
pub use hub::{AccessError, HubAccess, Identity};
pub use metrics::Metrics;
pub use options::Options;
