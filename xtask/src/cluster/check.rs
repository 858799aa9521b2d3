//! `cluster check`: whether pods really run. A Deployment of two pods becomes ready, one of them resolves the name of their Service
//! and gets an answer from it; then all of it is removed.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::api::Api;
use super::state::Settings;
use super::{Which, node, wait};
use crate::step::step;

/// The namespace of the check.
const NAMESPACE: &str = "roadstead-check";
const LIMIT: Duration = Duration::from_secs(120);

/// Does it, and removes it, also on failure.
pub fn check(which: &Which) -> Result<()> {
    let api = which.api()?;
    let layout = which.layout()?;
    if which.kubeconfig.is_some() || !Settings::load(&layout)?.is_some_and(|settings| settings.node) {
        bail!("this checks the node of a cluster made by `cargo xtask cluster up --node`, and there is none");
    }
    step("remove what an earlier check left", || remove(&api))?;
    let result = workload(&api, &layout.path("node/check.json"));
    if result.is_err() {
        let events = api.output(&["-n", NAMESPACE, "get", "events,pods"]);
        eprintln!("{}", events.unwrap_or_default());
    }
    result.and(step("remove it", || remove(&api)))
}

fn workload(api: &Api, file: &std::path::Path) -> Result<()> {
    step("a Deployment of two pods becomes ready", || {
        api.apply(&objects(), file)?;
        api.wait("deployment/web", &format!("-n {NAMESPACE} --for=condition=Available"), LIMIT)
    })?;
    let name = format!("web.{NAMESPACE}.svc.cluster.local");
    step("a pod resolves the name of a Service", || {
        let address = api.output(&["-n", NAMESPACE, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"])?;
        inside(api, &["resolve", &name], |answer| answer == address)
    })?;
    step("a pod gets an answer from the Service", || {
        inside(api, &["get", &format!("http://{name}/")], |answer| answer.starts_with("hello from web-"))
    })
}

/// Runs the program of the image in a pod until it answers as it should.
fn inside(api: &Api, arguments: &[&str], right: impl Fn(&str) -> bool) -> Result<()> {
    let mut last = String::new();
    wait::until("the right answer", Duration::from_secs(30), || {
        let exec = ["-n", NAMESPACE, "exec", "deployment/web", "--", "/hello"];
        last = api.output(&[&exec, arguments].concat()).unwrap_or_else(|error| error.to_string());
        Ok(right(&last))
    })
    .with_context(|| format!("`/hello {}` says: {last}", arguments.join(" ")))
}

fn remove(api: &Api) -> Result<()> {
    api.output(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false"])?;
    wait::until("the namespace is gone", LIMIT, || {
        Ok(api.output(&["get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name"])?.is_empty())
    })
}

fn objects() -> Value {
    let labels = json!({"app.kubernetes.io/name": "web"});
    let metadata = json!({"name": "web", "namespace": NAMESPACE, "labels": labels});
    let container = json!({
        "name": "web",
        "image": node::HELLO_IMAGE,
        "imagePullPolicy": "Never",
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    });
    let pod = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    let deployment = json!({"replicas": 2, "selector": {"matchLabels": labels}, "template": pod});
    let service = json!({"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]});
    let items = json!([
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
    ]);
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}
