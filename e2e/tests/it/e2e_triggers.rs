//! What triggers do: annotate, set an image, create a resource, retry, give up, and try again.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use roadstead_api::DeadLetter;
use roadstead_api::trigger::{Annotate, ImagePolicy, Retry, Run, SetImage};
use roadstead_api::{TriggerSpec, WebhookEndpointSpec};
use roadstead_e2e::endpoint::SECRET;
use roadstead_e2e::{Hook, Platform, Receiver, Result, ensure, eventually, post, trigger};
use serde_json::json;

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'registry.example.com/team-a/shop:v1.0.0'}, {name: side, image: 'busybox:1'}]}
";

/// Triggers act as a service account, which may do nothing until somebody allows it.
pub fn allow(up: &Platform, verbs: &str, resource: &str) -> Result<()> {
    let (kubectl, name) = (up.kubectl()?, resource.replace('.', "-"));
    kubectl.run(&format!("create role {name} --verb={verbs} --resource={resource}"))?;
    kubectl.run(&format!("create rolebinding {name} --role={name} --serviceaccount={}:default", up.namespace()))?;
    Ok(())
}

/// A trigger on `hook` that has yet to be told what to do.
pub fn without_action(hook: &Hook) -> TriggerSpec {
    TriggerSpec { forward: None, ..trigger::forward(hook, "") }
}

fn pushed(id: &str, tag: &str) -> String {
    json!({"events": [{
        "id": id, "timestamp": "2026-11-20T09:00:00Z", "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "repository": "team-a/shop", "tag": tag,
            "digest": format!("sha256:{}", id.repeat(64).split_at(64).0),
        },
        "request": {"host": "registry.example.com"},
    }]})
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_image_follows_the_policy() -> Result<()> {
    let up = Platform::start().await?;
    up.kubectl()?.apply(WEB)?;
    allow(&up, "get,patch,update", "deployments.apps")?;
    let spec = WebhookEndpointSpec { provider: roadstead_api::endpoint::Provider::Distribution, ..Default::default() };
    let hook = Hook::create(&up, "registry", SECRET, spec).await?;
    let client = up.client().await?;
    let policy = ImagePolicy { semver: Some(">=1.0, <2".into()), ..Default::default() };
    let set_image = SetImage {
        kind: "Deployment".into(),
        name: "web".into(),
        container: "web".into(),
        policy,
        ..Default::default()
    };
    trigger::create(&client, "deploy", TriggerSpec { set_image: Some(set_image), ..without_action(&hook) }).await?;
    let headers = [("authorization".into(), format!("Bearer {SECRET}"))];
    for (id, tag) in [("a", "v1.2.0"), ("b", "v1.1.0"), ("c", "v2.0.0"), ("d", "nightly")] {
        ensure!(post(&hook.url, &headers, pushed(id, tag)).await?.is_success());
    }
    trigger::done(&client, "deploy", 4).await?;
    let web = Api::<Deployment>::default_namespaced(client).get("web").await?;
    let containers = web.spec.and_then(|spec| spec.template.spec).map(|spec| spec.containers).unwrap_or_default();
    let images: Vec<String> = containers.into_iter().filter_map(|container| container.image).collect();
    ensure!(images[0].starts_with("registry.example.com/team-a/shop:v1.2.0"), "{images:?}");
    ensure!(images[1] == "busybox:1", "{images:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn annotate_and_run_act_once_for_each_event() -> Result<()> {
    let up = Platform::start().await?;
    up.kubectl()?.run("create configmap target")?;
    allow(&up, "get,create,patch,update", "configmaps")?;
    let hook = Hook::github(&up, "shop").await?;
    let client = up.client().await?;
    let annotate = Annotate {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: "target".into(),
        annotation: "example.com/seen".into(),
        ..Default::default()
    };
    trigger::create(&client, "poke", TriggerSpec { annotate: Some(annotate), ..without_action(&hook) }).await?;
    let template = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "run-"},
        "data": {"ref": "${event.git.ref}", "id": "${event.id}"},
    });
    trigger::create(&client, "start", TriggerSpec { run: Some(Run { template }), ..without_action(&hook) }).await?;
    for id in ["one", "two"] {
        let body = json!({"ref": format!("refs/heads/{id}"), "repository": {"full_name": "octo/shop"}}).to_string();
        ensure!(hook.deliver("push", id, body.as_bytes()).await?.is_success());
    }
    for name in ["poke", "start"] {
        trigger::done(&client, name, 2).await?;
    }
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let target = maps.get("target").await?;
    ensure!(target.annotations().get("example.com/seen").is_some_and(|value| value.contains("two")), "{target:?}");
    let made = maps.list(&Default::default()).await?.items;
    let mut refs: Vec<&str> = made.iter().filter_map(|map| map.data.as_ref()?.get("ref").map(String::as_str)).collect();
    refs.sort_unstable();
    ensure!(refs == ["refs/heads/one", "refs/heads/two"], "{refs:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_receiver_is_tried_again_then_put_aside_and_can_be_replayed() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let receiver = Receiver::start().await?;
    let client = up.client().await?;
    let retry = Retry { attempts: 2, ..Default::default() };
    trigger::create(&client, "relay", TriggerSpec { retry, ..trigger::forward(&hook, &receiver.url("/")) }).await?;

    receiver.answer_next(&[500]);
    hook.deliver("push", "again", b"{}").await?;
    receiver.wait_for(2).await?;
    let status = trigger::done(&client, "relay", 1).await?;
    ensure!(status.dead_letters == 0, "{status:?}");

    receiver.answer_always(500);
    hook.deliver("push", "dead", b"{}").await?;
    let letters: Api<DeadLetter> = Api::default_namespaced(client.clone());
    let letter =
        eventually("a dead letter is there", async || Ok(letters.list(&Default::default()).await?.items.pop())).await?;
    ensure!(letter.spec.event_id == "dead" && letter.spec.attempts == 2, "{letter:?}");
    ensure!(up.cli(&["trigger", "dead-letters", "relay"])?.contains("dead"));

    receiver.answer_always(200);
    let before = receiver.count();
    up.cli(&["trigger", "replay", "relay"])?;
    let received = receiver.wait_for(before + 1).await?;
    ensure!(received.last().is_some_and(|request| request.header("x-github-delivery") == "dead"));
    eventually("the dead letter is gone", async || {
        Ok(letters.list(&Default::default()).await?.items.is_empty().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_repository_holds_up_no_other_and_a_stuck_trigger_no_other() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let (stuck, well) = (Receiver::start().await?, Receiver::start().await?);
    let client = up.client().await?;
    let only = |repository: &str, url: &str| TriggerSpec {
        filter: Some(format!("event.git.repository == '{repository}'")),
        ..trigger::forward(&hook, url)
    };
    stuck.close();
    trigger::create(&client, "stuck", only("octo/a", &stuck.url("/"))).await?;
    trigger::create(&client, "well", only("octo/b", &well.url("/"))).await?;
    for number in 0..20 {
        let repository = if number % 2 == 0 { "octo/a" } else { "octo/b" };
        let body = json!({"repository": {"full_name": repository}}).to_string();
        ensure!(hook.deliver("push", &number.to_string(), body.as_bytes()).await?.is_success());
    }
    well.wait_for(10).await?;
    ensure!(stuck.count() == 1, "in order means one at a time, there were {}", stuck.count());
    stuck.open();
    stuck.wait_for(10).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_not_allowed_is_not_dialled() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let client = up.client().await?;
    trigger::create(&client, "out", trigger::forward(&hook, "http://192.0.2.1:9/")).await?;
    hook.deliver("push", "1", b"{}").await?;
    eventually("the trigger says why", async || {
        let status = trigger::status(&client, "out").await?;
        let text = serde_json::to_string(&status)?;
        ensure!(text.contains("allow"), "{text}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_may_do_only_what_its_service_account_may() -> Result<()> {
    let up = Platform::start().await?;
    up.kubectl()?.run("create configmap target")?;
    let hook = Hook::github(&up, "shop").await?;
    let client = up.client().await?;
    let annotate = Annotate {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: "target".into(),
        annotation: "example.com/seen".into(),
        ..Default::default()
    };
    trigger::create(&client, "poke", TriggerSpec { annotate: Some(annotate), ..without_action(&hook) }).await?;
    hook.deliver("push", "1", b"{}").await?;
    let result =
        eventually("the attempt failed", async || Ok(trigger::status(&client, "poke").await?.last_result)).await?;
    let who = format!("system:serviceaccount:{}:default", up.namespace());
    ensure!(!result.success && result.message.contains(&who), "{result:?}");
    Ok(())
}
