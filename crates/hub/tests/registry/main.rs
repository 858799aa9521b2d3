//! A real registry (Debian's docker-registry, with skopeo as its client): what it tells, read by the hub; what it answers when it is
//! asked.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use http::Method;
use jiff::Timestamp;
use roadstead_api::endpoint::{Provider, WebhookEndpointSpec};
use roadstead_api::event::ImageChange;
use roadstead_e2e::receiver::{Received, Receiver};
use roadstead_e2e::registry::Registry as RealRegistry;
use roadstead_e2e::wait::eventually;
use roadstead_hub::incoming::Incoming;
use roadstead_hub::providers::{Change, read};
use roadstead_hub::tag_index::TagIndex;
use roadstead_hub::verify::{Policy, Secret, Verified};
use roadstead_outbound::registry::{Access, Confirmation, Registry, RegistryError};
use roadstead_reconcile::Targets;

/// What a delivery told, after it was verified.
fn changes(received: &Received) -> Result<Vec<Change>> {
    let spec = WebhookEndpointSpec { provider: Provider::Distribution, ..WebhookEndpointSpec::default() };
    let policy = Policy::compile(&spec, vec![Secret::new("hook-token")])?;
    let incoming = Incoming { method: &Method::POST, headers: &received.headers, query: None, body: &received.body };
    assert_eq!(policy.verify(&incoming, Timestamp::now()), Ok(Verified::Proven));
    Ok(read(Provider::Distribution, None, &incoming).changes)
}

/// Waits for the event that a predicate describes; gives all images told so far.
async fn told(hook: &Receiver, what: &str, wanted: impl Fn(&ImageChange) -> bool) -> Result<Vec<Change>> {
    eventually(what, async || {
        let mut all = Vec::new();
        for received in hook.received() {
            all.extend(changes(&received)?);
        }
        let found = all.iter().any(|change| change.image.as_ref().is_some_and(&wanted));
        Ok(found.then_some(all))
    })
    .await
}

fn push(repository: &str, tag: &str, digest: &str) -> ImageChange {
    ImageChange {
        repository: repository.into(),
        tag: tag.into(),
        digest: digest.into(),
        action: "push".into(),
        ..ImageChange::default()
    }
}

fn delete(repository: &str, tag: &str, digest: &str) -> ImageChange {
    ImageChange { action: "delete".into(), ..push(repository, tag, digest) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_tells_and_what_it_answers() -> Result<()> {
    let hook = Receiver::start().await?;
    let address = RealRegistry::free_address()?;
    let real = RealRegistry::start(&address, &hook.url("/hook"), "hook-token").await?;
    let url = real.url();
    let registry = Registry::new(Access { url: &url, credentials: None, ca: None, targets: Targets::with_loopback() })?;

    let digest = real.push("team/shop", "v1", "one")?;
    real.tag("team/shop", "v1", "latest")?;
    let all = told(&hook, "the second tag is told", |image| image.tag == "latest" && image.action == "push").await?;

    // Manifests are pushes, layers are not.
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    all.iter().for_each(|change| *kinds.entry(change.kind.as_str()).or_default() += 1);
    assert_eq!(kinds.get("push"), Some(&2), "{kinds:?}");
    assert!(kinds.contains_key("blob_push"), "{kinds:?}");
    for image in all.iter().filter(|change| change.kind == "push").filter_map(|change| change.image.as_ref()) {
        assert_eq!((&image.registry, &image.repository, &image.digest), (&address, &"team/shop".to_owned(), &digest));
    }

    // The registry confirms what is true, completes what is missing, and denies what is false.
    let confirm = async |image: &ImageChange| registry.confirm(image).await;
    let truth = Confirmation::Confirmed(ImageChange { registry: address.clone(), ..push("team/shop", "v1", &digest) });
    assert_eq!(confirm(&push("team/shop", "v1", &digest)).await?, truth);
    assert_eq!(confirm(&push("team/shop", "v1", "")).await?, truth);
    // A payload that names another registry does not choose where receivers pull from.
    let elsewhere = ImageChange { registry: "evil.example.com".into(), ..push("team/shop", "v1", "") };
    assert_eq!(confirm(&elsewhere).await?, truth);
    let other = format!("sha256:{}", "0".repeat(64));
    assert_eq!(confirm(&push("team/shop", "v1", &other)).await?, truth);
    assert_eq!(confirm(&push("team/shop", "", &other)).await?, Confirmation::Denied);
    assert_eq!(confirm(&push("team/shop", "v9", "")).await?, Confirmation::Denied);
    assert_eq!(confirm(&push("no/such", "v1", "")).await?, Confirmation::Denied);
    assert_eq!(confirm(&delete("team/shop", "v1", "")).await?, Confirmation::Denied);
    assert_eq!(confirm(&delete("team/shop", "", &digest)).await?, Confirmation::Denied);
    assert_eq!(confirm(&delete("team/shop", "", "")).await?, Confirmation::Denied);
    let tags = registry.tags("team/shop").await?.context("the repository is there")?;
    assert_eq!(tags.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>(), ["latest", "v1"].into());
    assert_eq!(registry.tags("no/such").await?, None);

    // A deletion is told by its digest, and then by each tag alone; the hub knows the rest.
    let mut index = TagIndex::new(100);
    all.iter().filter_map(|change| change.image.as_ref()).for_each(|image| index.observe(image));
    real.delete("team/shop", "v1")?;
    let all = told(&hook, "the deletion is told", |image| image.action == "delete" && image.tag == "v1").await?;
    let deletions: Vec<_> = all.into_iter().filter(|change| change.kind == "delete").collect();
    let of_manifest = deletions[0].image.clone().context("an image")?;
    assert_eq!((of_manifest.tag.as_str(), &of_manifest.digest), ("", &digest));
    assert!(deletions[1..].iter().filter_map(|change| change.image.as_ref()).all(|image| image.digest.is_empty()));
    let mut filled = Vec::new();
    for deletion in deletions {
        let changes = index.fill(vec![deletion]);
        changes.iter().filter_map(|change| change.image.as_ref()).for_each(|image| index.observe(image));
        filled.extend(changes.into_iter().filter_map(|change| change.image));
    }
    assert!(filled.iter().all(|image| image.digest == digest), "{filled:#?}");
    let tags: Vec<_> = filled.iter().map(|image| image.tag.as_str()).collect();
    assert_eq!(tags[..2], ["latest", "v1"], "{filled:#?}");
    for image in &filled {
        assert_eq!(confirm(image).await?, Confirmation::Confirmed(image.clone()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_private_is_reached_unless_it_is_allowed() -> Result<()> {
    let server = Receiver::start().await?;
    let port = server.url("").rsplit(':').next().unwrap_or_default().to_owned();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{port}");
        let registry = Registry::new(Access { url: &url, credentials: None, ca: None, targets: Targets::default() })?;
        let error = registry.digest("a", "v1").await.expect_err("loopback is private");
        assert!(
            matches!(&error, RegistryError::Unreachable(why) if why.to_string().contains("--allow-target")),
            "{host}: {error}"
        );
    }
    assert_eq!(server.count(), 0);
    Ok(())
}
