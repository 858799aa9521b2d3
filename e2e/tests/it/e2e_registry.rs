//! A real registry tells the hub; what arrives names repository, tag and digest.

use roadstead_api::WebhookEndpointSpec;
use roadstead_api::endpoint::{Provider, Registry as RegistrySpec};
use roadstead_e2e::registry::Registry;
use roadstead_e2e::{Hook, Platform, Result, ensure, eventually};

const TOKEN: &str = "registry-token";

/// `action repository tag digest` of each image event.
async fn images(hook: &Hook) -> Result<Vec<String>> {
    let events = hook.events().await?;
    let images = events.iter().filter_map(|event| event.spec.image.as_ref());
    Ok(images.map(|image| format!("{} {} {} {}", image.action, image.repository, image.tag, image.digest)).collect())
}

async fn wait(hook: &Hook, expected: &str) -> Result<()> {
    eventually(&format!("`{expected}` is recorded"), async || {
        let images = images(hook).await?;
        ensure!(images.iter().any(|image| image == expected), "there is {images:#?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn push_retag_and_delete_arrive_with_repository_tag_and_digest() -> Result<()> {
    let up = Platform::start().await?;
    let address = Registry::free_address()?;
    let spec = WebhookEndpointSpec {
        provider: Provider::Distribution,
        registry: Some(RegistrySpec { url: format!("http://{address}"), ..Default::default() }),
        events: vec!["push".into(), "delete".into()],
        ..Default::default()
    };
    let hook = Hook::create(&up, "registry", TOKEN, spec).await?;
    let registry = Registry::start(&address, &hook.url, TOKEN).await?;

    let first = registry.push("team-a/shop", "v1", "first")?;
    wait(&hook, &format!("push team-a/shop v1 {first}")).await?;
    registry.tag("team-a/shop", "v1", "latest")?;
    wait(&hook, &format!("push team-a/shop latest {first}")).await?;
    let second = registry.push("team-a/shop", "v2", "second")?;
    ensure!(first != second);
    wait(&hook, &format!("push team-a/shop v2 {second}")).await?;
    registry.delete("team-a/shop", "v1")?;
    for tag in ["v1", "latest"] {
        wait(&hook, &format!("delete team-a/shop {tag} {first}")).await?;
    }
    let images = images(&hook).await?;
    ensure!(!images.iter().any(|image| image.starts_with("delete") && image.ends_with(&second)), "{images:#?}");
    ensure!(!images.iter().any(|image| image.starts_with("pull")), "{images:#?}");
    let sequences: Vec<u64> = hook.events().await?.iter().map(|event| event.spec.sequence).collect();
    ensure!(sequences.iter().copied().eq(1..=sequences.len() as u64), "{sequences:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_was_down_gets_what_the_registry_kept() -> Result<()> {
    let mut up = Platform::start().await?;
    let address = Registry::free_address()?;
    let spec =
        WebhookEndpointSpec { provider: Provider::Distribution, events: vec!["push".into()], ..Default::default() };
    let hook = Hook::create(&up, "registry", TOKEN, spec).await?;
    let registry = Registry::start(&address, &hook.url, TOKEN).await?;
    up.kill()?;
    let digest = registry.push("team-a/shop", "v1", "first")?;
    up.start_again().await?;
    wait(&hook, &format!("push team-a/shop v1 {digest}")).await
}
