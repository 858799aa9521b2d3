//! Namespaces: what exists from the start, what may be created where, and how one goes with everything in it.
//!
//! [`rules`] are asked before a write, [`plan`] decides what a namespace that is being deleted needs next, [`controller`] does
//! it, and keeps a service account `default` in every other one.

pub mod controller;
pub mod plan;
pub mod rules;

pub use self::controller::Controller;
