//! The control plane as clients meet it: kube-rs in process, kubectl over TLS. One program, so that it is linked once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod gc;
mod namespaces;
mod plane;
mod rbac;
mod server;
mod typed;
