//! What registries fail to tell, and what others tell in their name: what of it reaches a receiver, with a real registry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roadstead_api::WebhookEndpointSpec;
use roadstead_api::endpoint::{Authentication, Provider, Registry as RegistrySpec};
use roadstead_e2e::http::post;
use roadstead_e2e::notify::{Registered, TOKEN, told, verified};
use roadstead_e2e::registry::Registry;
use roadstead_e2e::wait::within;
use roadstead_e2e::{Hook, Platform, Receiver, Result, ensure, eventually};
use serde_json::{Value, json};

/// Nobody listens there: what this registry would tell is heard by nobody.
const NOBODY: &str = "http://127.0.0.1:1/";

/// How long a registry that is polled every 30 seconds may take to be asked twice.
const POLLED: Duration = Duration::from_secs(120);

/// The endpoint's spec for a registry at `address`.
fn spec(provider: Provider, address: &str) -> WebhookEndpointSpec {
    let registry = RegistrySpec { url: format!("http://{address}"), ..RegistrySpec::default() };
    WebhookEndpointSpec { provider, registry: Some(registry), ..WebhookEndpointSpec::default() }
}

/// `data` of the verified message that tells of this.
fn data(receiver: &Receiver, text: &str) -> Result<Option<Value>> {
    for request in receiver.received() {
        if told(&request)? == text {
            return Ok(Some(verified(&request)?["data"].clone()));
        }
    }
    Ok(None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_registry_never_told_reaches_the_receiver_once() -> Result<()> {
    let (mut up, receiver, address) = (Platform::start().await?, Receiver::start().await?, Registry::free_address()?);
    let hook = Hook::create(&up, "registry", TOKEN, spec(Provider::Distribution, &address)).await?;
    let _webhook =
        Registered::ready(&up, "client", &receiver.url("/"), json!({"source": {"endpoint": "registry"}})).await?;
    let mut registry = Registry::start(&address, &hook.url, TOKEN).await?;
    let first = registry.push("team-a/shop", "v1", "first")?;
    let pushed = format!("image.push team-a/shop v1 {first}");
    let seen = eventually("the first push is told", async || data(&receiver, &pushed)).await?;
    ensure!(seen["reconciled"] == false, "{seen}");

    // From now on a new repository is news.
    within(POLLED, "the registry is compared", async || {
        Ok(hook.get().await?.status.and_then(|status| status.last_reconciled))
    })
    .await?;

    // Nobody takes what the registry tells now, and it forgets it when it is killed.
    up.kill()?;
    let moved = registry.push("team-a/shop", "v1", "moved")?;
    let new = registry.push("team-b/new", "v1", "new")?;
    registry.restart().await?;
    up.start_again().await?;
    for missed in [format!("image.push team-a/shop v1 {moved}"), format!("image.push team-b/new v1 {new}")] {
        let what = format!("`{missed}` is told");
        let seen = within(POLLED, &what, async || data(&receiver, &missed)).await?;
        ensure!(seen["reconciled"] == true && seen["registry"] == address.as_str(), "{seen}");
    }
    // What was sent and not recorded when the hub was killed comes again, with the same id.
    let received = receiver.received();
    let messages = received.iter().map(|request| Ok((request.header("webhook-id").into(), told(request)?)));
    let messages: BTreeMap<String, String> = messages.collect::<Result<_>>()?;
    let different: BTreeSet<&String> = messages.values().collect();
    ensure!(different.len() == messages.len(), "each is told as one message: {messages:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_names_another_registry_does_not_choose_where_receivers_pull_from() -> Result<()> {
    let (up, receiver, address) = (Platform::start().await?, Receiver::start().await?, Registry::free_address()?);
    let registry = Registry::start(&address, NOBODY, TOKEN).await?;
    let digest = registry.push("team-a/shop", "v1", "first")?;
    let zot = registry.push("team-a/cart", "v1", "second")?;

    // Quay signs nothing; whoever knows the URL says what he likes.
    let quay = WebhookEndpointSpec { authentication: Authentication::UrlOnly, ..spec(Provider::Quay, &address) };
    let quay = Hook::create(&up, "quay", "", quay).await?;
    // Zot does not name itself.
    let quiet = Hook::create(&up, "zot", TOKEN, spec(Provider::Zot, &address)).await?;
    for (name, endpoint) in [("of-quay", "quay"), ("of-zot", "zot")] {
        Registered::ready(&up, name, &receiver.url("/"), json!({"source": {"endpoint": endpoint}})).await?;
    }
    let body =
        json!({"repository": "team-a/shop", "docker_url": "evil.example.com/team-a/shop", "updated_tags": ["v1"]});
    let answer = post(&quay.url, &[], body.to_string()).await?;
    ensure!(answer.is_success(), "{}", answer.status);
    let headers = [
        ("authorization".into(), format!("Bearer {TOKEN}")),
        ("content-type".into(), "application/json".into()),
        ("ce-id".into(), "one".into()),
        ("ce-source".into(), "zotregistry.dev".into()),
        ("ce-type".into(), "zotregistry.image.updated".into()),
    ];
    let body = json!({"name": "team-a/cart", "reference": "v1", "digest": zot});
    let answer = post(&quiet.url, &headers, body.to_string()).await?;
    ensure!(answer.is_success(), "{}", answer.status);

    for (repository, digest) in [("team-a/shop", &digest), ("team-a/cart", &zot)] {
        let push = format!("image.push {repository} v1 {digest}");
        let seen = eventually(&format!("`{push}` is told"), async || data(&receiver, &push)).await?;
        ensure!(seen["registry"] == address.as_str(), "{seen}");
        ensure!(seen["reference"] == format!("{address}/{repository}@{digest}"), "{seen}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_tells_nothing_is_polled() -> Result<()> {
    let (up, receiver, address) = (Platform::start().await?, Receiver::start().await?, Registry::free_address()?);
    let registry = Registry::start(&address, NOBODY, TOKEN).await?;
    let old = registry.push("team-a/shop", "v1", "old")?;
    let poll = json!({"url": registry.url(), "repositories": ["team-*/*"], "interval": "30s"});
    let webhook = Registered::ready(&up, "client", &receiver.url("/"), json!({"source": {"poll": poll}})).await?;
    webhook.condition("RegistryReachable", "True").await?;

    let moved = registry.push("team-a/shop", "v1", "moved")?;
    let new = registry.push("team-b/new", "v1", "new")?;
    for push in [format!("image.push team-a/shop v1 {moved}"), format!("image.push team-b/new v1 {new}")] {
        let seen = within(POLLED, &format!("`{push}` is told"), async || data(&receiver, &push)).await?;
        ensure!(seen["reconciled"] == true && seen["registry"] == address.as_str(), "{seen}");
    }
    let before = format!("image.push team-a/shop v1 {old}");
    ensure!(data(&receiver, &before)?.is_none(), "it was there before anybody looked");
    Ok(())
}
