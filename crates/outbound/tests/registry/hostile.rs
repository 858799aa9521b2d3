//! Registries that answer what they should not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use roadstead_e2e::receiver::Receiver;
use roadstead_outbound::guard;
use roadstead_outbound::registry::{Access, Registry, RegistryError};
use roadstead_reconcile::{Secret, Targets};

use super::support::{answer, registry, serve};

#[tokio::test]
async fn redirects_are_not_followed() -> Result<()> {
    let target = Receiver::start().await?;
    let location = target.url("/v2/a/manifests/v1");
    let url = serve(move |_| answer(307, &[("location", &location)], "")).await?;
    let error = registry(&url)?.digest("a", "v1").await.expect_err("a redirect is no answer");
    assert!(matches!(error, RegistryError::Unexpected(ref status) if status == "307"), "{error}");
    assert_eq!(target.count(), 0);
    Ok(())
}

#[tokio::test]
async fn credentials_do_not_go_to_another_plain_host() -> Result<()> {
    let thief = Receiver::start().await?;
    let challenge = format!("Bearer realm=\"{}\",service=\"x\"", thief.url("/token"));
    let url = serve(move |_| answer(401, &[("www-authenticate", &challenge)], "")).await?;
    let error = registry(&url)?.digest("a", "v1").await.expect_err("the realm is elsewhere");
    assert!(matches!(error, RegistryError::BadRealm), "{error}");
    assert_eq!(thief.count(), 0);
    Ok(())
}

#[tokio::test]
async fn pages_are_asked_of_the_same_host_only_and_end() -> Result<()> {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let elsewhere = Receiver::start().await?;
    let link = format!("<{}>; rel=\"next\"", elsewhere.url("/v2/a/tags/list?last=x"));
    let page = serde_json::json!({"name": "a", "tags": vec!["t"; 1000]}).to_string();
    let url = serve(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        answer(200, &[("link", &link)], page.clone())
    })
    .await?;
    assert_eq!(registry(&url)?.tags("a").await?.map(|tags| tags.len()), Some(10_000));
    assert_eq!((asked.load(Ordering::Relaxed), elsewhere.count()), (10, 0));
    Ok(())
}

#[tokio::test]
async fn answers_are_capped_and_checked() -> Result<()> {
    let url = serve(|path| match path.split('/').nth(2) {
        Some("huge") => answer(200, &[], vec![b' '; 5 << 20]),
        Some("nonsense") => answer(200, &[("docker-content-digest", "../../etc/passwd")], "[]"),
        Some("busy") => answer(429, &[("retry-after", "7")], ""),
        Some("broken") => answer(502, &[], ""),
        Some("silent") => answer(401, &[], ""),
        // Without the header, the digest is that of the bytes.
        _ => answer(200, &[], ""),
    })
    .await?;
    let registry = registry(&url)?;
    assert!(matches!(registry.tags("huge").await, Err(RegistryError::Unexpected(_))));
    assert!(matches!(registry.tags("nonsense").await, Err(RegistryError::Unexpected(_))));
    assert!(matches!(registry.digest("nonsense", "v1").await, Err(RegistryError::BadName(..))));
    let broken = registry.digest("broken", "v1").await.expect_err("502");
    assert!(broken.is_transient(), "{broken}");
    let silent = registry.digest("silent", "v1").await.expect_err("401");
    assert!(matches!(silent, RegistryError::Denied) && !silent.is_transient());
    let digest = registry.digest("plain", "v1").await?;
    assert_eq!(digest.as_deref(), Some("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    for name in ["../x", "a/../b", "A", "a?b"] {
        assert!(matches!(registry.digest(name, "v1").await, Err(RegistryError::BadName(..))), "{name}");
        assert!(matches!(registry.digest("a", name).await, Err(RegistryError::BadName(..))) || name == "A");
    }
    Ok(())
}

#[tokio::test]
async fn the_peace_that_a_registry_asks_for_holds_for_every_question_of_everybody() -> Result<()> {
    let url = serve(|path| match path.contains("busy") {
        true => answer(429, &[("retry-after", "70")], ""),
        false => answer(200, &[], ""),
    })
    .await?;
    let busy = registry(&url)?.digest("busy", "v1").await.expect_err("429");
    let wait = |error: &RegistryError| match error {
        RegistryError::Busy { after } => *after,
        _ => None,
    };
    assert!(wait(&busy) == Some(Duration::from_secs(70)) && busy.is_transient(), "{busy}");
    // Another client, of the same registry with the same credentials.
    let next = registry(&url)?.digest("plain", "v1").await.expect_err("it is not asked");
    assert!(wait(&next).is_some_and(|wait| wait <= Duration::from_secs(70)), "{next}");
    // Registries count by who asks.
    let access = Access { url: &url, credentials: None, ca: None, targets: Targets::with_loopback() };
    assert!(Registry::new(access)?.digest("plain", "v1").await?.is_some());
    Ok(())
}

#[tokio::test]
async fn credentials_do_not_go_to_an_inside_address_that_a_registry_names_as_its_realm() -> Result<()> {
    // https, as realms must be, at an address that is not allowed.
    let inside = std::net::TcpListener::bind("127.0.0.2:0")?;
    inside.set_nonblocking(true)?;
    let challenge = format!("Bearer realm=\"https://{}/token\",service=\"x\"", inside.local_addr()?);
    let url = serve(move |_| answer(401, &[("www-authenticate", &challenge)], "")).await?;
    let ask = async |allowed: &str| {
        let credentials = Some(("user".to_owned(), Secret::new("s3cret")));
        let targets = Targets::new([allowed.parse()?]);
        let registry = Registry::new(Access { url: &url, credentials, ca: None, targets })?;
        anyhow::Ok(registry.digest("a", "v1").await.expect_err("no token is to be had"))
    };
    let error = ask("127.0.0.1/32").await?;
    assert_eq!(error, RegistryError::Unreachable(guard::Error::Forbidden));
    assert_eq!(inside.accept().expect_err("nobody may come").kind(), std::io::ErrorKind::WouldBlock);
    // Where the address is allowed it is dialled, and nobody listens any more.
    drop(inside);
    assert_ne!(ask("127.0.0.0/8").await?, RegistryError::Unreachable(guard::Error::Forbidden));
    Ok(())
}
