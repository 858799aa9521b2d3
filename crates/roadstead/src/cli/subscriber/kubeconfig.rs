//! The kubeconfig that a subscriber is given: it reaches the hub's listener and nothing else.
//!
//! Where the hub is, the hub itself publishes in a ConfigMap: `url` (https), `ca.crt` (only if its certificate comes from an authority
//! of its own), and which namespaces it serves. Of several hubs on one control plane the right one is that which was told to serve
//! the subscriber's namespace; where that leaves a choice, `--system-namespace` makes it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt, api::ListParams};
use roadstead_api::names::{HUB_CONFIG, SYSTEM_NAMESPACE};
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::output::{Format, Output, emit};
use crate::cli::roles;

/// How the hub is reached.
pub struct Hub {
    url: String,
    ca: Option<String>,
}

impl Hub {
    /// Reads what the hub publishes that serves `namespace`.
    pub async fn find(client: &Client, namespace: &str, place: &Place) -> Result<Hub> {
        let found = match &place.system_namespace {
            Some(place) => read(client, place).await?.into_iter().collect(),
            None => search(client).await?,
        };
        let hubs = found.into_iter().map(|map| (map.namespace().unwrap_or_default(), map.data.unwrap_or_default()));
        Self::choose(hubs.collect(), namespace)
    }

    /// The one hub of those that publish (namespace and data of their ConfigMaps) that serves `namespace`.
    fn choose(mut hubs: Vec<(String, BTreeMap<String, String>)>, namespace: &str) -> Result<Hub> {
        hubs.retain(|(_, data)| {
            let served = data.get("namespaces");
            data.contains_key("url") && served.is_none_or(|served| served.split(',').any(|name| name == namespace))
        });
        // Who names the namespace is meant before those that serve all.
        if hubs.iter().any(|(_, data)| data.contains_key("namespaces")) {
            hubs.retain(|(_, data)| data.contains_key("namespaces"));
        }
        if hubs.len() > 1 {
            let there: Vec<&str> = hubs.iter().map(|(namespace, _)| namespace.as_str()).collect();
            let there = there.join(", ");
            let said = format!("several hubs serve namespace {namespace}: choose with --system-namespace ({there})");
            return Err(Failure::Conflict(said).into());
        }
        let (_, mut data) = hubs.pop().ok_or_else(|| {
            Failure::NotFound(format!(
                "no ConfigMap {HUB_CONFIG} tells of a hub that serves namespace {namespace}: is one running on this control plane?"
            ))
        })?;
        // An empty `ca.crt` is none: a client that is given one trusts nobody.
        let ca = data.remove("ca.crt").filter(|ca| !ca.trim().is_empty());
        Ok(Hub { url: data.remove("url").unwrap_or_default(), ca })
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

/// Flag that says which hub is meant.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Place {
    /// Namespace in which the hub tells its address; needed only where several hubs serve this one.
    #[arg(long, value_name = "NAME", value_parser = roles::namespace)]
    pub system_namespace: Option<String>,
}

/// What the hub of one system namespace publishes.
async fn read(client: &Client, namespace: &str) -> Result<Option<ConfigMap>> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    maps.get_opt(HUB_CONFIG).await.with_context(|| {
        format!(
            "cannot read ConfigMap {namespace}/{HUB_CONFIG}, where the hub tells its address (see --system-namespace)"
        )
    })
}

/// What all hubs publish; for those who may not look everywhere, what the one in the usual place does.
async fn search(client: &Client) -> Result<Vec<ConfigMap>> {
    let params = ListParams::default().fields(&format!("metadata.name={HUB_CONFIG}"));
    match Api::<ConfigMap>::all(client.clone()).list(&params).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Ok(read(client, SYSTEM_NAMESPACE).await?.into_iter().collect())
        }
        Err(error) => Err(error).context("cannot look for the hub's address"),
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
            let hub = Hub::choose(vec![(SYSTEM_NAMESPACE.into(), data)], "shop").unwrap();
            assert_eq!(hub.ca(), expected, "{ca:?}");
            let cluster = &hub.kubeconfig("edge-1", "shop", "rsub_x")["clusters"][0]["cluster"];
            assert_eq!(cluster.get("certificate-authority-data").is_some(), expected.is_some(), "{ca:?}");
        }
    }

    #[test]
    fn the_hub_is_the_one_that_serves_the_namespace() {
        let hub = |namespace: &str, served: Option<&str>| {
            let mut data = BTreeMap::from([("url".to_string(), format!("https://{namespace}"))]);
            data.extend(served.map(|served| ("namespaces".to_string(), served.to_string())));
            (namespace.to_string(), data)
        };
        let chosen = |hubs: &[(String, BTreeMap<String, String>)]| {
            Hub::choose(hubs.to_vec(), "shop").map(|hub| hub.url).map_err(|error| error.to_string())
        };
        assert_eq!(chosen(&[hub("one", None)]).as_deref(), Ok("https://one"));
        let others = [hub("one", Some("blog,shopping")), hub("two", Some("blog,shop"))];
        assert_eq!(chosen(&others).as_deref(), Ok("https://two"));
        assert_eq!(chosen(&[hub("one", None), hub("two", Some("shop"))]).as_deref(), Ok("https://two"));
        assert!(chosen(&[hub("one", None), hub("two", None)]).unwrap_err().contains("one, two"));
        assert!(chosen(&[hub("one", Some("blog"))]).unwrap_err().contains("shop"));
        assert!(chosen(&[("one".into(), BTreeMap::new())]).is_err(), "it has no url");
    }
}
