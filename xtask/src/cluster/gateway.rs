//! Gateway API: its custom resource definitions, from its own Go module.

use std::time::Duration;

use anyhow::Result;

use super::api::Api;
use super::programs::GATEWAY;

/// One of them, whose presence stands for all.
const ONE: &str = "httproutes.gateway.networking.k8s.io";

/// Whether the cluster has them.
pub fn installed(api: &Api) -> bool {
    api.output(&["get", "customresourcedefinition", ONE, "-o", "name"]).is_ok()
}

/// Applies those of the standard channel, and waits until they are served.
pub fn install(api: &Api) -> Result<()> {
    let directory = GATEWAY.unpacked()?.join("config/crd/standard");
    api.output(&["apply", "--server-side", "--force-conflicts", "-f", &directory.display().to_string()])?;
    api.wait("customresourcedefinition", &format!("{ONE} --for=condition=Established"), Duration::from_secs(60))
}
