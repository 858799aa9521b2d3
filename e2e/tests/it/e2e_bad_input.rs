//! Deliveries that must not get in, and odd ones that must.

use jiff::{Timestamp, ToSpan};
use roadstead_api::WebhookEndpointSpec;
use roadstead_api::endpoint::{Authentication, Provider};
use roadstead_e2e::endpoint::{SECRET, inline_body};
use roadstead_e2e::http::{Header, get};
use roadstead_e2e::{Hook, Platform, Result, ensure, eventually, post, sign};

const BODY: &[u8] = br#"{"ref":"refs/heads/main","repository":{"full_name":"octo/shop"}}"#;

#[tokio::test]
async fn signatures_that_prove_nothing_are_refused_and_leave_no_event() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let good = sign::github_signature(SECRET, BODY);
    let signed = |value: &str| -> Vec<Header> {
        let mut headers = sign::github_unsigned("push", "delivery-1");
        headers.push(("x-hub-signature-256".into(), value.into()));
        headers
    };
    let two = {
        let mut headers = signed(&good);
        headers.push(("x-hub-signature-256".into(), sign::github_signature("wrong", BODY)));
        headers
    };
    let table = [
        ("none", sign::github_unsigned("push", "delivery-1")),
        ("another key's", sign::github("wrong", "push", "delivery-1", BODY)),
        ("another body's", signed(&sign::github_signature(SECRET, b"{}"))),
        ("truncated", signed(&good[..good.len() - 2])),
        ("longer", signed(&format!("{good}00"))),
        ("empty", signed("")),
        ("prefix only", signed("sha256=")),
        ("without prefix", signed(good.trim_start_matches("sha256="))),
        ("another algorithm's prefix", signed(&good.replace("sha256=", "sha1="))),
        ("not hex", signed(&format!("sha256={}", "zz".repeat(32)))),
        ("two that disagree", two),
    ];
    let count = table.len();
    for (what, headers) in table {
        let answer = post(&hook.url, &headers, BODY).await?;
        ensure!((400..500).contains(&answer.status), "{what}: {answer:?}");
        ensure!(
            !answer.text()?.contains(good.trim_start_matches("sha256=")),
            "{what}: the answer tells the right signature"
        );
    }
    ensure!(hook.events().await?.is_empty());
    ensure!(hook.deliver("push", "delivery-1", BODY).await?.is_success(), "the id of a refused delivery is still free");
    eventually("the endpoint counts them", async || {
        let counters = hook.get().await?.status.unwrap_or_default().counters;
        ensure!(counters.rejected == count as u64 && counters.accepted == 1, "{counters:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn standard_webhooks_are_checked_for_age_and_any_valid_signature_counts() -> Result<()> {
    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_b3RoZXIga2V5IG90aGVyIGtleSBvdGhlciBrZXk=";
    let up = Platform::start().await?;
    let spec = WebhookEndpointSpec { provider: Provider::Standard, ..Default::default() };
    let hook = Hook::create(&up, "standard", KEY, spec).await?;
    let now = Timestamp::now();
    let at = |id: &str, minutes: i64| sign::standard(KEY, id, now.checked_add(minutes.minutes())?, BODY);
    for (what, headers) in [
        ("old", at("a", -10)?),
        ("of the future", at("b", 10)?),
        ("another key's", sign::standard(OTHER, "c", now, BODY)?),
    ] {
        let answer = post(&hook.url, &headers, BODY).await?;
        ensure!((400..500).contains(&answer.status), "{what}: {answer:?}");
    }
    let mut several = sign::standard(OTHER, "d", now, BODY)?;
    let (_, right) = at("d", 0)?.pop().unwrap_or_default();
    if let Some((_, value)) = several.iter_mut().find(|(name, _)| name == "webhook-signature") {
        *value = format!("{value} v9,bm90aGluZw== {right}");
    }
    ensure!(post(&hook.url, &several, BODY).await?.is_success());
    ensure!(post(&hook.url, &at("e", -2)?, BODY).await?.is_success(), "within the tolerance");
    let ids: Vec<String> = hook.events().await?.into_iter().map(|event| event.spec.id).collect();
    ensure!(ids == ["d", "e"], "{ids:?}");
    Ok(())
}

#[tokio::test]
async fn a_signed_body_that_is_no_json_is_kept_as_it_is() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let bodies: [&[u8]; 4] = [b"{\"half\":", b"\xff\xfe\x00binary", b"", b"null"];
    for (number, body) in bodies.iter().enumerate() {
        let answer = hook.deliver("push", &format!("odd-{number}"), body).await?;
        ensure!(answer.is_success(), "{body:?}: {answer:?}");
    }
    let events = hook.events().await?;
    ensure!(events.len() == bodies.len());
    for (event, body) in events.iter().zip(bodies) {
        ensure!(hook.body(event.spec.sequence).await? == body);
        ensure!(event.spec.verified && inline_body(event).unwrap_or_default() == body);
        ensure!(event.spec.git.as_ref().is_none_or(|git| git.repository.is_empty()));
    }
    Ok(())
}

#[tokio::test]
async fn a_delivery_that_comes_again_is_recorded_once() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let other = Hook::github(&up, "other").await?;
    let mut posts = Vec::new();
    for _ in 0..20 {
        let hook = hook.clone();
        posts.push(tokio::spawn(async move { hook.deliver("push", "same", BODY).await }));
    }
    for answer in posts {
        let answer = answer.await??;
        ensure!(answer.is_success(), "{answer:?}");
    }
    ensure!(hook.deliver("push", "same", b"{\"another\":\"body\"}").await?.is_success());
    ensure!(other.deliver("push", "same", BODY).await?.is_success(), "ids are the endpoint's own");
    ensure!(hook.events().await?.len() == 1 && other.events().await?.len() == 1);
    eventually("duplicates are counted", async || {
        let counters = hook.get().await?.status.unwrap_or_default().counters;
        ensure!(counters.accepted == 1 && counters.duplicate == 20, "{counters:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
async fn url_only_endpoints_take_what_is_unsigned_and_say_so() -> Result<()> {
    let up = Platform::start().await?;
    let spec = WebhookEndpointSpec {
        provider: Provider::Generic,
        authentication: Authentication::UrlOnly,
        ..Default::default()
    };
    let hook = Hook::create(&up, "open", "", spec).await?;
    ensure!(post(&hook.url, &[], BODY).await?.is_success());
    ensure!(post(&hook.url, &[], BODY).await?.is_success());
    let events = hook.events().await?;
    ensure!(events.len() == 2, "without an id every POST is an event of its own");
    ensure!(events.iter().all(|event| !event.spec.verified));
    Ok(())
}

#[tokio::test]
async fn what_is_not_a_hook_is_not_there() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let hub = format!("http://{}", up.hub());
    let unknown = format!("{hub}/hooks/0123456789abcdef0123456789abcdef");
    ensure!(post(&unknown, &sign::github(SECRET, "push", "x", BODY), BODY).await?.status == 404);
    ensure!(get(&hook.url).await?.status == 405);
    for path in ["/", "/metrics", "/hooks", "/hooks/", "/api/v1/secrets", "/openapi/v3"] {
        let answer = get(&format!("{hub}{path}")).await?;
        ensure!((400..500).contains(&answer.status), "{path}: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn credentials_in_clear_are_not_recorded() -> Result<()> {
    let up = Platform::start().await?;
    let spec = WebhookEndpointSpec { provider: Provider::Gitlab, ..Default::default() };
    let hook = Hook::create(&up, "lab", "gitlab-token-value", spec).await?;
    let headers: Vec<Header> = [
        ("x-gitlab-token", "gitlab-token-value"),
        ("x-gitlab-event", "Push Hook"),
        ("idempotency-key", "k-1"),
        ("authorization", "Bearer credential-in-clear"),
        ("cookie", "session=credential-in-clear"),
        ("x-kept", "yes"),
    ]
    .map(|(name, value)| (name.to_string(), value.to_string()))
    .into();
    ensure!(post(&hook.url, &headers, BODY).await?.is_success());
    let text = serde_json::to_string(&hook.events().await?)?;
    ensure!(text.contains("x-kept"));
    for secret in ["gitlab-token-value", "credential-in-clear"] {
        ensure!(!text.contains(secret), "{secret} is in {text}");
    }
    Ok(())
}
