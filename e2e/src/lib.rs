//! Parts for tests against a running platform: the real binary, real clients, a real registry, and a receiver that remembers.
//!
//! Scenarios run on two grounds, see [`platform`]. Everything runs on free ports, in directories of its own, and ends with the
//! value that stands for it. What a process wrote is printed when its value is dropped, so that a failed test shows it (the test
//! runner hides it otherwise).
//!
//! The binary is `$ROADSTEAD_BIN`, or built by cargo before the first test. Tools come from `cargo xtask tools`.

pub mod agent;
mod cluster;
pub mod cut;
pub mod endpoint;
pub mod faulty;
pub mod ground;
pub mod helm;
pub mod http;
pub mod image;
pub mod kubectl;
pub mod notify;
pub mod octokit;
mod outside;
pub mod platform;
pub mod process;
pub mod receiver;
pub mod registry;
pub mod rights;
pub mod sign;
pub mod tools;
pub mod transcript;
pub mod trigger;
pub mod up;
pub mod wait;

pub use agent::Agent;
pub use anyhow::{Context, Result, bail, ensure};
pub use cluster::make_namespace;
pub use endpoint::Hook;
pub use faulty::{Faults, Faulty};
pub use ground::{Ground, cluster_kubeconfig, leave_out, only_on};
pub use http::{Answer, post};
pub use kubectl::Kubectl;
pub use platform::Platform;
pub use receiver::Receiver;
pub use wait::{PATIENCE, eventually};
