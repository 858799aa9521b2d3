//! From a push to a rolled workload, without any code: a real registry tells the hub, a trigger sets the image, and where the cluster
//! has controllers and a node, they do the rest.
//!
//! `cargo xtask e2e --node` sets `ROADSTEAD_E2E_IMAGE_ARCHIVE`, the file of an image that runs: then the pods are looked at too.

use std::path::PathBuf;
use std::time::Duration;

use roadstead_api::WebhookEndpointSpec;
use roadstead_api::endpoint::{Provider, Registry as RegistrySpec};
use roadstead_api::trigger::{ImagePolicy, SetImage};
use roadstead_e2e::registry::Registry;
use roadstead_e2e::{Ground, Hook, Kubectl, Platform, Result, ensure, eventually, trigger, wait::within};
use serde_json::{Value, json};

use crate::e2e_triggers::{allow, without_action};

const TOKEN: &str = "registry-token";

/// A pod is pulled, started and replaced within this.
const PATIENCE: Duration = Duration::from_secs(120);

/// Pushes `team-a/shop` at a tag: an image that runs, or a small one where nothing does.
fn push(registry: &Registry, archive: Option<&PathBuf>, tag: &str) -> Result<()> {
    match archive {
        Some(archive) => registry.push_archive("team-a/shop", tag, archive),
        None => registry.push("team-a/shop", tag, tag).map(drop),
    }
}

fn get(kubectl: &Kubectl, what: &str) -> Result<Value> {
    Ok(serde_json::from_str(&kubectl.run(&format!("get {what} -o json"))?)?)
}

/// Waits until all replicas are of the present template and run.
async fn rolled(kubectl: &Kubectl) -> Result<()> {
    within(PATIENCE, "the Deployment is rolled out", async || {
        let web = get(kubectl, "deployment/web")?;
        let status = &web["status"];
        let count = |field: &str| status[field].as_i64().unwrap_or_default();
        let observed = status["observedGeneration"] == web["metadata"]["generation"];
        let pods = kubectl.run("get pods -o wide")?;
        ensure!(observed && ["replicas", "updatedReplicas", "readyReplicas"].map(count) == [2; 3], "{status}\n{pods}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_rolls_a_deployment() -> Result<()> {
    let archive = std::env::var_os("ROADSTEAD_E2E_IMAGE_ARCHIVE").map(PathBuf::from);
    let (up, address) = (Platform::start().await?, Registry::free_address()?);
    let kubectl = up.kubectl()?;
    let spec = WebhookEndpointSpec {
        provider: Provider::Distribution,
        registry: Some(RegistrySpec { url: format!("http://{address}"), ..Default::default() }),
        ..Default::default()
    };
    let hook = Hook::create(&up, "registry", TOKEN, spec).await?;
    let registry = Registry::start(&address, &hook.url, TOKEN).await?;
    push(&registry, archive.as_ref(), "v1.0.0")?;
    let image = |tag: &str| format!("{address}/team-a/shop:{tag}");
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [{
                        "name": "web", "image": image("v1.0.0"), "args": ["up", "--data-dir", "/data/roadstead"],
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }],
                    "securityContext": {"fsGroup": 65532},
                    "volumes": [{"name": "data", "emptyDir": {}}],
                },
            },
        },
    });
    kubectl.apply(&web.to_string())?;
    if archive.is_some() {
        rolled(&kubectl).await?;
    }

    allow(&up, "get,patch,update", "deployments.apps")?;
    let policy = ImagePolicy { semver: Some(">=1.0, <2".into()), ..Default::default() };
    let (kind, name, container) = ("Deployment".into(), "web".into(), "web".into());
    let set_image = SetImage { kind, name, container, policy, ..Default::default() };
    let spec = roadstead_api::TriggerSpec { set_image: Some(set_image), ..without_action(&hook) };
    trigger::create(&up.client().await?, "deploy", spec).await?;
    push(&registry, archive.as_ref(), "v1.1.0")?;

    let wanted = image("v1.1.0");
    let set = |object: &Value| object["spec"]["template"]["spec"]["containers"][0]["image"] == wanted;
    eventually("the image is set", async || {
        let web = get(&kubectl, "deployment/web")?;
        Ok(set(&web).then_some(()))
    })
    .await?;
    if Ground::here() == Ground::Kubernetes {
        eventually("the cluster makes a ReplicaSet of it", async || {
            let sets = get(&kubectl, "replicasets")?;
            Ok(sets["items"].as_array().is_some_and(|sets| sets.len() == 2 && sets.iter().any(&set)).then_some(()))
        })
        .await?;
    }
    if archive.is_some() {
        rolled(&kubectl).await?;
        let pods = get(&kubectl, "pods --field-selector status.phase=Running")?;
        let images = pods["items"].as_array().into_iter().flatten().map(|pod| &pod["spec"]["containers"][0]["image"]);
        let images: Vec<&str> = images.filter_map(Value::as_str).collect();
        ensure!(images == [wanted.as_str(); 2], "{images:?}");
        eprintln!("{}", kubectl.run("get deployment,replicaset,pods -o wide")?);
    }
    Ok(())
}
