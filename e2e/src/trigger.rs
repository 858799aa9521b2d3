//! Triggers as tests use them.

use anyhow::{Result, ensure};
use kube::api::PostParams;
use kube::{Api, Client};
use roadstead_api::trigger::{Forward, HubEndpoint, Start};
use roadstead_api::{Trigger, TriggerSpec, TriggerStatus};

use crate::endpoint::Hook;
use crate::wait::eventually;

/// The spec of a trigger that forwards an endpoint's events, from the oldest on.
pub fn forward(hook: &Hook, url: &str) -> TriggerSpec {
    TriggerSpec {
        endpoint: HubEndpoint { hub: "main".into(), namespace: hook.namespace.clone(), name: hook.name.clone() },
        forward: Some(Forward { url: url.into(), timeout: "10s".into(), ..Forward::default() }),
        start: Start::Earliest,
        ..TriggerSpec::default()
    }
}

/// Creates it in the client's namespace, which need not be on the same control plane as the endpoint.
pub async fn create(client: &Client, name: &str, spec: TriggerSpec) -> Result<()> {
    api(client).create(&PostParams::default(), &Trigger::new(name, spec)).await?;
    Ok(())
}

/// Its status.
pub async fn status(client: &Client, name: &str) -> Result<TriggerStatus> {
    Ok(api(client).get(name).await?.status.unwrap_or_default())
}

/// Waits until all events up to `sequence` are done.
pub async fn done(client: &Client, name: &str, sequence: u64) -> Result<TriggerStatus> {
    eventually(&format!("trigger {name} has done {sequence} events"), async || {
        let status = status(client, name).await?;
        ensure!(status.sequence >= sequence, "it is at {}: {:?}", status.sequence, status.last_result);
        Ok(Some(status))
    })
    .await
}

fn api(client: &Client) -> Api<Trigger> {
    Api::default_namespaced(client.clone())
}
