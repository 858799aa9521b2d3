//! `forward`: sends the original method, headers and raw body to a service, so that the receiver can verify the
//! signature itself.
//!
//! 2xx is success. No connection, no answer in time, 5xx, 408, 425 and 429 may pass: they are tried again as `retry`
//! says. Any other answer is a refusal: the receiver has the request and will not take it. It is tried three times (a
//! receiver that is just being deployed answers 404 too), then the event becomes a dead letter. Redirects are refusals:
//! following one would leave the allowed targets.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Config, client::ConfigExt};
use roadstead_api::{event::RecordedRequest, trigger::Forward as Spec};
use roadstead_outbound::{guard::retry_after, headers};
use roadstead_reconcile::parse;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{Action, Done, Failure, Invalid, Site};
use crate::{event::Event, plan::retry::FailureKind};

/// A client that keeps connections.
pub type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// How long Secrets are believed: they are read again after it, so that a rotated one counts soon.
const FRESH: Duration = Duration::from_secs(10);
/// How much of a bad answer is kept.
const SNIPPET: usize = 1024;
/// How much of a good answer is read, so that the connection can be used again.
const DRAIN: usize = 64 << 10;
/// A client that trusts `roots` (DER), or the system's roots. Errors: TLS cannot be set up.
pub fn http(roots: Option<Vec<Vec<u8>>>) -> Result<Http, kube::Error> {
    // kube's own TLS settings: system roots by the platform's verifier, or exactly the given ones.
    let mut config = Config::new(http::Uri::default());
    config.root_cert = roots;
    let tls = Arc::new(config.rustls_client_config()?);
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(Duration::from_secs(5)));
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .build(HttpsConnector::from((tcp, tls))))
}

/// The action.
pub struct Forward {
    site: Site,
    url: http::Uri,
    timeout: Duration,
    headers_from: Option<String>,
    ca_from: Option<String>,
    extras: Mutex<Option<(Instant, Extras)>>,
}

/// What comes from Secrets.
#[derive(Clone)]
struct Extras {
    headers: HeaderMap,
    ca: Option<Vec<u8>>,
    http: Http,
}

impl Forward {
    /// Reads the spec. Errors: the target is not allowed, the timeout is no duration.
    pub fn new(spec: &Spec, site: Site) -> Result<Self, Invalid> {
        let url = site
            .tools
            .allowed
            .check(&spec.url, &site.namespace)
            .map_err(|message| Invalid { reason: "ForwardNotAllowed", message: format!("forward.url: {message}") })?;
        let wrong = |message: String| Invalid::spec(format!("forward.{message}"));
        Ok(Self {
            url: url.as_str().parse().map_err(|error| wrong(format!("url: {error}")))?,
            timeout: parse::duration(&spec.timeout).map_err(|error| wrong(format!("timeout: {error}")))?,
            headers_from: spec.headers_from.as_ref().map(|from| from.secret_ref.name.clone()),
            ca_from: spec.ca_ref.as_ref().map(|secret| secret.name.clone()),
            extras: Mutex::default(),
            site,
        })
    }

    async fn extras(&self) -> Result<Extras, Failure> {
        let known = self.extras.lock().ok().and_then(|extras| extras.clone());
        if let Some((since, extras)) = &known
            && since.elapsed() < FRESH
        {
            return Ok(extras.clone());
        }
        let headers = match &self.headers_from {
            Some(name) => headers::from_secret(&self.secret(name).await?, name, &[]).map_err(Failure::refused)?,
            None => HeaderMap::new(),
        };
        let ca = match &self.ca_from {
            Some(name) => {
                Some(self.secret(name).await?.data.unwrap_or_default().remove("ca.crt").unwrap_or_default().0)
            }
            None => None,
        };
        let http = match (known, &ca) {
            (_, None) => self.site.tools.http.clone(),
            // The same roots: the connections are kept.
            (Some((_, old)), _) if old.ca == ca => old.http,
            (_, Some(pem)) => {
                let roots = CertificateDer::pem_slice_iter(pem).map(|cert| cert.map(|cert| cert.to_vec()));
                let roots = roots.collect::<Result<Vec<_>, _>>().unwrap_or_default();
                if roots.is_empty() {
                    return Err(Failure::refused("forward.caRef: no certificate under ca.crt"));
                }
                http(Some(roots)).map_err(|error| Failure::refused(format!("forward.caRef: {error}")))?
            }
        };
        let extras = Extras { headers, ca, http };
        if let Ok(mut slot) = self.extras.lock() {
            *slot = Some((Instant::now(), extras.clone()));
        }
        Ok(extras)
    }

    async fn secret(&self, name: &str) -> Result<Secret, Failure> {
        let api: Api<Secret> = Api::namespaced(self.site.tools.own.clone(), &self.site.namespace);
        api.get(name).await.map_err(|error| Failure::api(&format!("Secret {name}"), &error))
    }

    async fn send(&self, request: Request<Full<Bytes>>, extras: &Extras) -> Result<Done, Failure> {
        let response = extras.http.request(request).await;
        let response = response.map_err(|error| Failure::transient(format!("{}: {}", self.url, why(&error))))?;
        let status = response.status();
        if status.is_success() {
            drain(response).await;
            return Ok(Done::Acted(format!("{} answered {}", self.url, status.as_u16())));
        }
        let kind = match status.as_u16() {
            408 | 425 | 429 | 500.. => FailureKind::Transient,
            _ => FailureKind::Refused,
        };
        let asked = retry_after(response.headers(), Timestamp::now());
        let snippet = headers::redact(snippet(response).await, &extras.headers);
        Err(Failure { kind, message: told(&self.url, status, &snippet), asked })
    }
}

#[async_trait]
impl Action for Forward {
    fn needs_body(&self) -> bool {
        true
    }

    fn deadline(&self) -> Duration {
        // The request has its own; reading Secrets may come before it.
        self.timeout + Duration::from_secs(15)
    }

    async fn perform(&self, event: &Event, body: Bytes) -> Result<Done, Failure> {
        let extras = self.extras().await?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::from_bytes(event.spec.request.method.as_bytes()).unwrap_or(Method::POST);
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = forwarded(&event.spec.request, &extras.headers);
        match tokio::time::timeout(self.timeout, self.send(request, &extras)).await {
            Ok(result) => result,
            Err(_) => {
                let within = parse::format_duration(self.timeout);
                Err(Failure::transient(format!("{}: no answer within {within}", self.url)))
            }
        }
    }
}

/// The headers of the original request that go on, with those of the Secret put over them.
fn forwarded(request: &RecordedRequest, extra: &HeaderMap) -> HeaderMap {
    let named_by_connection = |name: &HeaderName| {
        let lists = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("connection"));
        lists.flat_map(|header| header.value.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(name.as_str()))
    };
    let mut headers = HeaderMap::new();
    for recorded in &request.headers {
        let (Ok(name), Ok(value)) =
            (HeaderName::try_from(&recorded.name), HeaderValue::from_bytes(recorded.value.as_bytes()))
        else {
            continue;
        };
        if !headers::OF_CONNECTION.contains(&name) && !named_by_connection(&name) {
            headers.append(name, value);
        }
    }
    for (name, value) in extra {
        headers.insert(name, value.clone());
    }
    headers
}

async fn drain(mut response: Response<Incoming>) {
    let mut read = 0;
    while let Some(Ok(frame)) = response.body_mut().frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > DRAIN {
            return;
        }
    }
}

async fn snippet(mut response: Response<Incoming>) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = response.body_mut().frame().await {
        bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
        if bytes.len() >= SNIPPET {
            bytes.truncate(SNIPPET);
            break;
        }
    }
    headers::snippet(&bytes)
}

fn told(url: &http::Uri, status: StatusCode, snippet: &str) -> String {
    let redirect = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    let said = if snippet.is_empty() { String::new() } else { format!(": {snippet}") };
    format!("{url} answered {}{redirect}{said}", status.as_u16())
}

/// The innermost cause says what is wrong: refused, no such host, a bad certificate.
fn why(error: &dyn std::error::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use roadstead_api::event::Header;

    use super::*;

    fn request(headers: &[(&str, &str)]) -> RecordedRequest {
        let header = |(name, value): &(&str, &str)| Header { name: name.to_string(), value: value.to_string() };
        RecordedRequest { method: "POST".into(), headers: headers.iter().map(header).collect(), body: None }
    }

    fn secret(entries: &[(&str, &str)]) -> Secret {
        let entry = |(key, value): &(&str, &str)| (key.to_string(), ByteString(value.as_bytes().to_vec()));
        Secret { data: Some(entries.iter().map(entry).collect()), ..Secret::default() }
    }

    #[test]
    fn headers_of_one_hop_stay_behind() {
        let request = request(&[
            ("host", "hub.example.com"),
            ("connection", "keep-alive, X-Private"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("content-type", "application/json"),
            ("x-hub-signature-256", "sha256=00"),
            ("x-many", "a"),
            ("x-many", "b"),
            ("authorization", "old"),
        ]);
        let extra = headers::from_secret(&secret(&[("Authorization", "Bearer new\n")]), "s", &[]).unwrap();
        let headers = forwarded(&request, &extra);
        let mut seen: Vec<String> = headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        seen.sort();
        assert_eq!(
            seen,
            [
                "authorization=Bearer new",
                "content-type=application/json",
                "x-hub-signature-256=sha256=00",
                "x-many=a",
                "x-many=b"
            ]
        );
    }
}
