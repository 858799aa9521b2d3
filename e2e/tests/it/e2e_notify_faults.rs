//! Receivers of registry webhooks that misbehave, and what becomes of the messages.

use std::time::Duration;

use jiff::Timestamp;
use roadstead_api::registry_webhook::{DeliveryState, State};
use roadstead_e2e::notify::{Delivery, Registered, verified};
use roadstead_e2e::{Context, Ground, Platform, Receiver, Result, ensure, eventually, only_on};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A receiver that answers every request with the same bytes, again and again if told so, and then closes.
async fn answers(bytes: &'static [u8], for_ever: bool) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 16 << 10];
                // The request fits into one read; what is left of it is of no interest.
                let _ = stream.read(&mut request).await;
                while stream.write_all(bytes).await.is_ok() && for_ever {}
            });
        }
    });
    Ok(url)
}

/// The first message, once it was tried.
async fn tried(webhook: &Registered) -> Result<Delivery> {
    eventually("the test message was tried", async || {
        let deliveries = webhook.deliveries().await?;
        Ok(deliveries.into_iter().find(|delivery| delivery.status.as_ref().is_some_and(|status| status.attempt > 0)))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_says_what_the_receiver_did_and_is_made_again() -> Result<()> {
    if !only_on(Ground::Embedded, "deliveries are served by the platform's own control plane") {
        return Ok(());
    }
    let up = Platform::start().await?;
    for (name, answer, for_ever, status, said) in [
        (
            "moved",
            &b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"[..],
            false,
            Some(302),
            "redirects are not followed",
        ),
        ("broken", b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops", false, Some(500), "answered 500"),
        ("resets", b"", false, None, "closed"),
        ("nonsense", b"220 mail.example.com ESMTP\r\n", false, None, "not HTTP"),
        ("endless", b"HTTP/1.1 500 x\r\n\r\n0123456789", true, Some(500), "answered 500"),
    ] {
        let url = answers(answer, for_ever).await?;
        let webhook = Registered::ready(&up, name, &url, json!({"timeout": "2s"})).await?;
        let delivery = tried(&webhook).await?;
        let status_of = delivery.status.clone().unwrap_or_default();
        let attempt = &status_of.attempts[0];
        ensure!(attempt.status == status, "{name}: {attempt:?}");
        let error = attempt.error.clone().unwrap_or_default();
        ensure!(error.contains(said), "{name}: {error}");
        ensure!(attempt.response_snippet.len() <= 1024, "{name}: {}", attempt.response_snippet.len());
        ensure!(status_of.state == DeliveryState::Pending && status_of.next_attempt.is_some(), "{name}: {status_of:?}");
        ensure!(webhook.condition("Delivering", "False").await? == "Failing");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absurd_retry_after_is_bounded() -> Result<()> {
    if !only_on(Ground::Embedded, "deliveries are served by the platform's own control plane") {
        return Ok(());
    }
    let up = Platform::start().await?;
    let url =
        answers(b"HTTP/1.1 429 Slow Down\r\nretry-after: 99999999999\r\ncontent-length: 0\r\n\r\n", false).await?;
    let webhook = Registered::ready(&up, "client", &url, json!({})).await?;
    let next: Timestamp = tried(&webhook).await?.status.unwrap_or_default().next_attempt.unwrap_or_default().parse()?;
    let wait = Duration::try_from(next.duration_since(Timestamp::now()))?;
    // The longest that is granted; without it the second attempt would come within seconds.
    let longest = Duration::from_secs(24 * 3600);
    ensure!(wait <= longest && wait > longest - Duration::from_secs(600), "{wait:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gone_disables_at_once_and_recover_sends_what_was_given_up() -> Result<()> {
    let (up, receiver) = (Platform::start().await?, Receiver::start().await?);
    let webhook = Registered::ready(&up, "client", &receiver.url("/"), json!({})).await?;
    receiver.wait_for(1).await?;
    receiver.answer_always(410);
    webhook.push("a", "team-a/shop", "v1").await?;
    ensure!(webhook.condition("Delivering", "False").await? == "Disabled");
    webhook.push("b", "team-a/shop", "v2").await?;
    eventually("the later message is kept as a dead letter", async || {
        Ok((webhook.status().await?.failed == 2).then_some(()))
    })
    .await?;
    let events = up.kubectl()?.run("get events -o jsonpath={.items[*].reason}")?;
    ensure!(events.contains("Disabled"), "{events}");
    ensure!(receiver.count() == 2, "nothing is sent while it is disabled");
    let refused = up.cli(&["notify", "redeliver", "client", "1"]);
    let why = refused.err().context("a disabled webhook sends nothing again")?.to_string();
    ensure!(why.contains("refused it") && why.contains("disabled"), "{why}");
    let test = up.cli(&["notify", "test", "client"]).err().context("a disabled webhook cannot be tested")?.to_string();
    ensure!(test.contains("notify recover client"), "{test}");
    ensure!(receiver.count() == 2, "and nothing was sent for them");

    receiver.answer_always(204);
    up.cli(&["notify", "recover", "client", "--since", "1h"])?;
    // The test that was kept comes too, and waits for no other.
    let all = receiver.wait_for(5).await?;
    let bodies = all[2..].iter().map(|request| Ok((request, verified(request)?))).collect::<Result<Vec<_>>>()?;
    let pushes: Vec<_> = bodies.iter().filter(|(_, body)| body["type"] == "image.push").collect();
    let tags: Vec<_> = pushes.iter().map(|(_, body)| &body["data"]["tag"]).collect();
    ensure!(tags == ["v1", "v2"], "{tags:?}");
    ensure!(pushes[0].0.header("webhook-id") == all[1].header("webhook-id"), "the same message has the same id");
    eventually("it is active", async || {
        let status = webhook.status().await?;
        ensure!(status.state == Some(State::Active) && status.failed == 0, "{status:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_receiver_does_not_delay_others_and_keeps_its_own_order() -> Result<()> {
    let (up, good, slow) = (Platform::start().await?, Receiver::start().await?, Receiver::start().await?);
    let dead = Registered::ready(&up, "dead", &slow.url("/"), json!({"timeout": "1s"})).await?;
    slow.wait_for(1).await?;
    slow.close();
    let well = Registered::ready(&up, "well", &good.url("/"), json!({})).await?;
    good.wait_for(1).await?;
    for n in 0..5 {
        dead.push(&format!("d{n}"), "team-a/shop", &format!("v{n}")).await?;
        well.push(&format!("w{n}"), "team-a/shop", &format!("v{n}")).await?;
    }
    good.wait_for(6).await?;
    ensure!(dead.status().await?.delivered <= 1);
    slow.open();
    let all = eventually("everything arrives in the end", async || {
        let received = slow.received();
        let tags: Vec<String> = received
            .iter()
            .map(|request| Ok(verified(request)?["data"]["tag"].as_str().unwrap_or_default().to_string()))
            .collect::<Result<_>>()?;
        Ok(tags.contains(&"v4".to_string()).then_some(tags))
    })
    .await?;
    let mut order = all[1..].to_vec();
    order.dedup();
    ensure!(order == ["v0", "v1", "v2", "v3", "v4"], "{order:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_refused_with_its_reason() -> Result<()> {
    if !only_on(Ground::Embedded, "deliveries are served by the platform's own control plane") {
        return Ok(());
    }
    let up = Platform::start().await?;
    for (name, url, change, reason) in [
        ("metadata", "http://169.254.169.254/latest", json!({}), "TargetNotAllowed"),
        ("private", "http://10.1.2.3/", json!({}), "TargetNotAllowed"),
        ("mapped", "http://[::ffff:10.1.2.3]/", json!({}), "TargetNotAllowed"),
        ("secretless", "http://127.0.0.1:1/", json!({"secretRef": {"name": "none", "key": "x"}}), "SecretMissing"),
        ("sourceless", "http://127.0.0.1:1/", json!({"source": {"endpoint": "none"}}), "EndpointNotFound"),
    ] {
        let webhook = Registered::new(&up, name, url, change).await?;
        ensure!(webhook.condition("Ready", "False").await? == reason, "{name}");
        ensure!(webhook.deliveries().await?.is_empty(), "{name}: nothing is sent");
    }
    for (name, change) in [
        ("brackets", json!({"repositories": ["team-[ab]/*"]})),
        ("stars", json!({"tags": ["v***"]})),
        ("slashes", json!({"repositories": ["team/***/x"]})),
        ("polled", json!({"source": {"poll": {"url": "http://127.0.0.1:1", "repositories": ["team/***"]}}})),
    ] {
        let refused = Registered::new(&up, name, "http://127.0.0.1:1/", change).await;
        ensure!(refused.is_err(), "{name}: the schema refuses what is no glob");
    }
    let globs = json!({"repositories": ["**", "*/*", "team-?/**/x*"], "tags": ["*", "v**", "**a*"]});
    Registered::new(&up, "globs", "http://127.0.0.1:1/", globs).await?;
    Ok(())
}
