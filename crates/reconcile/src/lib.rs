//! What all controllers share, and no more.
//!
//! Flows in: observations (conditions as they are, errors, the clock) and a `kube::Client`. Flows out: the next
//! condition, the next delay, one patch or one Event. Decisions are plain functions over values; the few functions that
//! talk to an API server say so.

pub mod backoff;
pub mod conditions;
pub mod controller;
pub mod filter;
mod keep;
pub mod leader;
mod pace;
pub mod parse;
pub mod patch;
pub mod recorder;
pub mod scope;
mod secret;
pub mod targets;

pub use backoff::Backoff;
pub use controller::Controller;
pub use filter::{Filter, FilterError};
pub use keep::keep;
pub use leader::{Elector, Lead};
pub use pace::Pace;
pub use recorder::Recorder;
pub use scope::Namespaces;
pub use secret::Secret;
pub use targets::Targets;
