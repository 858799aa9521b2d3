//! What `roadstead operator` runs: controllers of which a cluster needs one, and which therefore run only while leading.
//!
//! A room that brings such a controller implements [`Controller`] and is added to the list here; it needs to know nothing else.

mod crds;

use std::sync::Arc;

use kube::Client;
use prometheus_client::registry::Registry;
use roadstead_reconcile::Controller;

/// Name under which the operator writes.
const MANAGER: &str = "roadstead-operator";

/// All of them.
pub fn controllers(client: &Client, metrics: &mut Registry) -> Vec<Arc<dyn Controller>> {
    vec![Arc::new(crds::Crds::new(client.clone(), roadstead_api::crds(), metrics))]
}
