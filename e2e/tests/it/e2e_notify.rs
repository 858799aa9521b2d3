//! Registry webhooks end to end: a real registry, real pushes, and a receiver that verifies with the official library.

use roadstead_api::WebhookEndpointSpec;
use roadstead_api::endpoint::Provider;
use roadstead_e2e::notify::{Registered, SIGNING, TOKEN, told, verified};
use roadstead_e2e::registry::Registry;
use roadstead_e2e::{Ground, Hook, Platform, Receiver, Result, ensure, eventually, only_on};
use serde_json::{Value, json};

/// One apply: an endpoint for the registry, and a client that is told.
fn manifest(registry: &str, receiver: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Secret
metadata: {{name: registry-hook}}
stringData: {{token: {TOKEN}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: client}}
stringData: {{secret: '{SIGNING}'}}
---
apiVersion: roadstead.dev/v1alpha1
kind: WebhookEndpoint
metadata: {{name: registry}}
spec:
  provider: distribution
  secrets: [{{name: registry-hook, key: token}}]
  registry: {{url: 'http://{registry}'}}
  events: [push, delete]
---
apiVersion: roadstead.dev/v1alpha1
kind: RegistryWebhook
metadata: {{name: client}}
spec:
  source: {{endpoint: registry}}
  url: {receiver}
  secretRef: {{name: client, key: secret}}
"
    )
}

/// Waits until a verified message says `expected`.
async fn is_told(receiver: &Receiver, expected: &str) -> Result<()> {
    eventually(&format!("`{expected}` is told"), async || {
        let messages = receiver.received().iter().map(told).collect::<Result<Vec<_>>>()?;
        ensure!(messages.iter().any(|message| message.trim_end() == expected), "told was {messages:#?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_apply_tells_push_retag_delete_and_indexes_verified() -> Result<()> {
    let (up, receiver, address) = (Platform::start().await?, Receiver::start().await?, Registry::free_address()?);
    up.kubectl()?.apply(&manifest(&address, &receiver.url("/images")))?;
    let hook = Hook::existing(&up, "registry").await?;
    up.kubectl()?.run("wait --for=condition=Ready --timeout=30s registrywebhook/client")?;
    let registry = Registry::start(&address, &hook.url, TOKEN).await?;

    let first = registry.push("team-a/shop", "v1", "first")?;
    is_told(&receiver, &format!("image.push team-a/shop v1 {first}")).await?;
    registry.tag("team-a/shop", "v1", "latest")?;
    is_told(&receiver, &format!("image.push team-a/shop latest {first}")).await?;
    let index = registry.push_index("team-a/shop", "multi", &["amd64", "arm64"])?;
    is_told(&receiver, &format!("image.push team-a/shop multi {index}")).await?;
    registry.delete("team-a/shop", "v1")?;
    for tag in ["v1", "latest"] {
        is_told(&receiver, &format!("image.delete team-a/shop {tag} {first}")).await?;
    }

    let received = receiver.received();
    let test = &received[0];
    ensure!(verified(test)?["type"] == "webhook.test", "a new webhook is tested first: {}", told(test)?);
    let mut ids: Vec<&str> = received.iter().map(|request| request.header("webhook-id")).collect();
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    ensure!(ids.len() == count, "each message came once");
    ensure!(received.iter().all(|request| request.method == "POST" && request.path == "/images"));
    // In the order of the registry: the tag was deleted after it was pushed.
    let order: Vec<String> = received.iter().map(told).collect::<Result<_>>()?;
    let place = |text: &str| order.iter().position(|message| message.starts_with(text));
    ensure!(place("image.push team-a/shop v1") < place("image.delete team-a/shop v1"), "{order:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_send_and_record_it_sends_the_same_id_again_and_loses_nothing() -> Result<()> {
    let (mut up, receiver) = (Platform::start().await?, Receiver::start().await?);
    let webhook = Registered::ready(&up, "client", &receiver.url("/"), json!({})).await?;
    receiver.wait_for(1).await?;
    // From here on requests arrive and are not answered: sent, and not recorded.
    receiver.close();
    for id in ["a", "b", "c"] {
        webhook.push(id, "team-a/shop", id).await?;
    }
    let before = receiver.wait_for(2).await?;
    let first = before[1].header("webhook-id").to_string();
    up.kill()?;
    receiver.open();
    up.start_again().await?;
    let all = receiver.wait_for(5).await?;
    let again: Vec<&str> = all[2..].iter().map(|request| request.header("webhook-id")).collect();
    ensure!(again[0] == first, "the same id again, and first: {first}, {again:?}");
    ensure!(all[2].body == before[1].body, "and the same body");
    let tags: Vec<Value> =
        all[2..].iter().map(|request| Ok(verified(request)?["data"]["tag"].clone())).collect::<Result<_>>()?;
    ensure!(tags == ["a", "b", "c"], "{tags:?}");
    eventually("nothing waits any more", async || {
        let status = webhook.status().await?;
        ensure!(status.pending == 0 && status.delivered == 4, "{status:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_registers_tests_pauses_rotates_and_deletes() -> Result<()> {
    if !only_on(Ground::Embedded, "deliveries are served by the platform's own control plane") {
        return Ok(());
    }
    let (up, receiver) = (Platform::start().await?, Receiver::start().await?);
    up.cli(&["hook", "create", "registry", "--provider", "distribution"])?;
    let hook = Hook::existing(&up, "registry").await?;
    let url = receiver.url("/");
    let secret = up.cli(&["notify", "create", "client", "--endpoint", "registry", "--url", &url, "--tag", "v*"])?;
    ensure!(secret.starts_with("whsec_"), "{secret}");
    let verify = |count: usize, key: &str| -> Result<()> {
        let request = &receiver.received()[count - 1];
        Ok(standardwebhooks::Webhook::new(key.trim())?.verify(&request.body, &request.headers)?)
    };
    receiver.wait_for(1).await?;
    verify(1, &secret)?;
    let out = up.cli(&["notify", "test", "client", "-o", "json"])?;
    ensure!(serde_json::from_str::<Value>(&out)?["status"]["state"] == "Delivered", "{out}");
    verify(2, &secret)?;

    let rotated = up.cli(&["notify", "rotate", "client"])?;
    eventually("messages are signed with both secrets", async || {
        up.cli(&["notify", "test", "client"])?;
        let count = receiver.count();
        verify(count, &rotated)?;
        verify(count, &secret)?;
        Ok(Some(()))
    })
    .await?;

    up.cli(&["notify", "pause", "client"])?;
    let webhooks = up.cli(&["notify", "list", "-o", "json"])?;
    ensure!(serde_json::from_str::<Value>(&webhooks)?["items"][0]["spec"]["suspend"] == true);
    up.cli(&["notify", "resume", "client"])?;
    let deliveries = up.cli(&["notify", "deliveries", "client"])?;
    ensure!(deliveries.contains("Delivered") && deliveries.contains("client-00000000000000000001"), "{deliveries}");
    let count = receiver.count();
    up.cli(&["notify", "redeliver", "client", "1"])?;
    let again = receiver.wait_for(count + 1).await?;
    ensure!(again[count].header("webhook-id") == again[0].header("webhook-id"), "the same id");
    let shown = up.cli(&["notify", "show", "client"])?;
    ensure!(shown.contains("Ready=True") && !shown.contains("whsec_"), "{shown}");
    up.cli(&["notify", "delete", "client"])?;
    ensure!(up.cli(&["notify", "list", "-o", "name"])?.is_empty());
    drop(hook);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_reads_what_the_distribution_format_says() -> Result<()> {
    let up = Platform::start().await?;
    let spec = WebhookEndpointSpec { provider: Provider::Distribution, ..Default::default() };
    let relay = Hook::create(&up, "relay", TOKEN, spec).await?;
    let kubectl = up.kubectl()?;
    kubectl.args(&["create", "secret", "generic", "relay", &format!("--from-literal=Authorization=Bearer {TOKEN}")])?;
    let change = json!({"format": "distribution", "headersFrom": {"secretRef": {"name": "relay"}}});
    let webhook = Registered::ready(&up, "client", &relay.url, change).await?;
    webhook.push("a", "team-a/shop", "v1").await?;
    // The test message, an envelope without events, is recorded too.
    let event = relay.wait_for(2).await?.remove(1);
    let image = event.spec.image.unwrap_or_default();
    ensure!(event.spec.verified && event.spec.kind == "push", "{:?}", event.spec.kind);
    let said = (image.registry.as_str(), image.repository.as_str(), image.tag.as_str(), image.action.as_str());
    ensure!(said == ("registry.example.com", "team-a/shop", "v1", "push"), "{image:?}");
    ensure!(image.digest == format!("sha256:{}", "0".repeat(64)), "{image:?}");
    Ok(())
}
