//! Registries that answer what they should not.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use roadstead_e2e::receiver::Receiver;
use roadstead_outbound::registry::{Access, Registry, RegistryError};
use roadstead_reconcile::{Secret, Targets};
use tokio::net::TcpListener;

/// Serves on a free port for as long as the test runs; gives `http://127.0.0.1:PORT`.
async fn serve(answer: impl Fn(&str) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let response = answer(&request.uri().to_string());
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(format!("http://{address}"))
}

fn registry(url: &str) -> Result<Registry> {
    let credentials = Some(("user".to_owned(), Secret::new("s3cret")));
    Ok(Registry::new(Access { url, credentials, ca: None, targets: Targets::with_loopback() })?)
}

fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(body.into())).unwrap_or_default()
}

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
    let impatient = self::registry(&url)?;
    let busy = impatient.digest("busy", "v1").await.expect_err("429");
    assert!(
        matches!(busy, RegistryError::Busy { after: Some(wait) } if wait == Duration::from_secs(7))
            && busy.is_transient()
    );
    // The peace that it asks for holds for every question.
    let next = impatient.digest("plain", "v1").await.expect_err("it is not asked");
    assert!(matches!(next, RegistryError::Busy { after: Some(wait) } if wait <= Duration::from_secs(7)), "{next}");
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
