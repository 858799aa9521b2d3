//! A backup of a running platform, and what is restored from it.

use std::fmt::Debug;
use std::process::Command;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use roadstead_e2e::endpoint::{Event, event_kind};
use roadstead_e2e::{Ground, Hook, Platform, Result, ensure, only_on, tools};
use serde::de::DeserializeOwned;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_platform_has_everything_and_old_watchers_begin_anew() -> Result<()> {
    if !only_on(Ground::Embedded, "a backup is one of everything that `roadstead up` keeps; a cluster has its own") {
        return Ok(());
    }
    let mut up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    for number in 0..20 {
        ensure!(hook.deliver("push", &number.to_string(), b"{}").await?.is_success());
    }
    let url = hook.get().await?.status.and_then(|status| status.url);
    let before: Api<Event> = Api::default_namespaced_with(up.client().await?, &event_kind());
    let file = up.scratch().join("backup");
    up.cli(&["backup", &file.display().to_string()])?;
    ensure!(hook.deliver("push", "after the backup", b"{}").await?.is_success(), "the platform goes on");
    // Whoever has seen this far knows an event that the restored log does not have.
    let position = before.list(&Default::default()).await?.metadata.resource_version.unwrap_or_default();
    let maps: Api<ConfigMap> = Api::all(up.client().await?);
    let version = maps.list(&Default::default()).await?.metadata.resource_version.unwrap_or_default();
    up.kill()?;

    let directory = tempfile::tempdir()?;
    let data = directory.path().join("restored");
    let restored = Command::new(tools::roadstead()?).arg("restore").arg(&file).arg("--data-dir").arg(&data).output()?;
    ensure!(restored.status.success(), "{restored:?}");
    let again = Platform::on(&data).await?;
    let kubectl = again.kubectl()?;
    ensure!(kubectl.run("get secret shop-hook -o name")? == "secret/shop-hook");
    ensure!(kubectl.run("get webhookevents -o name")?.lines().count() == 20);
    ensure!(url.is_some(), "the endpoint had a URL");
    let path = |url: &str| url.splitn(4, '/').nth(3).map(str::to_string);
    let now = kubectl.run("get hook shop -o jsonpath={.status.url}")?;
    ensure!(path(&now) == url.as_deref().and_then(path), "the path stays: {now}");

    let client = again.client().await?;
    let events: Api<Event> = Api::default_namespaced_with(client.clone(), &event_kind());
    let maps: Api<ConfigMap> = Api::all(client);
    ensure!(is_gone(&events, &position).await?, "events after {position} are served as if nothing had happened");
    ensure!(is_gone(&maps, &version).await?, "objects after {version} are served as if nothing had happened");
    Ok(())
}

/// Whether a watch from this position is answered 410.
async fn is_gone<K: Clone + Debug + DeserializeOwned>(api: &Api<K>, position: &str) -> Result<bool> {
    let mut stream = match api.watch(&WatchParams::default(), position).await {
        Err(kube::Error::Api(status)) => return Ok(status.code == 410),
        Err(error) => return Err(error.into()),
        Ok(stream) => stream.boxed(),
    };
    Ok(matches!(stream.next().await, Some(Ok(WatchEvent::Error(status))) if status.code == 410))
}
