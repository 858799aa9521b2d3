//! Tests of the planner against a model, and of the runner over a real log.

mod crash;
mod handover;
mod model;
mod running;
mod simulated;
mod support;
