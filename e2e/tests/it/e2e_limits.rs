//! Senders that send too much, too slowly, or to an endpoint that is closed.

use kube::api::{DeleteParams, Patch, PatchParams};
use roadstead_api::WebhookEndpointSpec;
use roadstead_api::endpoint::{Provider, SecretKeyRef};
use roadstead_e2e::endpoint::SECRET;
use roadstead_e2e::http::{get, raw, raw_status};
use roadstead_e2e::{Hook, Platform, Result, ensure, eventually, post, sign};
use serde_json::json;

async fn small(up: &Platform) -> Result<Hook> {
    let spec = WebhookEndpointSpec { provider: Provider::Github, max_body_bytes: Some(1000), ..Default::default() };
    Hook::create(up, "small", SECRET, spec).await
}

fn path(hook: &Hook) -> String {
    hook.url.splitn(4, '/').nth(3).unwrap_or_default().to_string()
}

#[tokio::test]
async fn a_body_at_the_cap_is_taken_and_one_over_it_is_not() -> Result<()> {
    let up = Platform::start().await?;
    let hook = small(&up).await?;
    let body = |length: usize| format!("\"{}\"", "x".repeat(length - 2)).into_bytes();
    ensure!(hook.deliver("push", "fits", &body(1000)).await?.is_success());
    let answer = hook.deliver("push", "does-not", &body(1001)).await?;
    ensure!(answer.status == 413, "{answer:?}");
    ensure!(hook.events().await?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn the_announced_length_is_refused_before_the_body_comes() -> Result<()> {
    let up = Platform::start().await?;
    let hook = small(&up).await?;
    let head = format!("POST /{} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n", path(&hook));
    let answer = raw(up.hub(), head.as_bytes(), None).await?;
    ensure!(raw_status(&answer) == Some(413), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_body_that_never_ends_is_ended() -> Result<()> {
    let up = Platform::start().await?;
    let hook = small(&up).await?;
    let head = format!("POST /{} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", path(&hook));
    let answer = raw(
        up.hub(),
        head.as_bytes(),
        Some(b"40\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n"),
    )
    .await?;
    ensure!(answer.is_empty() || raw_status(&answer) == Some(413), "{answer:?}");
    ensure!(hook.deliver("push", "after", b"{}").await?.is_success(), "others are served");
    ensure!(hook.events().await?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn headers_over_the_cap_are_refused() -> Result<()> {
    let up = Platform::start().await?;
    let hook = small(&up).await?;
    let many: String = (0..400).map(|number| format!("x-{number}: y\r\n")).collect();
    let large = format!("x-large: {}\r\n", "y".repeat(1 << 20));
    for (what, headers) in [("many", many), ("large", large)] {
        let head = format!("POST /{} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n{headers}\r\n{{}}", path(&hook));
        let answer = raw(up.hub(), head.as_bytes(), None).await?;
        ensure!(answer.is_empty() || raw_status(&answer) == Some(431), "{what}: {answer:?}");
    }
    ensure!(hook.deliver("push", "after", b"{}").await?.is_success());
    ensure!(hook.events().await?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn a_sender_that_says_nothing_is_hung_up_on() -> Result<()> {
    let up = Platform::start().await?;
    let hook = small(&up).await?;
    let head = raw(up.hub(), b"POST /hooks/x HTTP/1.1\r\nHost: ", None);
    let body = format!("POST /{} HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{{", path(&hook));
    let (head, body) = tokio::join!(head, raw(up.hub(), body.as_bytes(), None));
    for answer in [head?, body?] {
        ensure!(answer.is_empty() || raw_status(&answer) == Some(408), "{answer:?}");
    }
    // The client's own connection has said nothing for as long, and may be closed in the moment in which it is used.
    let events = eventually("events are listed", async || Ok(hook.events().await.ok())).await?;
    ensure!(events.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_is_suspended_asks_to_come_again() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let suspend = async |suspend: bool| {
        let patch = Patch::Merge(json!({"spec": {"suspend": suspend}}));
        hook.api().patch("shop", &PatchParams::default(), &patch).await
    };
    ensure!(hook.deliver("push", "1", b"{}").await?.is_success());
    suspend(true).await?;
    let refused = eventually("deliveries are refused", async || {
        let answer = hook.deliver("push", "2", b"{}").await?;
        Ok((answer.status == 503).then_some(answer))
    })
    .await?;
    ensure!(refused.headers.contains_key("retry-after"), "{refused:?}");
    let while_suspended = hook.events().await?.len();
    ensure!(hook.deliver("push", "3", b"{}").await?.status == 503);
    ensure!(hook.events().await?.len() == while_suspended);
    suspend(false).await?;
    eventually("deliveries are taken again", async || {
        Ok(hook.deliver("push", "3", b"{}").await?.is_success().then_some(()))
    })
    .await?;
    ensure!(hook.events().await?.iter().filter(|event| event.spec.id == "3").count() == 1);
    Ok(())
}

#[tokio::test]
async fn an_endpoint_deleted_while_posting_answers_404_and_then_nothing_gets_in() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let poster = tokio::spawn({
        let hook = hook.clone();
        async move {
            for number in 0.. {
                match hook.deliver("push", &number.to_string(), b"{}").await?.status {
                    200..300 => {}
                    404 => return Ok(number),
                    // Going away may be told for a moment.
                    503 => {}
                    other => roadstead_e2e::bail!("answered {other}"),
                }
            }
            Ok(0)
        }
    });
    hook.wait_for(5).await?;
    hook.api().delete("shop", &DeleteParams::default()).await?;
    ensure!(poster.await?? > 0);
    ensure!(get(&format!("http://{}/readyz", up.hub())).await?.status == 200);
    let secrets = vec![SecretKeyRef { name: "shop-hook".into(), key: "token".into() }];
    let spec = WebhookEndpointSpec { provider: Provider::Github, secrets, ..Default::default() };
    let again = Hook::create(&up, "shop", "", spec).await?;
    ensure!(again.url != hook.url, "a new endpoint has a new URL");
    ensure!(again.deliver("push", "0", b"{}").await?.is_success());
    let events = again.events().await?;
    ensure!(
        events.len() == 1 && events[0].spec.sequence == 1,
        "the old endpoint's events are not the new one's: {}",
        events.len()
    );
    Ok(())
}

#[tokio::test]
async fn an_endpoint_without_its_secret_is_not_ready_and_refuses() -> Result<()> {
    let up = Platform::start().await?;
    let kubectl = up.kubectl()?;
    let spec = json!({"provider": "github", "secrets": [{"name": "later", "key": "token"}]});
    let manifest = json!({
        "apiVersion": "roadstead.dev/v1alpha1", "kind": "WebhookEndpoint", "metadata": {"name": "shop"}, "spec": spec,
    });
    kubectl.apply(&manifest.to_string())?;
    kubectl.run("wait hook/shop --for=condition=Ready=false --timeout=30s")?;
    let url = up.hook_url(&kubectl.run("get hook shop -o jsonpath={.status.url}")?)?;
    let deliver = async || roadstead_e2e::post(&url, &sign::github(SECRET, "push", "1", b"{}"), "{}").await;
    ensure!(deliver().await?.status == 503);
    kubectl.args(&["create", "secret", "generic", "later", &format!("--from-literal=token={SECRET}")])?;
    kubectl.run("wait hook/shop --for=condition=Ready --timeout=30s")?;
    ensure!(deliver().await?.is_success());
    Ok(())
}

#[tokio::test]
async fn failures_of_an_address_do_not_stop_what_verifies() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let forged = sign::github("a guess", "push", "forged", b"{}");
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(post(&hook.url, &forged, b"{}".to_vec()).await?.status);
    }
    ensure!(answers[0] == 401 && answers.contains(&429), "{answers:?}");
    let good = hook.deliver("push", "good", b"{}").await?;
    ensure!(good.status == 202, "a signed delivery from the same address was answered {}", good.status);
    Ok(())
}
