//! What a hub publishes about itself: a ConfigMap from which `roadstead subscriber` makes kubeconfigs.
//!
//! In: the public URL, the authority, which namespaces are served. Out: ConfigMap [`HUB_CONFIG`] in the hub's system namespace,
//! applied until it is written. A hub that may write the ConfigMap needs no right to namespaces: they are asked for only when the
//! one that it was told is missing.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use roadstead_api::names::HUB_CONFIG;
use roadstead_reconcile::{Backoff, Namespaces, patch};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;

/// Who owns the fields.
const MANAGER: &str = "roadstead-hub";
/// Longest wait for the control plane's answer.
const ANSWER: Duration = Duration::from_secs(10);

/// What is published, and where.
pub(crate) struct Published {
    pub(crate) namespace: String,
    pub(crate) url: String,
    pub(crate) ca_pem: String,
    pub(crate) aggregate_ca: String,
    pub(crate) served: Namespaces,
}

impl Published {
    fn data(&self) -> Value {
        let mut data = json!({"url": self.url});
        if !self.ca_pem.is_empty() {
            // An empty one would mean that nobody is trusted.
            data["ca.crt"] = self.ca_pem.as_str().into();
        }
        if !self.aggregate_ca.is_empty() {
            data["aggregate-ca.crt"] = self.aggregate_ca.as_str().into();
        }
        if !self.served.is_all() {
            data["namespaces"] = self.served.names().collect::<Vec<_>>().join(",").into();
        }
        data
    }
}

/// Publishes, and tries again until it has succeeded or is told to stop.
pub(crate) async fn run(client: Client, published: Published, readiness: Readiness, stop: CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    loop {
        let reason = match tokio::time::timeout(ANSWER, write(&client, &published)).await {
            Ok(Ok(())) => return readiness.published(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
        };
        let namespace = &published.namespace;
        tracing::warn!(namespace, reason, "ConfigMap {HUB_CONFIG} could not be written; will retry");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}

/// Applied, so that two hubs that start at once agree.
async fn write(client: &Client, published: &Published) -> Result<(), kube::Error> {
    let apply = PatchParams::apply(MANAGER).force();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &published.namespace);
    let labels = json!({"app.kubernetes.io/part-of": "roadstead", "app.kubernetes.io/component": "hub"});
    let metadata = json!({"name": HUB_CONFIG, "labels": labels});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": published.data()});
    let map = Patch::Apply(map);
    match maps.patch(HUB_CONFIG, &apply, &map).await {
        Err(error) if patch::is_not_found(&error) => {}
        result => return result.map(drop),
    }
    let name = &published.namespace;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    Api::<Namespace>::all(client.clone()).patch(name, &apply, &Patch::Apply(namespace)).await?;
    maps.patch(HUB_CONFIG, &apply, &map).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_something_is_published() {
        let published = |ca: &str, served: &[&str]| Published {
            namespace: "x".into(),
            url: "https://hub".into(),
            ca_pem: ca.into(),
            aggregate_ca: String::new(),
            served: Namespaces::of(served.iter().map(|name| name.to_string())),
        };
        assert_eq!(published("", &[]).data(), json!({"url": "https://hub"}));
        let full = json!({"url": "https://hub", "ca.crt": "PEM", "namespaces": "a,b"});
        assert_eq!(published("PEM", &["b", "a"]).data(), full);
    }
}
