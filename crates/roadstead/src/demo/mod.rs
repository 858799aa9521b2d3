//! The tour: one hub, two remote control planes that accept no connection from outside, and a real signed delivery.
//!
//! Nothing is pretended: the hub is the one that `up` runs, each edge has a control plane and an agent of its own and knows
//! the hub only by the kubeconfig that `roadstead subscriber add` would print, and deliveries go over TLS with GitHub's own
//! signature. What happens is printed as a timeline.

mod edge;
mod github;
mod timeline;

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PostParams};
use roadstead_api::{
    Subscriber, WebhookEndpoint,
    names::{GROUP, VERSION},
};
use serde_json::{Value, json};

use crate::{
    cli::subscriber::{
        kubeconfig::{Hub, Place},
        token,
    },
    platform::Platform,
};

use edge::{Action, Edge};
use timeline::{Timeline, Who};

/// Key that the tour's deliveries are signed with.
const SIGNING_KEY: &str = "the tour's own signing key";
/// How long a step may take before the tour gives up.
const PATIENCE: Duration = Duration::from_secs(15);

/// Plays the tour on `platform`; the edges keep their data in `dir`. Returns the edges: they run until stopped.
pub async fn play(platform: &Platform, dir: &Path) -> Result<Vec<Edge>> {
    let time = Timeline::start();
    let client = platform.client();
    time.say(
        Who::Hub,
        &format!("listens on https://{}, the only address that anybody can reach", platform.addresses().hub),
    );
    let url = endpoint(&client).await?;
    time.say(Who::Hub, "WebhookEndpoint default/shop is ready; its URL goes into the repository's webhook settings:");
    time.more(&url);

    let hub = Hub::find(&client, "default", &Place::default()).await?;
    let forward = subscribe(&client, &hub, "edge-1").await?;
    let annotate = subscribe(&client, &hub, "edge-2").await?;
    let first = Edge::start("edge-1", &dir.join("edge-1"), &forward, Action::Forward, &time).await?;
    let mut second = Edge::start("edge-2", &dir.join("edge-2"), &annotate, Action::Annotate, &time).await?;

    let sender = github::Sender::new(&url, hub.ca().unwrap_or_default(), SIGNING_KEY.as_bytes())?;
    time.say(Who::Git, "git push: delivers commit 1, signed");
    time.say(Who::Git, &format!("answered {}", sender.push(1).await?));
    first.has_seen(1, PATIENCE).await.context("edge-1")?;
    second.has_seen(1, PATIENCE).await.context("edge-2")?;

    time.say(Who::Git, "delivers commit 1 again, with a forged signature");
    time.say(Who::Git, &format!("answered {}", sender.forge(1).await?));

    second.stop().await;
    time.say(Who::Edge("edge-2"), "is switched off: agent, control plane and all");
    for commit in 2..=4 {
        let answer = sender.push(commit).await?;
        time.say(Who::Git, &format!("delivers commit {commit}: answered {answer}"));
        first.has_seen(commit, PATIENCE).await.context("edge-1")?;
    }
    time.say(Who::Git, &format!("redelivers commit 4: answered {}", sender.push(4).await?));
    second.restart(&time).await?;
    second.has_seen(4, PATIENCE).await.context("edge-2 after its return")?;

    let endpoints: Api<WebhookEndpoint> = Api::namespaced(client, "default");
    let counters = settled(&endpoints).await?;
    let (one, two) = (first.seen(), second.seen());
    time.say(
        Who::Hub,
        &format!(
            "recorded {} deliveries, knew {} already, refused {}",
            counters.accepted, counters.duplicate, counters.rejected
        ),
    );
    time.say(
        Who::Tour,
        &format!("edge-1 acted on commits {one:?}, edge-2 on {two:?}: nothing lost, nothing twice, in order"),
    );
    if one != [1, 2, 3, 4] || two != [1, 2, 3, 4] {
        bail!("an edge did not act on every commit once and in order");
    }
    Ok(vec![first, second])
}

/// The endpoint's counters, once its status tells of everything that the tour posted: it is written ten times a second at most.
async fn settled(endpoints: &Api<WebhookEndpoint>) -> Result<roadstead_api::endpoint::Counters> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let counters = endpoints.get("shop").await?.status.unwrap_or_default().counters;
        let all = counters.accepted == 4 && counters.duplicate == 1 && counters.rejected == 1;
        if all || tokio::time::Instant::now() > deadline {
            return Ok(counters);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Makes the endpoint and its Secret; the URL.
async fn endpoint(client: &Client) -> Result<String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "default");
    let secret = json!({"metadata": {"name": "shop-hook"}, "stringData": {"token": SIGNING_KEY}});
    create(&secrets, secret).await?;
    let endpoints: Api<WebhookEndpoint> = Api::namespaced(client.clone(), "default");
    let spec = json!({"provider": "github", "secrets": [{"name": "shop-hook", "key": "token"}], "events": ["push"]});
    create(&endpoints, object("WebhookEndpoint", "shop", spec)).await?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        let status = endpoints.get("shop").await?.status.unwrap_or_default();
        let ready = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        if let (true, Some(url)) = (ready, status.url) {
            return Ok(url);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bail!("the endpoint was not ready within {PATIENCE:?}")
}

/// Makes a subscriber with a fresh token; its kubeconfig.
async fn subscribe(client: &Client, hub: &Hub, name: &str) -> Result<kube::config::Kubeconfig> {
    let token = token::new()?;
    let spec = json!({"endpoints": [{"name": "shop"}], "tokens": [token::hash(&token, Timestamp::now(), None)]});
    let subscribers: Api<Subscriber> = Api::namespaced(client.clone(), "default");
    create(&subscribers, object("Subscriber", name, spec)).await?;
    Ok(serde_json::from_value(hub.kubeconfig(name, "default", &token))?)
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let api_version = format!("{GROUP}/{VERSION}");
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Creates an object; one that is there already is replaced, so that the tour can be played again.
async fn create<K>(api: &Api<K>, object: Value) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_string();
    if api.get_opt(&name).await?.is_some() {
        api.delete(&name, &kube::api::DeleteParams::default()).await?;
    }
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}
