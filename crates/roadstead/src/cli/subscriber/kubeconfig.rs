//! The kubeconfig that a subscriber is given: it reaches the hub's listener and nothing else.
//!
//! Where the hub is, the hub itself publishes in a ConfigMap: `url` (https) and `ca.crt`, the latter only if its certificate comes
//! from an authority of its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use roadstead_hub::hub::{HUB_CONFIG, SYSTEM_NAMESPACE};
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::output::{Format, Output, emit};

/// How the hub is reached.
pub struct Hub {
    url: String,
    ca: Option<String>,
}

impl Hub {
    /// Reads what the hub publishes.
    pub async fn find(client: &Client) -> Result<Hub> {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        let map = maps.get_opt(HUB_CONFIG).await.with_context(|| {
            format!("cannot read ConfigMap {SYSTEM_NAMESPACE}/{HUB_CONFIG}, where the hub tells its address")
        })?;
        Self::published(map.and_then(|map| map.data).unwrap_or_default())
    }

    /// What the data of the ConfigMap says. An empty `ca.crt` is none: a client that is given one trusts nobody.
    fn published(mut data: BTreeMap<String, String>) -> Result<Hub> {
        let url = data.remove("url").ok_or_else(|| {
            Failure::NotFound(format!(
                "ConfigMap {SYSTEM_NAMESPACE}/{HUB_CONFIG} has no `url`: is the hub running on this control plane?"
            ))
        })?;
        Ok(Hub { url, ca: data.remove("ca.crt").filter(|ca| !ca.trim().is_empty()) })
    }

    /// Certificate of the authority that it must be trusted by, PEM; `None` if everybody trusts it.
    pub fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    /// The kubeconfig, as data.
    pub fn kubeconfig(&self, name: &str, namespace: &str, token: &str) -> Value {
        let mut cluster = json!({"server": self.url});
        if let Some(ca) = &self.ca {
            cluster["certificate-authority-data"] = STANDARD.encode(ca).into();
        }
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": HUB_CONFIG, "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": HUB_CONFIG, "user": name, "namespace": namespace}}],
            "current-context": name,
        })
    }
}

/// Refuses forms of output that would swallow the token, before anything is changed.
pub fn check(output: Output) -> Result<()> {
    if output.format == Format::Name {
        anyhow::bail!("`-o name` would lose the token, which is shown only once: use yaml or json");
    }
    Ok(())
}

/// Prints it: YAML unless JSON is asked for.
pub fn print(kubeconfig: &Value, output: Output) -> Result<()> {
    emit(&match output.format {
        Format::Json => serde_json::to_string_pretty(kubeconfig)? + "\n",
        _ => serde_saphyr::to_string(kubeconfig).context("cannot write YAML")?,
    })
}

#[cfg(test)]
mod tests {
    use kube::config::{KubeConfigOptions, Kubeconfig};

    use super::*;

    #[tokio::test]
    async fn clients_read_it() {
        let hub = Hub { url: "https://hub.example.com:7080".into(), ca: None };
        let yaml = serde_saphyr::to_string(&hub.kubeconfig("edge-1", "shop", "rsub_x")).unwrap();
        let options = KubeConfigOptions::default();
        let config =
            kube::Config::from_custom_kubeconfig(Kubeconfig::from_yaml(&yaml).unwrap(), &options).await.unwrap();
        assert_eq!(config.cluster_url, "https://hub.example.com:7080");
        assert_eq!(config.default_namespace, "shop");
        assert!(config.auth_info.token.is_some());
    }

    #[test]
    fn an_authority_is_named_only_if_there_is_one() {
        for (ca, expected) in [(None, None), (Some(""), None), (Some("\n"), None), (Some("PEM"), Some("PEM"))] {
            let mut data = BTreeMap::from([("url".to_string(), "https://hub.example.com".to_string())]);
            data.extend(ca.map(|ca| ("ca.crt".to_string(), ca.to_string())));
            let hub = Hub::published(data).unwrap();
            assert_eq!(hub.ca(), expected, "{ca:?}");
            let cluster = &hub.kubeconfig("edge-1", "shop", "rsub_x")["clusters"][0]["cluster"];
            assert_eq!(cluster.get("certificate-authority-data").is_some(), expected.is_some(), "{ca:?}");
        }
        assert!(Hub::published(BTreeMap::new()).is_err());
    }
}
