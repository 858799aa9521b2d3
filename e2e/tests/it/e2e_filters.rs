//! Which events are kept: types, filters, and filters that go wrong.

use roadstead_api::WebhookEndpointSpec;
use roadstead_api::endpoint::Provider;
use roadstead_e2e::endpoint::SECRET;
use roadstead_e2e::{Hook, Platform, Result, ensure, eventually};
use serde_json::json;

fn push(reference: &str) -> Vec<u8> {
    json!({"ref": reference, "repository": {"full_name": "octo/shop"}, "commits": []}).to_string().into_bytes()
}

async fn filtered(up: &Platform, filter: &str) -> Result<Hook> {
    let spec = WebhookEndpointSpec { provider: Provider::Github, filter: Some(filter.into()), ..Default::default() };
    Hook::create(up, "shop", SECRET, spec).await
}

#[tokio::test]
async fn what_is_not_wanted_is_answered_well_and_counted() -> Result<()> {
    let up = Platform::start().await?;
    let spec = WebhookEndpointSpec {
        provider: Provider::Github,
        events: vec!["push".into()],
        filter: Some("event.git.ref == 'refs/heads/main' || event.type == 'ping'".into()),
        ..Default::default()
    };
    let hook = Hook::create(&up, "shop", SECRET, spec).await?;
    for (event, id, body) in [
        ("push", "main", push("refs/heads/main")),
        ("push", "other", push("refs/heads/other")),
        ("issues", "issue", b"{\"action\":\"opened\"}".to_vec()),
    ] {
        let answer = hook.deliver(event, id, &body).await?;
        ensure!(answer.is_success(), "{id}: {answer:?}");
    }
    let ids: Vec<String> = hook.events().await?.into_iter().map(|event| event.spec.id).collect();
    ensure!(ids == ["main"], "{ids:?}");
    eventually("they are counted", async || {
        let counters = hook.get().await?.status.unwrap_or_default().counters;
        ensure!(counters.filtered == 2 && counters.accepted == 1, "{counters:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn a_filter_that_fails_keeps_the_event_and_says_so() -> Result<()> {
    let up = Platform::start().await?;
    let hook = filtered(&up, "event.git.commits[3].id == 'x'").await?;
    ensure!(hook.deliver("push", "1", &push("refs/heads/main")).await?.is_success());
    ensure!(hook.events().await?.len() == 1);
    unhealthy(&hook).await
}

#[tokio::test]
async fn filters_that_cost_too_much_or_are_no_cel_are_told_when_they_are_written() -> Result<()> {
    let up = Platform::start().await?;
    let kubectl = up.kubectl()?;
    let ten = "[1,2,3,4,5,6,7,8,9,10]";
    let deep = (0..9).fold("true".to_string(), |inner, depth| format!("{ten}.all(v{depth}, {inner})"));
    for (name, filter) in [("costly", deep.as_str()), ("broken", "event.git.ref =")] {
        let spec = json!({"provider": "github", "authentication": "urlOnly", "filter": filter});
        let manifest = json!({
            "apiVersion": "roadstead.dev/v1alpha1", "kind": "WebhookEndpoint", "metadata": {"name": name}, "spec": spec,
        });
        kubectl.apply(&manifest.to_string())?;
        // Told, but not closed: what is posted meanwhile is kept.
        kubectl.run(&format!("wait hook/{name} --for=condition=FilterHealthy=false --timeout=30s"))?;
        kubectl.run(&format!("wait hook/{name} --for=condition=Ready --timeout=30s"))?;
        let message = kubectl.run(&format!("get hook {name} -o jsonpath={{.status.conditions[1].message}}"))?;
        ensure!(message.contains("spec.filter"), "{message}");
    }
    Ok(())
}

async fn unhealthy(hook: &Hook) -> Result<()> {
    eventually("condition FilterHealthy is false", async || {
        let conditions = hook.get().await?.status.unwrap_or_default().conditions;
        let found = conditions.iter().find(|condition| condition.type_ == "FilterHealthy");
        ensure!(found.is_some_and(|condition| condition.status == "False"), "{conditions:?}");
        Ok(Some(()))
    })
    .await
}
