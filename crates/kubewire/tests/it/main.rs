//! The wire as clients see it: a tiny control plane in memory behind the real service, asked by kube-rs, by bare HTTP and by kubectl.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod connections;
mod kube_rs;
mod kubectl;
mod memory;
mod plane;
mod protobuf;
mod served;
mod watches;
mod wire;
