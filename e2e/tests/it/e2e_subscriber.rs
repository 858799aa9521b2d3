//! Subscribers: what their kubeconfig reaches, what it does not, and how it ends.

use std::path::PathBuf;
use std::time::Duration;

use futures::io::AsyncReadExt;
use kube::api::{Patch, PatchParams};
use roadstead_e2e::up::client;
use roadstead_e2e::wait::within;
use roadstead_e2e::{Hook, Kubectl, Platform, Result, bail, ensure, eventually, post};
use serde_json::json;

fn subscribe(up: &Platform, name: &str, arguments: &str) -> Result<PathBuf> {
    let mut words = vec!["subscriber", "add", name];
    words.extend(arguments.split_whitespace());
    save(up, name, &up.cli(&words)?)
}

fn save(up: &Platform, name: &str, kubeconfig: &str) -> Result<PathBuf> {
    let file = up.scratch().join(format!("{name}.kubeconfig"));
    std::fs::write(&file, kubeconfig)?;
    Ok(file)
}

#[tokio::test]
async fn a_subscriber_lists_and_watches_its_endpoint_and_nothing_else() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let other = Hook::github(&up, "other").await?;
    hook.deliver("push", "1", b"{}").await?;
    other.deliver("push", "2", b"{}").await?;
    let kubectl = Kubectl::new(&subscribe(&up, "edge-1", &format!("--endpoint {}/shop", up.namespace()))?)?;

    ensure!(kubectl.run("get webhookevents -o jsonpath={.items[*].metadata.name}")? == "shop-00000000000000000001");
    ensure!(kubectl.run("get hev shop-00000000000000000001 -o jsonpath={.spec.id}")? == "1");
    let watch = kubectl.spawn("get webhookevents -w")?;
    hook.deliver("push", "3", b"{}").await?;
    other.deliver("push", "4", b"{}").await?;
    eventually("the watch shows it", async || Ok(watch.log().contains("shop-00000000000000000002").then_some(())))
        .await?;
    ensure!(!watch.log().contains("other-"), "{}", watch.log());

    let everywhere = kubectl.run("get webhookevents -A -o name")?;
    ensure!(everywhere.lines().count() == 2 && !everywhere.contains("other-"), "{everywhere}");
    ensure!(kubectl.run("get webhookendpoints -A -o name")? == "webhookendpoint.roadstead.dev/shop", "only its own");
    let seen = kubectl.run("get webhookendpoint shop -o yaml")?;
    ensure!(seen.contains("sequence:") && !seen.contains("/hooks/"), "the URL is the senders': {seen}");
    for refused in [
        "get hev other-00000000000000000001",
        "get webhookevents -n kube-system",
        "get secrets",
        "get secret shop-hook",
        "get configmaps -A",
        "get webhookendpoint other",
        "get namespaces",
        "get triggers",
        "delete webhookendpoint shop",
        "annotate webhookendpoint shop a=b",
        "delete hev shop-00000000000000000001",
        "create configmap mine",
        "create token default",
    ] {
        let said = kubectl.say(&refused.split_whitespace().collect::<Vec<_>>(), "")?;
        ensure!(said.code != 0, "{refused}: {said:?}");
        ensure!(!said.out.contains("other-") && !said.out.contains("token"), "{refused}: {said:?}");
    }
    ensure!(hook.events().await?.len() == 2, "an event cannot be deleted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoke_ends_the_watch_and_the_token() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let file = subscribe(&up, "edge-1", "--endpoint shop")?;
    let client = client(&file).await?;
    let kubectl = Kubectl::new(&file)?;
    let request = http::Request::get(format!(
        "/apis/log.roadstead.dev/v1alpha1/namespaces/{}/webhookevents?watch=true&resourceVersion=0",
        up.namespace()
    ))
    .body(Vec::new())?;
    let mut stream = Box::pin(client.request_stream(request).await?);
    hook.deliver("push", "1", b"{}").await?;
    let mut first = [0; 20];
    stream.read_exact(&mut first).await?;

    let ended = tokio::spawn(async move {
        let mut rest = Vec::new();
        // However it ends: nothing more comes.
        let _ = stream.read_to_end(&mut rest).await;
    });
    up.cli(&["subscriber", "revoke", "edge-1"])?;
    within(Duration::from_secs(5), "the watch has ended", async || Ok(ended.is_finished().then_some(()))).await?;
    let said = kubectl.say(&["get", "webhookevents"], "")?;
    ensure!(said.code != 0 && !said.out.contains("shop-"), "{said:?}");
    let listed = up.cli(&["subscriber", "list", "-o", "name"])?;
    ensure!(listed.lines().any(|line| line == "subscriber.roadstead.dev/edge-1"), "{listed}");
    Ok(())
}

#[tokio::test]
async fn rotating_overlaps() -> Result<()> {
    let up = Platform::start().await?;
    Hook::github(&up, "shop").await?;
    let old = Kubectl::new(&subscribe(&up, "edge-1", "--endpoint shop")?)?;
    let new = Kubectl::new(&save(&up, "new", &up.cli(&["subscriber", "rotate", "edge-1"])?)?)?;
    old.run("get webhookevents")?;
    new.run("get webhookevents")?;
    let last = Kubectl::new(&save(&up, "last", &up.cli(&["subscriber", "rotate", "edge-1", "--overlap", "0s"])?)?)?;
    last.run("get webhookevents")?;
    for gone in [&old, &new] {
        ensure!(gone.say(&["get", "webhookevents"], "")?.code != 0);
    }
    Ok(())
}

#[tokio::test]
async fn another_namespaces_endpoint_must_allow_it() -> Result<()> {
    let up = Platform::with_namespaces(&["team-b"]).await?;
    let hook = Hook::github(&up, "shop").await?;
    hook.deliver("push", "1", b"{}").await?;
    let team = up.other("team-b");
    let arguments = format!("-n {team} --endpoint {}/shop --wait=false", up.namespace());
    let kubectl = Kubectl::new(&subscribe(&up, "foreign", &arguments)?)?;
    let list = ["get", "webhookevents", "-n", up.namespace(), "-o", "name"];
    let said = kubectl.say(&list, "")?;
    ensure!(!said.out.contains("shop-"), "{said:?}");
    let patch = Patch::Merge(json!({"spec": {"allowSubscribersFrom": [{"namespace": team}]}}));
    hook.api().patch("shop", &PatchParams::default(), &patch).await?;
    eventually("it is allowed", async || {
        let said = kubectl.say(&list, "")?;
        if said.code != 0 {
            bail!("{said:?}");
        }
        Ok(said.out.contains("shop-").then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_token_over_plain_http_is_refused() -> Result<()> {
    let up = Platform::start().await?;
    Hook::github(&up, "shop").await?;
    let text = std::fs::read_to_string(subscribe(&up, "edge-1", "--endpoint shop")?)?;
    let token = text
        .split_whitespace()
        .map(|word| word.trim_matches('"'))
        .find(|word| word.starts_with("rsub_"))
        .unwrap_or_default();
    ensure!(token.len() == 48, "no token in the kubeconfig");
    let url =
        format!("http://{}/apis/log.roadstead.dev/v1alpha1/namespaces/{}/webhookevents", up.hub(), up.namespace());
    let answer = post(&url, &[("authorization".into(), format!("Bearer {token}"))], "").await?;
    ensure!((400..500).contains(&answer.status), "{answer:?}");
    ensure!(!up.process_log().contains(token), "the token is in the log");
    Ok(())
}
