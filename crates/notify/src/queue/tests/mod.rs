//! Tests of the planner against a model, and of the runner over a real log.

mod crash;
mod running;
mod support;
