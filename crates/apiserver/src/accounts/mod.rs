//! What every namespace and service account is given: the authority that signs for this server, and tokens in Secrets.
//!
//! [`plan`] decides from what is stored; [`controller`] does it. In Kubernetes these are the controllers `root-ca-cert-publisher`
//! and `serviceaccount-token`.

pub mod controller;
pub mod plan;
